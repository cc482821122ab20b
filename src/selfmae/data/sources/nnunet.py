"""nnU-Net raw data: dataset.json, and X_0000, X_0001... for the channels of X (Isensee et al. 2021)."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.files import stem_of, suffix_of
from selfmae.data.sources._files import images_in, mask_labels, patients_of, read_channels, read_json, require_files
from selfmae.errors import UserError, first_of

ORDER = 12
EXPECTS = (
    "a folder with a dataset.json that names channel_names, labels and file_ending, and images X_0000 (nnU-Net raw)"
)
KEYS = ("channel_names", "labels", "file_ending")
CHANNEL = re.compile(r"(.+)_(\d{4})")


def recognises(path: Path) -> bool:
    """Return whether the JSON file names channels the way of nnU-Net 2, or its images have numbers that it does not."""
    file = path / "dataset.json"
    text = file.read_text(errors="replace") if file.is_file() else ""
    return '"channel_names"' in text or ('"modality"' in text and _adds_numbers(path / "imagesTr", text))


def _adds_numbers(folder: Path, text: str) -> bool:
    """Return whether the images are X_0000 where the list says X, as in nnU-Net 1."""
    images = images_in(folder) if folder.is_dir() else []
    return bool(images) and all(CHANNEL.fullmatch(stem_of(file)) and file.name not in text for file in images)


def read(path: Path) -> Cases:
    """Return the cases of imagesTr with their masks, and those of imagesTs as unlabelled ones."""
    file = path / "dataset.json"
    content = _load(file)
    channels, said_of_channels = read_channels(content["channel_names"])
    labels, notes = _labels(content["labels"], file)
    endings = [f"{index:04d}" for index in range(len(channels))]
    remedy = "add or rename files, or correct channel_names in dataset.json."
    cases = []
    for folder, labelled in (("imagesTr", True), ("imagesTs", False)):
        files = images_in(path / folder) if (path / folder).is_dir() else []
        for name, images in group_channels(files, endings, remedy).items():
            target = path / "labelsTr" / f"{name}{content['file_ending']}" if labelled else None
            cases.append(Case(name, name, images, target, "" if labelled else "unlabelled"))
    targets = [case.target for case in cases if isinstance(case.target, Path)]
    bare = require_files((), file, targets)
    patients, said = patients_of([case.id for case in cases], who="The list does not name patients")
    named = tuple(replace(case, patient=patient) for case, patient in zip(cases, patients, strict=True))
    return Cases(path, "nnunet", named, labels, channels, (*notes, *said_of_channels, *bare, said))


def _load(file: Path) -> dict[str, Any]:
    content, text = read_json(file), file.read_text()
    if isinstance(content, dict) and "channel_names" not in content and _adds_numbers(file.parent / "imagesTr", text):
        labels = content.get("labels")
        if isinstance(labels, dict) and all(str(value).isdigit() for value in labels):
            labels = {str(name): int(value) for value, name in labels.items()}
        # As version 2 has it: modality is channel_names, labels are from name to value.
        named = {key: value for key, value in (("channel_names", content.get("modality")), ("labels", labels)) if value}
        content = named | {"file_ending": suffix_of(images_in(file.parent / "imagesTr")[0])}
    lacking = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if lacking or not isinstance(content["channel_names"], dict) or not isinstance(content["labels"], dict):
        raise UserError(
            f"{file} must have the keys {', '.join(KEYS)}, the first two with names and numbers, but "
            f"{'lacks ' + ', '.join(lacking) if lacking else 'they are lists or values'}: correct it.",
            "damaged_list",
        )
    return dict(content)


def _labels(content: dict[str, Any], file: Path) -> tuple[Labels, list[str]]:
    """Return the labels with one value each; a region (a list of values) is left out and named in a note."""
    single = {name: value for name, value in content.items() if isinstance(value, int) and value > 0}
    regions = {name: value for name, value in content.items() if isinstance(value, list)}
    covered = sorted({value for values in regions.values() for value in values} - set(single.values()))
    single |= {f"label_{value}": value for value in covered}
    if not single:
        raise UserError(
            f'{file} must name labels as {{"liver": 1}}, but names none above 0: correct it.', "unknown_label"
        )
    text = ", ".join(f"{name} {values}" for name, values in regions.items())
    note = f"Regions are not learned by themselves ({text}): give them as target.regions."
    return mask_labels(single), [note] if regions else []


def group_channels(files: Sequence[Path], endings: Sequence[str], remedy: str) -> dict[str, tuple[Path, ...]]:
    """Return the files of each study X, named X_<ending>, in the order of the endings; raise where one is missing."""
    pattern = re.compile(rf"(.+?)_({'|'.join(map(re.escape, endings))})")
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    problems = []
    for path in files:
        match = pattern.fullmatch(stem_of(path))
        if match and match[2] not in found[match[1]]:
            found[match[1]][match[2]] = path
        else:
            problems.append(f"{path.name} is {'a second one' if match else 'none of these'}")
    problems += [f"{name}_{end} is missing" for name, there in found.items() for end in endings if end not in there]
    if problems:
        raise UserError(
            f"{files[0].parent} must hold {first_of(f'X_{ending}' for ending in endings)} for every image X, but "
            f"{first_of(problems)}: {remedy}"
        )
    return {name: tuple(there[ending] for ending in endings) for name, there in sorted(found.items())}
