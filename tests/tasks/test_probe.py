"""The probe: a read-out of frozen features that keeps patients apart, and guesses that need no model."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from selfmae.data.case import Case
from selfmae.data.preparation.store import Store
from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder, trivial_losses
from selfmae.models.vit import patchify
from selfmae.options import DataOptions, ModelOptions, OptimOptions, ProbeOptions, Recipe, TargetOptions
from selfmae.seeds import generator
from selfmae.tasks.probe import Probe, cross_validated_auc

OPTIM = OptimOptions(steps=1, batch=1, lr=1e-3)
MAE = mae.Options(ratio=0.5, target="raw", decoder_width=24, decoder_depth=1, decoder_heads=2)


def make_recipe(target: str, **probe: object) -> Recipe:
    axes, names = (3, ("a", "b")) if target == "mask" else (2, ("a",))
    return Recipe(
        DataOptions("", channels=("x",), crop=(8,) * axes, intensity="range"),
        TargetOptions(target, names, (1, 2) if target == "mask" else ()),  # type: ignore[arg-type]
        ModelOptions(patch=(4,) * axes, width=24, depth=1, heads=2),
        OPTIM,
        OPTIM,
        {"mae": MAE},
        probe=ProbeOptions(every=1, **probe),  # type: ignore[arg-type]
    )


@pytest.fixture
def pictures(tmp_path: Path) -> list[Case]:
    """Return pictures of which every second is brighter on the left and has the finding."""
    cases = []
    for number in range(40):
        array = generator(0, "picture", number).random((8, 8))
        array[:, :4] += 3.0 * (number % 2)
        np.save(tmp_path / f"{number}.npy", array)
        cases.append(Case(str(number), f"p{number}", (tmp_path / f"{number}.npy",), (float(number % 2),), "train"))
    return cases


@pytest.fixture
def volumes(tmp_path: Path) -> list[Case]:
    """Return volumes that are as bright as their labels, which fill one patch each."""
    cases = []
    for number in range(6):
        mask = np.zeros((8, 8, 8), dtype=np.uint8)
        mask[:4, :4, :4], mask[4:, 4:, 4:] = (1, 2) if number % 2 else (2, 1)
        noise = generator(0, "volume", number).random(mask.shape)
        for name, array in (("image", mask + 0.1 * noise), ("mask", mask)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}{number}.nii")
        files = (tmp_path / f"image{number}.nii",), tmp_path / f"mask{number}.nii"
        cases.append(Case(str(number), f"p{number}", *files, "train"))
    return cases


def make_model(recipe: Recipe) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(recipe.model, MAE, 1, recipe.data.crop).eval()


def look(probe: Probe) -> dict[str, float]:
    with torch.no_grad():
        return probe(make_model(probe.recipe))


def test_features_that_tell_are_worth_one_and_noise_a_half() -> None:
    rng = generator(0, "features")
    targets, patients = rng.integers(2, size=(400, 1)).astype(float), np.arange(400)
    told, noise = targets + 0.01 * rng.normal(size=(400, 5)), rng.normal(size=(400, 5))
    assert cross_validated_auc(told, targets, patients) == pytest.approx(1.0)
    assert cross_validated_auc(noise, targets, patients) == pytest.approx(0.5, abs=0.08)


def test_knowing_the_patient_is_worth_nothing() -> None:
    patients = np.repeat(np.arange(40), 5)
    features, targets = np.eye(40)[patients], generator(0, "t").integers(2, size=40).astype(float)[patients][:, None]
    assert cross_validated_auc(features, targets, patients) == pytest.approx(0.5, abs=0.15)
    assert cross_validated_auc(features, targets, np.arange(200)) > 0.95  # what a split by image would say


def test_one_outcome_or_one_patient_gives_no_score() -> None:
    features, ones = np.eye(4), np.ones((4, 1))
    assert np.isnan(cross_validated_auc(features, ones, np.arange(4)))
    assert np.isnan(cross_validated_auc(features, np.eye(4)[:, :1], np.zeros(4)))


def test_guesses_without_a_model_are_the_mean_and_the_nearest_visible_patch() -> None:
    recipe = make_recipe("multilabel")
    model, images = make_model(recipe), torch.rand(2, 1, 8, 8)
    order = torch.tensor([[0, 3, 1, 2], [1, 2, 3, 0]])
    patches = patchify(images, (4, 4))
    losses = trivial_losses(model, images, order)
    expected = [
        (patches[b, h] - patches[b, order[b, :2]].mean(0)).square().mean() for b in (0, 1) for h in order[b, 2:]
    ]
    torch.testing.assert_close(losses["mean_patch"], torch.stack(expected).mean())
    ties = [
        [(patches[b, h] - patches[b, v]).square().mean() for v in order[b, :2]] for b in (0, 1) for h in order[b, 2:]
    ]
    low, high = (sum(pick(pair) for pair in ties) / 4 for pick in (min, max))
    assert low <= losses["neighbour_copy"] <= high  # on a grid of two by two both visible patches are as near


def test_held_out_images_are_filled_in_without_their_labels(volumes: list[Case]) -> None:
    unlabelled = [replace(case, target=Path("none.nii")) for case in volumes]
    found = look(Probe(make_recipe("mask"), unlabelled))
    assert set(found) == {"score", "reconstruction", "mean_patch", "neighbour_copy"}
    assert found["score"] == -found["reconstruction"]
    assert look(Probe(make_recipe("mask"), unlabelled)) == found


def test_labels_of_whole_images_are_read_out(pictures: list[Case]) -> None:
    found = look(Probe(make_recipe("multilabel", kind="labels"), pictures[:2], pictures))
    assert found["score"] == found["probe"] > 0.8
    swapped = [replace(case, target=(float(number < 20),)) for number, case in enumerate(pictures)]
    assert look(Probe(make_recipe("multilabel", kind="labels"), (), swapped))["probe"] < 0.7


def test_labels_of_patches_are_read_out(volumes: list[Case]) -> None:
    found = look(Probe(make_recipe("mask", kind="labels"), (), volumes))
    assert found == {"score": found["probe"], "probe": found["probe"]}
    assert found["probe"] > 0.9
    others = [replace(case, target=volumes[number // 2 % 2].target) for number, case in enumerate(volumes)]
    assert look(Probe(make_recipe("mask", kind="labels"), (), others))["probe"] < found["probe"]


@pytest.mark.parametrize("target", ["mask", "multilabel"])
def test_a_look_opens_its_store_once(
    target: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr("selfmae.tasks.probe.Store", lambda *options: opened.append(options) or Store(*options))
    look(
        Probe(
            make_recipe(target, kind="labels"),
            (),
            request.getfixturevalue("volumes" if target == "mask" else "pictures"),
        )
    )
    assert len(opened) == 1
