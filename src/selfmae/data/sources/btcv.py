"""BTCV abdomen: imagesTr/img0001.nii.gz with labelsTr/label0001.nii.gz, 13 organs, the 18/12 split of TransUNet."""

import re
from collections.abc import Iterable
from pathlib import Path

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.sources._files import images_in
from selfmae.errors import UserError

ORDER = 25
EXPECTS = (
    "a folder with imagesTr/img0001.nii.gz and labelsTr/label0001.nii.gz (BTCV), or Training/img and Training/label"
)
FOLDERS = (  # of images, labels, and images without labels
    ("imagesTr", "labelsTr", "imagesTs"),
    ("Training/img", "Training/label", "Testing/img"),  # as the archive of the challenge holds them
)
NAME = re.compile(r"img(\d{4})\.nii(\.gz)?")
ORGANS = (
    *("spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("inferior vena cava", "portal and splenic veins", "pancreas", "right adrenal gland", "left adrenal gland"),
)
# Chen et al. 2021 (TransUNet), followed by Zhou et al. 2023. They chose the checkpoint on the cases that they report;
# here these are the test part, and a val part is drawn from the other 18.
TEST = ("0001", "0002", "0003", "0004", "0008", "0022", "0025", "0029", "0032", "0035", "0036", "0038")
LABELLED = [f"{number:04d}" for number in (*range(1, 11), *range(21, 41))]
TRAIN = tuple(number for number in LABELLED if number not in TEST)


def recognises(path: Path) -> bool:
    """Return whether the images have BTCV's names; a folder with a list of its own is left to the list's layout."""
    return _find_folders(path) is not None and not (path / "dataset.json").exists()


def read(path: Path) -> Cases:
    """Return the 30 cases with the split of TransUNet; scans of other numbers and those for the test are unlabelled."""
    folders = _find_folders(path)
    assert folders is not None
    images = _numbered(images_in(folders[0]))
    labels = {number: folders[1] / file.name.replace("img", "label") for number, file in images.items()}
    known = {**dict.fromkeys(TRAIN, ""), **dict.fromkeys(TEST, "test")}
    missing = [f"img{number}" for number in known if number not in images]
    if any(label.is_file() for label in labels.values()):  # pre-training does without any
        missing += [labels[number].name for number in known if number in labels and not labels[number].is_file()]
    if missing:
        raise UserError(
            f"BTCV has 30 labelled scans, but {path} lacks {len(missing)} of their files ({', '.join(missing)}): copy "
            f"them to {folders[0].name} and {folders[1].name}, or read the folder with --as paired and a split of your "
            "own.",
            "missing_file",
        )
    cases = [
        Case(f"img{number}", number, (file,), labels[number] if number in known else None, known.get(number, ""))
        for number, file in sorted(images.items())
    ]
    others = images_in(folders[2]) if folders[2].is_dir() else []
    cases += [Case(file.name.split(".")[0], file.name.split(".")[0], (file,), None, "unlabelled") for file in others]
    note = "The split is TransUNet's: 18 scans for training, 12 for test, which the paper reports."
    return Cases(path, "btcv", tuple(cases), Labels("mask", ORGANS, tuple(range(1, 14))), ("CT",), (note,))


def _find_folders(path: Path) -> tuple[Path, ...] | None:
    """Return the folders of images, labels and unlabelled images where images have BTCV's names; None if nowhere."""
    for names in FOLDERS:
        images, *others = (path / name for name in names)
        if images.is_dir() and _numbered(images.iterdir()):
            return images, *others
    return None


def _numbered(files: Iterable[Path]) -> dict[str, Path]:
    """Return the files with an image's name by its four digits."""
    return {match[1]: file for file in files if (match := NAME.fullmatch(file.name))}
