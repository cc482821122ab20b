"""Volumes in the axis order nearest to RAS, read slab by slab, with little more memory than what is returned.

NRRD, MHA and MHD become NIfTI images through SimpleITK, so that one code handles axes and positions. ITK reads a volume
whole, so their voxels are read without it where the file allows that.
"""

import os
import re
import zlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel import orientations

from selfmae.data.dicom.grid import LPS_TO_RAS
from selfmae.errors import UserError

SLAB = 2**18  # values that are read at once, as large numbers as the file's scaling makes
SAME_POSITION = 1e-3  # voxels that two files may lie apart: rounding of affines saved as float32
HALF_VOXEL = 0.5  # beyond this a mask marks other voxels than its author saw
HEADER_BYTES = 65_536
CHUNK_BYTES = 1_048_576
ANY_PACKING = 47  # for zlib: gzip or its own form, whichever the data begins with
NRRD_END = re.compile(rb"\r?\n\r?\n")
META_END = re.compile(rb"^ElementDataFile *= *(.+?) *\r?\n", re.MULTILINE)
FIELD = re.compile(r"^([\w ]+?) *(?:=|:=?) *(.*?) *\r?$", re.MULTILINE)
Voxels = tuple[Path, int, bool, Literal["<", ">"]]  # their file, first byte, whether they are packed, order of bytes
NRRD_ELSEWHERE = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")


def read_canonical(image: Any, mask: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume [C, X, Y, Z], float32 or a mask's whole numbers, and its affine; raise `UserError` if none."""
    values = image.dataobj
    single = values.ndim == 5 and values.shape[3] == 1  # NIfTI keeps the fourth axis for time
    shape = (*values.shape[:3], values.shape[4]) if single else values.shape
    if len(shape) not in (3, 4) or values.dtype.fields:
        raise UserError(
            f"expected a volume of 3 axes, with or without channels, but it has the shape {list(values.shape)} of "
            f"{values.dtype}: save a picture as PNG or TIFF, or with a third axis of 1."
        )
    order = orientations.io_orientation(image.affine)
    extents = [shape[int(np.flatnonzero(order[:, 0] == axis)[0])] for axis in range(3)]
    channels = shape[3] if len(shape) == 4 else 1
    whole = np.empty((channels, *extents), _number_type(values, mask))
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), order)
    for channel, part in enumerate(whole):
        trailing = (*((0,) if single else ()), *((channel,) if len(shape) == 4 else ()))
        _fill(orientations.apply_orientation(part, back), values, trailing)
    return whole, canonical_affine(image)


def canonical_affine(image: Any) -> np.ndarray:
    """Return the affine [4, 4] that a volume has in canonical order; reads no voxels."""
    order = orientations.io_orientation(image.affine)
    return image.affine @ orientations.inv_ornt_aff(order, image.shape[:3])


def save_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an image [C, *S] as float32 NIfTI, its channels on the fourth axis."""
    nib.save(nib.Nifti1Image(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1), affine), path)


def _fill(part: np.ndarray, values: Any, trailing: tuple[int, ...]) -> None:
    """Copy one channel into `part`, a view in the order of the file."""
    step = max(1, SLAB // (part.shape[0] * part.shape[1]))
    for start in range(0, part.shape[2], step):
        slab = slice(start, min(start + step, part.shape[2]))
        index = (slice(None), slice(None), slab, *trailing)
        read = np.asanyarray(values[index])
        if part.dtype.kind in "iu" and part.dtype.itemsize < read.dtype.itemsize:
            limits = np.iinfo(part.dtype)
            if read.size and (int(read.min()) < limits.min or int(read.max()) > limits.max):
                raise UserError(
                    f"a mask holds whole numbers from {limits.min} to {limits.max}, but it has values from "
                    f"{read.min()} to {read.max()}: give its labels smaller numbers."
                )
        part[:, :, slab] = read


def _number_type(values: Any, mask: bool) -> np.dtype[Any]:
    """Return float32, or for a mask of unscaled whole numbers their own type; none needs 64 bits."""
    scaled = getattr(values, "slope", 1) not in (1, None) or getattr(values, "inter", 0) not in (0, None)
    if not mask or scaled or values.dtype.kind not in "iub":
        return np.dtype(np.float32)
    return np.dtype(np.int32) if values.dtype.itemsize > 4 else np.dtype(values.dtype.newbyteorder("="))


def voxels_apart(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far, in voxels of the first, two affines put the same voxel apart; largest at a corner of [*S]."""
    corners = np.array([(*corner, 1) for corner in product(*((0, extent - 1) for extent in shape))])
    there = corners @ np.linalg.solve(one, other).T
    return float(np.linalg.norm((there - corners)[:, :3], axis=1).max())


def differing_parts(one: np.ndarray, other: np.ndarray) -> list[str]:
    """Name what differs between two affines by more than a thousandth of a voxel; "position" if only the sum does."""
    steps, others = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other))
    differs = {
        "spacing": np.abs(steps - others) / steps,
        "direction": np.abs(one[:3, :3] / steps - other[:3, :3] / others),
        "origin": np.abs(one[:3, 3] - other[:3, 3]) / steps.min(),
    }
    return [name for name, change in differs.items() if change.max() > SAME_POSITION] or ["position"]


def load_itk(path: Path) -> Any:
    """Return a NIfTI image [X, Y, Z] or [X, Y, Z, C], read when asked for where the file allows it."""
    import SimpleITK  # 0.2 seconds that other formats need not wait for

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3:
            raise ValueError(f"it has {reader.GetDimension()} axes, not 3")
        whole, voxels = None, find_voxels(path)
        if voxels and reader.GetNumberOfComponents() == 1:
            sample = SimpleITK.Image([1, 1, 1], reader.GetPixelID())
            array: Any = StreamedVolume(voxels, reader.GetSize(), SimpleITK.GetArrayFromImage(sample).dtype)
        else:
            whole = reader.Execute()
            array = np.moveaxis(SimpleITK.GetArrayViewFromImage(whole), (0, 1, 2), (2, 1, 0))
    except RuntimeError as error:
        raise ValueError(_reason(str(error))) from error
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    volume: Any = nib.Nifti1Image(array, LPS_TO_RAS @ affine, dtype=array.dtype)
    volume.itk = whole  # which owns the voxels
    return volume


def _reason(text: str) -> str:
    """Return what ITK says is wrong, without addresses and callers; of MetaImage it names any file's last error."""
    said = re.sub(r"^\w+\(0x\w+\): ", "", " ".join(text.rpartition("ERROR: ")[2].split()))
    return said.rpartition("[nrrd] ")[2].partition(" Reason: ")[0]


def save_itk(array: np.ndarray, path: Path, like: Path) -> None:
    """Write a mask [X, Y, Z] with spacing, origin and direction of the file `like`."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.CopyInformation(SimpleITK.ReadImage(str(like)))
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def find_voxels(path: Path) -> Voxels | None:
    """Return where the voxels are, None where they are not one stretch of plain or zlib-packed numbers."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    is_nrrd = head.startswith(b"NRRD")
    end = (NRRD_END if is_nrrd else META_END).search(head)
    if not end:
        return None
    fields = dict(FIELD.findall(head[: end.start()].decode("ascii", "replace").lower()))
    if is_nrrd:
        encoding = fields.get("encoding", "")
        if encoding not in ("raw", "gzip", "gz") or not fields.keys().isdisjoint(NRRD_ELSEWHERE):
            return None
        return path, end.end(), encoding != "raw", ">" if fields.get("endian") == "big" else "<"
    local = end[1].upper() == b"LOCAL"
    data = path if local else path.parent / os.fsdecode(end[1])
    if fields.get("binarydata") != "true" or fields.get("headersize", "0") != "0" or not data.is_file():
        return None
    big = "true" in (fields.get("binarydatabyteordermsb"), fields.get("elementbyteordermsb"))
    return data, end.end() if local else 0, fields.get("compresseddata") == "true", ">" if big else "<"


class StreamedVolume:
    """The voxels [X, Y, Z] of a file, which nibabel takes for an array: an index reads the slabs along z it names."""

    ndim = 3

    def __init__(self, voxels: Voxels, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.file, self.start, self.packed, order = voxels
        self.shape, self.dtype = shape, dtype.newbyteorder(order)
        self.plane_bytes = shape[0] * shape[1] * dtype.itemsize
        self._rewind()

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        first, last, _ = index[2].indices(self.shape[2])
        content = self._unpack(first, last) if self.packed else self._read(first, last)
        if len(content) < (last - first) * self.plane_bytes:
            raise ValueError("it ends within its voxels")
        slab = np.frombuffer(content, self.dtype).reshape(last - first, self.shape[1], self.shape[0])
        return slab.transpose(2, 1, 0)[index[:2]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:, :, :].astype(dtype or self.dtype, copy=False)

    def _read(self, first: int, last: int) -> bytes:
        with self.file.open("rb") as file:
            file.seek(self.start + first * self.plane_bytes)
            return file.read((last - first) * self.plane_bytes)

    def _rewind(self) -> None:  # packed voxels are unpacked from the front on: slabs in rising order cost no more
        self._zlib = zlib.decompressobj(ANY_PACKING)
        self._position, self._next = self.start, 0  # position in the file, next plane

    def _unpack(self, first: int, last: int) -> bytes:
        if first < self._next:
            self._rewind()
        if first > self._next:
            self._unpack(self._next, first)
        self._next = last
        wanted, content = (last - first) * self.plane_bytes, bytearray()
        with self.file.open("rb") as file:
            file.seek(self._position)
            while len(content) < wanted and not self._zlib.eof:
                packed = self._zlib.unconsumed_tail or file.read(CHUNK_BYTES)
                part = self._zlib.decompress(packed, wanted - len(content))
                if not packed and not part:
                    break
                content += part
            self._position = file.tell()
            if last == self.shape[2]:  # the rest is the check sum
                self._zlib.decompress(self._zlib.unconsumed_tail or file.read(CHUNK_BYTES))
        return bytes(content)
