"""MedMNIST: one `.npz` with the arrays {train,val,test}_{images,labels} (Yang et al. 2023)."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.sources._files import NO_PATIENTS
from selfmae.errors import UserError, first_of

ORDER = 20
EXPECTS = "a .npz file with the arrays train_images and train_labels (MedMNIST)"
SPLITS = ("train", "val", "test")


def recognises(path: Path) -> bool:
    """Return whether the archive has a training part."""
    if not path.is_file() or path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"train_images.npy", "train_labels.npy"} <= set(archive.namelist())


def read(path: Path) -> Cases:
    """Return a case for each image [H, W], [H, W, 3] or [D, H, W], at the path `file.npz/train_images/12`."""
    try:
        with np.load(path, allow_pickle=False) as content:
            shapes = {split: _shape(content, split, path) for split in SPLITS if f"{split}_images" in content}
            labels = {split: _labels(content, split, shape[0], path) for split, shape in shapes.items()}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} could not be read ({error}): the file is damaged; copy it again.", "damaged_list"
        ) from error
    if len({array.shape[1] for array in labels.values()}) > 1:
        raise UserError(
            f"The labels of {path} must have the same columns in every part, but differ: mend the archive.",
            "damaged_list",
        )
    names, kind = _names(np.concatenate(list(labels.values())), path)
    cases = []
    for split, array in labels.items():
        numbers = array if kind == "multilabel" else array == np.array([int(name) for name in names])
        for index, row in enumerate(numbers.astype(float).tolist()):
            name = f"{split}_{index:05d}"
            cases.append(Case(name, name, (path / f"{split}_images" / str(index),), tuple(row), split))
    colour = len(shapes["train"]) == 4 and shapes["train"][-1] == 3
    channels = ("red", "green", "blue") if colour else ("gray",)
    note = NO_PATIENTS.format("MedMNIST does not name patients")
    return Cases(path, "medmnist", tuple(cases), Labels(kind, names), channels, (note,))


def _shape(content: Any, split: str, path: Path) -> tuple[int, ...]:
    """Return the shape of a part's images from the header of their array, without unpacking it."""
    with content.zip.open(f"{split}_images.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = read_header(file)[0]
    if len(shape) not in (3, 4):
        raise UserError(
            f"{path} must hold images [N, H, W], [N, H, W, 3] or [N, D, H, W], but {split}_images has the shape "
            f"{list(shape)}.",
            "damaged_list",
        )
    return shape


def _labels(content: Any, split: str, num_images: int, path: Path) -> np.ndarray:
    """Return whole numbers [N, F]."""
    array = content.get(f"{split}_labels", np.zeros(0))
    if len(array) != num_images:
        raise UserError(
            f"{path} must have one label for each image, but its {split} part has {num_images} images and "
            f"{len(array)} labels: mend the archive.",
            "unpaired",
        )
    return array.reshape(num_images, -1).astype(int)


def _names(labels: np.ndarray, path: Path) -> tuple[tuple[str, ...], str]:
    """Return names and kind: two values are one finding, more are classes, several columns of 0 and 1 are findings."""
    values = np.unique(labels).tolist()
    if set(values) <= {0, 1}:
        return (("positive",) if labels.shape[1] == 1 else tuple(map(str, range(labels.shape[1])))), "multilabel"
    if labels.shape[1] > 1:
        raise UserError(
            f"Several label columns must hold 0 and 1, but {path} has the values {first_of(values, 5)}: write one "
            "column for each finding, or a single one for classes.",
            "unknown_label",
        )
    return tuple(map(str, values)), "multiclass"
