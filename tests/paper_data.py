"""Folders in the exact layout of the paper's data sets, with small generated images."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from selfmae.data.sources import btcv
from selfmae.data.sources.chestxray14 import FINDINGS


def write_btcv(folder: Path, shape: tuple[int, int, int] = (34, 34, 24)) -> Path:
    """Write 30 scans in Hounsfield units with air around a body, and the 13 organs as blocks in it."""
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True)
    for number in (*btcv.TRAIN, *btcv.TEST):
        rng = np.random.default_rng(int(number))
        image = np.full(shape, -1000, dtype=np.int16)
        body = tuple(slice(3, extent - 2) for extent in shape)
        image[body] = 100 * _structure(image[body].shape, rng)
        mask = np.zeros(shape, dtype=np.uint8)
        for value in range(1, 14):
            x, y = divmod(value - 1, 4)
            block = (slice(4 + 6 * x, 9 + 6 * x), slice(4 + 6 * y, 9 + 6 * y), slice(5, shape[2] - 4))
            mask[block] = value
            image[block] += 10 * value
        _save(folder / "imagesTr" / f"img{number}.nii.gz", image, (1.5, 1.5, 3.0))
        _save(folder / "labelsTr" / f"label{number}.nii.gz", mask, (1.5, 1.5, 3.0))
    return folder


def write_brats(folder: Path, num_cases: int = 12, side: int = 34) -> Path:
    """Write cases of four channels with zeros around a head, and three nested parts of a tumour."""
    names = [f"BRATS_{number:03d}" for number in range(1, num_cases + 1)]
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True)
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        image = np.zeros((side, side, side, 4), dtype=np.float32)
        head = image[3:-3, 3:-3, 3:-3]
        head[:] = 400 + 100 * _structure(head.shape[:3], rng)[..., None] + rng.uniform(0, 50, head.shape)
        mask = np.zeros((side, side, side), dtype=np.uint8)
        for value, gap in ((1, 8), (2, 11), (3, 14)):
            mask[gap:-gap, gap:-gap, gap:-gap] = value
        image[mask > 0] += 200
        _save(folder / "imagesTr" / f"{name}.nii.gz", image, (1.0, 1.0, 1.0))
        _save(folder / "labelsTr" / f"{name}.nii.gz", mask, (1.0, 1.0, 1.0))
    content = {
        "name": "BRATS",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_chestxray14(folder: Path, num_patients: int = 30) -> Path:
    """Write one radiograph of each patient; each has the finding of its number, if there is one, or none."""
    (folder / "images_001" / "images").mkdir(parents=True)
    rows, names = ["Image Index,Finding Labels,Follow-up #,Patient ID"], []
    for patient in range(num_patients):
        name = f"{patient:08d}_000.png"
        finding = (*FINDINGS, "No Finding")[patient % 15]
        rows.append(f"{name},{finding},0,{patient}")
        pixels = np.random.default_rng(patient).integers(0, 256, (48, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images_001" / "images" / name)
        names.append(name)
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows))
    (folder / "train_val_list.txt").write_text("\n".join(names[:20]))
    (folder / "test_list.txt").write_text("\n".join(names[20:]))
    return folder


def _structure(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return smooth values of deviation 1, others for each scan, lest the scans be taken for copies of each other."""
    smooth = gaussian_filter(rng.normal(size=shape), max(shape) / 10)
    return smooth / smooth.std()


def _save(path: Path, array: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    image = nib.Nifti1Image(array, np.diag([*spacing_mm, 1.0]))
    image.header.set_zooms((*spacing_mm, 1.0)[: array.ndim])
    nib.save(image, path)
