"""What was understood of a source: cases, patients, split, images, labels, what is wrong; and a repaired copy of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.checks import patients_across_parts, resample_onto
from selfmae.data.doctor.findings import Facts, finding_of
from selfmae.data.files import stem_of
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import mask_suffix, read_mask, write_mask
from selfmae.data.files.volumes import save_volume
from selfmae.data.folds import LABELLED
from selfmae.data.source import Source, count_splits, examine_source, load_cases, read_cases
from selfmae.data.sources import SourceError
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.files import write_table
from selfmae.recipe import check_partial, parse_sets

GRID_CODES = ("size_differs", "place_differs", "place_shifted")  # findings that `fix` mends, with "not_finite"
FIXED = (*GRID_CODES, "not_finite")


def inspect(source: str, sets: Sequence[str], display: Display) -> Source:
    """Return the examined source, read with the `data` keys of `--set`; its findings may hold errors.

    What a reader says of a source that it recognised is a finding too; then there may be no cases.
    """
    options = replace(check_partial(parse_sets(sets), "--set").data, source=source)
    try:
        cases = load_cases(options)
    except SourceError as error:
        nothing = Cases(Path(source), error.layout, (), Labels("", ()), ())
        return Source(nothing, (), (finding_of(error.code, str(error)),))
    except UserError as error:
        if not error.code:
            raise
        found = read_cases(options)
        split = [replace(case, split=case.split or "train") for case in found.cases]  # none could be drawn
        cases = replace(found, cases=tuple(split))
        examined = examine_source(cases, masks=True, display=display)
        first = finding_of(error.code, str(error), patients_across_parts(cases))
        return replace(examined, findings=(first, *examined.findings))
    return examine_source(cases, masks=True, display=display)


def has_errors(source: Source, mended: bool) -> bool:
    """Return whether a finding is an error, of those that `fix` does not mend where it has `mended` the source."""
    left = [finding for finding in source.findings if not (mended and finding.code in FIXED)]
    return any(finding.severity == "error" for finding in left)


def as_content(source: Source) -> dict[str, Any]:
    """Return what `inspect --json` prints."""
    cases = source.cases
    return {
        "source": str(cases.source),
        "layout": cases.layout,
        "num_cases": len(cases.cases),
        "cases": [
            {
                "id": case.id,
                "patient": case.patient,
                "split": case.split,
                "images": [str(path) for path in case.images],
                "target": list(case.target) if isinstance(case.target, tuple) else case.target and str(case.target),
            }
            for case in cases.cases
        ],
        "labels": count_labels(source),
        "findings": [asdict(finding) for finding in source.findings],
    }


def count_labels(source: Source) -> dict[str, dict[str, int]]:
    """Return for each label, and each part of the split, in how many cases it is present."""
    cases, labels = source.cases, source.cases.labels
    values = {fact.id: {value for value, _ in fact.mask_counts} for fact in source.facts}

    def present(case: Case, index: int) -> bool:
        if isinstance(case.target, tuple):
            return case.target[index] > 0.5
        return case.target is not None and labels.values[index] in values.get(case.id, set())

    return {
        name: {part: sum(present(case, index) for case in cases.part(part)) for part in LABELLED}
        for index, name in enumerate(labels.names)
    }


def show_source(source: Source, display: Display) -> None:
    """Print what was understood of a source, as tables."""
    cases, labels = source.cases, source.cases.labels
    display.say(f"{cases.source} was read as {cases.layout}: {len(cases.cases)} cases.")
    splits = count_splits(cases)
    display.table(("part", "cases", "patients"), [(part, n["cases"], n["patients"]) for part, n in splits.items()])
    if source.facts:
        display.table(("image", "value"), list(_describe_images(cases, source.facts)))
    kinds = {"mask": "label", "multilabel": "finding", "multiclass": "class"}
    counts = [(name, *number.values()) for name, number in count_labels(source).items()]
    display.table((f"cases with the {kinds.get(labels.kind, 'label')}", *LABELLED), counts)
    for note in cases.notes:
        display.say(f"Note: {note}")
    found = [(finding.code, finding.severity, len(finding.cases) or "") for finding in source.findings]
    display.table(("finding", "severity", "cases"), found)
    for finding in source.findings:
        display.say(f"{finding.severity.capitalize()} ({finding.code}): {finding.cause}. What to do: {finding.fix}.")


def _describe_images(cases: Cases, facts: Sequence[Facts]) -> list[tuple[str, str]]:
    shapes = [fact.shape for fact in facts]
    rows = [("channels", ", ".join(cases.channels)), ("size in voxels", _range(shapes, 0))]
    spacings = [fact.spacing_mm for fact in facts if fact.spacing_mm]
    rows.append(("spacing in mm", _range(spacings, 3) if spacings else "none in the files"))
    for index, name in enumerate(cases.channels):
        levels = np.median([fact.percentiles[index] for fact in facts if index < len(fact.percentiles)], axis=0)
        rows.append((f"intensity of {name}", "median case: 0.5 % {:.4g}, 50 % {:.4g}, 99.5 % {:.4g}".format(*levels)))
    return rows


def _range(values: Sequence[tuple[float, ...]], digits: int) -> str:
    """Return "35 x 50 x 35 (31 to 43 x 40 to 59 x 24 to 47)": the median, and the range where there is one."""
    if len({len(value) for value in values}) != 1:
        return "images and volumes are mixed"
    array = np.array(values)

    def text(value: float) -> str:
        return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"

    median = " x ".join(text(value) for value in np.median(array, axis=0))
    lows, highs = array.min(axis=0), array.max(axis=0)
    if np.allclose(lows, highs):
        return f"{median} (all equal)"
    return f"{median} ({' x '.join(f'{text(low)} to {text(high)}' for low, high in zip(lows, highs, strict=True))})"


def fix(source: Source, out: Path, display: Display) -> None:
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
