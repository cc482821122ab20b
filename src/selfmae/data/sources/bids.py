"""BIDS: sub-*/[ses-*/]anat images, masks under derivatives (Gorgolewski et al. 2016)."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from selfmae.data.case import Case, Cases
from selfmae.data.image_files import stem_of
from selfmae.data.sources._files import first_few, images_in, labels_of
from selfmae.errors import UserError

ORDER = 28
EXPECTS = "a folder with sub-*/anat or sub-*/ses-*/anat images, and masks under derivatives (BIDS)"
MASK_SUFFIXES = ("dseg", "mask", "seg", "probseg")
ANAT = ("sub-*/anat", "sub-*/ses-*/anat")


def recognises(path: Path) -> bool:
    """Return whether a subject has a folder of anatomical images."""
    return path.is_dir() and any(True for pattern in ANAT for _ in path.glob(pattern))


def read(path: Path) -> Cases:
    """Return one case for each subject and session, patients by subject; channels are what every case has."""
    studies = _studies(folder for pattern in ANAT for folder in sorted(path.glob(pattern)))
    if not studies:
        raise UserError(f"{path} has folders anat, but no image in them: copy the images there.", "missing_file")
    channels = sorted(set.intersection(*(set(images) for images in studies.values())))
    if not channels:
        found = first_few(sorted({suffix for images in studies.values() for suffix in images}))
        raise UserError(
            f"{path} has no kind of image that all of its {len(studies)} sessions have (found: {found}): take out the "
            "sessions that lack one.",
            "unpaired",
        )
    masks = _masks(path, studies)
    notes = []
    others = sorted({suffix for images in studies.values() for suffix in images} - set(channels))
    if others:
        notes.append(f"Not every session has {', '.join(others)}: left out.")
    cases = tuple(
        Case(name, name.split("_")[0], tuple(images[channel] for channel in channels), masks.get(name), "")
        for name, images in sorted(studies.items())
    )
    return Cases(path, "bids", cases, labels_of(sorted(masks.values())), tuple(channels), tuple(notes))


def _studies(folders: Iterable[Path]) -> dict[str, dict[str, Path]]:
    """Return for each "sub-X" or "sub-X_ses-Y" its images by suffix (T1w, FLAIR...), the first of several runs."""
    studies: dict[str, dict[str, Path]] = defaultdict(dict)
    for folder in folders:
        for image in images_in(folder):
            suffix = stem_of(image).rsplit("_", 1)[-1]
            if suffix not in MASK_SUFFIXES:
                studies[_session(image)].setdefault(suffix, image)
    return studies


def _session(image: Path) -> str:
    return "_".join(part for part in stem_of(image).split("_") if part.startswith(("sub-", "ses-")))


def _masks(path: Path, studies: Iterable[str]) -> dict[str, Path]:
    """Return the mask of each session; several are an error, since nothing says which one is meant."""
    found: dict[str, list[Path]] = defaultdict(list)
    for mask in sorted((path / "derivatives").rglob("*")) + sorted(path.glob("sub-*/**/*")):
        if re.fullmatch(r"sub-.+_(dseg|mask|seg)\.(nii|nii\.gz)", mask.name) and _session(mask) in studies:
            found[_session(mask)].append(mask)
    several = [f"{name}: {first_few([mask.name for mask in masks])}" for name, masks in found.items() if len(masks) > 1]
    if several:
        raise UserError(
            f"{path} has several masks of one session ({several[0]}), and nothing says which one is meant: keep one of "
            "them, or list image and mask in a table.",
            "unpaired",
        )
    return {name: masks[0] for name, masks in found.items()}
