"""Files of a source as all layouts see them: which there are, what is missing, whose they are, what masks hold."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from selfmae.data.case import Labels
from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.dicom.series import find_headers
from selfmae.data.files.formats import is_image, may_be_dicom, stem_of, suffix_of
from selfmae.data.files.images import has_equal_channels, read_image
from selfmae.data.files.masks import values_in
from selfmae.errors import UserError, first_of

MAX_GRAY = 50  # pictures saved in colour without any, after which the others are not looked at
MAX_LABELS = 255  # a mask with more values is an image or was saved with losses

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


MASK_KIND = re.compile(r"(.*[_.-])?(seg|segm|segmentation|masks?|labels?|gt)", re.IGNORECASE)
Kinds = Mapping[str, Path]  # flair, t1, seg...: the file of each kind in one folder


@dataclass(frozen=True)
class CaseFolders:
    """The folders of all cases, put together."""

    channels: tuple[str, ...]  # kinds of image that every case has, sorted
    left_out: tuple[str, ...]  # kinds of image that only some have
    studies: Mapping[str, tuple[Path, ...]]  # by the folder's name
    masks: Mapping[str, Path]


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted; DICOM files are taken by their name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and (is_image(path) or may_be_dicom(path)))


def require_files(paths: Iterable[Path], listed_in: Path) -> None:
    """Raise one `UserError` that counts all files which a source lists but does not have."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{listed_in} lists {len(missing)} files that are not there ({first_of(missing)}): "
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


def patients_of(
    ids: Sequence[str], images: Sequence[tuple[Path, ...]], who: str = "File names tell"
) -> tuple[list[str], str]:
    """Return the patient of each image and a sentence on it: by DICOM headers if all name one, or else by the ids.

    A patient has the id of his first image: what headers say of him is shown nowhere.
    """
    named = [_named_in(paths[0]) for paths in images] if images and _named_in(images[0][0]) else []
    if not named or not all(named):
        return patients_of_names(ids, who)
    first: dict[str, str] = {}
    patients = [first.setdefault(patient, name) for patient, name in zip(named, ids, strict=True)]
    return patients, f"Patients are told by the DICOM headers: {len(first)} of {len(ids)} images."


def _named_in(image: Path) -> str:
    """Return what tells the patient in the headers of an image, "" where it has none or they cannot be read."""
    try:
        named = (may_be_dicom(image) or not image.is_file()) and is_dicom(image)
        return find_headers(image)[0].patient if named else ""
    except (UserError, OSError, IndexError):
        return ""


def channels_of(images: Iterable[tuple[Path, ...]]) -> tuple[str, ...]:
    """Return names for the channels of the first study that tells them, for layouts that do not name them.

    A gray picture that was saved in colour tells nothing: if all are such, they are gray.
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
        numbered = ("gray",) if len(array) == 1 else tuple(f"channel_{place}" for place in range(len(array)))
        return ("red", "green", "blue") if colour else numbered
    if not num_gray:
        raise reason
    return ("gray",)


def number_repeats(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return names of channels, repeated ones with their number ("MRI 0000"), and a sentence where there are such."""
    channels = tuple(f"{name} {index:04d}" if names.count(name) > 1 else name for index, name in enumerate(names))
    listed = ", ".join(channels)
    said = f"Some channels have the same name; their number tells them apart: {listed}."
    return channels, [said] if len(set(names)) < len(names) else []


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
    found = sorted(values_in(masks) - {0})
    if len(found) > MAX_LABELS:
        raise UserError(
            f"Masks hold one whole number for each label, but {masks[0].parent} holds {len(found)} different ones: "
            "give masks, not images, in a format without losses (NIfTI or PNG).",
            "unknown_label",
        )
    return Labels("mask", tuple(f"label_{value}" for value in found), tuple(found))


def are_case_folders(path: Path) -> bool:
    """Return whether each folder below (or one level deeper, as HGG/case/) holds one case.

    They do if all share a kind of image, kinds are words (numbers would be the images of a class), and files begin
    with the folder's name or some are masks.
    """
    cases = list(_list_folders(path).values())
    kinds = {kind for case in cases for kind in case}
    begun = all(file.name.startswith(folder.name) for folder, file in _files_of(cases))
    return bool(
        _shared(cases)
        and all(re.search("[A-Za-z]", kind) for kind in kinds)
        and (begun or any(MASK_KIND.fullmatch(kind) for kind in kinds))
    )


def read_case_folders(path: Path) -> CaseFolders:
    """Return the channels that all cases have, and each case's files of them; a case with two masks is an error."""
    folders = _list_folders(path)
    for place, kinds in folders.items():
        files = images_in(path / place)
        if len(files) > len(kinds):
            repeated = first_of([file.name for file in files if file not in kinds.values()])
            raise UserError(
                f"{path / place} must have one file of each kind, but {repeated} is another of one: remove it.",
                "unpaired",
            )
    names = [place.rsplit("/", 1)[-1] for place in folders]
    if len(set(names)) < len(names):
        names = [place.replace("/", "_") for place in folders]
    cases = dict(zip(names, folders.values(), strict=True))
    channels = _shared(cases.values())
    others = {kind for case in cases.values() for kind in case if not MASK_KIND.fullmatch(kind)} - set(channels)
    studies = {name: tuple(case[kind] for kind in channels) for name, case in cases.items()}
    masks = {name: mask for name, case in cases.items() if (mask := _mask_of(case))}
    return CaseFolders(channels, tuple(sorted(others)), studies, masks)


def _list_folders(path: Path) -> dict[str, Kinds]:
    """Return the files by kind of each folder that holds images, by its path from the source."""
    for pattern in ("*/", "*/*/"):
        folders = [folder for folder in sorted(path.glob(pattern)) if folder.is_dir() and images_in(folder)]
        if folders:
            return {folder.relative_to(path).as_posix(): _kinds(folder) for folder in folders}
    return {}


def _kinds(folder: Path) -> Kinds:
    """Return the files of a folder by what their names have beyond the folder's own."""
    return {re.sub(rf"^{re.escape(folder.name)}[_.-]", "", stem_of(file)): file for file in images_in(folder)}


def _files_of(cases: Iterable[Kinds]) -> list[tuple[Path, Path]]:
    return [(file.parent, file) for case in cases for file in case.values()]


def _shared(cases: Iterable[Kinds]) -> tuple[str, ...]:
    """Return the kinds of image that every case has, sorted."""
    kinds = [{kind for kind in case if not MASK_KIND.fullmatch(kind)} for case in cases]
    return tuple(sorted(set.intersection(*kinds))) if kinds else ()


def _mask_of(case: Kinds) -> Path | None:
    found = [file for kind, file in sorted(case.items()) if MASK_KIND.fullmatch(kind)]
    if len(found) > 1:
        raise UserError(
            f"A case must have one mask, but {found[0].parent} has {len(found)} "
            f"({first_of([file.name for file in found])}): keep one, or list image and mask in a table.",
            "unpaired",
        )
    return found[0] if found else None
