"""DICOM: a tree of folders with series or radiographs, and their masks as DICOM SEG or RTSTRUCT.

A case is named by its path in the tree, and a patient by the first case: PatientID, names and UIDs tell which images
and masks belong together, but never leave this file. Each structure has one value in all masks: its index among the
names of all files, sorted. Of a SEG and an RTSTRUCT of one series, the SEG is used: nothing needs to be drawn anew.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.dicom.headers import Header, header_of
from selfmae.data.dicom.series import headers_in, mask_path, name_images
from selfmae.data.doctor.findings import Finding, make_finding
from selfmae.data.files import is_image
from selfmae.data.sources import classfolders, paired
from selfmae.data.sources._files import BY_HEADERS, MAX_LABELS, channels_of
from selfmae.errors import UserError, first_of

ORDER = 37
EXPECTS = "a folder with DICOM series or radiographs at any depth, with or without DICOM SEG or RTSTRUCT masks"
NUM_TESTED = 1000  # files that decide whether a folder holds DICOM
MAX_CLASSES = 20  # folders of radiographs that may be classes
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LEFT_OUT = {
    "localiser": "{} DICOM files are localisers (scouts) and are left out.",
    "other": "{} DICOM files are no scans (reports, doses, lists of files) and are left out.",
}
UID = re.compile(r"\d+(\.\d+){3,}")


@dataclass(frozen=True)
class _Found:
    """An image: its path (see `dicom.series`) and the header of its first file that could be read."""

    path: Path
    header: Header

    @property
    def kind(self) -> tuple[str, str, int]:  # what images of one run have in common
        return self.header.modality, self.header.kind, self.header.num_colours

    @property
    def patient(self) -> tuple[str, str]:  # who is named, or else the study, or else the folder
        header = self.header
        return (header.patient, "") if header.patient else ("", header.study or str(header.path.parent))


def recognises(path: Path) -> bool:
    """Return whether one of the first files below this folder is DICOM, and no other layout has more to say of them."""
    if not path.is_dir():
        return False
    files = (item for item in path.rglob("*") if item.is_file())
    tested = (header_of(item) for item in islice(files, NUM_TESTED) if not is_image(item))
    headers = [header for header in tested if header]
    return bool(headers) and not (paired.has_masks(path) or _are_classes(path, headers))


def _are_classes(path: Path, headers: Sequence[Header]) -> bool:
    """Return whether folders of radiographs are classes, not patients: they are few, and one holds several patients."""
    pictures: dict[Path, set[str]] = defaultdict(set)
    for header in headers:
        pictures[header.path.parent].add(header.patient or header.study or header.path.name)
    return (
        all(header.kind in ("picture", "broken") for header in headers)
        and len({folder.name for folder in pictures}) <= MAX_CLASSES
        and any(len(patients) > 1 for patients in pictures.values())
        and classfolders.recognises(path)
    )


def read(path: Path) -> Cases:
    """Return one case for each series or radiograph of the kind that is masked, or else of the most frequent kind."""
    folders = [path, *sorted(item for item in path.rglob("*") if item.is_dir())]
    headers = [header for folder in folders for header in headers_in(folder)]
    found = [
        _Found(file, next((header for header in image if header.kind != "broken"), image[0]))
        for file, image in sorted(name_images(headers).items())
    ]
    drawn, lonely = _list_masks(headers, found)
    masks = {image: own[0] for image, own in drawn.items()}
    images, notes = _of_one_kind(found, masks)
    labels, targets, said = _name_labels(images, masks)
    named = _name_cases(images, path)
    cases = tuple(Case(name, patient, (image.path,), targets.get(image.path), "") for name, patient, image in named)
    findings = list(_split_series(named))
    for name, _, image in named:
        files = [mask.path for mask in drawn.get(image.path, [])]
        if len(files) > 1:
            cause = f"the series {name} has {len(files)} masks ({first_of(files)})"
            findings.append(make_finding("several_masks", [name], cause))
    cause = "the mask {} does not refer to one series of {}"
    findings += [make_finding("lonely_mask", (), cause.format(file, path)) for file in lonely]
    volumes = [image for image in images if image.header.kind == "volume"]
    channels = (volumes[0].header.modality,) if volumes else channels_of(case.images for case in cases)
    counts = Counter(header.kind for header in headers)
    notes += [text.format(counts[kind]) for kind, text in LEFT_OUT.items() if counts[kind]]
    count, num_without = len({image.patient for image in images}), sum(not image.header.patient for image in images)
    without = f" {num_without} images name no patient: each study counts as one." if num_without else ""
    notes += [*said, f"{BY_HEADERS}: {count} in {len(images)} images.{without}"]
    return Cases(path, "dicom", cases, labels, channels, tuple(notes), tuple(findings))


def _list_masks(headers: Sequence[Header], images: Sequence[_Found]) -> tuple[dict[Path, list[Header]], list[Path]]:
    """Return the masks of each image (its SEGs, or else its RTSTRUCTs), and those that refer to none or several."""
    known = {image.header.series: image.path for image in images if image.header.kind == "volume"}
    drawn: dict[Path, list[Header]] = defaultdict(list)
    lonely = []
    for header in headers:
        if header.kind in ("seg", "rtstruct"):
            owners = [known[series] for series in header.drawn_on if series in known]
            if len(owners) == 1:
                drawn[owners[0]].append(header)
            else:
                lonely.append(header.path)
    return {image: [mask for mask in own if mask.kind == "seg"] or own for image, own in drawn.items()}, lonely


def _split_series(named: Sequence[tuple[str, str, _Found]]) -> Iterator[Finding]:
    """Yield a finding for each case whose series has slices in other folders too."""
    folders: dict[str, set[Path]] = defaultdict(set)
    told = [(name, image.header) for name, _, image in named if image.header.kind == "volume" and image.header.series]
    for _, header in told:
        folders[header.series].add(header.path.parent)
    for name, header in told:
        if len(folders[header.series]) > 1:
            lie = first_of(sorted(folders[header.series]))
            yield make_finding("split_series", [name], f"slices of the series of {name} lie in {lie}")


def _of_one_kind(found: Sequence[_Found], masks: Mapping[Path, Header]) -> tuple[list[_Found], list[str]]:
    """Return the images of the kind (modality, volume or picture, colours) that a run is for, and what was left out."""
    known = [image for image in found if image.header.kind != "broken"]
    kinds = Counter(image.kind for image in [image for image in known if image.path in masks] or known)
    usual = kinds.most_common(1)[0][0] if kinds else None
    others = Counter(" ".join(image.kind[:2]).strip() for image in known if image.kind != usual)
    if not usual or not others:
        return list(found), []
    listed = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
    images = [image for image in found if image.kind == usual or image not in known]  # broken ones: of any kind
    return images, [f"A run takes one kind of image, here {' '.join(usual[:2]).strip()}; left out: {listed}."]


def _name_labels(images: Sequence[_Found], masks: Mapping[Path, Header]) -> tuple[Labels, dict[Path, Path], list[str]]:
    """Return the labels, the path of each image's mask (see `dicom.series`), and sentences on them."""
    own = {image.path: masks[image.path] for image in images if image.path in masks}
    names = sorted(set().union(*(mask.structures for mask in own.values())))
    if not names:
        return Labels("mask", ()), {}, ["There are no masks: all cases are unlabelled."]
    if len(names) > MAX_LABELS:
        raise UserError(
            f"Masks can have {MAX_LABELS} structures at most, but {len(names)} names are used ({first_of(names)}): "
            "give each structure the same name in all files.",
            "unknown_label",
        )
    values = {name: value for value, name in enumerate(names, start=1)}
    targets = {
        image: mask_path(mask.path, image, [values[name] for name in mask.structures])
        for image, mask in own.items()
        if mask.structures
    }
    source = "The labels are the names of the structures in the DICOM masks"
    notes = [f"{source}; where two overlap, the smaller is drawn on top."]
    if len(targets) < len(own):
        notes.append(f"{len(own) - len(targets)} masks hold no structure: their series count as unlabelled.")
    alike = Counter(name.casefold() for name in names)
    if twice := [name for name in names if alike[name.casefold()] > 1]:
        notes.append(f"These names differ in capitals only and count as different labels: {', '.join(twice)}.")
    return Labels("mask", tuple(names), tuple(values.values())), targets, notes


def _name_cases(images: Sequence[_Found], source: Path) -> list[tuple[str, str, _Found]]:
    """Return id and patient of each image: where it lies below the source, and the id of the patient's first image."""
    siblings: dict[Path, set[Path]] = defaultdict(set)
    for image in images:
        for file in (image.path, *image.path.parents):
            siblings[file.parent].add(file)
    first: dict[tuple[str, str], str] = {}
    named = []
    for image in images:
        inside = image.path.relative_to(source).parts
        levels = [source.joinpath(*inside[: depth + 1]) for depth in range(len(inside))] or [source.absolute()]
        name = "_".join(_name_level(level, siblings[level.parent]) for level in levels)
        named.append((name, first.setdefault(image.patient, name), image))
    return named


def _name_level(level: Path, siblings: set[Path]) -> str:
    """Return a folder's or file's name as part of an id; a UID becomes its number among its siblings."""
    name = level.name.removesuffix(".dcm").removesuffix(".DCM")
    if UID.fullmatch(name):
        return str(sorted({*siblings, level}).index(level) + 1)
    return UNSAFE.sub("-", name).strip("-.") or "_"
