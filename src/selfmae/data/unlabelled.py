"""Further unlabelled images: those of a second source (`data.unlabelled`), which join the first for pre-training.

They are told apart from val and test cases by content and by patient. Names that a reader made up, or that hold for one
data set only, tell nothing of a patient: image 7 of one folder is not image 7 of another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mode

from selfmae.data.case import Case, Cases, patient_finder
from selfmae.data.doctor.findings import Facts, Finding
from selfmae.data.sources import read_source
from selfmae.data.sources._files import BY_HEADERS, NO_PATIENTS, images_alone, named_in
from selfmae.errors import UserError

OF_MASKS = ("several_masks", "lonely_mask")  # findings that say nothing of images
HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class Further:
    """The cases of a second source: without targets, each "unlabelled" (or "unused"), under ids of their own."""

    origin: str  # the source as typed
    cases: tuple[Case, ...]
    named: frozenset[str]  # ids whose patient's name tells who it is, not only in this source
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def origins(self) -> dict[str, str]:
        """Return the source as typed by id (`Cases.origins`)."""
        return {case.id: self.origin for case in self.cases}


def read_further(origin: str, found: Cases, pattern: str = "") -> Further:
    """Return the images of a second source, in whatever layout, to join `found`; no file of labels is opened.

    An id that `found` has begins with the name of the folder then. `pattern` finds the patient in an id; where it finds
    none, the reader's patient stays. Raises `UserError` where there is no such source or its channels differ.
    """
    try:
        with images_alone():
            other = read_source(origin)
    except UserError as error:
        raise UserError(f"data.unlabelled: {error}") from error
    _check_channels(origin, found, other)
    find, tells = patient_finder(pattern) if pattern else lambda _: "", names_tell(other)
    ids = name_apart([case.id for case in other.cases], (case.id for case in found.cases), _prefix(origin))
    cases, named = [], set()
    for case in other.cases:
        patient = find(case.id)
        split = "unused" if case.split == "unused" else "unlabelled"
        cases.append(replace(case, id=ids[case.id], patient=patient or case.patient, target=None, split=split))
        named |= {ids[case.id]} if patient or tells else set()
    findings = [
        replace(finding, cases=tuple(ids.get(name, name) for name in finding.cases))
        for finding in other.findings
        if finding.code not in OF_MASKS
    ]
    return Further(origin, tuple(cases), frozenset(named), tuple(_notes(origin, found, other, ids)), tuple(findings))


def _check_channels(origin: str, found: Cases, other: Cases) -> None:
    ours, theirs = found.channels, other.channels
    # Other names are no other channels: layouts without declared ones number them.
    if len(ours) != len(theirs) or (ours != theirs and sorted(ours) == sorted(theirs)):
        raise UserError(
            f"The images of data.unlabelled {origin} must have the channels of the source in the same order "
            f"({', '.join(ours)}), but have {', '.join(theirs)}: give images with the same channels."
        )


def _notes(origin: str, found: Cases, other: Cases, ids: Mapping[str, str]) -> Iterable[str]:
    """Yield how many images come from where, and what else to know of them."""
    num_own = sum(case.target is None for case in found.cases)
    labels = ", whose labels are not used" if any(case.target is not None for case in other.cases) else ""
    yield (
        f"Of the unlabelled images, {num_own} come from {found.source} and {len(other.cases)} from {origin} (read as "
        f"{other.layout}{labels})."
    )
    renamed = [new for name, new in ids.items() if new != name]
    if renamed:
        yield f"{len(renamed)} of the latter are named like others and were renamed (as {renamed[0]})."
    yield from (
        f"{origin}: {note}" for note in other.notes if "left out" in note
    )  # the others tell of labels, patients


def _prefix(origin: str) -> str:
    path = Path(origin).absolute()
    name = path.name if path.is_dir() else path.stem if path.suffix == ".npz" else path.parent.name
    return name or "unlabelled"


def name_apart(names: Iterable[str], taken: Iterable[str], prefix: str) -> dict[str, str]:
    """Return a new name for each name: itself, or where it is taken, with the prefix as often as it takes."""
    names, taken = list(dict.fromkeys(names)), set(taken)
    known, found = {*names, *taken}, {}
    for name in names:
        new = name
        while new in taken or (new != name and new in known):
            new = f"{prefix}_{new}"
        known.add(new)
        found[name] = new
    return found


def names_tell(cases: Cases) -> bool:
    """Return whether the reader found names of patients, by which the same one is known again in another source."""
    return not any(NO_PATIENTS.format("") in note or note.startswith(BY_HEADERS) for note in cases.notes)


def join_patients(cases: Sequence[Case], further: Further, ours_tell: bool) -> list[Case]:
    """Return the cases, those of `further` with the patients of the others where these are the same persons.

    They are if the headers of DICOM files name the same patient, or if names tell who it is in both sources
    (`ours_tell`: in the first). Otherwise equal names are different patients, and made different.
    """
    origins = further.origins
    own = [case for case in cases if case.id not in origins]
    headers = {case.id: named_in(case.images[0]) for case in further.cases}
    known = {named_in(case.images[0]): case.patient for case in own} if any(headers.values()) else {}
    joined = [case for case in cases if case.id in origins]
    apart = name_apart((case.patient for case in joined), (case.patient for case in own), _prefix(further.origin))

    def patient_of(case: Case) -> str:
        if headers[case.id] and headers[case.id] in known:
            return known[headers[case.id]]
        return case.patient if ours_tell and case.id in further.named else apart[case.patient]

    return [replace(case, patient=patient_of(case)) if case.id in origins else case for case in cases]


def check_patients(cases: Sequence[Case], further: Sequence[Case], origins: Mapping[str, str]) -> None:
    """Raise if one of the `further` images that are to be trained on shows a patient of the val or test part."""
    held_out = {case.patient: case.split for case in cases if case.split in HELD_OUT}
    found = [case for case in further if case.split == "unlabelled" and case.patient in held_out]
    if found:
        first = found[0]
        raise UserError(
            f"data.unlabelled {origins[first.id]} must hold no image of a patient of the val or test part, but "
            f"{len(found)} of its images are of such patients (first: {first.images[0]} of {first.patient!r}, "
            f"{held_out[first.patient]}): take these images out, or rename them if they show other people."
        )


def check_further(cases: Cases, facts: Sequence[Facts]) -> None:
    """Raise if further unlabelled images have other axes than those of the source, or copies are val or test images.

    Copies that are not equal voxel by voxel are left out of training like those within a source (`leave_out_copies`).
    """
    own = [fact for fact in facts if fact.id not in cases.origins]
    further = [fact for fact in facts if fact.id in cases.origins]
    if not own or not further:
        return
    by_id, origin = {case.id: case for case in cases.cases}, cases.origins[further[0].id]
    num_axes = mode(len(fact.shape) for fact in own)
    odd = [fact for fact in further if len(fact.shape) != num_axes]
    if odd:
        raise UserError(
            f"The images of data.unlabelled {origin} must have {num_axes} axes like those of the source, but "
            f"{len(odd)} have not (first: {by_id[odd[0].id].images[0]} with {len(odd[0].shape)}): take them out."
        )
    held_out = {fact.pixel_hash: by_id[fact.id] for fact in own if by_id[fact.id].split in HELD_OUT}
    copies = [fact for fact in further if fact.pixel_hash in held_out]
    if copies:
        copy, original = by_id[copies[0].id], held_out[copies[0].pixel_hash]
        raise UserError(
            f"data.unlabelled {origin} must hold no image of the val or test part, but {len(copies)} of its images are "
            f"copies of such (first: {copy.images[0]} = {original.images[0]}, {original.split}): take these images out."
        )
