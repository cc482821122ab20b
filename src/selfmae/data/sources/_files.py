"""Files of a source as all layouts see them: which there are, what is missing, whose they are, what masks hold."""

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import numpy as np

from selfmae.data.case import Labels
from selfmae.data.images import is_image, read_image, read_mask, stem_of, suffix_of
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

# Names that tell the patient beyond doubt; each is searched for in an id, and its whole match is the patient.
PATIENT_NAMES = (
    re.compile(r"(?<![a-z0-9])sub-[a-z0-9]+", re.IGNORECASE),  # BIDS
    re.compile(r"(?<![a-z0-9])patient[_-]?\d+", re.IGNORECASE),
    re.compile(r"BraTS\d\d_(Training|Validation)_\d+"),
    re.compile(r"BraTS-[A-Za-z]+-\d{5}(?=-\d{3})"),  # since 2023, with the time point behind
    re.compile(r"(?<!\d)\d{3}_S_\d{4}(?!\d)"),  # ADNI
    re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])"),
)
NO_PATIENTS = "{0} no patients: without data.splits each image counts as a patient of its own."


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
            "put them there or take them off the list.",
            "missing_file",
        )


def ids_of(paths: Sequence[Path]) -> list[str]:
    """Return an id for each file: its stem, or where stems repeat, its path with "_" between the folders."""
    stems = [stem_of(path) for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return ["_".join((*path.parts[:-1], stem_of(path))) for path in paths]


def study_of(paths: Sequence[Path]) -> Path:
    """Return a path whose stem is what the names of one study's files begin with: x for x_t1.nii and x_t2.nii."""
    if len(paths) == 1:
        return paths[0]
    parts = [re.split(r"(?<=[_.-])", stem_of(path)) for path in paths]
    shared = "".join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False)))
    return paths[0].with_name(shared.rstrip("_.-") + suffix_of(paths[0])) if shared.rstrip("_.-") else paths[0]


def patients_of_names(ids: Sequence[str], who: str = "File names tell") -> tuple[list[str], str]:
    """Return the patient of each id and a sentence on it; unless all ids name one in one way, each is a patient."""
    for pattern in PATIENT_NAMES:
        found = [match[0] for name in ids if (match := pattern.search(name))]
        if found and len(found) == len(ids):
            count = len(set(found))
            return found, f"Patients are told by the names (as {found[0]}): {count} of {len(ids)} images."
    return list(ids), NO_PATIENTS.format(who)


def channels_of(images: Iterable[tuple[Path, ...]]) -> tuple[str, ...]:
    """Return names for the channels of the first readable study, for layouts that do not name them."""
    reason = UserError("The source lists no image: check its content.", "unusable_source")
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


def labels_beside(table: Path) -> Labels | None:
    """Return the labels that a file labels.json beside a table names, as {"liver": 1}; None without such a file."""
    file = table.parent / "labels.json"
    if not file.is_file():
        return None
    try:
        named = {str(name): int(value) for name, value in json.loads(file.read_text()).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'{file} must name labels as {{"liver": 1}}, but does not ({error}): correct it.', "damaged_list"
        ) from error
    ordered = sorted((name for name, value in named.items() if value != 0), key=lambda name: named[name])
    return Labels("mask", tuple(ordered), tuple(named[name] for name in ordered))


def labels_of(masks: Sequence[Path]) -> Labels:
    """Return the labels that these masks hold, named by their values: reads every mask, nothing else declares them."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = sorted(set().union(*pool.map(_values_of, masks)) - {0})
    if len(found) > MOST_LABELS:
        raise UserError(
            f"Masks hold one whole number for each label, but {masks[0].parent} holds {len(found)} different ones: "
            "give masks, not images, in a format without losses (NIfTI or PNG).",
            "unknown_label",
        )
    return Labels("mask", tuple(f"label_{value}" for value in found), tuple(found))


def _values_of(mask: Path) -> set[int]:
    try:
        return {int(value) for value in np.unique(read_mask(mask).array)}
    except UserError:  # the survey reports it with all others
        return set()
