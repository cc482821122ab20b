"""Files of a source as all layouts see them: which there are, what is missing, which labels masks hold."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from selfmae.data.case import Labels
from selfmae.data.images import is_image, read_image, read_mask, stem_of
from selfmae.errors import UserError

NUM_THREADS = 4
MOST_LABELS = 255  # a mask with more values is an image or was saved with losses

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_image(path))


def first_few(names: Iterable[object], count: int = 3) -> str:
    """Return "a, b, c and 4 more"."""
    texts = [str(name) for name in names]
    rest = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + rest


def require_files(paths: Iterable[Path], listed_in: Path) -> None:
    """Raise one `UserError` that counts all files which a source lists but does not have."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{listed_in} lists {len(missing)} files that are not there ({first_few(missing)}): "
            "put them there or take them off the list."
        )


def ids_of(paths: Sequence[Path]) -> list[str]:
    """Return an id for each file: its stem, or where stems repeat, its path with "_" between the folders."""
    stems = [stem_of(path) for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return ["_".join((*path.parts[:-1], stem_of(path))) for path in paths]


def channels_of(images: Iterable[tuple[Path, ...]]) -> tuple[str, ...]:
    """Return names for the channels of the first readable study, for layouts that do not name them."""
    reason = UserError("The source lists no image: check its content.")
    for paths in images:
        try:
            shape = read_image(paths).array.shape
        except UserError as error:  # the survey reports it with all others
            reason = error
            continue
        colour = len(shape) == 3 and shape[0] == 3 and len(paths) == 1
        numbered = ("gray",) if shape[0] == 1 else tuple(f"channel_{place}" for place in range(shape[0]))
        return ("red", "green", "blue") if colour else numbered
    raise reason


def labels_of(masks: Sequence[Path]) -> Labels:
    """Return the labels that these masks hold, named by their values: reads every mask, nothing else declares them."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = sorted(set().union(*pool.map(_values_of, masks)) - {0})
    if len(found) > MOST_LABELS:
        raise UserError(
            f"Masks hold one whole number for each label, but {masks[0].parent} holds {len(found)} different ones: "
            "give masks, not images, in a format without losses (NIfTI or PNG)."
        )
    return Labels("mask", tuple(f"label_{value}" for value in found), tuple(found))


def _values_of(mask: Path) -> set[int]:
    try:
        return {int(value) for value in np.unique(read_mask(mask).array)}
    except UserError:  # the survey reports it with all others
        return set()
