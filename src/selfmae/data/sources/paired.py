"""Images and masks paired by file name: in two folders, as X and X_seg in one folder, or in one folder per case."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from selfmae.data.case import Case, Cases
from selfmae.data.files import may_be_dicom, stem_of
from selfmae.data.sources._files import channels_of, images_in, labels_of, patients_of
from selfmae.errors import UserError, first_of

ORDER = 40
EXPECTS = (
    "folders images/ and labels/ (or masks/) with files of the same names, one folder with X and X_seg, or a folder "
    "for each case, as case/case_t1.nii.gz and case/case_seg.nii.gz"
)
IMAGE_FOLDERS = ("imagestr", "images", "image", "img")
MASK_FOLDERS = ("labelstr", "labels", "masks", "mask", "segmentations", "seg", "annotations")
UNLABELLED_FOLDERS = ("imagests", "unlabelled", "unlabeled")
# What names of images and masks have besides the name of the case.
IMAGE_MARKS = re.compile(r"^(img|image)_?(?=\d)|(_(0000|image|img|ct|mri?|t1|t2|t1w|t2w|t1ce|flair))+$", re.IGNORECASE)
MASK_MARKS = re.compile(r"^(label|mask|seg)_?(?=\d)|([_.-](seg|segmentation|masks?|labels?|gt))+$", re.IGNORECASE)
CHANNEL = re.compile(r"_(\d{4})$")
MASK_KIND = re.compile(r"(.*[_.-])?(seg|segm|segmentation|masks?|labels?|gt)", re.IGNORECASE)
Kinds = Mapping[str, Path]  # flair, t1, seg...: the file of each kind in one folder


def recognises(path: Path) -> bool:
    """Return whether there is a folder of images by a usual name, images in this folder itself, or folders of cases."""
    return path.is_dir() and (bool(images_in(_subfolder(path, IMAGE_FOLDERS) or path)) or are_case_folders(path))


def read(path: Path) -> Cases:
    """Return one case for each image; names ending in _0000, _0001 (nnU-Net) are channels where all cases have them."""
    if not images_in(_subfolder(path, IMAGE_FOLDERS) or path):
        return _read_folders(path)
    images, masks = _list_files(path)
    studies = _join_channels(images, set(masks))
    return _as_cases(path, studies, _pair(studies, masks, path))


def are_case_folders(path: Path) -> bool:
    """Return whether each folder below (or one level deeper, as HGG/case/) holds one case.

    They do if all share a kind of image, kinds are words (numbers would be the images of a class), and files begin
    with the folder's name or some are masks.
    """
    cases = list(_list_folders(path).values())
    kinds = {kind for case in cases for kind in case}
    begun = all(file.name.startswith(file.parent.name) for case in cases for file in case.values())
    return bool(
        _shared(cases)
        and all(re.search("[A-Za-z]", kind) for kind in kinds)
        and (begun or any(MASK_KIND.fullmatch(kind) for kind in kinds))
    )


def _read_folders(path: Path) -> Cases:
    """Return one case for each folder: its channels are what all folders have; a case with two masks is an error."""
    folders = _list_folders(path)
    _check_kinds(path, folders)
    names = [position.rsplit("/", 1)[-1] for position in folders]
    if len(set(names)) < len(names):
        names = [position.replace("/", "_") for position in folders]
    cases = dict(zip(names, folders.values(), strict=True))
    channels = _shared(cases.values())
    studies = {name: tuple(case[kind] for kind in channels) for name, case in cases.items()}
    masks = {}
    for name, case in cases.items():
        found = [file for kind, file in sorted(case.items()) if MASK_KIND.fullmatch(kind)]
        if len(found) > 1:
            raise UserError(
                f"A case must have one mask, but {found[0].parent} has {len(found)} "
                f"({first_of([file.name for file in found])}): keep one, or list image and mask in a table.",
                "unpaired",
            )
        if found:
            masks[name] = found[0]
    others = {kind for case in cases.values() for kind in case if not MASK_KIND.fullmatch(kind)} - set(channels)
    notes = [f"Not every case has {', '.join(sorted(others))}: left out."] if others else []
    if len(channels) > 1:
        notes.append(f"The channels are the files of each folder in this order: {', '.join(channels)}.")
    return _as_cases(path, studies, masks, channels, notes)


def _check_kinds(path: Path, folders: Mapping[str, Kinds]) -> None:
    for position, kinds in folders.items():
        files = images_in(path / position)
        if len(files) > len(kinds):
            repeated = first_of([file.name for file in files if file not in kinds.values()])
            raise UserError(
                f"{path / position} must have one file of each kind, but {repeated} is another of one: remove it.",
                "unpaired",
            )


def _list_folders(path: Path) -> dict[str, Kinds]:
    """Return the files by kind of each folder that holds images, by its path from the source."""
    for pattern in ("*/", "*/*/"):
        if folders := [folder for folder in sorted(path.glob(pattern)) if folder.is_dir() and images_in(folder)]:
            return {
                folder.relative_to(path).as_posix(): {
                    re.sub(rf"^{re.escape(folder.name)}[_.-]", "", stem_of(file)): file for file in images_in(folder)
                }
                for folder in folders
            }
    return {}


def _shared(cases: Iterable[Kinds]) -> tuple[str, ...]:
    """Return the kinds of image that every case has, sorted."""
    kinds = [{kind for kind in case if not MASK_KIND.fullmatch(kind)} for case in cases]
    return tuple(sorted(set.intersection(*kinds))) if kinds else ()


def has_masks(path: Path) -> bool:
    """Return whether masks in files of their own, which are not DICOM, are in the folder or its subfolders."""
    images, masks = _list_files(path)
    return bool(images) and any(not may_be_dicom(mask) for mask in masks.values())


def _as_cases(
    path: Path,
    studies: Mapping[str, tuple[Path, ...]],
    targets: Mapping[str, Path],
    kinds: tuple[str, ...] = (),
    notes: Sequence[str] = (),
) -> Cases:
    channels = kinds if len(kinds) > 1 else channels_of(studies.values())  # a file may hold several, or colours
    patients, said = patients_of(list(studies), list(studies.values()))
    declared = "Nothing declares the labels: their values were read from the masks."
    masks = declared if targets else "There are no masks: all cases are unlabelled."
    apart = _subfolder(path, UNLABELLED_FOLDERS)
    bare = [name for name, files in studies.items() if name not in targets and files[0].parent != apart]
    if targets and bare:
        notes = [*notes, f"Images without a mask count as unlabelled: {len(bare)} ({first_of(bare)})."]
    cases = tuple(
        Case(name, patient, files, targets.get(name), "unlabelled" if files[0].parent == apart else "")
        for (name, files), patient in zip(studies.items(), patients, strict=True)
    )
    labels = labels_of(sorted(targets.values()))
    return Cases(path, "paired", cases, labels, channels, (*notes, said, masks))


def _subfolder(path: Path, names: Sequence[str]) -> Path | None:
    """Return the subfolder with the first of these names, in whatever case."""
    there = {item.name.lower(): item for item in sorted(path.iterdir()) if item.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _list_files(path: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images, with those set apart without labels, and masks, by stem; in one folder, names tell the masks."""
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
    """Return the files of each case; names ending in four digits are channels if all cases have 0000, 0001, ..."""
    single: dict[str, tuple[Path, ...]] = {stem: (file,) for stem, file in images.items()}
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in sorted(images):
        groups[CHANNEL.sub("", stem)].append(stem)
    # A mask named like an image means numbered cases, one named like a base means channels.
    if masks & set(images) or not all(CHANNEL.search(stem) for stem in images):
        return single
    most = max(len(stems) for stems in groups.values())
    lacking = [base for base, stems in groups.items() if stems != [f"{base}_{index:04d}" for index in range(most)]]
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
    if lonely := [masks[stem].name for stem, names in owners.items() if not names]:
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
