import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from selfmae.data.case import Case
from selfmae.data.preparation import store as store_module
from selfmae.data.preparation.prepare import Box
from selfmae.data.preparation.store import Store
from selfmae.errors import UserError
from selfmae.options import DataOptions


def write_volume(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def make_case(folder: Path, number: int = 0, size: int = 6) -> Case:
    rng = np.random.default_rng(number)
    image = write_volume(folder / f"image{number}.nii.gz", rng.normal(size=(size, size, size)).astype(np.float32))
    labels = rng.integers(0, 3, (size, size, size)).astype(np.uint8)
    return Case(f"c{number}", f"p{number}", (image,), write_volume(folder / f"mask{number}.nii.gz", labels), "train")


def options_in(folder: Path, **change: object) -> DataOptions:
    return DataOptions(source="x", cache=str(folder / "cache"), intensity="zscore", crop=(4, 4, 4), **change)  # type: ignore[arg-type]


def files_of(folder: Path) -> list[Path]:
    """Return the prepared files, and parts of some, without the cache of digests."""
    return sorted(path for path in (folder / "cache").rglob("*") if path.is_file() and path.suffix != ".jsonl")


def test_images_are_float16_and_masks_places_of_the_labels_both_memory_maps(tmp_path: Path) -> None:
    case, store = make_case(tmp_path), Store(options_in(tmp_path), (2,))
    image, mask = store.image(case), store.mask(case)
    assert (image.dtype, mask.dtype) == (np.float16, np.uint8)
    assert isinstance(image, np.memmap)
    assert isinstance(mask, np.memmap)
    assert isinstance(case.target, Path)
    assert np.array_equal(mask, np.asarray(nib.load(case.target).dataobj) == 2)
    raw = nib.load(case.images[0]).get_fdata()
    assert np.allclose(image[0], (raw - raw.mean()) / raw.std(), atol=2e-3)


def test_a_prepared_image_is_read_from_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, store = make_case(tmp_path), Store(options_in(tmp_path))
    first = np.array(store.image(case))
    monkeypatch.setattr(store_module, "read_image", lambda paths: pytest.fail("read again"))
    assert np.array_equal(Store(options_in(tmp_path)).image(case), first)


def test_a_crop_maps_the_file_and_does_not_read_it_whole(tmp_path: Path) -> None:
    case, store = make_case(tmp_path), Store(options_in(tmp_path))
    crop = store.image(case)[:, 1:3, 1:3, 1:3]
    assert isinstance(crop.base, np.memmap)
    assert Path(crop.filename) == files_of(tmp_path)[0]


# A change of each option of `data` that is seen in what is prepared, and what it is compared with.
OF_IMAGES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "channels": ({"channels": ("x",), "crop": (4, 4)}, {"channels": ("x", "y", "z"), "crop": (4, 4)}),
    "interpolation": ({"size": (9, 9, 9)}, {"size": (9, 9, 9), "interpolation": "spline"}),
    "intensity": ({}, {"intensity": "range"}),
    "normalise_crops": ({"intensity": "zscore_nonzero"}, {"intensity": "zscore_nonzero", "normalise_crops": True}),
    "window": ({"intensity": "window", "window": (0.0, 1.0)}, {"intensity": "window", "window": (0.0, 2.0)}),
    "equalise": ({}, {"equalise": True}),
}
OF_BOTH: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "size": ({}, {"size": (4, 4, 4)}),
    "spacing_mm": ({}, {"spacing_mm": (2.0, 2.0, 2.0)}),
    "anisotropy": (
        {"spacing_mm": (0.5, 0.5, 2.0), "mask_interpolation": "linear"},
        {"spacing_mm": (0.5, 0.5, 2.0), "mask_interpolation": "linear", "anisotropy": 0.0},
    ),
    "crop_foreground": ({}, {"crop_foreground": True}),
    "align": ({"spacing_mm": (0.7, 1.3, 1.0)}, {"spacing_mm": (0.7, 1.3, 1.0), "align": "origin"}),
}
OF_MASKS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "mask_interpolation": ({"size": (9, 9, 9)}, {"size": (9, 9, 9), "mask_interpolation": "linear"}),
}
OF_NONE: dict[str, object] = {
    "source": "y",
    "layout": "msd",
    "patient_pattern": "p",
    "splits": "table.csv",
    "test_fraction": 0.5,
    "val_fraction": 0.5,
    "split_seed": 1,
    "split": "monai",
    "fraction": 0.5,
    "labels": 2,
    "unlabelled": "more",
    "pretrain_on": ("train",),
    "mean": 5.0,
    "std": 2.0,
    "crop": (2, 2, 2),
    "licence": "CC0",
}


def framed_case(folder: Path, flat: bool) -> Case:
    """Return a case whose image has a border of zeros; a flat one is a gray picture without a mask."""
    rng = np.random.default_rng(0)
    if flat:
        np.save(folder / "flat.npy", rng.normal(size=(6, 6)).astype(np.float32))
        return Case("c", "p", (folder / "flat.npy",), None, "train")
    case, array = make_case(folder), np.zeros((6, 6, 6), np.float32)
    array[1:-1, 1:-1, 2:-1] = rng.uniform(0.1, 3, (4, 4, 3))
    write_volume(case.images[0], array)
    return case


def prepared(folder: Path, case: Case, change: dict[str, object]) -> list[np.ndarray]:
    store = Store(dataclasses.replace(options_in(folder), **change), (1, 2))  # type: ignore[arg-type]
    return [np.array(store.image(case)), *([np.array(store.mask(case))] if case.target else [])]


def test_of_every_option_it_is_known_whether_it_changes_what_is_prepared() -> None:
    known = [*OF_IMAGES, *OF_BOTH, *OF_MASKS, *OF_NONE, "cache"]
    assert sorted(known) == sorted(field.name for field in dataclasses.fields(DataOptions))


@pytest.mark.parametrize("name", [*OF_IMAGES, *OF_BOTH, *OF_MASKS])
def test_an_option_that_changes_voxels_makes_another_file(tmp_path: Path, name: str) -> None:
    before, after = {**OF_IMAGES, **OF_BOTH, **OF_MASKS}[name]
    case = framed_case(tmp_path, flat=name == "channels")
    old, new = prepared(tmp_path, case, before), prepared(tmp_path, case, after)
    fresh = prepared(tmp_path, case, {**after, "cache": str(tmp_path / "fresh")})
    assert all(np.array_equal(one, other) for one, other in zip(new, fresh, strict=True))
    changed = [not np.array_equal(one, other) for one, other in zip(old, new, strict=True)]
    assert changed == [name not in OF_MASKS, name not in OF_IMAGES][: len(changed)]


@pytest.mark.parametrize(("name", "value"), [("channels", ("a", "b", "c")), ("interpolation", "spline")])
def test_an_option_of_images_alone_keeps_the_masks(tmp_path: Path, name: str, value: object) -> None:
    case, options = make_case(tmp_path), options_in(tmp_path)
    changed = dataclasses.replace(options, **{name: value})  # type: ignore[arg-type]
    assert Store(options).image_path(case) != Store(changed).image_path(case)
    assert Store(options, (1,)).mask_path(case) == Store(changed, (1,)).mask_path(case)


@pytest.mark.parametrize("name", OF_NONE)
def test_an_option_that_changes_no_voxel_makes_no_other_file(tmp_path: Path, name: str) -> None:
    case = make_case(tmp_path)
    old = prepared(tmp_path, case, {})
    new = prepared(tmp_path, case, {name: OF_NONE[name]})
    assert all(np.array_equal(one, other) for one, other in zip(old, new, strict=True))
    assert len(files_of(tmp_path)) == 2


def test_other_interpolations_of_a_mask_make_another_file(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    for how in ("nearest", "linear"):
        Store(options_in(tmp_path, spacing_mm=(0.5, 0.5, 0.5), mask_interpolation=how), (1, 2)).mask(case)
    assert len(files_of(tmp_path)) == 2


def test_copies_and_renamed_files_share_what_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(tmp_path)
    first = np.array(Store(options_in(tmp_path)).image(case))
    copy = tmp_path / "elsewhere" / "other.nii.gz"
    copy.parent.mkdir()
    shutil.copy(case.images[0], copy)
    monkeypatch.setattr(store_module, "read_image", lambda paths: pytest.fail("prepared again"))
    assert np.array_equal(Store(options_in(tmp_path)).image(Case("d", "q", (copy,), None, "test")), first)


def test_the_order_of_channels_matters(tmp_path: Path) -> None:
    one, other = (make_case(tmp_path, number).images[0] for number in (0, 1))
    pair, swapped = (
        Store(options_in(tmp_path)).image(Case("c", "p", images, None, "train"))
        for images in ((one, other), (other, one))
    )
    assert np.array_equal(pair, swapped[::-1])
    assert not np.array_equal(pair, swapped)


def test_other_label_values_make_another_mask_and_other_intensities_do_not(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    one, other = Store(options_in(tmp_path), (1, 2)).mask(case), Store(options_in(tmp_path), (2, 1)).mask(case)
    assert not np.array_equal(one, other)
    Store(DataOptions(source="x", cache=str(tmp_path / "cache"), intensity="range", crop=(4, 4, 4)), (1, 2)).mask(case)
    assert len(files_of(tmp_path)) == 2


@pytest.mark.parametrize("extent", [6, 7])
def test_a_file_that_changed_is_prepared_again_even_if_its_size_is_the_same(tmp_path: Path, extent: int) -> None:
    path = write_volume(tmp_path / "image.nii", np.zeros((6, 6, 6), dtype=np.float32))
    case, before = Case("c", "p", (path,), None, "train"), path.stat()
    assert not Store(options_in(tmp_path)).image(case).any()
    write_volume(path, np.random.default_rng(9).normal(size=(6, 6, extent)).astype(np.float32))
    assert (path.stat().st_size == before.st_size) == (extent == 6)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert Store(options_in(tmp_path)).image(case).any()


def test_no_mask_is_opened_when_masks_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [make_case(tmp_path, number) for number in range(3)]
    monkeypatch.setattr(store_module, "read_mask", lambda path: pytest.fail("a mask was opened"))
    Store(options_in(tmp_path), (1,)).prepare(cases, masks=False)
    assert len(files_of(tmp_path)) == 3


def test_preparing_tells_its_progress_and_uses_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [make_case(tmp_path, number) for number in range(4)]
    together = threading.Barrier(2, timeout=20)  # passed only if two threads prepare at one time
    monkeypatch.setattr(store_module, "num_cores", lambda: 2)
    read = store_module.read_image
    monkeypatch.setattr(store_module, "read_image", lambda paths: (together.wait(), read(paths))[1])
    told: list[tuple[int, int]] = []
    Store(options_in(tmp_path), (1,)).prepare(cases, masks=True, progress=lambda *numbers: told.append(numbers))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(files_of(tmp_path)) == 8


def test_findings_have_no_mask_to_prepare(tmp_path: Path) -> None:
    case = Case("c", "p", make_case(tmp_path).images, (1.0, 0.0), "train")
    Store(options_in(tmp_path)).prepare([case], masks=True)
    with pytest.raises(UserError, match="Case 'c' has no mask: only labelled cases"):
        Store(options_in(tmp_path)).mask(case)


def test_a_crash_while_writing_leaves_no_file_that_is_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, store, save = make_case(tmp_path), Store(options_in(tmp_path)), np.save

    def crash(file, array):  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        store.image(case)
    assert not list((tmp_path / "cache").rglob("*.npy"))
    monkeypatch.setattr(np, "save", save)
    assert store.image(case).shape == (1, 6, 6, 6)


def test_a_full_disk_is_a_sentence_that_names_the_folder_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file, array):  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError) as caught:
        Store(options_in(tmp_path)).image(make_case(tmp_path))
    assert str(caught.value) == (
        f"The prepared images could not be written to {tmp_path / 'cache'} (No space left on device): "
        "free some space there, or name another folder in data.cache."
    )
    assert files_of(tmp_path) == []


def test_a_cache_that_is_no_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"could not be written to .*cache .*name another folder in data\.cache"):
        Store(options_in(tmp_path)).image(make_case(tmp_path))


def test_an_image_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    case.images[0].unlink()
    with pytest.raises(UserError, match=r"The image .*image0\.nii\.gz was there when its folder was read, but is gone"):
        Store(options_in(tmp_path)).image(case)


def test_an_error_of_the_preparation_names_the_file(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    assert isinstance(case.target, Path)
    write_volume(case.target, np.full((6, 6, 6), -1, dtype=np.int16))
    with pytest.raises(UserError, match=r"mask0\.nii\.gz: The mask holds -1, but its values must be 0 or above"):
        Store(options_in(tmp_path), (1,)).mask(case)
    with pytest.raises(UserError, match=r"image0\.nii\.gz: data\.size \[4, 4\] is made for 2 axes"):
        Store(options_in(tmp_path, size=(4, 4))).image(case)


def test_a_member_of_an_archive_is_known_by_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "set.npz"
    archive.write_bytes(b"x")
    image = store_module.read_image(make_case(tmp_path).images)
    monkeypatch.setattr(store_module, "read_image", lambda paths: image)
    store = Store(options_in(tmp_path))
    for member in ("train/0", "train/1"):
        store.image(Case(member, member, (archive / member,), None, "train"))
    assert len(files_of(tmp_path)) == 2


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store(DataOptions(source="x")).folder == tmp_path / "selfmae"


def test_two_processes_may_prepare_the_same_images(tmp_path: Path) -> None:
    cases = [make_case(tmp_path, number, size=24) for number in range(6)]
    code = f"""
from pathlib import Path
from selfmae.data.case import Case
from selfmae.data.preparation.prepare import Box
from selfmae.data.preparation.store import Store
from selfmae.options import DataOptions
cases = [Case(str(n), str(n), (Path({str(tmp_path)!r}) / f"image{{n}}.nii.gz",), None, "train") for n in range(6)]
store = Store(DataOptions(source="x", cache={str(tmp_path / "cache")!r}, intensity="zscore", crop=(4, 4, 4)))
for _ in range(3):
    store.prepare(cases, masks=False)
"""
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [other.wait(timeout=120) for other in others] == [0, 0]
    assert [path.suffix for path in files_of(tmp_path)] == [".npy"] * 6
    lines = (tmp_path / "cache" / "digests.jsonl").read_text().splitlines()
    assert len({tuple(json.loads(line)) for line in lines if line}) == 6
    assert all(np.isfinite(Store(options_in(tmp_path)).image(case)).all() for case in cases)


def test_torch_has_its_threads_back_after_preparing(tmp_path: Path) -> None:
    before, inside = torch.get_num_threads(), []
    Store(options_in(tmp_path)).prepare(
        [make_case(tmp_path)], masks=False, progress=lambda done, total: inside.append(done)
    )
    assert inside == [1]
    assert torch.get_num_threads() == before


def make_body(folder: Path) -> Case:
    """Return a case whose image is zero but for a box, and whose mask has a label reaching out of it."""
    image, mask = np.zeros((12, 10, 8), dtype=np.float32), np.zeros((12, 10, 8), dtype=np.uint8)
    image[3:9, 2:7, 1:8] = np.random.default_rng(0).uniform(1, 2, (6, 5, 7))
    mask[5:11, 3:5, 2:4] = 1
    paths = write_volume(folder / "body.nii.gz", image), write_volume(folder / "organ.nii.gz", mask)
    return Case("c", "p", paths[:1], paths[1], "train")


def test_image_and_mask_are_cropped_to_the_foreground_of_the_image(tmp_path: Path) -> None:
    case = make_body(tmp_path)
    whole, cropped = (Store(options_in(tmp_path, crop_foreground=crop), (1,)) for crop in (False, True))
    mask = cropped.mask(case)
    assert cropped.image(case).shape == (1, 6, 5, 7)
    assert np.array_equal(cropped.image(case), whole.image(case)[:, 3:9, 2:7, 1:8])
    assert np.array_equal(mask, whole.mask(case)[3:9, 2:7, 1:8])
    assert cropped.box(case) == Box((3, 2, 1), (6, 5, 7), (12, 10, 8))
    assert whole.box(case) == Box((0, 0, 0), (12, 10, 8), (12, 10, 8))


def test_places_of_labels_are_kept_beside_the_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, store = make_case(tmp_path), Store(options_in(tmp_path), (1, 2))
    store.prepare([case], masks=True, coordinates=True)
    assert len(files_of(tmp_path)) == 3
    monkeypatch.setattr(store_module, "label_coordinates", lambda mask: pytest.fail("searched again"))
    table, mask = store.label_coordinates(case), np.asarray(store.mask(case)).ravel()
    assert [set(mask[row[1 : 1 + row[0]]]) for row in table] == [{1}, {2}]


def test_places_of_tissue_are_kept_beside_the_image_and_open_no_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, store = make_body(tmp_path), Store(options_in(tmp_path), (1,))
    monkeypatch.setattr(store_module, "read_mask", lambda path: pytest.fail("a mask was opened"))
    store.prepare([case], masks=False, coordinates=True)
    assert len(files_of(tmp_path)) == 2
    monkeypatch.setattr(store_module, "tissue_coordinates", lambda image: pytest.fail("searched again"))
    (row,) = store.tissue_coordinates(case)
    image = np.asarray(store.image(case))[0]
    assert (image.ravel()[row[1:]] > image.min()).all()


def test_an_interrupted_preparation_continues_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, read, opened = [make_case(tmp_path, number) for number in range(4)], store_module.read_image, []
    monkeypatch.setattr(store_module, "num_cores", lambda: 1)

    def stop_at_third(paths: tuple[Path, ...]) -> object:
        opened.append(paths)
        if len(opened) == 3:
            raise UserError("stop")
        return read(paths)

    monkeypatch.setattr(store_module, "read_image", stop_at_third)
    with pytest.raises(UserError, match="stop"):
        Store(options_in(tmp_path)).prepare(cases, masks=False)
    done = len(files_of(tmp_path))
    opened.clear()
    monkeypatch.setattr(store_module, "read_image", lambda paths: (opened.append(paths), read(paths))[1])
    Store(options_in(tmp_path)).prepare(cases, masks=False)
    assert done >= 2
    assert len(opened) == 4 - done


def test_a_mask_has_the_grid_of_its_image_whatever_its_header_says(tmp_path: Path) -> None:
    image = write_volume(tmp_path / "image.nii", np.random.default_rng(0).random((41, 9, 9)).astype(np.float32))
    mask = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(np.ones((41, 9, 9), np.uint8), np.diag([1.006, 1, 1, 1])), mask)
    store = Store(options_in(tmp_path, spacing_mm=(0.8, 1.0, 1.0)), (1,))
    case = Case("c", "p", (image,), mask, "train")
    assert store.mask(case).shape == store.image(case).shape[1:] == (51, 9, 9)


def test_a_mask_without_a_spacing_takes_that_of_its_image_and_follows_it(tmp_path: Path) -> None:
    mask = tmp_path / "mask.npy"
    np.save(mask, np.ones((8, 8, 8), np.uint8))
    for step in (1, 2):
        image = tmp_path / "image.nii"
        nib.save(
            nib.Nifti1Image(np.eye(8, dtype=np.float32)[None] + np.zeros((8, 1, 1)), np.diag([step] * 3 + [1])), image
        )
        store = Store(options_in(tmp_path, spacing_mm=(2.0, 2.0, 2.0)), (1,))
        assert store.mask(Case("c", "p", (image,), mask, "train")).shape == (4 * step,) * 3


@pytest.mark.parametrize("foreground", [False, True])
def test_the_box_of_a_grid_at_the_origin_knows_the_way_back(tmp_path: Path, foreground: bool) -> None:
    case = framed_case(tmp_path, flat=False)  # of 1 mm
    options = options_in(tmp_path, spacing_mm=(0.5, 1.0, 2.0), crop_foreground=foreground)
    assert Store(options, (1, 2)).box(case).file_steps == ()
    store = Store(dataclasses.replace(options, align="origin"), (1, 2))
    for _ in range(2):  # prepared now, and before
        box = store.box(case)
        assert (box.whole, box.file_steps) == ((11, 6, 4), (2.0, 1.0, 0.5))
        assert store.image(case).shape[1:] == store.mask(case).shape == box.shape
