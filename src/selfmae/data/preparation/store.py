"""Prepared images on disk: each is read, resampled and normalised once, then only crops of it are read.

Images are float16 [C, *S], masks uint8 [*S], one `.npy` file each, opened as memory maps. Their names come from the
content of their files and the options, so that runs, copies and layouts share them. A mask is prepared with the spacing
of its image, and only when asked for: pre-training opens no label file.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from selfmae.data.case import Case
from selfmae.data.files.file_cache import FileCache, content_of, default_cache, knows_content
from selfmae.data.files.images import read_image, read_spacing
from selfmae.data.files.masks import read_mask
from selfmae.data.memory import image_threads, num_cores
from selfmae.data.preparation.prepare import Box, find_box, prepare_image, prepare_mask, steps_from_origin
from selfmae.errors import UserError
from selfmae.options import DataOptions
from selfmae.seeds import generator

VERSION = 2  # of the preparation; a change makes old files unknown
MAX_THREADS = 16  # each holds a whole image
MAX_OPEN = 256  # files a process keeps open; reading the header again takes longer than many a crop

Progress = Callable[[int, int], None]

# Options that change no voxel of what is stored. All others are part of the file's name, a new one too.
NOT_PREPARATION = {
    *("source", "layout", "patient_pattern", "splits", "split", "split_seed", "test_fraction", "val_fraction"),
    *("fraction", "labels", "unlabelled", "pretrain_on", "mean", "std", "crop", "cache", "licence"),
}
# A mask that is cropped to its image has the image's key too.
IMAGE_ONLY = {"channels", "interpolation", "intensity", "normalise_crops", "window", "equalise", "crop_foreground"}
MASK_ONLY = {"mask_interpolation"}

MAX_COORDINATES = 10_000  # of one row
NUM_TRIES = 2**17  # voxels of an image that are tested
SEPARATES = 0.7  # share of the variance that lies between the two sides; a single normal distribution gives 0.64


class Store:
    """The prepared images and masks of one set of options; each source file is identified once."""

    def __init__(self, options: DataOptions, label_values: Sequence[int] = ()) -> None:
        self.options = options
        self.label_values = tuple(label_values)
        self.folder = Path(options.cache) if options.cache else default_cache()
        self._image_key = _preparation_key(options, NOT_PREPARATION | MASK_ONLY)
        self._mask_key = f"{_preparation_key(options, NOT_PREPARATION | IMAGE_ONLY)}{self.label_values}"
        self._is_spaced = bool(options.spacing_mm and not options.size)  # a mask's grid depends on its image
        self._digests = FileCache(self.folder / "digests.jsonl")
        self._paths: dict[tuple[str, tuple[Path, ...]], Path] = {}

    def image(self, case: Case) -> np.ndarray:
        """Return the prepared image [C, *S] of a case, a float16 memory map."""
        path = self.image_path(case)
        if not path.exists():
            with _naming(case.images[0]):
                image = read_image(case.images)
                array = prepare_image(image, self.options)
            box = find_box(array, self.options, image.spacing_mm)
            if self.options.crop_foreground:
                self._write(path.with_suffix(".box.npy"), np.array([box.corner, box.shape, box.whole]))
            self._write(path, box.cut(array))
        return _opened(path)

    def mask(self, case: Case) -> np.ndarray:
        """Return the prepared mask [*S] of a case, uint8 class indices (0 is background), a memory map."""
        path = self.mask_path(case)
        if not path.exists():
            assert isinstance(case.target, Path)
            with _naming(case.target):
                array = prepare_mask(read_mask(case.target), self.label_values, self.options, self._spacing(case))
            self._write(path, self.box(case).cut(array) if self.options.crop_foreground else array)
        return _opened(path)

    def box(self, case: Case) -> Box:
        """Return the part of the prepared grid that image and mask of a case show."""
        image, spacing = self.image(case), self._spacing(case) if self.options.align == "origin" else ()
        if not self.options.crop_foreground:
            return find_box(image, self.options, spacing)
        corner, shape, whole = map(tuple, np.load(self.image_path(case).with_suffix(".box.npy")).tolist())
        steps = tuple(1 / step for step in steps_from_origin(spacing, self.options))
        return Box(corner, shape, whole, steps)

    def label_coordinates(self, case: Case) -> np.ndarray:
        """Return voxels of each label of a case (see `label_coordinates`), a memory map."""
        return self._coordinates(self.mask_path(case), lambda: label_coordinates(self.mask(case)))

    def tissue_coordinates(self, case: Case) -> np.ndarray:
        """Return voxels of a case's image that are not air, a memory map; opens no label file."""
        return self._coordinates(self.image_path(case), lambda: tissue_coordinates(self.image(case)))

    def prepare(
        self, cases: Sequence[Case], masks: bool, progress: Progress | None = None, coordinates: bool = False
    ) -> None:
        """Prepare all cases in parallel; `progress(done, total)` is called after each.

        With `coordinates`, also the voxels on which crops may be centred: labels if `masks`, else tissue.
        """

        def one(case: Case) -> None:
            self.image(case)
            if masks and isinstance(case.target, Path):
                self.mask(case)
                if coordinates:
                    self.label_coordinates(case)
            elif coordinates:
                self.tissue_coordinates(case)

        with image_threads(min(num_cores(), MAX_THREADS)) as pool:
            for done, _ in enumerate(pool.map(one, cases), start=1):
                if progress:
                    progress(done, len(cases))

    def holds(self, case: Case, masks: bool) -> bool:
        """Return whether the image (and mask, if asked) of a case is prepared; no file that was never read is read."""
        target = (case.target,) if masks and isinstance(case.target, Path) else ()
        if not all(knows_content(source, self._digests) for source in (*case.images, *target)):
            return False
        return self.image_path(case).exists() and (not target or self.mask_path(case).exists())

    def image_path(self, case: Case) -> Path:
        """Return the file that holds the prepared image of a case, or will."""
        return self._path("image", case.images, self._image_key)

    def mask_path(self, case: Case) -> Path:
        """Return the file that holds the prepared mask of a case, or will."""
        if not isinstance(case.target, Path):
            raise UserError(f"Case {case.id!r} has no mask: only labelled cases can be trained on or evaluated.")
        if self.options.crop_foreground:
            return self._path("mask", (case.target, *case.images), self._mask_key + self._image_key)
        return self._path("mask", (case.target, *case.images[: int(self._is_spaced)]), self._mask_key)

    def _spacing(self, case: Case) -> tuple[float, ...]:
        """Return the spacing of a case's image in mm where the prepared grid depends on it, else ()."""
        return read_spacing(case.images[0]) if self._is_spaced else ()

    def _coordinates(self, array_path: Path, find: Callable[[], np.ndarray]) -> np.ndarray:
        path = array_path.with_suffix(".coordinates.npy")
        if not path.exists():
            self._write(path, find())
        return _opened(path)

    def _path(self, kind: str, sources: tuple[Path, ...], how: str) -> Path:
        """Return the file for these sources: its name changes with their content and the options."""
        if (kind, sources) not in self._paths:
            digest = hashlib.blake2b(f"{VERSION}{kind}{how}".encode(), digest_size=16)
            for source in sources:
                digest.update(f"{content_of(source, self._digests)}\0".encode())
            name = digest.hexdigest()
            self._paths[kind, sources] = self.folder / name[:2] / f"{name}.npy"
        return self._paths[kind, sources]

    def _write(self, path: Path, array: np.ndarray) -> None:
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
                f"The prepared images could not be written to {self.folder} ({error.strerror or error}): free some "
                "space there, or name another folder in data.cache."
            ) from error


def _preparation_key(options: DataOptions, without: Set[str]) -> str:
    """Return a text that differs where two options of these differ, but for the fields `without`."""
    values = {item.name: getattr(options, item.name) for item in fields(options)}
    values["channels"] = len(options.channels)  # whose names change no voxel
    return repr(sorted((name, value) for name, value in values.items() if name not in without))


@lru_cache(maxsize=MAX_OPEN)
def _opened(path: Path) -> np.ndarray:
    """Return a file of the store as a memory map. The content of a name never changes, so the map is kept."""
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put the file's name into an error of its preparation that does not name it."""
    try:
        yield
    except UserError as error:
        if source.name in str(error):
            raise
        raise UserError(f"{source}: {error}") from error


def label_coordinates(mask: np.ndarray) -> np.ndarray:
    """Return a row of random coordinates for each label in a mask [*S] of class indices, by rising label, [L, 1 + N].

    A coordinate is an index into the flattened mask; the first number of a row counts them.
    """
    flat = mask.ravel()
    voxels = np.flatnonzero(flat)
    values = flat[voxels]
    groups = [voxels[values == label] for label in np.flatnonzero(np.bincount(values))]
    return _coordinate_rows(groups, generator("places", "labels"), mask.size)


def tissue_coordinates(image: np.ndarray) -> np.ndarray:
    """Return one row of random voxels of an image [C, *S] that are not air, judged by intensity alone.

    Air lies at or below Otsu's threshold in every channel; where no channel has two sides (`SEPARATES`), all voxels
    are taken. Only `NUM_TRIES` voxels are tested, so a sliver of tissue gives few coordinates.
    """
    flat, rng = image.reshape(len(image), -1), generator("places", "tissue")
    tried = rng.integers(flat.shape[1], size=NUM_TRIES) if flat.shape[1] > NUM_TRIES else np.arange(flat.shape[1])
    values = flat[:, tried].astype(np.float32)
    known = [channel > limit for channel in values if (limit := otsu(channel)) is not None]
    tissue = tried[np.any(known, axis=0)] if known else tried
    return _coordinate_rows([tissue], rng, flat.shape[1])


def otsu(values: np.ndarray, num_bins: int = 256) -> float | None:
    """Return Otsu's threshold (1979), with most variance between its two sides; None where they do not stand apart."""
    counts, edges = np.histogram(values, num_bins)
    centres, shares = (edges[:-1] + edges[1:]) / 2, counts / counts.sum()
    total = float(((centres - shares @ centres) ** 2) @ shares)
    below = shares.cumsum()[:-1]
    sums = (shares * centres).cumsum()[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((shares @ centres * below - sums) ** 2 / (below * (1 - below)), posinf=0)
    best = int(between.argmax())
    return float(edges[best + 1]) if total > 0 and between[best] > SEPARATES * total else None


def _coordinate_rows(groups: list[np.ndarray], rng: np.random.Generator, num_voxels: int) -> np.ndarray:
    """Return a row for each group of voxels: the count, then at most `MAX_COORDINATES` of them, then zeros."""
    most = MAX_COORDINATES
    rows = [row if len(row) <= most else rng.choice(row, most, replace=False, shuffle=False) for row in groups]
    kind = np.uint32 if num_voxels <= np.iinfo(np.uint32).max else np.uint64
    table = np.zeros((len(rows), 1 + max((len(row) for row in rows), default=0)), dtype=kind)
    for line, row in zip(table, rows, strict=True):
        line[0] = len(row)
        line[1 : 1 + len(row)] = row
    return table
