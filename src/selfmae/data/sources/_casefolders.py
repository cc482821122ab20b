"""One folder per case, as BraTS has it: case/case_flair.nii.gz, case_t1.nii.gz, ..., case_seg.nii.gz."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfmae.data.files.names import stem_of
from selfmae.data.sources._files import first_few, images_in
from selfmae.errors import UserError

MASK_KIND = re.compile(r"(.*[_.-])?(seg|segm|segmentation|masks?|labels?|gt)", re.IGNORECASE)
Kinds = Mapping[str, Path]  # flair, t1, seg...: the file of each kind in one folder


@dataclass(frozen=True)
class CaseFolders:
    """The folders of all cases, put together."""

    channels: tuple[str, ...]  # kinds of image that every case has, sorted
    left_out: tuple[str, ...]  # kinds of image that only some have
    studies: Mapping[str, tuple[Path, ...]]  # by the folder's name
    masks: Mapping[str, Path]


def are_case_folders(path: Path) -> bool:
    """Return whether each folder below (or one level deeper, as HGG/case/) holds one case.

    They do if all share a kind of image, kinds are words (numbers would be the images of a class), and files begin
    with the folder's name or some are masks.
    """
    cases = list(_list_folders(path).values())
    kinds = {kind for case in cases for kind in case}
    begun = all(file.name.startswith(folder.name) for folder, file in _files_of(cases))
    return bool(
        _shared(cases)
        and all(re.search("[A-Za-z]", kind) for kind in kinds)
        and (begun or any(MASK_KIND.fullmatch(kind) for kind in kinds))
    )


def read_case_folders(path: Path) -> CaseFolders:
    """Return the channels that all cases have, and each case's files of them; a case with two masks is an error."""
    folders = _list_folders(path)
    for place, kinds in folders.items():
        files = images_in(path / place)
        if len(files) > len(kinds):
            repeated = first_few([file.name for file in files if file not in kinds.values()])
            raise UserError(
                f"{path / place} must have one file of each kind, but {repeated} is another of one: remove it.",
                "unpaired",
            )
    names = [place.rsplit("/", 1)[-1] for place in folders]
    if len(set(names)) < len(names):
        names = [place.replace("/", "_") for place in folders]
    cases = dict(zip(names, folders.values(), strict=True))
    channels = _shared(cases.values())
    others = {kind for case in cases.values() for kind in case if not MASK_KIND.fullmatch(kind)} - set(channels)
    studies = {name: tuple(case[kind] for kind in channels) for name, case in cases.items()}
    masks = {name: mask for name, case in cases.items() if (mask := _mask_of(case))}
    return CaseFolders(channels, tuple(sorted(others)), studies, masks)


def _list_folders(path: Path) -> dict[str, Kinds]:
    """Return the files by kind of each folder that holds images, by its path from the source."""
    for pattern in ("*/", "*/*/"):
        folders = [folder for folder in sorted(path.glob(pattern)) if folder.is_dir() and images_in(folder)]
        if folders:
            return {folder.relative_to(path).as_posix(): _kinds(folder) for folder in folders}
    return {}


def _kinds(folder: Path) -> Kinds:
    """Return the files of a folder by what their names have beyond the folder's own."""
    return {re.sub(rf"^{re.escape(folder.name)}[_.-]", "", stem_of(file)): file for file in images_in(folder)}


def _files_of(cases: Iterable[Kinds]) -> list[tuple[Path, Path]]:
    return [(file.parent, file) for case in cases for file in case.values()]


def _shared(cases: Iterable[Kinds]) -> tuple[str, ...]:
    """Return the kinds of image that every case has, sorted."""
    kinds = [{kind for kind in case if not MASK_KIND.fullmatch(kind)} for case in cases]
    return tuple(sorted(set.intersection(*kinds))) if kinds else ()


def _mask_of(case: Kinds) -> Path | None:
    found = [file for kind, file in sorted(case.items()) if MASK_KIND.fullmatch(kind)]
    if len(found) > 1:
        raise UserError(
            f"A case must have one mask, but {found[0].parent} has {len(found)} "
            f"({first_few([file.name for file in found])}): keep one, or list image and mask in a table.",
            "unpaired",
        )
    return found[0] if found else None
