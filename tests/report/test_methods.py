import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.report.provenance import counts_table
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]
Methods = Callable[..., str]


@pytest.fixture
def methods(read_part: Callable[..., list[str]]) -> Methods:
    """Return a function that gives the methods paragraph of a run folder."""
    return lambda folder, *leakage: " ".join(read_part("methods.html", folder, leakage))


@pytest.mark.parametrize(
    "fact",
    [
        "selfmae 0.1.0, torch 2.14.1, timm 1.0.31 and monai 1.6.1 on cpu in fp32",
        "comprised 20 training cases of 10 patients, 6 validation cases of 3 patients and 12 test cases of 6 patients",
        "clipped to a fixed window and scaled to 0..1 (\u2212175 to 250)",
        "crops of 96 \u00d7 96 \u00d7 64 voxels were used for training",
        "Vision Transformer (patches of 16 \u00d7 16 \u00d7 16, width 192, 12 blocks, 3 heads)",
        "with 75 % of the patches hidden, on 20 images for 400 steps with AdamW (learning rate 0.001, batch size 8)",
        "UNETR decoder was added and trained with Dice and cross-entropy loss",
        "fine-tuned from scratch and with self pre-training on the same splits and seeds (3 seeds, up to 400 steps)",
        "AdamW (learning rate 0.002, batch size 2)",
        "sliding window (overlap 50 %) and scored on the grid of the files",
        "bootstrap over patients, paired between the initializations, and cover the training seeds, widened",
        "difference between mae and scratch was +0.03 (95 % interval 0.01 to 0.05, p = 0.004)",
    ],
)
def test_the_methods_paragraph_is_made_of_the_facts(make_run: Make, methods: Methods, fact: str) -> None:
    assert fact in methods(make_run())


def test_the_methods_of_one_seed_claim_nothing_about_seeds(make_run: Make, methods: Methods) -> None:
    assert "hold for the one training seed used" in methods(make_run(num_seeds=1))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"kind": "multilabel"}, "trained with binary cross-entropy, since labels may occur together"),
        ({"kind": "multiclass"}, "trained with cross-entropy over mutually exclusive classes"),
        ({"kind": "mask", "regions": True}, "trained with Dice loss on overlapping regions"),
    ],
)
def test_every_kind_of_target_has_its_own_loss(
    make_run: Make, methods: Methods, kind: dict[str, object], words: str
) -> None:
    folder = make_run("mask" if kind["kind"] == "mask" else "multilabel", num_seeds=1)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | kind))
    assert words in methods(folder)
    assert ("sliding window" in methods(folder)) == (kind["kind"] == "mask")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("overlap: 0.5", "overlap: 0.5\n  grid: prepared", "and scored on the prepared grid."),
        ("intensity: window", "intensity: range", "scaled to 0..1 between lowest and highest value"),
    ],
)
def test_other_settings_have_other_words(make_run: Make, methods: Methods, old: str, new: str, words: str) -> None:
    folder = make_run(num_seeds=1)
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace(old, new))
    assert words in methods(folder)


def test_a_run_without_pretraining_speaks_of_none(make_run: Make, methods: Methods) -> None:
    folder = make_run(num_seeds=1)
    for name in ("pretrain-mae", "mae"):
        for path in sorted((folder / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    (folder / "verdict.json").unlink()
    assert "masked autoencoder" not in methods(folder)
    assert "fine-tuned from scratch (1 seed" in methods(folder)


def test_pretraining_that_continues_from_weights_says_so_without_their_folder(make_run: Make, methods: Methods) -> None:
    folder = make_run(num_seeds=1)
    with (folder / "recipe.yaml").open("a") as file:
        file.write("init:\n  pretrain: /home/anna/vit.safetensors\n")
    assert "continuing from vit.safetensors" in methods(folder)


def test_folds_and_their_repeats_are_told(make_run: Make, methods: Methods) -> None:
    folder = make_run(num_seeds=1)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"num_folds": 5, "num_repeats": 3}))
    assert "evaluated with 5-fold patient-wise cross-validation, repeated 3 times" in methods(folder)


def test_weights_without_validation_are_the_last_and_equal_compute_has_steps_of_its_own(
    make_run: Make, methods: Methods
) -> None:
    folder = make_run(num_seeds=1)
    for log in folder.glob("*/fold*/seed*/steps.jsonl"):
        lines = [line for line in log.read_text().splitlines() if "score" not in line]
        log.write_text("\n".join(lines) + "\n")
    equal = folder / "scratch+" / "fold0" / "seed0"
    shutil.copytree(folder / "scratch" / "fold0" / "seed0", equal)
    with (equal / "steps.jsonl").open("a") as file:
        file.write(json.dumps({"step": 720, "loss": 0.1, "lr": 0.0}) + "\n")
    assert (
        "up to 400 steps; up to 720 from scratch with equal compute, counted in floating-point operations)"
        in methods(folder)
    )
    assert "and the last weights were kept" in methods(folder)


def test_what_models_know_of_test_cases_goes_into_the_paragraph(make_run: Make, methods: Methods) -> None:
    folder, leak = make_run(), "The weights of mae were trained on 1 image of this split's test part."
    assert methods(folder, leak).endswith(f"The results are transductive. {leak}")
    assert "transductive" not in methods(folder)


def test_a_share_of_the_labels_is_told(make_run: Make, methods: Methods) -> None:
    folder = make_run(num_seeds=1)
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace("data:", "data:\n  fraction: 0.25", 1))
    assert "The labels of 25 % of the training patients were used." in methods(folder)


def test_of_several_pairs_the_corrected_p_is_given_too(make_run: Make, methods: Methods) -> None:
    folder = make_run()
    verdict = json.loads((folder / "verdict.json").read_text())
    pair = verdict["pairs"][0] | {"p_holm": 0.012}
    (folder / "verdict.json").write_text(json.dumps(verdict | {"pairs": [pair, pair, pair]}))
    assert "p = 0.004, after Holm's correction for 3 pairs p = 0.012)" in methods(folder)


def test_folds_have_no_parts_to_count_but_all_labelled_cases(make_run: Make, methods: Methods) -> None:
    folder = make_run()
    run = json.loads((folder / "run.json").read_text())
    counts = {"labelled": {"cases": 60, "patients": 33}, "unlabelled": {"cases": 10, "patients": 5}}
    (folder / "run.json").write_text(json.dumps(run | {"num_folds": 2, "counts": counts}))
    text = "60 labelled cases of 33 patients and 10 unlabelled cases of 5 patients"
    assert f"{text}, evaluated with 2-fold patient-wise cross-validation" in methods(folder)
    assert counts_table(RunFolder.read(folder)).rows[0] == ("labelled (train, validation and test in turn)", "60", "33")
