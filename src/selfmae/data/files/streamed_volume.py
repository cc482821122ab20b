"""The voxels of NRRD and MetaImage files, read slab by slab.

ITK reads such a volume whole; with the copy in canonical order, that takes twice the memory of the image.
"""

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

HEADER_BYTES = 65_536
CHUNK_BYTES = 1_048_576
ANY_PACKING = 47  # for zlib: gzip or its own form, whichever the data begins with
NRRD_END = re.compile(rb"\r?\n\r?\n")
META_END = re.compile(rb"^ElementDataFile *= *(.+?) *\r?\n", re.MULTILINE)
FIELD = re.compile(rb"^([\w ]+?) *(?:=|:=?) *(.*?) *\r?$", re.MULTILINE)
NRRD_ELSEWHERE = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")


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
    return _in_nrrd(path, head) if head.startswith(b"NRRD") else _in_metaimage(path, head)


def _in_nrrd(path: Path, head: bytes) -> Voxels | None:
    end = NRRD_END.search(head)
    fields = _fields(head[: end.start()]) if end else {}
    encoding = fields.get("encoding", "")
    if not end or encoding not in ("raw", "gzip", "gz") or any(name in fields for name in NRRD_ELSEWHERE):
        return None
    return Voxels(path, end.end(), encoding != "raw", ">" if fields.get("endian") == "big" else "<")


def _in_metaimage(path: Path, head: bytes) -> Voxels | None:
    end = META_END.search(head)
    fields = _fields(head[: end.start()]) if end else {}
    if not end or fields.get("binarydata") != "true" or fields.get("headersize", "0") != "0":
        return None
    big = "true" in (fields.get("binarydatabyteordermsb"), fields.get("elementbyteordermsb"))
    local = end[1].upper() == b"LOCAL"
    file = path if local else path.parent / os.fsdecode(end[1])
    if not file.is_file():
        return None
    return Voxels(file, end.end() if local else 0, fields.get("compresseddata") == "true", ">" if big else "<")


def _fields(header: bytes) -> dict[str, str]:
    return {
        name.decode("ascii", "replace").lower(): value.decode("ascii", "replace").lower()
        for name, value in FIELD.findall(header)
    }


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
