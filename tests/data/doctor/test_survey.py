"""Facts and findings of images and masks."""

import os
import time
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Case
from selfmae.data.doctor.findings import Facts, Finding, make_finding
from selfmae.data.doctor.survey import MAX_VOXELS, examine_case, hash_voxels, survey

SHAPE = (5, 6, 7)
VOLUME = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
STEPS = np.diag([1.0, 2.0, 3.0, 1.0])


def nifti(path: Path, array: np.ndarray = VOLUME, affine: np.ndarray = STEPS) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def look(image: Path, mask: Path | None = None) -> tuple[Facts, list[Finding]]:
    facts, findings = survey([Case("c", "c", (image,), mask, "train")], masks=mask is not None)
    return facts[0], findings


def pair(folder: Path, affine: np.ndarray, mask: np.ndarray = VOLUME) -> list[Finding]:
    return look(nifti(folder / "i.nii"), nifti(folder / "m.nii", mask, affine))[1]


def moved(voxels: float) -> np.ndarray:
    affine = STEPS.copy()
    affine[2, 3] = voxels * 3.0
    return affine


def test_facts_of_a_volume(tmp_path: Path) -> None:
    fact, findings = look(nifti(tmp_path / "i.nii.gz"))
    assert (fact.id, fact.shape, fact.num_channels, fact.spacing_mm) == ("c", SHAPE, 1, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(fact.percentiles[0], np.percentile(VOLUME, (0.5, 50, 99.5)))
    assert findings == []


def test_a_picture_has_no_spacing_and_percentiles_of_each_channel(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "i.png")
    fact, _ = look(tmp_path / "i.png")
    assert (fact.shape, fact.num_channels, fact.spacing_mm) == ((8, 9), 3, ())
    assert [middle for _, middle, _ in fact.percentiles] == [float(np.median(colours[..., c])) for c in range(3)]


def test_percentiles_of_large_images_are_close_to_exact(tmp_path: Path) -> None:
    large = np.random.default_rng(2).normal(size=(3 * MAX_VOXELS // 1000, 1000)).astype(np.float32)
    np.save(tmp_path / "i.npy", large)
    np.testing.assert_allclose(
        look(tmp_path / "i.npy")[0].percentiles[0], np.percentile(large, (0.5, 50, 99.5)), atol=0.02
    )


def test_equal_voxels_have_equal_hashes_in_whatever_file(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", VOLUME.astype(np.float64))
    assert look(tmp_path / "i.npy")[0].pixel_hash == look(nifti(tmp_path / "i.nii.gz"))[0].pixel_hash


def test_hashes_know_shape_and_every_voxel() -> None:
    array = np.zeros((1, 4, 6), np.float32)
    other = array.copy()
    other[0, 3, 5] = 1e-6
    assert len({hash_voxels(array), hash_voxels(array.reshape(1, 6, 4)), hash_voxels(other)}) == 3
    assert len(hash_voxels(array)) == 32


def test_hashes_do_not_depend_on_the_order_in_memory() -> None:
    array = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    assert hash_voxels(np.asfortranarray(array)) == hash_voxels(array)


def test_masks_are_counted_only_if_asked_for(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 0, :3] = 4
    case = Case("c", "c", (nifti(tmp_path / "i.nii"),), nifti(tmp_path / "m.nii", mask), "train")
    assert survey([case], masks=True)[0][0].mask_counts == ((0, mask.size - 3), (4, 3))
    (tmp_path / "m.nii").unlink()
    assert survey([case], masks=False)[0][0].mask_counts == ()
    assert survey([case], masks=False)[1] == []


def test_facts_keep_the_order_and_progress_counts_up(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.random.default_rng(0).normal(size=(1500, 1500)))
    np.save(tmp_path / "small.npy", np.eye(4))
    names = ["large", *["small"] * 5]
    cases = [Case(f"{k}", "p", (tmp_path / f"{name}.npy",), None, "") for k, name in enumerate(names)]
    calls: list[tuple[int, int]] = []
    facts, _ = survey(cases, False, lambda done, total: calls.append((done, total)))
    assert [fact.id for fact in facts] == list("012345")
    assert calls == [(k, 6) for k in range(1, 7)]


def test_an_unreadable_image_is_a_problem_without_facts(tmp_path: Path) -> None:
    (tmp_path / "i.png").write_text("no picture")
    facts, findings = survey([Case("c", "c", (tmp_path / "i.png",), None, "")], masks=True)
    assert facts == []
    assert (findings[0].code, findings[0].cases) == ("unreadable_image", ("c",))
    assert "i.png could not be read" in findings[0].cause


def test_an_unreadable_mask_is_a_problem(tmp_path: Path) -> None:
    _, findings = look(nifti(tmp_path / "i.nii"), tmp_path / "gone.nii")
    assert findings[0].code == "unreadable_mask"
    assert "gone.nii was expected" in findings[0].cause


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_counted(tmp_path: Path, bad: float) -> None:
    array = VOLUME.astype(np.float32)
    array[0, 0, :2] = bad
    fact, findings = look(nifti(tmp_path / "i.nii", array))
    assert findings[0].code == "not_finite"
    assert "i.nii has 2 voxels that are not finite" in findings[0].cause
    assert np.isfinite(fact.percentiles).all()


def test_a_constant_channel_is_a_problem(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.full((4, 4), 3))
    finding = look(tmp_path / "i.npy")[1][0]
    assert finding.code == "constant_image"
    assert "i.npy has the same value everywhere in a channel" in finding.cause


def test_image_and_mask_that_differ_in_size_show_both(tmp_path: Path) -> None:
    finding = pair(tmp_path, STEPS, np.zeros((5, 6, 8), np.uint8))[0]
    assert finding.code == "size_differs"
    assert finding.cause.startswith("image and mask of c differ in size (5x6x7 against 5x6x8, ")
    assert finding.cause.endswith("m.nii)")


@pytest.mark.parametrize(
    ("affine", "code", "part"),
    [
        (np.diag([1.0, 2.0, 3.5, 1.0]), "place_differs", "spacing"),
        (moved(2), "place_differs", "origin (voxels lie up to 2 voxels apart"),
        (moved(0.01), "place_shifted", "origin (voxels lie up to 0.01 voxels apart"),
        (STEPS @ np.diag([-1.0, 1, 1, 1]), "place_differs", "origin"),
    ],
)
def test_image_and_mask_in_different_places(tmp_path: Path, affine: np.ndarray, code: str, part: str) -> None:
    finding = pair(tmp_path, affine)[0]
    assert finding.code == code
    assert f"image and mask of c differ in {part}" in finding.cause


def test_a_turned_mask_differs_in_direction(tmp_path: Path) -> None:
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert "differ in direction (" in pair(tmp_path, turn @ STEPS)[0].cause


def test_rounding_of_an_affine_is_no_problem(tmp_path: Path) -> None:
    assert pair(tmp_path, moved(0.0005)) == []


def test_files_without_an_affine_are_compared_by_size_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", VOLUME)
    assert look(nifti(tmp_path / "i.nii"), tmp_path / "m.npy")[1] == []


def test_the_odd_one_out_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(tmp_path / "gray.png")
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "colour.png")
    np.save(tmp_path / "volume.npy", VOLUME)
    files = ["gray.png", "colour.png", "gray.png", "volume.npy", "gray.png"]
    cases = [Case(f"{k}", "p", (tmp_path / file,), None, "") for k, file in enumerate(files)]
    assert [(finding.code, finding.cause) for finding in survey(cases, False)[1]] == [
        ("channels_differ", "the image of 1 has 3 channels, most have 1 channels"),
        ("axes_differ", "the image of 3 has 3 axes, most have 2 axes"),
    ]


def test_a_file_without_spacing_among_files_with_one_is_a_problem(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOLUME)
    files = [tmp_path / "a.npy", nifti(tmp_path / "b.nii"), nifti(tmp_path / "c.nii")]
    cases = [Case(file.stem, "p", (file,), None, "") for file in files]
    assert survey(cases, False)[1] == [
        make_finding("missing_spacing", ["a"], "the image of a has no spacing, most have a spacing")
    ]


def test_no_case_gives_nothing() -> None:
    assert survey([], True) == ([], [])


def survey_twice(cases: list[Case], cache: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, list[str]]:
    """Survey with a cache, then return the second survey and the cases that were read again."""
    survey(cases, True, cache=cache)
    read: list[str] = []

    def watch(case: Case, masks: bool) -> object:
        read.append(case.id)
        return examine_case(case, masks)

    monkeypatch.setattr("selfmae.data.doctor.survey.examine_case", watch)
    return survey(cases, True, cache=cache), read


def pairs_in(folder: Path, num: int = 3) -> list[Case]:
    masks = (VOLUME > 100).astype(np.uint8)
    return [
        Case(f"{k}", "p", (nifti(folder / f"i{k}.nii", VOLUME + k),), nifti(folder / f"m{k}.nii", masks), "train")
        for k in range(num)
    ]


def test_what_was_cached_is_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = pairs_in(tmp_path)
    nifti(tmp_path / "m1.nii", VOLUME, moved(2))
    again, read = survey_twice(cases, tmp_path / "cache", monkeypatch)
    assert read == []
    assert again == survey(cases, True)
    assert again[1][0].code == "place_differs"  # type: ignore[index]


@pytest.mark.parametrize("name", ["i1.nii", "m1.nii"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cases = pairs_in(tmp_path)
    survey(cases, True, cache=tmp_path / "cache")
    nifti(tmp_path / name, VOLUME + 9)
    os.utime(tmp_path / name, ns=(0, 12345))
    assert survey(cases, True, cache=tmp_path / "cache") == survey(cases, True)
    os.utime(tmp_path / name, ns=(0, 23456))
    assert survey_twice(cases, tmp_path / "cache", monkeypatch)[1] == []


def test_masks_are_read_where_only_images_were_cached(tmp_path: Path) -> None:
    cases = pairs_in(tmp_path)
    survey(cases, False, cache=tmp_path / "cache")
    assert survey(cases, True, cache=tmp_path / "cache")[0][0].mask_counts != ()
    assert survey(cases, False, cache=tmp_path / "cache")[0][0].mask_counts == ()


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = pairs_in(tmp_path)
    (tmp_path / "i0.nii").write_text("damaged")
    (tmp_path / "m2.nii").write_text("damaged")
    (_, findings), read = survey_twice(cases, tmp_path / "cache", monkeypatch)  # type: ignore[misc]
    assert sorted(read) == ["0", "2"]
    assert [finding.code for finding in findings] == ["unreadable_image", "unreadable_mask"]


def test_a_large_image_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfmae.data.memory.LARGE", VOLUME.size)
    cases, running, most = pairs_in(tmp_path, 6), [0], [0]

    def watch(case: Case, masks: bool) -> object:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.01)
        running[0] -= 1
        return examine_case(case, masks)

    monkeypatch.setattr("selfmae.data.doctor.survey.examine_case", watch)
    survey(cases, True)
    assert most == [1]


@pytest.mark.parametrize("kind", ["int16", "scaled", "float64", "big.nii"])
def test_memory_stays_below_twice_the_largest_image(tmp_path: Path, kind: str) -> None:
    shape = (160, 160, 160)
    rng = np.random.default_rng(0)
    block = rng.integers(-1000, 1000, (160, 160, 8)).repeat(20, 2)
    mask = nifti(tmp_path / "mask.nii.gz", (block > 900).astype(np.float64), np.eye(4))
    image = nib.Nifti1Image(block.astype(np.float64 if kind == "float64" else np.int16), np.eye(4))
    if kind == "scaled":
        image.header.set_slope_inter(0.5, 3)
    file = tmp_path / ("image.nii" if kind == "big.nii" else "image.nii.gz")
    nib.save(image, file)
    cases = [Case(f"{k}", "p", (file,), mask, "train") for k in range(3)]
    tracemalloc.start()
    facts, findings = survey(cases, True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(facts), findings) == (3, [])
    assert peak < 2 * 4 * np.prod(shape)


def pictures(folder: Path, *arrays: np.ndarray) -> list[Case]:
    for place, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{place}.png")
    return [Case(str(place), "p", (folder / f"{place}.png",), None, "") for place in range(len(arrays))]


GRAY = np.random.default_rng(3).integers(0, 255, (8, 9)).astype(np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 255, (8, 9, 3)).astype(np.uint8)


@pytest.mark.parametrize(("usual", "num_channels"), [(GRAY[::-1], 1), (COLOUR, 3)])
def test_gray_pictures_saved_in_colour_go_with_both_kinds(tmp_path: Path, usual: np.ndarray, num_channels: int) -> None:
    facts, findings = survey(pictures(tmp_path, usual, GRAY, np.stack([GRAY] * 3, -1)), False)
    assert findings == []
    assert [fact.num_channels for fact in facts] == [num_channels] * 3
    assert [len(fact.percentiles) for fact in facts] == [num_channels] * 3
    assert facts[1].pixel_hash == facts[2].pixel_hash


def test_a_colour_picture_among_gray_ones_is_a_problem(tmp_path: Path) -> None:
    findings = survey(pictures(tmp_path, GRAY, GRAY[::-1], COLOUR), False)[1]
    assert [(finding.code, finding.cases) for finding in findings] == [("channels_differ", ("2",))]


def test_a_volume_without_voxels_is_unreadable(tmp_path: Path) -> None:
    findings = survey([Case("c", "c", (nifti(tmp_path / "i.nii", VOLUME[:, :, :0]),), None, "")], False)[1]
    assert [(finding.code, finding.fix) for finding in findings] == [
        ("unreadable_image", "the file is damaged or of another kind; copy it again")
    ]
    assert "(it has no voxels)" in findings[0].cause
