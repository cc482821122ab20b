"""What tells whether a file is still the one that was read: its place, size and time, or the bytes in it."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from selfmae.data.dicom.pixels import files_of
from selfmae.errors import UserError

DATA_FILE = re.compile(rb"^(?:ElementDataFile *=|data ?file *:) *(\S.*?) *\r?$", re.MULTILINE | re.IGNORECASE)
HEADER_BYTES = 65_536
CHUNK_BYTES = 1_048_576
LINE = re.compile(r"[0-9a-f]{32} [0-9a-f]{32} [0-9a-f]{8}")


def identity(source: Path) -> str:
    """Return path, size and time of all files that an image or mask is read from.

    These are a file and the data file that its header names (`.mhd`, `.nrrd`, `.hdr`), all files of a DICOM series, or
    the archive of a member. Raises `UserError` where there is no such file.
    """
    files, _ = _files(source)
    states = [f"{place.name}\0" * (len(files) > 1) + _state(place) for place in files]
    return f"{source.absolute()}\0{''.join(states)}"


class Digests:
    """The content of files, remembered by their path, size and time, so that unchanged ones are not read again.

    The memory is a text file that several processes may add lines to; a line that was torn does not fit its check and
    is passed over. What cannot be written down is only read again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, str] | None = None

    def content(self, source: Path) -> str:
        """Return what is equal for equal bytes of all files that an image or mask is read from, wherever they lie."""
        files, member = _files(source)
        return f"{member}\0{''.join(sorted(self._of(file) for file in files))}"

    def remembers(self, source: Path) -> bool:
        """Return whether `content` can answer without reading the files."""
        return all(_key(file) in self._lines() for file in _files(source)[0])

    def _of(self, file: Path) -> str:
        known, key = self._lines(), _key(file)
        if key not in known:
            known[key] = _digest(file)
            with suppress(OSError):
                _add_line(self.path, f"{key} {known[key]}")
        return known[key]

    def _lines(self) -> dict[str, str]:
        if self._known is None:
            self._known = dict(_read_lines(self.path))
        return self._known


def _files(source: Path) -> tuple[list[Path], str]:
    """Return the files that a source is read from, and what names it among others in the same files."""
    file = next((place for place in (source, *source.parents) if place.is_file()), None)
    files = files_of(source) or ([file] if file else [])
    if not files:
        raise UserError(f"The image {source} was there when its folder was read, but is gone: put it back.")
    if file == source:
        return [*files, *_data_files(source)], ""
    if file is None:  # a series of slices: a folder, or one of several in it
        return files, "" if source.is_dir() else source.name
    return files, source.relative_to(file).as_posix()


def _data_files(header: Path) -> Iterator[Path]:
    """Yield the files that hold the voxels of a header file (MetaImage, NRRD, Analyze), if they are others."""
    suffix = header.suffix.lower()
    if suffix == ".hdr":
        yield from (path for path in (header.with_suffix(".img"), header.with_suffix(".IMG")) if path.is_file())
    if suffix not in (".mhd", ".nrrd", ".nhdr"):
        return
    with header.open("rb") as file:
        found = DATA_FILE.search(file.read(HEADER_BYTES).partition(b"\n\n")[0])
    name = os.fsdecode(found[1]) if found else ""
    if name.upper().startswith("LIST") or "%" in name:  # one file for each slice: any of them may change
        yield from sorted(path for path in header.parent.iterdir() if path.is_file() and path != header)
    elif name and (header.parent / name).is_file():
        yield header.parent / name


def _key(file: Path) -> str:
    """Return what a file is remembered by: its path, size and time."""
    return _short(f"{file.absolute()}\0{_state(file)}".encode())


def _state(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size}\0{status.st_mtime_ns}\0"


def _digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _short(content: bytes, size: int = 16) -> str:
    return hashlib.blake2b(content, digest_size=size).hexdigest()


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield key and digest of every whole line."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if LINE.fullmatch(line) and _short(line[:65].encode(), 4) == line[66:]:
            yield line[:32], line[33:65]


def _add_line(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(f"{text} {_short(text.encode(), 4)}\n".encode())
