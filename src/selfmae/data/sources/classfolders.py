"""Folders of images named by their class, on their own or below train/, val/ and test/."""

from pathlib import Path

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.files import is_image
from selfmae.data.sources._files import SPLIT_NAMES, channels_of, ids_of, images_in, patients_of
from selfmae.data.sources.paired import are_case_folders
from selfmae.errors import first_of

ORDER = 50
NOT_CLASSES = {"images", "image", "imagestr", "imagests", "labels", "labelstr", "masks", "mask", "segmentations"}
UNLABELLED = {"unlabelled", "unlabeled"}  # a folder next to the classes, for images without one
EXPECTS = "two or more folders of images, each named by its class (on their own, or below train/, val/ and test/)"


def recognises(path: Path) -> bool:
    """Return whether at least two folders, wherever classes may stand, hold images and are not those of `paired`."""
    names = {folder.name for _, folder in _class_folders(path)} - UNLABELLED if path.is_dir() else set()
    return len(names) > 1 and NOT_CLASSES.isdisjoint(name.lower() for name in names) and not are_case_folders(path)


def read(path: Path) -> Cases:
    """Return one case for each image, its class as one number for each class name (sorted)."""
    folders = _class_folders(path)
    names = tuple(sorted({folder.name for _, folder in folders} - UNLABELLED))
    listed = [(split, image) for split, folder in folders for image in images_in(folder)]
    ids = ids_of([image.relative_to(path) for _, image in listed])
    patients, said = patients_of(ids, [(image,) for _, image in listed])
    cases = tuple(
        Case(name, patient, (image,), None, "unlabelled")
        if image.parent.name in UNLABELLED
        else Case(name, patient, (image,), tuple(float(image.parent.name == other) for other in names), split)
        for name, patient, (split, image) in zip(ids, patients, listed, strict=True)
    )
    classes = f"The classes are the names of the folders: {', '.join(names)}."
    notes = (classes, said, *_left_out(path, {image for _, image in listed}))
    return Cases(path, "classfolders", cases, Labels("multiclass", names), channels_of(c.images for c in cases), notes)


def _left_out(path: Path, listed: set[Path]) -> list[str]:
    """Say which images lie elsewhere than directly in the folder of a class."""
    below = sorted(folder for folder in path.rglob("*") if folder.is_dir())
    shown = [item for item in (path, *below) if not any(p.startswith(".") for p in item.relative_to(path).parts)]
    others = [image for folder in shown for image in images_in(folder) if image not in listed and is_image(image)]
    names = first_of(image.relative_to(path) for image in others)
    note = f"{len(others)} images lie outside the folders of the classes and are left out ({names})."
    return [note] if others else []


def _class_folders(path: Path) -> list[tuple[str, Path]]:
    """Return split ("" where there is none) and folder of each class that has images."""
    below = _folders(path)
    parts = [(SPLIT_NAMES[folder.name.lower()], folder) for folder in below if folder.name.lower() in SPLIT_NAMES]
    return [(split, folder) for split, part in parts or [("", path)] for folder in _folders(part) if images_in(folder)]


def _folders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
