"""Images and masks paired by file name: in two folders, as X and X_seg in one folder, or in one folder per case."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.files.formats import may_be_dicom, stem_of
from selfmae.data.sources._files import (
    are_case_folders,
    channels_of,
    images_in,
    labels_of,
    patients_of,
    read_case_folders,
)
from selfmae.errors import UserError, first_of

ORDER = 40
EXPECTS = (
    "folders images/ and labels/ (or masks/) with files of the same names, one folder with X and X_seg, or a folder "
    "for each case, as case/case_t1.nii.gz and case/case_seg.nii.gz"
)
IMAGE_FOLDERS = ("imagestr", "images", "image", "img")
MASK_FOLDERS = ("labelstr", "labels", "masks", "mask", "segmentations", "seg", "annotations")
UNLABELLED_FOLDERS = ("imagests", "unlabelled", "unlabeled")
# What names of images and masks have beside the name of the case.
IMAGE_MARKS = re.compile(r"^(img|image)_?(?=\d)|(_(0000|image|img|ct|mri?|t1|t2|t1w|t2w|t1ce|flair))+$", re.IGNORECASE)
MASK_MARKS = re.compile(r"^(label|mask|seg)_?(?=\d)|([_.-](seg|segmentation|masks?|labels?|gt))+$", re.IGNORECASE)
CHANNEL = re.compile(r"_(\d{4})$")


def recognises(path: Path) -> bool:
    """Return whether there is a folder of images by a usual name, images in this folder itself, or folders of cases."""
    return path.is_dir() and (bool(images_in(_subfolder(path, IMAGE_FOLDERS) or path)) or are_case_folders(path))


def read(path: Path) -> Cases:
    """Return one case for each image; images without a mask are unlabelled. Label values are read from the masks.

    Names ending in _0000, _0001 (nnU-Net) are the channels of one case, where every case has the same ones.
    """
    if not images_in(_subfolder(path, IMAGE_FOLDERS) or path):
        return _read_folders(path)
    images, masks = _list_files(path)
    studies = _join_channels(images, set(masks))
    targets = _pair(studies, masks, path)
    return _as_cases(path, studies, targets, channels_of(studies.values()), [])


def _read_folders(path: Path) -> Cases:
    found = read_case_folders(path)
    notes = []
    if found.left_out:
        notes.append(f"Not every case has {', '.join(found.left_out)}: left out.")
    if len(found.channels) == 1:  # a file that may hold several channels or colours
        return _as_cases(path, found.studies, found.masks, channels_of(found.studies.values()), notes)
    notes.append(f"The channels are the files of each folder in this order: {', '.join(found.channels)}.")
    return _as_cases(path, found.studies, found.masks, found.channels, notes)


def has_masks(path: Path) -> bool:
    """Return whether masks in files of their own, which are not DICOM, lie beside images."""
    images, masks = _list_files(path)
    return bool(images) and any(not may_be_dicom(mask) for mask in masks.values())


def _as_cases(
    path: Path,
    studies: Mapping[str, tuple[Path, ...]],
    targets: Mapping[str, Path],
    channels: tuple[str, ...],
    notes: Sequence[str],
) -> Cases:
    patients, said = patients_of(list(studies), list(studies.values()))
    if targets:
        masks = "Nothing declares the labels: their values were read from the masks."
    else:
        masks = "There are no masks: all cases are unlabelled."
    apart = _subfolder(path, UNLABELLED_FOLDERS)
    bare = [name for name, files in studies.items() if name not in targets and files[0].parent != apart]
    if targets and bare:
        notes = [*notes, f"Images without a mask count as unlabelled: {len(bare)} ({first_of(bare)})."]
    cases = tuple(
        Case(name, patient, files, targets.get(name), "unlabelled" if files[0].parent == apart else "")
        for (name, files), patient in zip(studies.items(), patients, strict=True)
    )
    labels = labels_of(sorted(targets.values())) if targets else Labels("mask", ())
    return Cases(path, "paired", cases, labels, channels, (*notes, said, masks))


def _subfolder(path: Path, names: Sequence[str]) -> Path | None:
    """Return the subfolder with the first of these names, in whatever case."""
    there = {item.name.lower(): item for item in sorted(path.iterdir()) if item.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _list_files(path: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images, those set apart without labels among them, and masks, by stem.

    In one folder, masks are the files whose names say so.
    """
    folder = _subfolder(path, IMAGE_FOLDERS)
    mask_folder = _subfolder(path, MASK_FOLDERS) if folder else None
    apart = _subfolder(path, UNLABELLED_FOLDERS)
    images = _by_stem([*images_in(folder or path), *(images_in(apart) if apart else [])])
    if mask_folder:
        return images, _by_stem(images_in(mask_folder))
    masks = {stem: file for stem, file in images.items() if MASK_MARKS.search(stem)}
    return {stem: file for stem, file in images.items() if stem not in masks}, masks


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in files:
        other = named.setdefault(stem_of(file), file)
        if other != file:
            raise UserError(f"{other} and {file} differ in their endings only: remove or rename one.", "duplicate_id")
    return named


def _join_channels(images: Mapping[str, Path], masks: set[str]) -> dict[str, tuple[Path, ...]]:
    """Return the files of each case; names ending in four digits are channels if all cases have 0000, 0001, ...

    Masks decide where they can: one named like an image means numbered cases, one like a base means channels.
    """
    single: dict[str, tuple[Path, ...]] = {stem: (file,) for stem, file in images.items()}
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in sorted(images):
        groups[CHANNEL.sub("", stem)].append(stem)
    if masks & set(images) or not all(CHANNEL.search(stem) for stem in images):
        return single
    most = max(len(stems) for stems in groups.values())
    lacking = [base for base, stems in groups.items() if stems != [f"{base}_{place:04d}" for place in range(most)]]
    if masks & set(groups) and lacking:
        raise UserError(
            f"Every case must have the channels 0000 to {most - 1:04d}, but {len(lacking)} lack some "
            f"({first_of(lacking)}): add the files.",
            "unpaired",
        )
    if lacking or (len(groups) == 1 and not masks & set(groups)):
        return single
    return {base: tuple(images[stem] for stem in stems) for base, stems in groups.items()}


def _pair(studies: Mapping[str, Sequence[Path]], masks: Mapping[str, Path], source: Path) -> dict[str, Path]:
    """Return the mask of each case that has one: same name, or same name without what marks image and mask."""
    bare: dict[str, list[str]] = defaultdict(list)
    for name in studies:
        bare[IMAGE_MARKS.sub("", name)].append(name)
    owners: dict[str, list[str]] = {}
    for stem in masks:
        plain = MASK_MARKS.sub("", stem)
        owners[stem] = next(([name] for name in (stem, plain) if name in studies), bare.get(plain, []))
    lonely = [masks[stem].name for stem, names in owners.items() if not names]
    if lonely:
        raise UserError(
            f"Every mask of {source} must have an image of the same name, but {len(lonely)} have none "
            f"({first_of(lonely)}): add the images or rename the masks.",
            "unpaired",
        )
    targets: dict[str, Path] = {}
    for stem, names in owners.items():
        if len(names) > 1 or names[0] in targets:
            raise UserError(
                f"Every image must have one mask and every mask one image, but {masks[stem].name} fits "
                f"{first_of(names) if len(names) > 1 else f'{names[0]}, which has {targets[names[0]].name}'}: "
                "rename the files.",
                "unpaired",
            )
        targets[names[0]] = masks[stem]
    return targets
