"""Generated data sets on disk, for the demo and the tests: the same arguments give the same bytes.

Image i depends only on the seed and i, so a longer set begins with the shorter one.
"""

import csv
import gzip
import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from selfmae.data.generated.radiographs import FINDINGS, Chest, draw_radiograph
from selfmae.data.generated.volumes import LIFELIKE, ORGANS, Style, draw_volume
from selfmae.seeds import generator


def write_volumes(
    folder: Path,
    num_cases: int,
    seed: int,
    size: tuple[int, int, int] = (48, 48, 48),
    num_channels: int = 1,
    num_unlabelled: int = 0,
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 2.0),
    style: Style = LIFELIKE,
) -> None:
    """Write abdomens with masks of six organs in the layout of the Medical Segmentation Decathlon.

    Labelled cases are `imagesTr/phantom_000.nii.gz` with `labelsTr/`, unlabelled ones `imagesTs/unlabelled_000.nii.gz`.
    Several channels lie on the fourth axis of one file. Each extent of `size` is at least 16.
    """
    assert min(size) >= 16, "a smaller volume would lose organs"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for kind, count in (("phantom", num_cases), ("unlabelled", num_unlabelled)):
        for index in range(count):
            image, mask = draw_volume(generator(seed, "volume", kind, index), size, num_channels, style)
            affine = np.diag((*spacing_mm, 1.0))  # from voxels to mm (RAS), the body near the scanner's centre
            offset = generator(seed, "place", kind, index).uniform(-20, 20, 3)
            affine[:3, 3] = np.round(-np.array(spacing_mm) * (np.array(size) - 1) / 2 + offset, 2)
            name = f"{kind}_{index:03d}.nii.gz"
            _write_nifti(folder / ("imagesTs" if kind == "unlabelled" else "imagesTr") / name, image, affine)
            if kind == "phantom":
                _write_nifti(folder / "labelsTr" / name, mask, affine)
    (folder / "dataset.json").write_text(json.dumps(_description(num_cases, num_channels, num_unlabelled), indent=2))


def write_radiographs(
    folder: Path,
    num_images: int,
    seed: int,
    size: tuple[int, int] = (64, 64),
    num_unlabelled: int = 0,
    clarity: float = 1.0,
) -> None:
    """Write chest radiographs (8-bit PNG of `size` = rows, columns), 1 to 3 of a patient, and `labels.csv`.

    Its columns are `image` (path from `folder`), `patient_id` and one of 0 or 1 for each finding, empty without labels.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, count in (("patient", num_images), ("unlabelled", num_unlabelled)):
        for patient, visit in _visits(seed, kind, count):
            chest = Chest.draw(generator(seed, "chest", kind, patient))
            rng = generator(seed, "visit", kind, patient, visit)
            image, findings = draw_radiograph(rng, chest, size, clarity)
            name = f"images/{kind}_{patient:04d}_{visit}.png"
            Image.fromarray(image).save(folder / name)
            rows.append([name, f"{kind}_{patient:04d}", *(findings if kind == "patient" else [""] * len(FINDINGS))])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["image", "patient_id", *FINDINGS], *rows])


def _visits(seed: int, kind: str, count: int) -> list[tuple[int, int]]:
    """Return (patient, visit) of the first `count` images."""
    numbers = ((patient, generator(seed, "visits", kind, patient).integers(1, 4)) for patient in itertools.count())
    visits = ((patient, visit) for patient, number in numbers for visit in range(number))
    return list(itertools.islice(visits, count))


def _write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI whose compressed bytes hold no time and no file name."""
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))


def _description(num_cases: int, num_channels: int, num_unlabelled: int) -> dict[str, object]:
    """Return the contents of dataset.json."""
    names = [f"phantom_{index:03d}.nii.gz" for index in range(num_cases)]
    return {
        "name": "Phantom",
        "description": "Generated abdomens; no patient's data",
        "tensorImageSize": "3D" if num_channels == 1 else "4D",
        "modality": {str(channel): "CT" if channel == 0 else f"contrast {channel}" for channel in range(num_channels)},
        "labels": {str(value): name for value, name in enumerate(("background", *ORGANS))},
        "numTraining": num_cases,
        "numTest": num_unlabelled,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [f"./imagesTs/unlabelled_{index:03d}.nii.gz" for index in range(num_unlabelled)],
    }
