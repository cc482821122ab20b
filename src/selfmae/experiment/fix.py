"""A repaired copy of a source: masks put onto the grid of their image, images without NaN; the data stays as it is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.case_checks import resample_onto
from selfmae.data.files.formats import stem_of
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import mask_suffix, read_mask, write_mask
from selfmae.data.files.nifti import save_volume
from selfmae.data.source import Source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.files import write_table

GRID_CODES = ("size_differs", "place_differs", "place_shifted")
FIXED = (*GRID_CODES, "not_finite")


def fix(source: Source, out: Path, display: Display) -> Cases:
    """Write a table `cases.csv` of all cases into a new folder, and what had to be mended beside it.

    Files without a fault are not copied: the table names them where they are.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--fix {out} must be a new or an empty folder, but holds files: choose another one.")
    cases = source.cases
    foreign = [case.id for case in cases.cases if not all(path.is_file() for path in case.images)]
    if foreign:
        raise UserError(
            f"--fix writes a table of image files, but {len(foreign)} images of {cases.source} are no files of their "
            f"own (first: {foreign[0]!r}): export them as NIfTI or PNG first."
        )
    faults = {code: {name for found in source.findings if found.code == code for name in found.cases} for code in FIXED}
    grids = set().union(*(faults[code] for code in GRID_CODES))
    out.mkdir(parents=True, exist_ok=True)
    mended = [_mend(case, case.id in grids, case.id in faults["not_finite"], out, display) for case in cases.cases]
    write_table(out / "cases.csv", [_row(case, cases.labels) for case in mended])
    if cases.labels.kind == "mask":
        labels = dict(zip(cases.labels.names, cases.labels.values, strict=True))
        (out / "labels.json").write_text(json.dumps(labels, indent=2) + "\n")
    display.say(f"The repaired source is {out}: use it instead of {cases.source}.")
    return replace(cases, cases=tuple(mended))


def is_mended(source: Source) -> bool:
    """Return whether `fix` mends every error that was found."""
    return all(finding.code in FIXED for finding in source.findings if finding.severity == "error")


def _mend(case: Case, grid: bool, numbers: bool, out: Path, display: Display) -> Case:
    """Return a case with the files that were written for it."""
    if numbers:
        names = [case.id if len(case.images) == 1 else f"{case.id}_{stem_of(file)}" for file in case.images]
        mended = [_fill_gaps(*item, out, display) for item in zip(case.images, names, strict=True)]
        case = replace(case, images=tuple(mended))
    if grid and isinstance(case.target, Path):
        values = resample_onto(read_image(case.images), read_mask(case.target))
        path = out / "masks" / f"{case.id}{mask_suffix(case.images[0])}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(values, path, case.images[0])
        display.say(f"{path}: the mask of {case.id} on the grid of its image, by nearest neighbour.")
        case = replace(case, target=path)
    return case


def _fill_gaps(file: Path, name: str, out: Path, display: Display) -> Path:
    """Write an image with its smallest number where it had none; a file that has all numbers stays."""
    image = read_image([file])
    if np.isfinite(image.array).all():
        return file
    for channel in image.array:
        finite = np.isfinite(channel)
        channel[~finite] = channel[finite].min() if finite.any() else 0
    path = out / "images" / f"{name}{'.npy' if image.affine is None else '.nii.gz'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.affine is None:
        np.save(path, image.array[0] if len(image.array) == 1 else image.array)
    else:
        save_volume(path, image.array, image.affine)
    display.say(f"{path}: {file.name} with its smallest value instead of NaN and infinity.")
    return path


def _row(case: Case, labels: Labels) -> dict[str, str]:
    """Return a row of the table: id, patient, split, the files of the channels, and the mask or the labels."""
    row = {"id": case.id, "patient": case.patient, "split": case.split}
    for number, file in enumerate(case.images, start=1):
        row["image" if len(case.images) == 1 else f"image_{number}"] = str(file.absolute())
    if labels.kind == "mask":
        return {**row, "mask": str(case.target.absolute()) if isinstance(case.target, Path) else ""}
    target = case.target if isinstance(case.target, tuple) else None
    if labels.kind == "multiclass":
        return {**row, "class": labels.names[int(np.argmax(target))] if target else ""}
    return {**row, **{name: f"{target[index]:.0f}" if target else "" for index, name in enumerate(labels.names)}}
