"""What all layouts ask of the files of a source: which there are, which are missing, patients, channels, labels."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import takewhile
from pathlib import Path
from typing import Any

from selfmae.data.case import Labels
from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.dicom.series import find_headers
from selfmae.data.files import is_image, may_be_dicom, stem_of, suffix_of
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
BY_HEADERS = "Patients are taken from the DICOM headers"
_IMAGES_ALONE: ContextVar[bool] = ContextVar("images alone are wanted", default=False)


@contextmanager
def images_alone() -> Iterator[None]:
    """Within, readers open no file of masks, and none is missed: only the images are wanted."""
    token = _IMAGES_ALONE.set(True)
    try:
        yield
    finally:
        _IMAGES_ALONE.reset(token)


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted; DICOM files are taken by their name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and (is_image(path) or may_be_dicom(path)))


def require_files(images: Sequence[Path], listed_in: Path, masks: Sequence[Path] = ()) -> list[str]:
    """Raise `UserError` for all files that a source lists but lacks; return a sentence where it has no mask at all."""
    masks = () if _IMAGES_ALONE.get() else masks
    # Which is no error, since the split must not depend on masks: pre-training, which opens none, sees the same images.
    bare = bool(masks) and not any(mask.is_file() for mask in masks)
    if missing := [path for path in (*images, *([] if bare else masks)) if not path.is_file()]:
        raise missing_files(listed_in, missing, "put them there or take them off the list.")
    return [f"None of the {len(masks)} label files is there: only pre-training is possible."] if bare else []


def missing_files(listed_in: Path, missing: Sequence[object], remedy: str, kind: str = "files") -> UserError:
    """Return the error that counts files which a source lists but does not have."""
    what = f"{listed_in} lists {len(missing)} {kind} that are not there ({first_of(missing)})"
    return UserError(f"{what}: {remedy}", "missing_file")


def read_json(file: Path) -> Any:
    """Return what a JSON file holds; raise `UserError` where it is not JSON."""
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}): mend the file.", "damaged_list") from error


def read_text(table: Path) -> str:
    """Return the text of a table or list, plain or packed with gzip."""
    try:
        content = table.read_bytes()
        return (gzip.decompress(content) if table.suffix.lower() == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table} must be text in UTF-8, but is not ({error.reason}): save it as UTF-8.", "damaged_list"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{table} could not be unpacked ({error}): the file is damaged; copy it again.", "damaged_list"
        ) from error


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
    """Return the patient of each id and a sentence: by DICOM headers or ids where all name one, or each id its own."""
    named = [named_in(paths[0]) for paths in images] if images and named_in(images[0][0]) else []
    if named and all(named):
        first: dict[str, str] = {}
        # The id of a patient's first image, since what headers say of a person is shown nowhere.
        patients = [first.setdefault(patient, name) for patient, name in zip(named, ids, strict=True)]
        return patients, f"{BY_HEADERS}: {len(first)} in {len(ids)} images."
    for pattern in PATIENT_NAMES:
        found = [match[0] for name in ids if (match := pattern.search(name))]
        if found and len(found) == len(ids):
            count = len(set(found))
            return found, f"Patients are taken from the names (as {found[0]}): {count} in {len(ids)} images."
    return list(ids), NO_PATIENTS.format(who)


def named_in(image: Path) -> str:
    """Return what identifies the patient in the headers of an image, "" where they do not or cannot be read."""
    try:
        named = (may_be_dicom(image) or not image.is_file()) and is_dicom(image)
        return find_headers(image)[0].patient if named else ""
    except (UserError, OSError, IndexError):
        return ""


def channels_of(images: Iterable[tuple[Path, ...]]) -> tuple[str, ...]:
    """Return channel names by the first study that is not a gray picture saved in colour; gray if all are such."""
    reason, num_gray = UserError("The source lists no image: check its content.", "unusable_source"), 0
    for paths in images:
        try:
            image = read_image(paths)
        except UserError as error:  # the survey reports it with all others
            reason = error
            continue
        if not has_equal_channels(image):
            count = len(image.array)
            if image.array.ndim == 3 and count == 3 and len(paths) == 1:
                return ("red", "green", "blue")
            return ("gray",) if count == 1 else tuple(f"channel_{index}" for index in range(count))
        num_gray += 1
        if num_gray == MAX_GRAY:
            break
    if not num_gray:
        raise reason
    return ("gray",)


def read_channels(numbered: Mapping[str, Any]) -> tuple[tuple[str, ...], list[str]]:
    """Return the channels of {"0": "MRI"}, repeated names with their number ("MRI 0000"), and a sentence on these."""
    names = [str(numbered[key]) for key in sorted(numbered, key=int)]
    channels = tuple(f"{name} {index:04d}" if names.count(name) > 1 else name for index, name in enumerate(names))
    said = f"Some channels have the same name; their number tells them apart: {', '.join(channels)}."
    return channels, [said] if len(set(names)) < len(names) else []


def mask_labels(values: Mapping[str, int]) -> Labels:
    """Return the labels of masks in the order of their values; 0 is the background."""
    names = sorted((name for name, value in values.items() if value != 0), key=lambda name: values[name])
    return Labels("mask", tuple(names), tuple(values[name] for name in names))


def labels_of(masks: Sequence[Path]) -> Labels:
    """Return the labels that these masks hold, named by their values: reads every mask, nothing else declares them."""
    found = sorted(values_in(() if _IMAGES_ALONE.get() else masks) - {0})
    if len(found) > MAX_LABELS:
        raise UserError(
            f"Masks hold one whole number for each label, but {masks[0].parent} holds {len(found)} different ones: "
            "give masks, not images, in a format without losses (NIfTI or PNG).",
            "unknown_label",
        )
    return mask_labels({f"label_{value}": value for value in found})
