import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.report.results import read_results
from selfmae.report.sentences import verdict_sentences

Make = Callable[..., Path]


def sentences(folder: Path) -> list[str]:
    return verdict_sentences(read_results(folder))


def change_pair(folder: Path, **changes: object) -> Path:
    path = folder / "verdict.json"
    content = json.loads(path.read_text())
    content["pairs"][0] |= changes
    path.write_text(json.dumps(content))
    return folder


def test_a_gain_is_said_with_both_means_the_interval_and_the_counts(make_run: Make) -> None:
    assert sentences(make_run()) == [
        "Self pre-training helps on this data: mean Dice 0.84 against 0.81 from scratch, difference +0.03 "
        "(95 % interval 0.01 to 0.05; 12 test cases of 6 patients, 3 seeds)."
    ]


def test_a_loss_is_said_as_plainly(make_run: Make) -> None:
    (sentence,) = sentences(make_run(verdict="hurts"))
    assert sentence.startswith("Self pre-training hurts on this data: mean Dice")
    assert "difference \u22120.03 (95 % interval \u22120.05 to \u22120.01;" in sentence


def test_an_open_verdict_says_what_cannot_be_told_and_never_no_effect(make_run: Make) -> None:
    first, second = sentences(make_run("findings", "cannot tell"))
    assert first.startswith(
        "This data cannot tell whether self pre-training helps or hurts: mean AUC 0.84 against 0.81"
    )
    assert second.startswith(
        "This is not evidence of no effect: any true difference from \u22120.02 to +0.06 fits these results."
    )


@pytest.mark.parametrize("verdict", ["helps", "hurts", "cannot tell"])
def test_one_seed_leaves_training_noise_open(make_run: Make, verdict: str) -> None:
    found = sentences(make_run(verdict=verdict, num_seeds=1))
    assert "3 seeds" not in found[0]
    assert "1 seed)" in found[0]
    assert "does not cover training noise" in found[-1]


def test_three_seeds_need_no_such_warning(make_run: Make) -> None:
    assert not any("training noise" in sentence for sentence in sentences(make_run(num_seeds=3)))


def test_a_missing_interval_is_said(make_run: Make) -> None:
    folder = change_pair(make_run(verdict="cannot tell"), ci95=None, p=None)
    assert "(no interval can be computed; 12 test cases" in sentences(folder)[0]


def test_a_small_difference_is_not_rounded_to_nothing(make_run: Make) -> None:
    folder = change_pair(make_run(), difference=0.004, ci95=[0.001, 0.007])
    assert "difference +0.004 (95 % interval 0.001 to 0.007;" in sentences(folder)[0]


def test_a_bound_just_above_zero_is_not_shown_as_zero(make_run: Make) -> None:
    folder = change_pair(make_run(), ci95=[0.0004, 0.06])
    assert "(95 % interval 0.0004 to 0.0600;" in sentences(folder)[0]


def test_a_comparison_without_scratch_names_both_starts(make_run: Make) -> None:
    folder = change_pair(make_run(), a="imagenet")
    assert sentences(folder)[0].startswith(
        "Self pre-training helps on this data compared with starting from ImageNet weights:"
    )


def test_the_pair_of_scratch_and_mae_gives_the_verdict(make_run: Make) -> None:
    folder = make_run()
    path = folder / "verdict.json"
    content = json.loads(path.read_text())
    other = content["pairs"][0] | {"b": "imagenet", "verdict": "hurts"}
    path.write_text(json.dumps(content | {"pairs": [other, *content["pairs"]]}))
    assert sentences(folder)[0].startswith("Self pre-training helps")
