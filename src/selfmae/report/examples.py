"""Best, median and worst test case of every init: slices with contours, or radiographs with their probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from selfmae.report.images import Arrays, Volume, contour_picture, read_arrays, volume_of, within_budget
from selfmae.report.tables import Table, case_measures, case_value
from selfmae.results.formatting import number
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Row, TrainingRun

RANKS = ("worst", "median", "best")
PLANES = ("axial", "coronal", "sagittal", "picture")


@dataclass(frozen=True)
class Example:
    """One case as one training saw it: the pictures with their titles, probabilities of labels, a volume to turn."""

    title: str
    pictures: tuple[tuple[str, str], ...]
    labels: Table
    volume: Volume | None


@dataclass(frozen=True)
class _Candidate:
    """A case that a training saved."""

    rank: str
    score: float
    training: TrainingRun
    row: Row
    arrays: Arrays


def examples(run: RunFolder) -> dict[str, list[Example]]:
    """Return for each initialization its worst, median and best test case, over all runs that saved pictures."""
    measures = case_measures(run)
    if not measures:
        return {}
    name, title, larger_is_worse = measures[0]
    sign = -1.0 if larger_is_worse else 1.0
    shown = {}
    for init in run.inits:
        candidates = [item for training in run.runs_of(init) for item in _candidates(training, name, sign)]
        values = [case_value(row, name) for training in run.runs_of(init) for row in training.rows]
        middle = median(sign * value for value in values if value is not None) if candidates else 0.0
        chosen = {
            "worst": min(candidates, key=lambda item: item.score, default=None),
            "median": min(
                (item for item in candidates if item.rank == "median"),
                key=lambda item: abs(item.score - middle),
                default=None,
            ),
            "best": max(candidates, key=lambda item: item.score, default=None),
        }
        shown[init] = [_example(run, rank, title, sign, item) for rank in RANKS if (item := chosen[rank])]
    return _limit({init: found for init, found in shown.items() if found})


def _limit(shown: dict[str, list[Example]]) -> dict[str, list[Example]]:
    """Return the examples with as many volumes as the page has room for: first the worst case of every init."""
    order = [(init, index) for index in range(len(RANKS)) for init, found in shown.items() if index < len(found)]
    kept = dict(zip(order, within_budget([shown[init][index].volume for init, index in order]), strict=True))
    return {
        init: [replace(item, volume=kept[init, index]) for index, item in enumerate(found)]
        for init, found in shown.items()
    }


def _candidates(training: TrainingRun, name: str, sign: float) -> Iterator[_Candidate]:
    """Yield the cases that a training saved and scored; larger scores are better."""
    path = training.folder / "figures" / "examples.npz"
    arrays = read_arrays(path) if path.is_file() else {}
    rows = {row["id"]: row for row in training.rows}
    for rank in RANKS:
        row = rows.get(str(arrays.get(f"{rank}_id")))
        value = case_value(row, name) if row else None
        if row and value is not None:
            mine = {key.removeprefix(f"{rank}_"): array for key, array in arrays.items() if key.startswith(f"{rank}_")}
            yield _Candidate(rank, sign * value, training, row, mine)


def _example(run: RunFolder, rank: str, measure: str, sign: float, item: _Candidate) -> Example:
    arrays = item.arrays
    pictures = tuple(
        (
            "" if plane == "picture" else plane,
            contour_picture(
                arrays[f"{plane}_image"],
                arrays.get(f"{plane}_truth"),
                arrays.get(f"{plane}_predicted"),
                arrays[f"{plane}_mm"],
            ),
        )
        for plane in PLANES
        if f"{plane}_image" in arrays
    )
    training, score = item.training, number(sign * item.score)
    name = f"{rank.capitalize()}: {item.row['id']}, {measure} {score} (fold {training.fold}, seed {training.seed})"
    return Example(name, pictures, _label_table(run, item.row), volume_of(arrays))


def _label_table(run: RunFolder, row: Row) -> Table:
    """Return truth and probability of every label of a case, the true ones first."""
    found = [
        (name, float(row[f"truth_{name}"]) > 0.5, float(row[f"probability_{name}"]))
        for name in run.labels
        if row.get(f"truth_{name}") and row.get(f"probability_{name}")
    ]
    found.sort(key=lambda item: (not item[1], -item[2]))
    rows = tuple((name, "yes" if truth else "no", number(probability)) for name, truth, probability in found)
    return Table(("Label", "Truth", "Probability"), rows, num_words=2)
