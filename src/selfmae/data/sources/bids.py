"""BIDS: sub-*/[ses-*/]anat images, masks under derivatives (Gorgolewski et al. 2016)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from selfmae.data.case import Case, Cases
from selfmae.data.files import stem_of
from selfmae.data.sources._files import images_in, labels_of
from selfmae.errors import UserError, first_of

ORDER = 28
EXPECTS = "a folder with sub-*/anat or sub-*/ses-*/anat images, and masks under derivatives (BIDS)"
MASK_SUFFIXES = ("dseg", "mask", "seg", "probseg")
ANAT = ("sub-*/anat", "sub-*/ses-*/anat")
SAME_SCAN = ("acq-", "ce-", "dir-", "echo-", "part-", "rec-", "run-")  # tell the scans of one suffix apart


def recognises(path: Path) -> bool:
    """Return whether a subject has a folder of anatomical images."""
    return path.is_dir() and any(True for pattern in ANAT for _ in path.glob(pattern))


def read(path: Path) -> Cases:
    """Return one case for each subject and session, patients by subject; channels are what every case has."""
    studies = _studies(folder for pattern in ANAT for folder in sorted(path.glob(pattern)))
    if not studies:
        raise UserError(f"{path} has folders anat, but no image in them: copy the images there.", "missing_file")
    suffixes = sorted({suffix for images in studies.values() for suffix in images})
    channels = [suffix for suffix in suffixes if all(suffix in images for images in studies.values())]
    if not channels:
        raise UserError(
            f"{path} has no kind of image that all of its {len(studies)} sessions have (found: {first_of(suffixes)}): "
            "take out the sessions without one.",
            "unpaired",
        )
    masks = _masks(path, studies)
    others = ", ".join(suffix for suffix in suffixes if suffix not in channels)
    notes = [f"Not every session has {others}: left out."] if others else []
    several = {name for name, images in studies.items() if any(len(images[channel]) > 1 for channel in channels)}
    if bare := sorted(several - masks.keys()):
        scans = f"{len(bare)} sessions without a mask have several scans of one kind ({first_of(bare)})"
        notes.append(f"{scans}: the first is taken.")
    cases = tuple(
        Case(name, name.split("_")[0], _images(images, channels, masks.get(name)), masks.get(name), "")
        for name, images in sorted(studies.items())
    )
    return Cases(path, "bids", cases, labels_of(sorted(masks.values())), tuple(channels), tuple(notes))


def _studies(folders: Iterable[Path]) -> dict[str, dict[str, list[Path]]]:
    """Return for each "sub-X" or "sub-X_ses-Y" its images by suffix (T1w, FLAIR...)."""
    studies: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        for image in images_in(folder):
            suffix = stem_of(image).rsplit("_", 1)[-1]
            if suffix not in MASK_SUFFIXES:
                studies[_session(image)][suffix].append(image)
    return studies


def _images(images: dict[str, list[Path]], channels: Sequence[str], mask: Path | None) -> tuple[Path, ...]:
    """Return the image of each channel, with a mask the scan it was drawn on; raise where names do not tell which."""
    if mask is None:
        return tuple(images[channel][0] for channel in channels)
    scans = [_of_scan(images[channel], mask) for channel in channels]
    if any(len(found) != 1 for found in scans) or not any(_agree(found[0], mask) for found in scans):
        names = first_of([image.name for channel in channels for image in images[channel]])
        raise UserError(
            f"{mask} must belong to one scan of each kind by its {', '.join(part[:-1] for part in SAME_SCAN)}, but its "
            f"session has {names}: name the mask as its scan, or list image and mask in a table.",
            "unpaired",
        )
    return tuple(found[0] for found in scans)


def _of_scan(images: list[Path], mask: Path) -> list[Path]:
    """Return which images of one suffix a mask may belong to: all with the same entities, else all that agree."""
    if len(images) == 1:
        return images
    alike = [image for image in images if _scan(image) == _scan(mask)]
    return alike or [image for image in images if _agree(image, mask)]


def _agree(image: Path, mask: Path) -> bool:
    """Return whether nothing that both names say of the scan differs."""
    there, here = _scan(image), _scan(mask)
    return all(there[key] == here[key] for key in there.keys() & here.keys())


def _scan(file: Path) -> dict[str, str]:
    """Return what a name says of the scan, as {"run": "1"}."""
    parts = [part for part in stem_of(file).split("_") if part.startswith(SAME_SCAN)]
    return {key: value for key, _, value in (part.partition("-") for part in parts)}


def _session(image: Path) -> str:
    return "_".join(part for part in stem_of(image).split("_") if part.startswith(("sub-", "ses-")))


def _masks(path: Path, studies: Iterable[str]) -> dict[str, Path]:
    """Return the mask of each session; several are an error, since nothing says which one is meant."""
    found: dict[str, list[Path]] = defaultdict(list)
    for mask in sorted((path / "derivatives").rglob("*")) + sorted(path.glob("sub-*/**/*")):
        if re.fullmatch(r"sub-.+_(dseg|mask|seg)\.(nii|nii\.gz)", mask.name) and _session(mask) in studies:
            found[_session(mask)].append(mask)
    several = [f"{name}: {first_of([mask.name for mask in masks])}" for name, masks in found.items() if len(masks) > 1]
    if several:
        raise UserError(
            f"{path} has several masks of one session ({several[0]}), and nothing says which one is meant: keep one of "
            "them, or list image and mask in a table.",
            "unpaired",
        )
    return {name: masks[0] for name, masks in found.items()}
