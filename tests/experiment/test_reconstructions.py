"""Reconstructions for the report tell nothing of hidden patches."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from selfmae.methods import mae
from selfmae.methods._reconstructions import HIDDEN, RATIOS, fill_in, to_shades
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.vit import draw_visible, num_visible, patchify, unpatchify
from selfmae.options import DataOptions, ModelOptions
from selfmae.seeds import generator

DATA = DataOptions("x")


def make(crop: tuple[int, ...], target: str = "patch") -> MaskedAutoencoder:
    torch.manual_seed(0)
    model = ModelOptions((4,) * len(crop), width=48, depth=1, heads=3)
    mask = mae.Options(0.75, target, decoder_width=24, decoder_depth=1, decoder_heads=2)  # type: ignore[arg-type]
    return MaskedAutoencoder(model, mask, 1, crop).eval()


def hidden_of(model: MaskedAutoencoder, ratio: float, seed: int) -> torch.Tensor:
    order = draw_visible(model.encoder.num_patches, ratio, generator(seed, "mask"))
    return torch.from_numpy(order[num_visible(len(order), ratio) :])


@pytest.mark.parametrize("crop", [(24, 24), (16, 16, 16)])
@pytest.mark.parametrize("target", ["patch", "channel", "raw"])
@pytest.mark.parametrize("ratio", RATIOS)
@torch.no_grad()
def test_other_hidden_pixels_change_no_pixel_of_the_pictures(crop: tuple[int, ...], target: str, ratio: float) -> None:
    model, images = make(crop, target), torch.rand(1, 1, *crop)
    patches = patchify(images, model.encoder.patch)
    patches[0, hidden_of(model, ratio, 5)] = 100 * torch.rand(1)
    changed = unpatchify(patches, model.encoder.grid, model.encoder.patch)
    for before, after in zip(
        fill_in(model, images, ratio, [5], DATA), fill_in(model, changed, ratio, [5], DATA), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("ratio", RATIOS)
@torch.no_grad()
def test_visible_patches_stay_and_hidden_ones_are_grey(ratio: float) -> None:
    model, images = make((24, 24)), torch.rand(1, 1, 24, 24) / 4
    masked, filled = (
        patchify(torch.from_numpy(picture[None]).float(), (4, 4))[0]
        for picture in fill_in(model, images, ratio, [5], DATA)
    )
    whole = patchify(torch.from_numpy(to_shades(images, DATA))[None].float(), (4, 4))[0]
    hidden = hidden_of(model, ratio, 5)
    assert len(hidden) == 36 - num_visible(36, ratio)
    visible = np.setdiff1d(np.arange(36), hidden)
    assert (masked[hidden] == HIDDEN).all()
    assert torch.equal(masked[visible], whole[visible])
    assert torch.equal(filled[visible], whole[visible])


@torch.no_grad()
def test_what_is_visible_stays_visible_when_less_is_hidden() -> None:
    model, images = make((24, 24)), torch.zeros(1, 1, 24, 24)
    seen = [fill_in(model, images, ratio, [5], DATA)[0] == 0 for ratio in RATIOS]
    assert all((more >= less).all() and more.sum() > less.sum() for more, less in pairwise(seen))


def test_the_grey_scale_is_that_of_the_normalisation() -> None:
    values = torch.tensor([[[[0.0, 1.0, 0.5]]]])
    assert to_shades(values, DATA).tolist() == [[[0, 255, 128]]]
    assert to_shades((values - 0.5) / 0.225, DataOptions("x", mean=0.5, std=0.225)).tolist() == [[[0, 255, 128]]]
    assert to_shades(values * 5 - 2, DataOptions("x", intensity="zscore")).tolist() == [[[0, 255, 128]]]


def test_a_volume_shows_its_middle_axial_slice_front_up() -> None:
    images = torch.zeros(1, 1, 4, 6, 8)
    images[0, 0, 1, 5, 4] = 1
    picture = to_shades(images, DATA)[0]
    assert picture.shape == (6, 4)
    assert np.argwhere(picture).tolist() == [[0, 1]]


def test_a_run_shows_its_own_ratio_among_the_others(volume_run: Path) -> None:
    with np.load(volume_run / "pretrain-mae" / "fold0" / "seed0" / "figures" / "reconstructions.npz") as arrays:
        assert set(arrays["ratios"]) == {*RATIOS, float(arrays["ratio"])}
        assert (
            arrays["masked"].shape
            == arrays["reconstructed"].shape
            == (len(arrays["ratios"]), *arrays["original"].shape)
        )
