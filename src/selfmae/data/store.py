"""Prepared images on disk: each is read, resampled and normalised once, then only crops of it are read.

Images are float16 [C, *S], masks uint8 [*S], one `.npy` file each, opened as memory maps. Masks are prepared on their
own, and only when asked for: pre-training opens no label file.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from selfmae.data.case import Case
from selfmae.data.images import read_image, read_mask
from selfmae.data.transforms import prepare_image, prepare_mask
from selfmae.errors import UserError
from selfmae.options import DataOptions

VERSION = 1  # of the preparation; a change makes old files unknown
NUM_THREADS = 4

Progress = Callable[[int, int], None]


class Store:
    """The prepared images and masks of one set of options."""

    def __init__(self, options: DataOptions, label_values: Sequence[int] = ()) -> None:
        self.options = options
        self.label_values = tuple(label_values)
        self.folder = Path(options.cache) if options.cache else default_cache()
        self._grid = repr((options.size, options.spacing_mm))
        self._how = self._grid + repr((options.intensity, options.window, options.equalise))

    def image(self, case: Case) -> np.ndarray:
        """Return the prepared image [C, *S] of a case, a float16 memory map."""
        path = self._path("image", case.images, self._how)
        if not path.exists():
            with _naming(case.images[0]):
                array = prepare_image(read_image(case.images), self.options)
            _write(path, array, self.folder)
        return np.load(path, mmap_mode="r")

    def mask(self, case: Case) -> np.ndarray:
        """Return the prepared mask [*S] of a case, uint8 label places (0 is background), a memory map."""
        if not isinstance(case.target, Path):
            raise UserError(f"Case {case.id!r} has no mask: only labelled cases can be trained on or evaluated.")
        path = self._path("mask", (case.target,), f"{self._grid}{self.label_values}")
        if not path.exists():
            with _naming(case.target):
                array = prepare_mask(read_mask(case.target), self.label_values, self.options)
            _write(path, array, self.folder)
        return np.load(path, mmap_mode="r")

    def prepare(self, cases: Sequence[Case], masks: bool, progress: Progress | None = None) -> None:
        """Prepare all cases side by side; `progress` is told how many of how many are done."""

        def one(case: Case) -> None:
            self.image(case)
            if masks and isinstance(case.target, Path):
                self.mask(case)

        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for done, _ in enumerate(pool.map(one, cases), start=1):
                if progress:
                    progress(done, len(cases))

    def _path(self, kind: str, sources: Sequence[Path], how: str) -> Path:
        """Return the file for these sources: its name changes with their place, size, time and the options."""
        digest = hashlib.blake2b(f"{VERSION}{kind}{how}".encode(), digest_size=16)
        for source in sources:
            digest.update(_identity(source).encode())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.npy"


def default_cache() -> Path:
    """Return the folder of prepared images in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfmae"


def _identity(source: Path) -> str:
    """Return path, size and time of a file; a member of an archive takes those of the archive."""
    file = next((place for place in (source, *source.parents) if place.is_file()), None)
    if file is None:
        raise UserError(f"The image {source} was there when its folder was read, but is gone: put it back.")
    status = file.stat()
    return f"{source.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0"


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put the file's name into an error of its preparation that does not name it."""
    try:
        yield
    except UserError as error:
        if source.name in str(error):
            raise
        raise UserError(f"{source}: {error}") from error


def _write(path: Path, array: np.ndarray, folder: Path) -> None:
    """Write at once or not at all: a reader never sees half a file, nor does a later run."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, array)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(
            f"The prepared images could not be written to {folder} ({error.strerror or error}): free some space there, "
            "or name another folder in data.cache."
        ) from error
