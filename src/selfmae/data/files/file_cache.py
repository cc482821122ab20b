"""A notebook of what was found out about files, so that files which did not change need not be read again.

It is a file of JSON lines that is only added to. Several processes may write to it: a line is added by one write, and
a line that cannot be read is as good as none.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

MAX_STALE = 4  # times the lines that were of use; a notebook with more is written anew


def default_cache() -> Path:
    """Return the folder of all that can be made again, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfmae"


class FileCache:
    """Entries by key; `add` keeps them in memory until `save`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = _read(path)
        self.num_lines = len(self.entries)
        self.added: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Return the entry of a key, or None."""
        return self.entries.get(key)

    def add(self, key: str, entry: Any) -> None:
        """Note an entry, a value that JSON can hold."""
        self.entries[key] = self.added[key] = entry

    def save(self, used: frozenset[str] = frozenset()) -> None:
        """Write down what was added; with `used`, leave out all other keys if they are most of the file.

        A disk that is full or cannot be written to is no error: the files are read again next time.
        """
        stale = self.num_lines - len(used)
        with suppress(OSError):
            if used and stale > MAX_STALE * len(used):
                self._replace({key: entry for key, entry in self.entries.items() if key in used})
            elif self.added:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _append(self.path, _lines(self.added))
        self.added = {}

    def _replace(self, kept: Mapping[str, Any]) -> None:
        part = self.path.with_name(f".part-{os.getpid()}-{self.path.name}")
        part.write_bytes(_lines(kept))
        part.replace(self.path)


def key_of(*parts: str) -> str:
    """Return a key for these texts."""
    return blake2b("\0".join(parts).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                key, entry = json.loads(line)
                entries[key] = entry
    return entries


def _append(path: Path, lines: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, b"\n" + lines)  # behind a line that another process could not finish
    finally:
        os.close(file)


def _lines(entries: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps([key, entry]).encode() + b"\n" for key, entry in entries.items())
