"""The labels of the row-by-row prediction are those of MONAI's sliding window and torch's interpolation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import SpatialResample
from torch import Tensor, nn

from selfmae.data.preparation.prepare import Box
from selfmae.options import DataOptions, PredictOptions
from selfmae.seeds import generator
from selfmae.tasks.sliding_window import (
    clear_outside,
    extend_rows,
    largest_output,
    positive_outputs,
    predict_rows,
    resample_rows,
)

CASES = [((40, 33, 21), (16, 16, 8)), ((10, 30, 30), (16, 16, 16)), ((16, 16, 16), (16, 16, 16)), ((50, 37), (16, 16))]


def make_model(num_axes: int) -> nn.Module:
    """Return a network whose output depends on the place in the window, as a ViT's does."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[num_axes]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(conv(1, 4, 3, padding=1), nn.Tanh(), conv(4, 5, 5, padding=2)).eval()


def monai_logits(model: nn.Module, image: np.ndarray, crop: tuple[int, ...], options: PredictOptions) -> Tensor:
    logits = sliding_window_inference(
        torch.from_numpy(image)[None], crop, 4, model, overlap=options.overlap, mode=options.blend
    )
    assert isinstance(logits, Tensor)
    return logits


@pytest.mark.parametrize(("shape", "crop"), CASES)
@pytest.mark.parametrize("options", [PredictOptions(0.5, "gaussian"), PredictOptions(0.25, "constant")])
@torch.no_grad()
def test_rows_are_those_of_monai(shape: tuple[int, ...], crop: tuple[int, ...], options: PredictOptions) -> None:
    image = generator("window").normal(size=(1, *shape)).astype(np.float32)
    model = make_model(len(shape))
    expected = monai_logits(model, image, crop, options)[0]
    rows = torch.stack(
        list(predict_rows(model, image, DataOptions("", crop=crop), options, torch.device("cpu"))), dim=1
    )
    assert torch.allclose(rows, expected, atol=1e-5)
    assert np.array_equal(largest_output(iter(rows.unbind(1))), expected.argmax(0).numpy())
    assert np.array_equal(positive_outputs(iter(rows.unbind(1))), (expected > 0).numpy())


@pytest.mark.parametrize("shape", [(9, 14, 5), (30, 8, 12), (12, 10, 7), (25, 31)])
def test_rows_resampled_to_another_grid_are_those_of_torch(shape: tuple[int, ...]) -> None:
    logits = torch.from_numpy(generator("resample").normal(size=(3, *(12, 10, 7)[: len(shape)])).astype(np.float32))
    expected = F.interpolate(logits[None], shape, mode="trilinear" if len(shape) == 3 else "bilinear")[0]
    rows = torch.stack(list(resample_rows(iter(logits.unbind(1)), logits.shape[1], shape)), dim=1)
    assert torch.allclose(rows, expected, atol=1e-5)


def test_the_first_of_equal_outputs_wins() -> None:
    assert largest_output(iter([torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 2.0]])])).tolist() == [[0, 1]]


@pytest.mark.parametrize("box", [Box((2, 0, 3), (4, 5, 2), (9, 5, 7)), Box((0, 1), (3, 4), (3, 6))])
def test_rows_of_a_box_are_extended_by_its_border(box: Box) -> None:
    logits = generator("box").normal(size=(2, *box.shape)).astype(np.float32)
    around = [(low, whole - low - have) for low, have, whole in zip(box.corner, box.shape, box.whole, strict=True)]
    rows = torch.stack(list(extend_rows(iter(torch.from_numpy(logits).unbind(1)), box)), dim=1)
    np.testing.assert_array_equal(rows, np.pad(logits, [(0, 0), *around], mode="edge"))


@pytest.mark.parametrize("shape", [(20, 17), (9, 20, 14)])
@pytest.mark.parametrize("seed", range(3))
def test_the_way_back_from_a_grid_at_the_origin_is_that_of_monai(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = tuple(rng.uniform(0.3, 2.5, len(shape)).tolist())
    prepared = tuple(round((extent - 1) * step + 1) for extent, step in zip(shape, steps, strict=True))
    logits = torch.from_numpy(rng.normal(size=(2, *prepared)).astype(np.float32))
    rows = torch.stack(list(resample_rows(iter(logits.unbind(1)), prepared[0], shape, steps)), dim=1)
    affine = torch.diag(torch.tensor([*steps, 1.0]))
    back = SpatialResample(mode="bilinear", padding_mode="border", align_corners=False)
    expected = back(MetaTensor(logits, affine=torch.eye(len(shape) + 1)), affine, shape)
    torch.testing.assert_close(rows, expected.as_tensor(), atol=1e-4, rtol=0)


def test_outside_of_a_box_at_the_origin_is_told_by_the_steps() -> None:
    box = Box((1,), (2,), (5,), file_steps=(0.5,))
    prediction = np.ones((1, 9), dtype=bool)
    clear_outside(prediction, box)  # centres at 0.5, 1, 1.5, 2... of the prepared grid, whose box is from 1 to 3
    np.testing.assert_array_equal(np.flatnonzero(prediction[0]), [1, 2, 3, 4])


def test_only_voxels_centred_in_the_box_are_left() -> None:
    box = Box((1, 2), (2, 3), (5, 6))
    prediction = np.ones((1, 10, 3), dtype=bool)
    clear_outside(prediction, box)
    expected = np.zeros((10, 3), dtype=bool)
    expected[2:6, 1:2] = True  # centres 1.25 to 2.75 of five, and 3 of 1, 3, 5
    np.testing.assert_array_equal(prediction[0], expected)
