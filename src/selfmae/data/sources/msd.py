"""Medical Segmentation Decathlon: a `dataset.json` that lists image and label files (Antonelli et al. 2022)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.files import stem_of
from selfmae.data.sources import nnunet
from selfmae.data.sources._files import images_in, mask_labels, patients_of, read_channels, read_json, require_files
from selfmae.errors import UserError, first_of

ORDER = 10
EXPECTS = "a folder with a dataset.json that has a list of training images (Medical Segmentation Decathlon)"
LISTS = {"training": "train", "validation": "val", "test": "test"}
Listed = tuple[str, Path, Path | None]  # split, image, label


def recognises(path: Path) -> bool:
    """Return whether the JSON file is there; a damaged one is recognised too, so that `read` says what is wrong."""
    file = _list_file(path)
    text = file.read_text(errors="replace") if file.is_file() else ""
    if '"fold"' in text or nnunet.recognises(path):  # a datalist, or a list of nnU-Net
        return False
    return '"training"' in text and (file.name == "dataset.json" or '"modality"' in text)


def read(path: Path) -> Cases:
    """Return the listed cases; without a `validation` list no split is given."""
    file = _list_file(path)
    content = _load(file)
    listed = [_read_entry(file, entry, split) for key, split in LISTS.items() for entry in content.get(key, ())]
    targets = [target for _, _, target in listed if target]
    ids = [stem_of(image) for _, image, _ in listed]
    patients, said = patients_of(ids, who="The list does not name patients")
    modality = content["modality"]
    if not isinstance(modality, dict) or not modality or not all(str(key).isdigit() for key in modality):
        raise UserError(
            f'The modality of {file} must look like {{"0": "MRI"}}, but is {json.dumps(modality)}: correct it.',
            "damaged_list",
        )
    channels, notes = read_channels(modality)
    bare = require_files([image for _, image, _ in listed], file, targets)
    drawn = "" if "validation" not in content else "train"
    cases = tuple(
        Case(name, patient, (image,), target, drawn if split == "train" else split)
        for name, patient, (split, image, target) in zip(ids, patients, listed, strict=True)
    )
    notes = [said, *notes, *bare, *_unlisted({image for _, image, _ in listed})]
    return Cases(path, "msd", cases, _labels(content, file), channels, tuple(notes))


def _list_file(path: Path) -> Path:
    return path / "dataset.json" if path.is_dir() or path.suffix != ".json" else path


def _load(file: Path) -> Mapping[str, Any]:
    content = read_json(file)
    wanted = [key for key in ("labels", "modality", "training") if not isinstance(content, dict) or key not in content]
    wanted = wanted or [f"a list under {key}" for key in LISTS if not isinstance(content.get(key, []), list)]
    if wanted:
        raise UserError(
            f"{file} must have the keys labels, modality and training, but lacks {', '.join(wanted)}: add them.",
            "damaged_list",
        )
    return dict(content)


def _read_entry(file: Path, entry: Any, split: str) -> Listed:
    """Return split, image and label of one entry; only entries of the test list may lack a label."""
    image, label = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else (entry, None)
    if isinstance(image, str) and isinstance(label, str):
        return split, file.parent / image, file.parent / label
    if isinstance(image, str) and split == "test":
        return "unlabelled", file.parent / image, None
    raise UserError(
        f'{file} must list training cases as {{"image": path, "label": path}}, but has {json.dumps(entry)}: '
        "correct it, or list an image without a label under test.",
        "damaged_list",
    )


def _labels(content: Mapping[str, Any], file: Path) -> Labels:
    """Return the names as written, without value 0, sorted by value; {"1": "Anterior"} and {"Anterior": 1} are read."""
    try:
        items = content["labels"].items()
        named = dict((int(key), str(value)) if key.isdigit() else (int(value), key) for key, value in items)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'The labels of {file} must look like {{"0": "background", "1": "name"}}, but are '
            f"{json.dumps(content['labels'])}: correct them.",
            "unknown_label",
        ) from error
    names = [name for value, name in named.items() if value != 0]
    if len(named) < len(items) or len(set(names)) < len(names):
        raise UserError(
            f"The labels of {file} must have one name for each value, but are {json.dumps(content['labels'])}: give "
            "each its own name and value.",
            "unknown_label",
        )
    return mask_labels({name: value for value, name in named.items() if value != 0})


def _unlisted(listed: set[Path]) -> list[str]:
    """Name the images in the folders of listed ones that are not on the list."""
    known = {path.resolve() for path in listed}
    there = [path for folder in sorted({path.parent for path in listed}) for path in images_in(folder)]
    others = [path for path in there if path.resolve() not in known]
    return [f"{len(others)} images are not on the list and left out ({first_of(others)})."] if others else []
