import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from selfmae.report import images as volumes
from selfmae.report.images import Volume, examples, label_colors, viewer, volume_of, within_budget
from selfmae.report.page import build_page
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def test_a_volume_can_be_read_back_with_its_place() -> None:
    affine, image = np.diag([2.0, 2, 5, 1]), np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine[:3, 3] = -7, 3, 1
    arrays = {"volume_image": image, "volume_truth": image % 3, "volume_predicted": image % 2, "volume_affine": affine}
    volume = volume_of(arrays)
    assert volume is not None
    for text, expected in ((volume.image, image), (volume.truth, image % 3), (volume.predicted, image % 2)):
        found = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))
        np.testing.assert_array_equal(np.asanyarray(found.dataobj), expected)
        np.testing.assert_array_equal(found.affine, affine)


def test_an_example_without_a_volume_has_none() -> None:
    assert volume_of({"picture_image": np.zeros((2, 2))}) is None


def test_volumes_beyond_the_budget_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "MAX_BYTES", 10)
    small = Volume("aa", "b", "c")
    assert within_budget([small, None, small, small]) == [small, None, small, None]


def test_the_worst_case_of_every_initialization_has_the_first_claim(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = RunFolder.read(make_run(num_seeds=1))
    size = max(item.volume.num_bytes for found in examples(results).values() for item in found if item.volume)
    monkeypatch.setattr(volumes, "MAX_BYTES", 2 * size)
    kept = {init: [bool(item.volume) for item in found] for init, found in examples(results).items()}
    assert kept == {"scratch": [True, False, False], "mae": [True, False, False]}


def test_the_viewer_is_the_program_that_its_licence_names() -> None:
    program = gzip.decompress(base64.b64decode(viewer())).decode()
    licence = (Path(volumes.__file__).parent / "niivue.LICENSE.txt").read_text()
    assert licence.startswith("niivue.js.gz is NiiVue 0.69.0")
    assert "0.69.0" in program
    assert "BSD 2-Clause License" in licence


def test_labels_have_the_colours_of_their_contours() -> None:
    colors = label_colors(["a", "b"])
    assert colors["labels"] == ["", "a", "b"]
    assert [colors[channel] for channel in "RGBA"] == [[0, 255, 34], [0, 176, 193], [0, 0, 240], [0, 255, 255]]


def test_the_viewer_is_on_the_page_only_where_volumes_are(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    assert 'id="viewer"' in build_page(RunFolder.read(folder))
    for path in folder.glob("*/fold0/seed0/figures/examples.npz"):
        path.unlink()
    assert 'id="viewer"' not in build_page(RunFolder.read(folder))
