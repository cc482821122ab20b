"""Copies of images that are saved again: found; images that are only alike: not."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.doctor.duplicates import SAME, copy_keys, near_copies, thumbnail
from selfmae.data.doctor.findings import Facts
from selfmae.data.doctor.survey import survey
from selfmae.data.generated.radiographs import Chest, draw_radiograph
from selfmae.data.sources import read_source
from selfmae.seeds import generator


def facts(name: str, array: np.ndarray) -> Facts:
    return Facts(name, array.shape[1:], 1, (), (), name, (), thumbnail=thumbnail(array))


def smooth(seed: int, *shape: int) -> np.ndarray:
    """Return an image [1, *S] of 0 to 255 with structures, as scans have them."""
    coarse = np.random.default_rng(seed).uniform(0, 255, [1, *(8 for _ in shape)])
    for axis, extent in enumerate(shape, start=1):
        coarse = coarse.repeat(extent // 8, axis)
    return np.float32(coarse)


def as_jpeg(array: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(array[0].astype(np.uint8)).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file), dtype=np.float32)[None]


def halved(array: np.ndarray) -> np.ndarray:
    _, rows, columns = array.shape
    return array.reshape(1, rows // 2, 2, columns // 2, 2).mean((2, 4))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "saved with losses, quality 75": lambda array: as_jpeg(array, 75),
    "saved with losses, quality 95": lambda array: as_jpeg(array, 95),
    "brighter and with less contrast": lambda array: 0.8 * array + 30,
    "as numbers from 0 to 1": lambda array: array / 255,
    "half the size": halved,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(change: str) -> None:
    images = [smooth(seed, 64, 64) for seed in range(5)]
    found = [facts(f"{place}", image) for place, image in enumerate(images)]
    assert near_copies([*found, facts("copy", CHANGES[change](images[3]))]) == [["3", "copy"]]


def test_a_copy_of_a_volume_is_found() -> None:
    volume = smooth(0, 16, 24, 32)
    noise = np.random.default_rng(1).normal(0, 0.5, volume.shape)
    found = [facts("a", volume), facts("b", smooth(1, 16, 24, 32)), facts("c", (volume + noise).astype(np.float32))]
    assert near_copies(found) == [["a", "c"]]


def test_images_that_are_shifted_or_mirrored_are_no_copies() -> None:
    image = smooth(0, 64, 64)
    found = [facts("a", image), facts("b", np.roll(image, 4, 1)), facts("c", image[:, :, ::-1])]
    assert near_copies(found) == []


def test_block_means_are_those_of_a_plain_loop() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, 50, 33)).astype(np.float32)
    rows, columns = (np.array_split(np.arange(n), np.arange(1, 16) * n // 16) for n in (50, 33))
    means = np.array([[image[0][np.ix_(r, c)].mean() for c in columns] for r in rows])
    expected = np.round((means - means.min()) / np.ptp(means) * 255)
    np.testing.assert_allclose(np.frombuffer(thumbnail(image), np.uint8).reshape(16, 16), expected, atol=1)


@pytest.mark.parametrize("array", [np.ones((1, 32, 32)), np.full((1, 32, 32), np.nan), np.ones((1, 8, 32))])
def test_images_that_say_little_have_no_thumbnail(array: np.ndarray) -> None:
    assert thumbnail(array.astype(np.float32)) == b""


def test_equal_hashes_are_copies_without_a_thumbnail() -> None:
    found = [Facts(name, (4, 4), 1, (), (), "same", ()) for name in "ab"]
    assert near_copies(found) == [["a", "b"]]
    assert copy_keys(found) == {"a": "same", "b": "same"}


def test_copies_of_copies_are_one_group_and_share_a_key() -> None:
    image = smooth(0, 64, 64)
    found = [facts(name, as_jpeg(image, quality)) for name, quality in (("a", 95), ("b", 85), ("c", 75))]
    found += [Facts("d", (64, 64), 1, (), (), "c", ()), facts("e", smooth(1, 64, 64))]
    assert near_copies(found) == [["a", "b", "c", "d"]]
    assert copy_keys(found) == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e"}


def test_the_search_finds_the_pairs_of_a_plain_comparison() -> None:
    images = [smooth(seed, 32, 32) for seed in range(40)]
    noise = np.random.default_rng(0)
    images += [image + noise.normal(0, width, image.shape) for image, width in zip(images, range(1, 30), strict=False)]
    found = [facts(f"{place:02d}", image.astype(np.float32)) for place, image in enumerate(images)]
    points = np.array([np.frombuffer(fact.thumbnail, np.uint8) for fact in found], dtype=float)
    alike = np.triu(np.corrcoef(points) >= SAME, 1)
    pairs = [[f"{left:02d}", f"{right:02d}"] for left, right in np.argwhere(alike)]
    assert 0 < len(pairs) < 29
    assert near_copies(found) == pairs


def test_drawn_radiographs_of_one_patient_are_no_copies() -> None:
    chest = Chest.draw(generator(0, "chest"))
    images = [draw_radiograph(generator(0, place), chest, (64, 64))[0] for place in range(8)]
    assert near_copies([facts(f"{place}", image[None]) for place, image in enumerate(images)]) == []


@pytest.mark.parametrize("name", ["Task04_Hippocampus", "medmnist/adrenalmnist3d.npz"])
def test_real_images_are_no_copies(real_data: Path, name: str) -> None:
    cases = read_source(str(real_data / name)).cases[:200]
    assert near_copies(survey(cases, masks=False)[0]) == []


def test_of_real_radiographs_only_the_known_pair_is_a_copy(real_data: Path) -> None:
    cases = read_source(str(real_data / "cxr14_256")).cases
    assert near_copies(survey(cases, masks=False)[0]) == [["00002658_001", "00002658_002"]]
