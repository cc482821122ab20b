"""The training runs of an experiment: one that fails stops no other, the verdict says what lacks, equal compute."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfmae.data.folds import Folding
from selfmae.data.source import load_cases
from selfmae.errors import UserError
from selfmae.experiment import train
from selfmae.experiment.stages import begin_finetuning
from selfmae.experiment.train import Experiment, Grid, name_inits
from selfmae.planning.measure import count_operations, equal_compute
from selfmae.recipe import load_recipe
from selfmae.results.training_run import TrainingRun
from selfmae.tasks import make_task

Call = Callable[..., int]
Error = Callable[[], str]


def break_runs(monkeypatch: pytest.MonkeyPatch, broken: Callable[[Path], bool], error: BaseException) -> None:
    """Let the fine-tuning of some training runs fail, by their folder."""

    def begin(recipe: Any, source: Any, init: Any, folder: Path, fold: int, display: Any) -> object:
        if broken(folder):
            raise error
        return begin_finetuning(recipe, source, init, folder, fold, display)

    monkeypatch.setattr(train, "begin_finetuning", begin)


def verdict_of(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / "verdict.json").read_text())
    return content


def test_training_runs_are_ordered_by_seed_then_fold_then_initialization(tmp_path: Path) -> None:
    names = {"scratch": "scratch", "ours": "x/ours.pth"}
    experiment = Experiment(None, None, Folding(2), (), names, Grid(num_seeds=2))  # type: ignore[arg-type]
    runs = experiment.runs(tmp_path)
    assert [str(run.folder.relative_to(tmp_path)) for run in runs[:3]] == [
        "scratch/fold0/seed0",
        "ours/fold0/seed0",
        "scratch/fold1/seed0",
    ]
    assert (len(runs), runs[1].init, runs[-1].seed) == (8, "ours", 1)


def test_a_file_may_be_given_the_name_of_an_initialization(tmp_path: Path) -> None:
    (tmp_path / "vit.pth").touch()
    texts = ("scratch", f"imagenet={tmp_path / 'vit.pth'}", str(tmp_path / "vit.pth"), "timm:x")
    assert name_inits(Grid(texts)) == {
        "scratch": "scratch",
        "imagenet": str(tmp_path / "vit.pth"),
        "vit": str(tmp_path / "vit.pth"),
        "x": "timm:x",
    }


@pytest.mark.parametrize("text", ["{}/scratch.pth", "{}/mae.safetensors", "mae={}/scratch.pth"])
def test_a_file_cannot_pass_for_an_initialization_of_our_own(tmp_path: Path, text: str) -> None:
    for name in ("scratch.pth", "mae.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(
        UserError, match=r"would be named '(scratch|mae)', which is an initialization of SelfMAE's own: give it an"
    ):
        name_inits(Grid(inits=(text.format(tmp_path),)))


def test_a_name_of_timm_makes_one_folder() -> None:
    assert name_inits(Grid(inits=("timm:hf-hub:org/model",))) == {"hf-hub_org_model": "timm:hf-hub:org/model"}


@pytest.mark.parametrize("text", ["a/b={}", "..={}", "={}", "imagenet={}.gone", "imagenet="])
def test_other_names_of_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "vit.pth").touch()
    with pytest.raises(UserError, match=r"or NAME=FILE \(imagenet=FILE where there is no network\)\.$"):
        name_inits(Grid((text.format(tmp_path / "vit.pth"),)))


def test_a_failed_training_stops_no_other_and_the_next_command_trains_only_it(
    tmp_path: Path,
    radiographs: Path,
    small_pictures: list[str],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error_line: Error,
) -> None:
    out, words = tmp_path / "out", ("--seeds", 2, *small_pictures)
    with monkeypatch.context() as patch:
        break_runs(patch, lambda folder: folder == out / "scratch/fold0/seed0", RuntimeError("out of memory"))
        assert call("run", radiographs, "--out", out, *words) == 2
    assert error_line() == (
        "Error: 1 training run failed, so the verdict does without it (first: scratch (fold 0, seed 0): RuntimeError: "
        "out of memory): fix the cause and run the same command again."
    )
    assert "Traceback" in (out / "failures" / "scratch-fold0-seed0.txt").read_text()
    verdict = verdict_of(out)
    assert verdict["missing"] == [{"init": "scratch", "fold": 0, "seed": 0}]
    assert verdict["pairs"][0]["num_seeds"] == 1  # type: ignore[index]
    text = "1 training run did not finish (scratch, fold 0, seed 0): the verdict rests on the folds and seeds"
    assert text in (out / "report.html").read_text()
    assert call("run", radiographs, "--out", out, *words) == 0
    assert verdict_of(out)["missing"] == []
    assert verdict_of(out)["pairs"][0]["num_seeds"] == 2  # type: ignore[index]


def test_a_fold_that_an_initialization_lacks_is_left_out_for_all(
    tmp_path: Path,
    radiographs: Path,
    small_pictures: list[str],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error_line: Error,
) -> None:
    out = tmp_path / "out"
    break_runs(monkeypatch, lambda folder: folder == out / "mae/fold1/seed0", UserError("The disk is full: free some."))
    assert call("run", radiographs, "--out", out, "--folds", 3, *small_pictures) == 2
    assert "(first: mae (fold 1, seed 0): The disk is full: free some): fix" in error_line()
    tested = [len((out / f"scratch/fold{fold}/seed0/rows-test.csv").read_text().splitlines()) - 1 for fold in range(3)]
    assert sum(tested) == 30
    assert verdict_of(out)["pairs"][0]["num_cases"] == 30 - tested[1]  # type: ignore[index]


def test_where_every_training_fails_the_first_reason_is_told(
    tmp_path: Path,
    radiographs: Path,
    small_pictures: list[str],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error_line: Error,
) -> None:
    break_runs(monkeypatch, lambda folder: True, UserError("The disk is full: free some."))
    assert call("run", radiographs, "--out", tmp_path / "out", *small_pictures) == 2
    assert error_line() == "Error: The disk is full: free some."


def test_an_interruption_ends_the_run(
    tmp_path: Path, radiographs: Path, small_pictures: list[str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_runs(monkeypatch, lambda folder: True, KeyboardInterrupt())  # type: ignore[arg-type]
    assert call("run", radiographs, "--out", tmp_path / "out", *small_pictures) == 130


def test_scratch_with_equal_compute_trains_longer_and_says_why(
    tmp_path: Path, radiographs: Path, small_pictures: list[str], call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("run", radiographs, "--out", out, "--init", "scratch,mae,scratch+", *small_pictures) == 0
    run = json.loads((out / "run.json").read_text())
    steps, reason = run["equal_compute"]["steps"], run["equal_compute"]["reason"]
    assert f"Equal compute: {reason}" in capsys.readouterr().err
    assert f"scratch+ trains {steps} steps: the 4 steps of every initialization and {steps - 4} more" in reason
    last = json.loads((out / "scratch+/fold0/seed0/steps.jsonl").read_text().splitlines()[-1])
    assert last["step"] == steps > 4
    names = [(pair["a"], pair["b"]) for pair in verdict_of(out)["pairs"]]  # type: ignore[attr-defined]
    assert names == [("scratch", "mae"), ("scratch", "scratch+"), ("mae", "scratch+")]
    text = " ".join((out / "report.html").read_text().split())
    assert "from scratch with equal compute" in text
    assert "Self pre-training cost 4 steps and " in text


def test_scratch_with_equal_compute_waits_for_the_steps_that_pretraining_took(
    tmp_path: Path, radiographs: Path, small_pictures: list[str], call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ("probe.every=1", "probe.patience=1", "pretrain.steps=40", "pretrain.lr=1.0")
    given = [*small_pictures, *(word for value in words for word in ("--set", value))]
    assert call("run", radiographs, "--out", out, "--init", "scratch+,scratch,mae", *given) == 0
    recipe = load_recipe(str(out / "recipe.yaml"))
    taken = TrainingRun.within(out, "pretrain-mae", 0, 0).num_steps
    steps = equal_compute(recipe, "mae", load_cases(recipe.data).part("train")[0], taken).steps
    assert TrainingRun.within(out, "scratch+", 0, 0).num_steps == steps
    assert steps < json.loads((out / "run.json").read_text())["equal_compute"]["steps"]
    told = f"pre-training took {taken} of 40 steps, where it ended early: 1 validation without a better score."
    assert told in capsys.readouterr().err
    text = " ".join((out / "report.html").read_text().split())
    assert f"Self pre-training cost {taken} steps (40 were planned; the probe ended it early) and" in text
    assert "scratch+ of that fold and seed has fewer, by the steps that were taken." in text


def test_equal_compute_of_an_unknown_number_of_steps_is_refused(
    tmp_path: Path, radiographs: Path, small_pictures: list[str], call: Call, error_line: Error
) -> None:
    words = ("--set", "probe.every=1", "--set", "probe.patience=1", *small_pictures)
    assert call("run", radiographs, "--out", tmp_path / "out", "--init", "scratch,scratch+", *words) == 2
    assert error_line() == (
        "Error: --init scratch+ needs the steps that pre-training takes, which probe.patience leaves open, and no "
        "initialization of this run pre-trains: add mae to --init, or set probe.patience=0."
    )


def test_equal_compute_waits_for_scratch_and_for_a_pretraining_that_may_end_early(
    picture_recipe: Path, tmp_path: Path
) -> None:
    probed = load_recipe(str(picture_recipe), ["probe.every=1", "probe.patience=1"])
    source: Any = None

    def titles(recipe: Any, init: str, *others: str) -> list[tuple[str, tuple[str, ...]]]:
        run, names = TrainingRun.within(tmp_path, init, 2, 1), {name: name for name in (init, *others)}
        experiment = Experiment(recipe, source, Folding(3), [source] * 3, names, Grid(num_seeds=2))
        works = experiment.works_for(run, recipe, (recipe, tmp_path))
        return [(work.title, work.after) for work in works]

    before, own = "pretrain-mae (fold 2, seed 1)", "scratch+ (fold 2, seed 1)"
    shorter, unprobed = "scratch (fold 2, seed 1)", load_recipe(str(picture_recipe), ["probe.every=1"])
    assert titles(probed, "scratch+") == [(before, ()), (own, (before,))]
    assert titles(unprobed, "scratch+") == [(own, ())]
    assert titles(probed, "mae") == [(before, ()), ("mae (fold 2, seed 1)", (before,))]
    assert titles(probed, "scratch") == [(shorter, ())]
    # Where scratch is trained too, its weights may be those that scratch+ keeps.
    assert titles(unprobed, "scratch+", "scratch", "mae") == [(own, (shorter,))]
    assert titles(probed, "scratch+", "scratch", "mae") == [(before, ()), (own, (before, shorter))]
    assert titles(probed, "scratch", "scratch+") == [(shorter, ())]


def classifier_operations(num_outputs: int) -> int:
    """Return the operations of a forward pass of the small classifier, by hand.

    17 tokens (16 patches of 8 x 8 pixels and one for the class), width 48, depth 2, an MLP 4 times as wide.
    """
    return 2 * block_operations(17) + 2 * 16 * 64 * 48 + 2 * 48 * num_outputs


def block_operations(tokens: int, width: int = 48) -> int:
    """Return the operations of a transformer block: its matrices, and the products of attention."""
    return 2 * tokens * (12 * width * width) + 4 * tokens * tokens * width


def autoencoder_operations(visible: int) -> int:
    """Return the operations of a forward pass of the small autoencoder: 16 patches, a decoder of 48 with one block."""
    encoder = 2 * block_operations(1 + visible) + 2 * visible * 64 * 48
    return encoder + 2 * (1 + visible) * 48 * 48 + block_operations(17) + 2 * (16 - visible) * 48 * 64


def test_operations_of_a_step_are_three_times_those_of_the_forward_pass(picture_recipe: Path) -> None:
    recipe = load_recipe(str(picture_recipe))
    case, task = load_cases(recipe.data).part("train")[0], make_task(recipe)
    task.prepare([case])
    forward = classifier_operations(len(recipe.target.names))
    assert count_operations(task, recipe.fit, case) == pytest.approx(3 * forward * recipe.fit.batch, rel=0.1)


@pytest.mark.parametrize("words", [(), ("pretrain.batch=8",), ("fit.batch=6", "fit.accumulate=3"), ("mae.ratio=0.25",)])
def test_steps_of_equal_compute_are_those_counted_by_hand(picture_recipe: Path, words: tuple[str, ...]) -> None:
    recipe = load_recipe(str(picture_recipe), ["pretrain.steps=1000", *words])
    before = 1000 * recipe.pretrain.batch * autoencoder_operations(round(16 * (1 - recipe.methods["mae"].ratio)))
    step = recipe.fit.batch * classifier_operations(len(recipe.target.names))
    found = equal_compute(recipe, "mae", load_cases(recipe.data).part("train")[0])
    assert found.steps - recipe.fit.steps == pytest.approx(before / step, rel=0.1)
    taken = equal_compute(recipe, "mae", load_cases(recipe.data).part("train")[0], num_taken=250)
    assert taken.steps - recipe.fit.steps == pytest.approx(before / step / 4, rel=0.1)


def test_equal_compute_grows_with_the_steps_of_pretraining(picture_recipe: Path) -> None:
    def steps(pretraining: int) -> int:
        recipe = load_recipe(str(picture_recipe), [f"pretrain.steps={pretraining}"])
        return equal_compute(recipe, "mae", load_cases(recipe.data).part("train")[0]).steps - recipe.fit.steps

    assert steps(40) == pytest.approx(10 * steps(4), abs=10)
    assert steps(4) > 0
