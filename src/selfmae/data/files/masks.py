"""Masks in memory: reading, and writing onto the grid and in the axis order of the file of their image."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations
from PIL import Image as Picture

from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.files import ITK, PICTURES, suffix_of
from selfmae.data.files.file_cache import FileCache, default_cache, key_of, key_of_files
from selfmae.data.files.images import is_volume, load_volume, read_raw
from selfmae.data.files.volumes import save_itk
from selfmae.data.memory import NUM_THREADS, MemoryGate, float_bytes
from selfmae.errors import UserError


@dataclass(frozen=True)
class Mask:
    """A mask in memory, in the axis order of the image it belongs to."""

    array: np.ndarray  # [*S] integers
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None


def read_mask(path: Path) -> Mask:
    """Return a mask; raise `UserError` where its values are not whole numbers or it has several channels."""
    raw = read_raw(path, mask=True)
    if len(raw.array) > 1:
        raise UserError(
            f"The mask {path} has {len(raw.array)} channels, but a mask has one with a number for each label: "
            "join the channels to one."
        )
    array = raw.array[0]
    whole = array if np.issubdtype(array.dtype, np.integer) else _as_whole(array, path)
    return Mask(whole, raw.spacing_mm, raw.affine)


def _as_whole(array: np.ndarray, path: Path) -> np.ndarray:
    """Return the numbers of a mask as integers, plane by plane; raise `UserError` where one is none."""
    small = abs(array.min()) < 2**15 and abs(array.max()) < 2**15
    whole = np.empty(array.shape, np.int16 if small else np.int32)
    for plane, rounded in zip(array, whole, strict=True):
        rounded[...] = np.nan_to_num(plane)
        if not np.array_equal(rounded, plane):
            raise UserError(
                f"The mask {path} holds fractions (or NaN), but masks hold whole numbers, one for each label: "
                "was it resampled with interpolation, or is it an image?",
                "fractional_label",
            )
    return whole


def mask_suffix(like: Path) -> str:
    """Return the ending of a mask file that goes with an image file."""
    suffix = suffix_of(like)
    if suffix in ITK:
        return ".mha" if suffix == ".mhd" else suffix  # one file, not two
    if is_volume(like):
        return ".nii.gz"  # also for a DICOM series
    return ".png" if suffix in PICTURES or is_dicom(like) else ".npy"


def write_mask(array: np.ndarray, path: Path, like: Path) -> None:
    """Write a mask [*S], in the axis order of `read_image(like)`, onto the grid and in the axis order of `like`."""
    array = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
    part = path.with_name(f".part-{path.name}")
    if is_volume(like):
        reference = load_volume(like)
        own = orientations.io_orientation(reference.affine)
        back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), own)
        array = orientations.apply_orientation(array, back)
        if suffix_of(path) in ITK:
            save_itk(array, part, like)
        else:
            mask = nib.Nifti1Image(array, reference.affine, reference.header, dtype=array.dtype)
            mask.header.set_slope_inter(1, 0)
            mask.header["cal_max"] = mask.header["cal_min"] = 0
            nib.save(mask, part)
    elif suffix_of(path) == ".png":
        Picture.fromarray(array).save(part, format="PNG")
    else:
        np.save(part, array)
    part.replace(path)


def count_values(array: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return each value of a mask, in order, with the number of its voxels."""
    counts: Counter[int] = Counter()
    for plane in array:
        if plane.dtype == np.uint8:  # as most masks are; without sorting
            numbers = np.bincount(plane.ravel())
            counts.update({value: int(numbers[value]) for value in np.flatnonzero(numbers).tolist()})
        else:
            values, numbers = np.unique(plane, return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return tuple(sorted(counts.items()))


def values_in(masks: Sequence[Path]) -> set[int]:
    """Return all values in these masks, 0 included. Masks that cannot be read are left to the survey."""
    if not masks:
        return set()
    file_cache = FileCache(default_cache() / "masks" / f"{key_of(str(masks[0].parent.absolute()))}.jsonl")
    memory_gate, keys = MemoryGate(), [key_of_files([mask], "values") for mask in masks]
    unknown = {key: mask for key, mask in zip(keys, masks, strict=True) if file_cache.get(key) is None}
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for key, values in zip(unknown, pool.map(partial(_values_of, memory_gate), unknown.values()), strict=True):
            if key and values is not None:
                file_cache.add(key, values)
    found: set[int] = set().union(*(file_cache.get(key) or () for key in keys))
    file_cache.save(frozenset(keys))
    return found


def _values_of(memory_gate: MemoryGate, mask: Path) -> list[int] | None:
    try:
        with memory_gate.take(float_bytes(mask)):
            return [value for value, _ in count_values(read_mask(mask).array)]
    except UserError:
        return None
