"""What was understood of a source: cases, patients, split, channels, sizes, spacings, labels, and what is wrong."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfmae.data.case import Case, Cases, Labels
from selfmae.data.doctor.findings import Facts, finding_of
from selfmae.data.doctor.set_checks import patients_across_parts
from selfmae.data.source import Source, assign_parts, count_splits, examine_source, load_cases
from selfmae.data.sources import SourceError, read_source
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.recipe import check_partial, parse_sets

PARTS = ("train", "val", "test")


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
        found = assign_parts(read_source(source, options.layout), options)
        split = [replace(case, split=case.split or "train") for case in found.cases]  # none could be drawn
        cases = replace(found, cases=tuple(split))
        examined = examine_source(cases, masks=True, display=display)
        first = finding_of(error.code, str(error), patients_across_parts(cases))
        return replace(examined, findings=(first, *examined.findings))
    return examine_source(cases, masks=True, display=display)


def is_sound(source: Source) -> bool:
    """Return whether no finding is an error."""
    return all(finding.severity != "error" for finding in source.findings)


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
        name: {part: sum(present(case, index) for case in cases.part(part)) for part in PARTS}
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
    display.table((f"cases with the {kinds.get(labels.kind, 'label')}", *PARTS), counts)
    for note in cases.notes:
        display.say(f"Note: {note}")
    rows = [(found.code, found.severity, len(found.cases) or "") for found in source.findings]
    display.table(("finding", "severity", "cases"), rows)
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
