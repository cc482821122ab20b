"""What was found out about files, kept on disk so that files which did not change need not be read again.

A cache is a file of JSON lines that is only added to. Several processes may write to it: a line is added by one write,
and a line that cannot be read is passed over.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from selfmae.data.dicom.pixels import files_of
from selfmae.errors import UserError

MAX_STALE = 4  # times the lines that were of use; a cache with more is written anew
DATA_FILE = re.compile(rb"^(?:ElementDataFile *=|data ?file *:) *(\S.*?) *\r?$", re.MULTILINE | re.IGNORECASE)
HEADER_BYTES = 65_536
CHUNK_BYTES = 1_048_576


def default_cache() -> Path:
    """Return the folder of all that can be made again, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfmae"


class FileCache:
    """Values that JSON can hold, by key; `add` keeps them in memory until `save`. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew in another process, where a lock cannot go; what is not saved stays here."""
        return type(self), (self.path,)

    @cached_property
    def entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        with suppress(OSError):
            for line in self.path.read_bytes().splitlines():
                with suppress(ValueError):
                    key, entry = json.loads(line)
                    entries[key] = entry
        return entries

    def get(self, key: str) -> Any:
        return self.entries.get(key)

    def add(self, key: str, entry: Any) -> None:
        with self._lock:
            self.entries[key] = self.added[key] = entry

    def save(self, used: frozenset[str] = frozenset()) -> None:
        """Write down what was added; with `used`, leave out all other keys if they are most of the file."""
        with self._lock, suppress(OSError):  # of a full disk, for example: files are read again next time
            if used and len(self.entries.keys() - used) > MAX_STALE * len(used):
                part = self.path.with_name(f".part-{os.getpid()}-{self.path.name}")
                part.write_bytes(_lines({key: entry for key, entry in self.entries.items() if key in used}))
                part.replace(self.path)
            elif self.added:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab", buffering=0) as file:  # one write, after what another process left unfinished
                    file.write(b"\n" + _lines(self.added))
        self.added = {}


def key_of(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def key_of_files(sources: Iterable[Path], *parts: str) -> str:
    """Return a key that changes with these texts and with any file of these images and masks, "" where one is gone."""
    try:
        return key_of(*parts, *map(identity, sources))
    except (UserError, OSError):
        return ""


def identity(source: Path) -> str:
    """Return path, size and time of all files that an image or mask is read from; raise `UserError` without any."""
    files, _ = _files_of(source)
    states = [f"{file.name}\0" * (len(files) > 1) + _state(file) for file in files]
    return f"{source.absolute()}\0{''.join(states)}"


def content_of(source: Path, digests: FileCache) -> str:
    """Return a text that is equal for equal bytes of an image's or mask's files; those in `digests` are not read."""
    files, member = _files_of(source)
    return f"{member}\0{''.join(sorted(_digest(file, digests) for file in files))}"


def knows_content(source: Path, digests: FileCache) -> bool:
    """Return whether `content_of` can answer without reading the files."""
    return all(digests.get(_key(file)) for file in _files_of(source)[0])


def _digest(file: Path, digests: FileCache) -> str:
    key = _key(file)
    if not digests.get(key):
        digests.add(key, _read_digest(file))
        digests.save()
    return digests.get(key)


def _read_digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _files_of(source: Path) -> tuple[list[Path], str]:
    """Return the files that a source is read from, and what names it among others in them."""
    file = next((path for path in (source, *source.parents) if path.is_file()), None)
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
    return key_of(str(file.absolute()), _state(file))


def _state(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size}\0{status.st_mtime_ns}\0"


def _lines(entries: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps([key, entry]).encode() + b"\n" for key, entry in entries.items())
