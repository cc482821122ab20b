"""MONAI datalist: a JSON file with lists training, validation, test of {"image": ..., "label": ...}."""

import json
from pathlib import Path
from typing import Any

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.sources import msd, nnunet
from selfmae.data.sources._files import channels_of, ids_of, labels_of, patients_of, read_json, require_files, study_of
from selfmae.errors import UserError, first_of

ORDER = 35
EXPECTS = (
    'a .json file, or a folder with one, that has a list "training" of {"image": path, "label": path or numbers} '
    "(MONAI datalist)"
)
LISTS = {"training": "train", "validation": "val", "testing": "test", "test": "test"}
Listed = tuple[str, tuple[Path, ...], Any]  # split, images, label as written


def recognises(path: Path) -> bool:
    """Return whether this is a JSON file with a training list, or a folder with one, that no other layout claims."""
    return len(_lists_in(path)) == 1 and not msd.recognises(path) and not nnunet.recognises(path)


def read(path: Path) -> Cases:
    """Return the listed cases; where training entries have folds and no list is for validation, fold 0 is val."""
    file = _lists_in(path)[0]
    content = read_json(file)
    wrong = not isinstance(content, dict) or [key for key in LISTS if not isinstance(content.get(key, []), list)]
    if wrong or not content.get("training"):
        raise UserError(
            f'{file} must hold a list of images under "training", and lists under {", ".join(LISTS)}.', "damaged_list"
        )
    listed = [_read_entry(file, entry, split) for key, split in LISTS.items() for entry in content.get(key, ())]
    parts, images, written = zip(*listed, strict=True)
    require_files([image for study in images for image in study], file)
    studies = [study_of(study) for study in images]
    names = ids_of([p.relative_to(file.parent if p.is_relative_to(file.parent) else p.anchor) for p in studies])
    patients, said = patients_of(names, who="The list does not name patients")
    splits, notes = _splits(list(parts), content["training"])
    labels, targets = _targets(list(written), file)
    cases = tuple(Case(*field) for field in zip(names, patients, images, targets, splits, strict=True))
    return Cases(path, "datalist", cases, labels, channels_of(images), (said, *notes))


def _lists_in(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    return [file for file in files if file.suffix == ".json" and '"training"' in file.read_text(errors="replace")]


def _splits(splits: list[str], training: list[Any]) -> tuple[list[str], list[str]]:
    """Return the part of each listed case, training first, with a sentence on folds."""
    folds = [entry.get("fold") if isinstance(entry, dict) else None for entry in training]
    if "val" in splits:
        return splits, []
    if set(folds) == {None}:
        return ["" if split == "train" else split for split in splits], []
    chosen = ["val" if fold == 0 else "train" for fold in folds]
    return chosen + splits[len(folds) :], ["Fold 0 of the list is the val part; data.splits can say otherwise."]


def _read_entry(path: Path, entry: Any, split: str) -> Listed:
    """Return split, images and label of one entry; an entry of the test list may be a path alone."""
    entry = {"image": entry} if isinstance(entry, str) else entry
    images = entry.get("image") if isinstance(entry, dict) else None
    images = [images] if isinstance(images, str) else images
    if not images or not all(isinstance(image, str) for image in images):
        raise UserError(
            f'{path} must list cases as {{"image": path, "label": path}}, but has {json.dumps(entry)}: correct it.',
            "damaged_list",
        )
    return split, tuple(path.parent / image for image in images), entry.get("label")


def _targets(written: list[Any], path: Path) -> tuple[Labels, list[Path | tuple[float, ...] | None]]:
    """Return masks where labels are paths, findings where they are lists of 0 and 1, classes where they are numbers."""
    given = [label for label in written if label not in (None, "")]
    if all(isinstance(label, str) for label in given):
        masks = [path.parent / label if label else None for label in written]
        if present := [mask for mask in masks if mask is not None and mask.is_file()]:
            require_files((), path, [mask for mask in masks if mask is not None])
        return labels_of(present), [mask if present else None for mask in masks]
    if all(isinstance(label, list) and label and len(label) == len(given[0]) for label in given):
        names = tuple(f"label_{index}" for index in range(len(given[0])))
        return Labels("multilabel", names), [tuple(map(float, label)) if label else None for label in written]
    if all(isinstance(label, int) for label in given):
        values = sorted(set(given))
        targets = [tuple(float(label == value) for value in values) if label in values else None for label in written]
        return Labels("multiclass", tuple(map(str, values))), list(targets)
    kinds = first_of(sorted({type(label).__name__ for label in given}))
    raise UserError(
        f"The labels of {path} must be all paths, all numbers, or lists of one length, but are {kinds}: "
        "write all in one way.",
        "unknown_label",
    )
