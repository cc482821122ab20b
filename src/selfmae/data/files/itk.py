"""NRRD, MHA and MHD through SimpleITK, as NIfTI images, so that one code handles axes and positions.

ITK reads a volume whole; with the copy in canonical order, that takes twice the memory of the image. So voxels are read
slab by slab where the file allows it.
"""

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's first two axes point the other way
HEADER_BYTES = 65_536
CHUNK_BYTES = 1_048_576
ANY_PACKING = 47  # for zlib: gzip or its own form, whichever the data begins with
NRRD_END = re.compile(rb"\r?\n\r?\n")
META_END = re.compile(rb"^ElementDataFile *= *(.+?) *\r?\n", re.MULTILINE)
FIELD = re.compile(rb"^([\w ]+?) *(?:=|:=?) *(.*?) *\r?$", re.MULTILINE)
NRRD_ELSEWHERE = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")


def load_itk(path: Path) -> Any:
    """Return a volume [X, Y, Z] or [X, Y, Z, C] with its affine to mm in RAS; raises what ITK raises, or ValueError.

    Where the file allows it, voxels are read when asked for.
    """
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
    """Return what ITK says is wrong, without positions in its source code, addresses and the whole chain of callers.

    What it gives as a reason for MetaImage is the last error of the system, of whatever file.
    """
    said = re.sub(r"^\w+\(0x\w+\): ", "", " ".join(text.rpartition("ERROR: ")[2].split()))
    return said.rpartition("[nrrd] ")[2].partition(" Reason: ")[0]


def save_itk(array: np.ndarray, path: Path, like: Path) -> None:
    """Write a mask [X, Y, Z] with spacing, origin and direction of the file `like`."""
    import SimpleITK

    reference = SimpleITK.ReadImage(str(like))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.CopyInformation(reference)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


@dataclass(frozen=True)
class Voxels:
    """Where the voxels of a file are: from the byte `start` of `file` on, in one stretch."""

    file: Path
    start: int
    packed: bool
    order: Literal["<", ">"]  # of the bytes


def find_voxels(path: Path) -> Voxels | None:
    """Return where the voxels are, None where they are not one stretch of plain or zlib-packed numbers."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    is_nrrd = head.startswith(b"NRRD")
    end = (NRRD_END if is_nrrd else META_END).search(head)
    if not end:
        return None
    fields = {
        name.decode("ascii", "replace").lower(): value.decode("ascii", "replace").lower()
        for name, value in FIELD.findall(head[: end.start()])
    }
    if is_nrrd:
        encoding = fields.get("encoding", "")
        if encoding not in ("raw", "gzip", "gz") or any(name in fields for name in NRRD_ELSEWHERE):
            return None
        return Voxels(path, end.end(), encoding != "raw", ">" if fields.get("endian") == "big" else "<")
    if fields.get("binarydata") != "true" or fields.get("headersize", "0") != "0":
        return None
    big = "true" in (fields.get("binarydatabyteordermsb"), fields.get("elementbyteordermsb"))
    local = end[1].upper() == b"LOCAL"
    data = path if local else path.parent / os.fsdecode(end[1])
    if not data.is_file():
        return None
    return Voxels(data, end.end() if local else 0, fields.get("compresseddata") == "true", ">" if big else "<")


class StreamedVolume:
    """The voxels of a volume, [X, Y, Z], of which an index reads the slabs along z that it names.

    nibabel takes it for an array. Packed voxels are unpacked from the front on: slabs in rising order cost no more.
    """

    ndim = 3

    def __init__(self, voxels: Voxels, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.voxels, self.shape, self.dtype = voxels, shape, dtype.newbyteorder(voxels.order)
        self.plane_bytes = shape[0] * shape[1] * dtype.itemsize
        self._rewind()

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        """Return a part of the volume."""
        first, last, _ = index[2].indices(self.shape[2])
        content = self._read(first, last) if self.voxels.packed else self._read_plain(first, last)
        if len(content) < (last - first) * self.plane_bytes:
            raise ValueError("it ends within its voxels")
        slab = np.frombuffer(content, self.dtype).reshape(last - first, self.shape[1], self.shape[0])
        return slab.transpose(2, 1, 0)[index[:2]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the whole volume."""
        return self[:, :, :].astype(dtype or self.dtype, copy=False)

    def _rewind(self) -> None:
        self._unpack = zlib.decompressobj(ANY_PACKING)
        self._position, self._next = self.voxels.start, 0  # position in the file, next plane

    def _read_plain(self, first: int, last: int) -> bytes:
        with self.voxels.file.open("rb") as file:
            file.seek(self.voxels.start + first * self.plane_bytes)
            return file.read((last - first) * self.plane_bytes)

    def _read(self, first: int, last: int) -> bytes:
        if first < self._next:
            self._rewind()
        if first > self._next:
            self._read(self._next, first)
        self._next = last
        wanted, content = (last - first) * self.plane_bytes, bytearray()
        with self.voxels.file.open("rb") as file:
            file.seek(self._position)
            while len(content) < wanted and not self._unpack.eof:
                packed = self._unpack.unconsumed_tail or file.read(CHUNK_BYTES)
                part = self._unpack.decompress(packed, wanted - len(content))
                if not packed and not part:
                    break
                content += part
            self._position = file.tell()
            if last == self.shape[2]:  # the rest is the check sum
                self._unpack.decompress(self._unpack.unconsumed_tail or file.read(CHUNK_BYTES))
        return bytes(content)
