"""What all layouts ask of the files of a source: which there are, which are missing, patients, channels, labels."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from selfmae.data.case import Labels
from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.dicom.series import find_headers
from selfmae.data.files.formats import is_image, may_be_dicom, stem_of, suffix_of
from selfmae.data.files.images import has_equal_channels, read_image
from selfmae.data.files.masks import values_in
from selfmae.errors import UserError, first_of

MAX_GRAY = 50  # pictures saved in colour without any, after which the others are not read
MAX_LABELS = 255  # a mask with more values is an image or was saved with losses

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

# Names that identify a patient beyond doubt; each is searched for in an id, and the whole match is the patient.
PATIENT_NAMES = (
    re.compile(r"(?<![a-z0-9])sub-[a-z0-9]+", re.IGNORECASE),  # BIDS
    re.compile(r"(?<![a-z0-9])patient[_-]?\d+", re.IGNORECASE),
    re.compile(r"BraTS\d\d_(Training|Validation)_\d+"),
    re.compile(r"BraTS-[A-Za-z]+-\d{5}(?=-\d{3})"),  # since 2023, followed by the time point
    re.compile(r"(?<!\d)\d{3}_S_\d{4}(?!\d)"),  # ADNI
    re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])"),
)
NO_PATIENTS = "{0}: without data.splits, each image counts as a patient of its own."


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted; DICOM files are taken by their name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and (is_image(path) or may_be_dicom(path)))


def say_no_masks(masks: Sequence[Path]) -> list[str]:
    """Return a sentence where none of the listed masks is there, which is no error.

    The split must not depend on whether labels are there: pre-training, which opens none, sees the same images.
    """
    if not masks or any(mask.is_file() for mask in masks):
        return []
    return [f"None of the {len(masks)} label files is there: only pre-training is possible."]


def require_files(paths: Iterable[Path], listed_in: Path) -> None:
    """Raise one `UserError` that counts all files which a source lists but does not have."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{listed_in} lists {len(missing)} files that are not there ({first_of(missing)}): "
            "put them there or take them off the list.",
            "missing_file",
        )


def read_json(file: Path) -> Any:
    """Return what a JSON file holds; raise `UserError` where it is not JSON."""
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}): mend the file.", "damaged_list") from error


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


def patients_of(
    ids: Sequence[str], images: Sequence[tuple[Path, ...]] = (), who: str = "File names do not identify patients"
) -> tuple[list[str], str]:
    """Return the patient of each id and a sentence on it: by the DICOM headers of the images, or else by the ids.

    Headers, or ids, decide where all of them name a patient in one way; else each id is a patient. By headers, a
    patient gets the id of the first image: what they say of a person is shown nowhere.
    """
    named = [_named_in(paths[0]) for paths in images] if images and _named_in(images[0][0]) else []
    if named and all(named):
        first: dict[str, str] = {}
        patients = [first.setdefault(patient, name) for patient, name in zip(named, ids, strict=True)]
        return patients, f"Patients are taken from the DICOM headers: {len(first)} in {len(ids)} images."
    for pattern in PATIENT_NAMES:
        found = [match[0] for name in ids if (match := pattern.search(name))]
        if found and len(found) == len(ids):
            count = len(set(found))
            return found, f"Patients are taken from the names (as {found[0]}): {count} in {len(ids)} images."
    return list(ids), NO_PATIENTS.format(who)


def _named_in(image: Path) -> str:
    """Return what identifies the patient in the headers of an image, "" where they do not or cannot be read."""
    try:
        named = (may_be_dicom(image) or not image.is_file()) and is_dicom(image)
        return find_headers(image)[0].patient if named else ""
    except (UserError, OSError, IndexError):
        return ""


def channels_of(images: Iterable[tuple[Path, ...]]) -> tuple[str, ...]:
    """Return names for the channels, found from the first study that shows them, for layouts that do not name them.

    A gray picture that was saved in colour shows nothing; if all are such, they are gray.
    """
    reason, num_gray = UserError("The source lists no image: check its content.", "unusable_source"), 0
    for paths in images:
        try:
            image = read_image(paths)
        except UserError as error:  # the survey reports it with all others
            reason = error
            continue
        if has_equal_channels(image):
            num_gray += 1
            if num_gray == MAX_GRAY:
                break
            continue
        array = image.array
        colour = array.ndim == 3 and len(array) == 3 and len(paths) == 1
        numbered = ("gray",) if len(array) == 1 else tuple(f"channel_{index}" for index in range(len(array)))
        return ("red", "green", "blue") if colour else numbered
    if not num_gray:
        raise reason
    return ("gray",)


def read_channels(numbered: Mapping[str, Any]) -> tuple[tuple[str, ...], list[str]]:
    """Return the channels of {"0": "MRI"}, repeated names with their number ("MRI 0000"), and a sentence on these."""
    names = [str(numbered[key]) for key in sorted(numbered, key=int)]
    channels = tuple(f"{name} {index:04d}" if names.count(name) > 1 else name for index, name in enumerate(names))
    listed = ", ".join(channels)
    said = f"Some channels have the same name; their number tells them apart: {listed}."
    return channels, [said] if len(set(names)) < len(names) else []


def labels_in_json(table: Path) -> Labels | None:
    """Return the labels that labels.json in the folder of a table names, as {"liver": 1}; None without such a file."""
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
    found = sorted(values_in(masks) - {0})
    if len(found) > MAX_LABELS:
        raise UserError(
            f"Masks hold one whole number for each label, but {masks[0].parent} holds {len(found)} different ones: "
            "give masks, not images, in a format without losses (NIfTI or PNG).",
            "unknown_label",
        )
    return Labels("mask", tuple(f"label_{value}" for value in found), tuple(found))
