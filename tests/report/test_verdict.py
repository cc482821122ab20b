import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[..., Path]
Sentences = Callable[[Path], list[str]]


@pytest.fixture
def sentences(read_part: Callable[..., list[str]]) -> Sentences:
    """Return a function that gives the sentences of the verdict on a run folder."""
    return lambda folder: read_part("verdict.html", folder)


def change_pair(folder: Path, **changes: object) -> Path:
    path = folder / "verdict.json"
    content = json.loads(path.read_text())
    content["pairs"][0] |= changes
    path.write_text(json.dumps(content))
    return folder


def add_equal(folder: Path, **changes: object) -> Path:
    """Add scratch of equal compute and the pair of self pre-training with it, which then gives the headline."""
    content = json.loads((folder / "verdict.json").read_text())
    content["pairs"].append(content["pairs"][0] | {"a": "scratch+", "b": "mae"} | changes)
    content["inits"]["scratch+"] = {"mean": 0.99, "ci95": None}  # over a seed more than the pair has
    (folder / "verdict.json").write_text(json.dumps(content))
    return folder


def test_a_gain_is_said_with_both_means_the_interval_and_the_counts(make_run: Make, sentences: Sentences) -> None:
    assert sentences(add_equal(make_run(), mean_a=0.82))[1] == (
        "Self pre-training helps on this data: mean Dice 0.84 against 0.81 from scratch, difference +0.03 "
        "(95 % interval 0.01 to 0.05; 12 test cases of 6 patients, 3 seeds)."
    )


def test_a_gain_over_scratch_of_less_compute_is_no_verdict(make_run: Make, sentences: Sentences) -> None:
    first, *others = sentences(make_run())
    assert first.startswith(
        "This data cannot tell whether self pre-training helps more than longer training from scratch:"
    )
    assert any(text.startswith("Pre-training is compute that scratch did not have") for text in others)


def test_no_difference_leads_and_names_the_margin(make_run: Make, sentences: Sentences) -> None:
    folder = change_pair(make_run(verdict="no difference"), difference=0.002, ci95=[-0.003, 0.007])
    first, *others = sentences(folder)
    assert first.startswith(
        "No difference: self pre-training is neither better nor worse on this data than training from"
    )
    assert first.endswith("within 0.01 of mean Dice, the smallest difference that matters here (--margin).")
    assert not any("not evidence" in text for text in others)
    content = json.loads((folder / "verdict.json").read_text()) | {"margin": 0.02}
    (folder / "verdict.json").write_text(json.dumps(content))
    assert "within 0.02 of mean Dice" in sentences(folder)[0]


def test_a_loss_is_said_as_plainly(make_run: Make, sentences: Sentences) -> None:
    sentence = sentences(make_run(verdict="hurts"))[0]
    assert sentence.startswith("Self pre-training hurts on this data: mean Dice")
    assert "difference \u22120.03 (95 % interval \u22120.05 to \u22120.01;" in sentence


def test_an_open_verdict_says_what_cannot_be_told_and_never_no_effect(make_run: Make, sentences: Sentences) -> None:
    first, *_, second = sentences(make_run("multilabel", "cannot tell"))
    assert first.startswith(
        "This data cannot tell whether self pre-training helps or hurts: mean AUC 0.84 against 0.81"
    )
    assert second.startswith(
        "This is not evidence of no effect: any true difference from \u22120.02 to +0.06 is compatible with these "
        "results."
    )


@pytest.mark.parametrize("verdict", ["helps", "hurts", "no difference", "cannot tell", "no verdict"])
def test_one_seed_gives_no_verdict_and_leaves_training_noise_open(
    make_run: Make, sentences: Sentences, verdict: str
) -> None:
    found = sentences(make_run(verdict=verdict, num_seeds=1))
    assert found[0].startswith(
        "One seed: no verdict on whether self pre-training helps or hurts: mean Dice 0.84 against"
    )
    assert "for these two models only" in found[0]
    assert "3 seeds" not in found[0]
    assert "1 seed)" in found[0]
    assert "does not cover training variance" in "".join(found)


def test_three_seeds_need_no_such_warning(make_run: Make, sentences: Sentences) -> None:
    assert not any("training variance" in sentence for sentence in sentences(make_run(num_seeds=3)))


def test_a_missing_interval_is_said(make_run: Make, sentences: Sentences) -> None:
    folder = change_pair(make_run(verdict="cannot tell"), ci95=None, p=None)
    assert "(no interval can be computed; 12 test cases" in sentences(folder)[0]


def test_a_small_difference_is_not_rounded_to_nothing(make_run: Make, sentences: Sentences) -> None:
    folder = change_pair(make_run(), difference=0.004, ci95=[0.001, 0.007])
    assert "difference +0.004 (95 % interval 0.001 to 0.007;" in sentences(folder)[0]


def test_a_bound_just_above_zero_is_not_shown_as_zero(make_run: Make, sentences: Sentences) -> None:
    folder = change_pair(make_run(), ci95=[0.0004, 0.06])
    assert "(95 % interval 0.0004 to 0.0600;" in sentences(folder)[0]


def test_a_comparison_without_scratch_names_both_initializations(make_run: Make, sentences: Sentences) -> None:
    folder = change_pair(make_run(), a="imagenet")
    content = json.loads((folder / "verdict.json").read_text())
    content["inits"]["imagenet"] = content["inits"].pop("scratch")
    (folder / "verdict.json").write_text(json.dumps(content))
    assert sentences(folder)[0].startswith(
        "Self pre-training helps on this data compared with initialization with ImageNet weights:"
    )


def test_the_pair_of_scratch_and_mae_gives_the_verdict(make_run: Make, sentences: Sentences) -> None:
    folder = make_run(verdict="hurts")
    path = folder / "verdict.json"
    content = json.loads(path.read_text())
    other = content["pairs"][0] | {"b": "imagenet", "verdict": "helps"}
    path.write_text(json.dumps(content | {"pairs": [other, *content["pairs"]]}))
    assert sentences(folder)[0].startswith("Self pre-training hurts on this data: ")


def test_an_interval_that_leaves_out_0_but_does_not_stand_the_correction_is_explained(
    make_run: Make, sentences: Sentences
) -> None:
    folder = change_pair(make_run(), verdict="cannot tell", ci95=[0.001, 0.05], p=0.03, p_holm=0.09)
    (text,) = [sentence for sentence in sentences(folder) if "Holm" in sentence]
    assert text.endswith("corrected for their number (Holm), p is 0.090, not below 0.05.")


def test_trainings_that_lack_are_named(make_run: Make, sentences: Sentences) -> None:
    folder = make_run()
    content = json.loads((folder / "verdict.json").read_text())
    content["missing"] = [{"init": "mae", "fold": 0, "seed": seed} for seed in range(5)]
    (folder / "verdict.json").write_text(json.dumps(content))
    assert sentences(folder)[-1].startswith(
        "5 training runs did not finish (mae, fold 0, seed 0; mae, fold 0, seed 1; mae, fold 0, seed 2; ...): "
    )


def test_an_initialization_alone_counts_seeds_and_cases_of_all_folds_and_has_its_interval(
    make_run: Make, sentences: Sentences
) -> None:
    folder = make_run(num_seeds=1)
    shutil.rmtree(folder / "mae")
    first, second = folder / "scratch" / "fold0" / "seed0", folder / "scratch" / "fold1" / "seed0"
    shutil.copytree(first, second)
    rows = (second / "rows-test.csv").read_text()
    (second / "rows-test.csv").write_text(rows.replace("case", "other").replace("patient1", "patient9"))
    content = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_text(json.dumps(content | {"pairs": []}))
    assert sentences(folder)[0] == (
        "The model fine-tuned from scratch reaches mean Dice 0.81 (95 % interval 0.78 to 0.84; 24 test cases of 7 "
        "patients, 1 seed)."
    )


def test_scored_masks_are_better_or_worse_and_help_nobody(make_run: Make, sentences: Sentences) -> None:
    folder = change_pair(make_run(num_seeds=1), num_seeds=1, mean_a=0.8, mean_b=0.9)
    path = folder / "mae" / "fold0" / "seed0" / "environment.json"
    path.write_text(json.dumps({"init": {"kind": "score", "name": "mae"}}))
    verdict = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_text(json.dumps(verdict | {"scored": ["mae"]}))
    found = sentences(folder)
    assert found[0].startswith(
        "The masks of mae are better on this data compared with training from scratch: mean Dice 0.90 against 0.80 "
    )
    assert any(text.startswith("Scored masks stand for one training run, so") for text in found)
    assert "What mae was trained on is not known: if a test patient was among it, its score is too good." in found
    assert sentences(change_pair(folder, verdict="cannot tell"))[0].startswith(
        "This data cannot tell whether the masks of mae are better or worse compared with training from scratch:"
    )


def test_the_cost_of_pretraining_stands_beside_its_gain(make_run: Make, sentences: Sentences) -> None:
    assert any(sentence.startswith("Self pre-training cost ") for sentence in sentences(make_run()))


def test_scratch_of_the_same_compute_gives_the_headline_the_right_way_round(
    make_run: Make, sentences: Sentences
) -> None:
    means = {"mean_a": 0.84, "mean_b": 0.86}
    turned = means | {"a": "mae", "b": "scratch+", "difference": 0.02, "ci95": [0.01, 0.03]}
    first, second, *_ = sentences(add_equal(make_run(), **turned))
    assert first.startswith(
        "Self pre-training hurts on this data compared with training from scratch with equal compute: "
        "mean Dice 0.84 against 0.86 from scratch with equal compute, difference \u22120.02 (95 % interval \u22120.03"
    )
    assert second.startswith("Self pre-training helps on this data: mean Dice 0.84 against 0.81 from scratch, ")


def test_what_is_still_rising_and_what_to_take_stand_on_the_first_screen(make_run: Make, sentences: Sentences) -> None:
    folder = add_equal(make_run())
    content = json.loads((folder / "verdict.json").read_text())
    ended = {"rise": 0.02, "best_is_last": 1.0, "pretext_loss": 0.99, "trivial_loss": 1.0}
    content |= {"convergence": {"mae": ended}, "converged": {"mae": False}, "margin": 0.01}
    content["recommended"] = {"network": "dynunet", "init": "mae"}
    (folder / "verdict.json").write_text(json.dumps(content))
    texts = [text.split(" (")[0] for text in sentences(folder)[3:]]
    assert texts == [
        "The validation score of mae still rises by 0.02 a quarter of the training: train longer, for example with "
        "twice the --budget.",
        "The pre-training of mae hardly learned its pretext task",
        "Recommended: dynunet with self pre-training",
    ]
