"""The plan: every value with a reason, what the user gave stands, and the file is a recipe."""

from collections.abc import Callable
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.generated.sets import write_volumes
from selfmae.data.source import Source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.plan import STEPS, Resolved, pretraining_note, resolve
from selfmae.methods import method_names, method_of
from selfmae.options import Recipe
from selfmae.recipe import load_recipe, read_reasons

Call = Callable[..., int]


def test_the_file_is_the_recipe_that_a_run_uses(volume_recipe: Path, volume_run: Path) -> None:
    assert load_recipe(str(volume_recipe)) == load_recipe(str(volume_run / "recipe.yaml"))


def test_the_file_gives_reasons(volume_recipe: Path) -> None:
    text = volume_recipe.read_text()
    assert "width: 48  # given" in text
    assert "intensity: window  # values below -500: Hounsfield units" in text


def planned(source: object, *settings: str) -> tuple[Recipe, dict[str, str]]:
    """Return the recipe for a source and its reasons."""
    found = resolve(str(source), "", settings, Display(quiet=True))
    return found.recipe, found.reasons


@pytest.mark.parametrize(
    ("source", "network", "method"), [("volumes", "dynunet", "masked_unet"), ("radiographs", "vit", "mae")]
)
def test_a_plan_without_any_setting_is_valid_and_has_a_reason_for_what_it_sets(
    request: pytest.FixtureRequest, source: str, network: str, method: str
) -> None:
    recipe, reasons = planned(request.getfixturevalue(source), "device.accelerator=cpu")
    assert recipe.model.network == network
    assert method_of("mae", recipe) == method
    assert {"model.network", "data.crop", "pretrain.steps", "fit.steps", f"{method}.ratio"} <= set(reasons)
    assert all(reasons.values())
    assert {key.split(".")[0] for key in reasons} & set(method_names()) == {method}


@pytest.mark.parametrize(("source", "network"), [("volumes", "unetr"), ("radiographs", "vit")])
def test_a_vision_transformer_is_planned_for_the_machine_in_whole_patches(
    request: pytest.FixtureRequest, source: str, network: str
) -> None:
    path = request.getfixturevalue(source)
    recipe, reasons = planned(path, "device.accelerator=cpu", f"model.network={network}")
    assert (recipe.model.width, recipe.model.depth, recipe.model.heads) == (192, 6, 3)
    assert all(crop % patch == 0 for crop, patch in zip(recipe.data.crop, recipe.model.patch, strict=True))
    assert {"model.patch", "data.crop", "pretrain.steps", "fit.steps", "mae.ratio"} <= set(reasons)
    assert all(reasons.values())


def test_a_u_net_sees_the_whole_small_image_with_features_that_the_time_allows(volumes: Path) -> None:
    recipe, reasons = planned(volumes, "device.accelerator=cpu")
    assert (recipe.data.crop, recipe.data.spacing_mm) == ((16, 16, 16), (1.5, 1.5, 2.0))
    assert recipe.model.features == 8  # without a budget, the fewest
    assert (recipe.fit.batch, recipe.pretrain.batch) == (2, 2)
    assert recipe.methods["masked_unet"].block == (8, 8, 8)
    assert reasons["model.width"] == reasons["model.patch"] == "plays no part in dynunet"


def test_what_was_given_of_a_u_net_stands(volumes: Path) -> None:
    settings = ("model.features=5", "data.crop=[16, 16, 8]", "fit.batch=3", "masked_unet.ratio=0.3")
    recipe, reasons = planned(volumes, *settings)
    assert (recipe.model.features, recipe.data.crop, recipe.fit.batch) == (5, (16, 16, 8), 3)
    assert recipe.methods["masked_unet"].ratio == 0.3
    assert {reasons[setting.partition("=")[0]] for setting in settings} == {"given"}


def test_what_was_given_stands_and_what_depends_on_it_follows(volumes: Path) -> None:
    recipe, reasons = planned(volumes, "model.network=unetr", "model.patch=[4, 8, 16]", "fit.steps=60")
    assert recipe.model.patch == (4, 8, 16)
    assert reasons["model.patch"] == "given"
    assert recipe.fit.warmup_steps == 3
    assert recipe.data.crop == (16, 16, 16)


def test_the_one_spacing_of_all_volumes_is_held_so_that_new_images_are_resampled_to_it(tmp_path: Path) -> None:
    write_volumes(tmp_path / "volumes", 8, 0, (16, 16, 16), spacing_mm=(2.0, 2.0, 3.0))
    recipe, reasons = planned(tmp_path / "volumes")
    assert recipe.data.spacing_mm == (2.0, 2.0, 3.0)
    assert reasons["data.spacing_mm"].startswith("that of all images")


def test_settings_go_over_a_recipe_and_a_recipe_over_the_plan(tmp_path: Path, volumes: Path) -> None:
    (tmp_path / "mine.yaml").write_text("fit: {steps: 50, batch: 3}\n")
    found = resolve(str(volumes), str(tmp_path / "mine.yaml"), ["fit.batch=2"], Display(quiet=True))
    assert (found.recipe.fit.steps, found.recipe.fit.batch) == (50, 2)
    assert found.given == {"fit.steps", "fit.batch"}


def test_nothing_is_written_over(tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("keep")
    assert call("plan", volumes, "--out", tmp_path / "mine.yaml") == 2
    assert "exists already, and a plan overwrites nothing: choose another file." in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "keep"


def test_the_plan_is_printed_and_has_the_steps_of_a_usual_run_in_the_usual_time(
    tmp_path: Path, volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", volumes, "--out", tmp_path / "plan.yaml") == 0
    out = capsys.readouterr().out
    assert "masked_unet.ratio" in out
    assert "recognised" in out
    assert "For a run with scratch, scratch+ and mae, one fold and 3 seeds: 60 min, the default for this machine" in out
    assert "4 times as much time would train" in out
    assert "time, pre-training" in out
    reasons, fit = read_reasons(tmp_path / "plan.yaml"), load_recipe(str(tmp_path / "plan.yaml")).fit
    assert {reasons[key] for key in STEPS} == {"what the budget allows, by the pace measured here"}
    assert fit.steps > 100
    assert fit.validate_every == ceil(fit.steps / 10)


def test_a_plan_of_given_steps_takes_no_budget(volumes: Path, call: Call, error_line: Callable[[], str]) -> None:
    assert call("plan", volumes, "--budget", "1h", "--set", "fit.steps=10") == 2
    assert "--budget plans how many steps each training has, but fit.steps is given" in error_line()


@pytest.mark.parametrize(("num_labelled", "num_others", "is_said"), [(4, 3, True), (4, 4, False), (4, 0, True)])
def test_few_images_without_labels_make_a_gain_unlikely(
    volume_recipe: Path, num_labelled: int, num_others: int, is_said: bool
) -> None:
    parts = ["train"] * num_labelled + ["unlabelled"] * num_others + ["val", "test"]
    cases = [Case(str(index), str(index), (), None, part) for index, part in enumerate(parts)]
    source = Source(Cases(Path("x"), "paired", tuple(cases), Labels("mask", ("a",), (1,)), ("x",)), (), ())
    found = Resolved(load_recipe(str(volume_recipe)), {}, source, frozenset())
    note = (
        f"Pre-training sees {num_labelled + num_others} images, {num_labelled} of them with labels: a gain over longer"
    )
    assert pretraining_note(found).startswith(note) == is_said
    assert bool(pretraining_note(found)) == is_said


def test_where_no_label_was_found_the_columns_are_named_before_the_error(
    tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.random.default_rng(0).random((4, 4)))
    (tmp_path / "list.csv").write_text("image,dx_code\na.npy,melanoma\nb.npy,nevus\n")
    assert call("plan", tmp_path) == 2
    out, error = capsys.readouterr()
    assert "Note: No column of labels was found ('dx_code': " in out
    assert error.splitlines()[-1].startswith(
        f"Error: {tmp_path} has no labelled case, but a plan needs some: add masks"
    )


@pytest.mark.parametrize(("source", "network"), [("volumes", "unetr"), ("radiographs", "vit")])
def test_a_gpu_is_given_the_length_of_training_of_the_paper(
    request: pytest.FixtureRequest, source: str, network: str
) -> None:
    path = request.getfixturevalue(source)
    recipe, reasons = planned(path, "device.accelerator=cuda", f"model.network={network}")
    assert (recipe.model.width, recipe.model.depth, recipe.model.heads) == (768, 12, 12)
    assert (recipe.methods["mae"].decoder_width, recipe.methods["mae"].decoder_heads) == (384, 12)
    assert (recipe.pretrain.lr, recipe.fit.layer_decay) == (1.5e-4, 0.75)
    assert recipe.pretrain.steps >= 20000
    assert recipe.fit.steps >= 4000
    assert "Zhou et al. 2023" in reasons["fit.steps"]
    assert "not run here" in reasons["pretrain.steps"]


def test_heads_follow_the_width_that_was_given(volumes: Path) -> None:
    recipe, reasons = planned(volumes, "model.network=unetr", "model.width=384", "mae.decoder_width=80")
    assert (recipe.model.heads, reasons["model.heads"]) == (6, "64 values a head")
    assert (recipe.methods["mae"].decoder_heads, reasons["mae.decoder_heads"]) == (2, "40 values a head")


def test_a_patch_for_images_of_another_number_of_axes_is_refused(volumes: Path) -> None:
    with pytest.raises(UserError, match=r"model\.patch \[8, 8\] has 2 values, but the images have 3 axes: give 3\."):
        planned(volumes, "model.patch=[8,8]")
