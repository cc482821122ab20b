"""Tables of the page (initializations, pairs, labels, cases), whose entries are texts, and the values of a case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from selfmae.methods import is_method
from selfmae.metrics.rows import HEADLINES
from selfmae.results.formatting import (
    DASH,
    defined,
    difference_digits,
    digits_of,
    duration,
    interval,
    mean_of,
    metric_title,
    number,
    p_value,
    span,
    with_spread,
)
from selfmae.results.headline import answer
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Row, TrainingRun

MAX_CASES = 200  # rows of the per-case table
UNITS = ("mm", "voxels")


@dataclass(frozen=True)
class Table:
    """Column titles and rows; the first `num_words` columns hold words, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_words: int = 1


def inits_table(run: RunFolder) -> Table:
    """Return one column an init: the deciding metric with its interval, others over training runs, time, steps."""
    headline, inits = run.headline, run.inits
    trainings = [run.runs_of(init) for init in inits]
    bounds = " (95 % interval)" if run.verdict.get("inits") else ""
    rows = [(metric_title(headline) + bounds, *(_headline(run, init) for init in inits))] if headline else []
    for name in dict.fromkeys(name for training in run.runs for name in training.metrics if headline):
        if name != headline:
            columns = [[training.metrics.get(name) for training in group] for group in trainings]
            rows.append((metric_title(name), *(with_spread(values, digits_of(name)) for values in columns)))
    steps = ([training.num_steps for training in group if training.num_steps] for group in trainings)
    rows += [
        ("Time of pre-training", *(_pretraining_time(run, group) for group in trainings)),
        ("Time of fine-tuning", *map(_time, trainings)),
        ("Steps of fine-tuning", *map(span, steps)),
    ]
    return Table(("", *inits), tuple(rows) if inits else ())


def _headline(run: RunFolder, init: str) -> str:
    """Return the deciding metric of an initialization with its interval, from the verdict or else from its runs."""
    known = run.verdict.get("inits", {}).get(init)
    if known:
        return _with_interval(known.get("mean"), known.get("ci95"))
    return with_spread([training.metrics.get(run.headline) for training in run.runs_of(init)])


def _with_interval(value: float | None, bounds: Sequence[float] | None, sign: bool = False) -> str:
    return number(value, sign=sign) + (f" ({interval(bounds, sign=sign)})" if bounds else "")


def _pretraining_time(run: RunFolder, trainings: Sequence[TrainingRun]) -> str:
    """Return the time of self pre-training where training runs used it."""
    used = any(is_method(training.environment.get("init", {}).get("kind", training.init)) for training in trainings)
    return _time(run.pretrainings) if used else DASH


def _time(runs: Sequence[TrainingRun]) -> str:
    return duration(mean_of([run.environment.get("seconds") for run in runs]))


def pairs_table(run: RunFolder) -> Table:
    """Return one row a pair of inits: difference, interval, p (of several pairs corrected too), counts and verdict."""
    pairs = run.verdict.get("pairs", [])
    several = len(pairs) > 1
    rows = []
    for pair in pairs:
        digits = max(3, difference_digits(pair))
        names = (f"{pair['b']} against {pair['a']}", answer(pair, run.scored))
        change = (number(pair["difference"], digits, sign=True), interval(pair.get("ci95"), digits, sign=True))
        chances = [p_value(pair.get(key)) for key in (("p", "p_holm") if several else ("p",))]
        rows.append((*names, *change, *chances, *_counts(pair), str(pair["num_seeds"])))
    p_columns = ("p", "p (Holm)") if several else ("p",)
    columns = ("Pair", "Verdict", "Difference", "95 % interval", *p_columns, "Cases", "Patients", "Seeds")
    return Table(columns, tuple(rows), num_words=2)


def _counts(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the numbers of cases and patients; older verdicts do not tell the patients of a subgroup."""
    return f"{row['num_cases']:,}", f"{row['num_patients']:,}" if "num_patients" in row else DASH


def subgroups_table(run: RunFolder) -> Table:
    """Return one row a subgroup and pair of initializations: both scores, as they are named, and their difference."""
    rows = tuple(
        (
            str(row["subgroup"]),
            f"{row['b']} against {row['a']}",
            number(row["mean_b"]),
            number(row["mean_a"]),
            number(row["difference"], sign=True),
            interval(row.get("ci95"), sign=True),
            *_counts(row),
        )
        for row in run.verdict.get("subgroups", [])
    )
    columns = ("Subgroup", "Pair", "First", "Second", "Difference", "95 % interval", "Cases", "Patients")
    return Table(columns, rows, num_words=2)


def conventions(run: RunFolder) -> list[tuple[str, str, str]]:
    """Return title, name in the files and convention sentence of every metric, the deciding one first."""
    found = {name: text for training in run.runs for name, text in training.summary.get("conventions", {}).items()}
    ordered = sorted(found.items(), key=lambda item: item[0] != run.headline)
    return [(metric_title(name), name, text) for name, text in ordered]


def label_table(run: RunFolder, init: str) -> Table:
    """Return one row a label of one initialization: every measure over its training runs."""
    trainings = [training for training in run.runs_of(init) if training.summary.get("labels")]
    keys = {key for training in trainings for label in training.summary["labels"].values() for key in label}
    measures = sorted(keys, key=lambda key: (key.startswith("num_"), list(_ORDER).index(key) if key in _ORDER else 99))
    rows = []
    for name in run.labels:
        row = [name]
        for measure in measures:
            values = [training.summary["labels"].get(name, {}).get(measure) for training in trainings]
            counts = measure.startswith("num_")
            row.append(number(mean_of(values), 0) if counts else with_spread(values, digits_of(measure)))
        rows.append(tuple(row))
    return Table(("Label", *map(metric_title, measures)), tuple(rows))


_ORDER = ("dice", "auc", "average_precision", "num_present", "num_missed", "num_false", "num_positive", "num_negative")


def effects_table(run: RunFolder) -> Table:
    """Return one row a label: its Dice or AUC by each initialization, and the differences from the first one."""
    scores = run.verdict.get("per_label_inits", {})
    paired = dict.fromkeys(pair[side] for pair in run.verdict.get("pairs", []) for side in "ab")
    inits = list(paired or run.verdict.get("inits", {}))
    base, *others = inits or [""]
    effects = {(row["label"], row["a"], row["b"]): row for row in run.verdict.get("per_label", [])}
    rows: list[tuple[str, ...]] = []
    for label in (label for label in run.labels if label in scores):
        alone = [scores[label][init] for init in inits]
        pairs = [effects[label, base, other] for other in others]
        texts = [_with_interval(item["mean"], item["ci95"]) for item in alone]
        rows.append((label, *texts, *(_with_interval(pair["difference"], pair["ci95"], sign=True) for pair in pairs)))
    measure = "Dice" if run.headline == HEADLINES["mask"] else "AUC"
    columns = ("Label", *(f"{measure}, {init}" for init in inits), *(f"{init} against {base}" for init in others))
    return Table(columns, tuple(rows))


def case_table(run: RunFolder) -> Table:
    """Return one row a test case, worst first, at most `MAX_CASES`; values are means over training runs."""
    measures = case_measures(run)
    names = [name for name, _, _ in measures]
    known = sorted(run.runs, key=lambda training: not training.is_scored)  # scored masks do not tell whose they are
    cases = {row["id"]: row.get("patient", "") for training in known for row in training.rows}
    means = [_values_of(run.runs_of(init), names) for init in run.inits]
    values = {case: [found.get(case, [None] * len(names)) for found in means] for case in cases}
    larger_is_worse = any(worse for _, _, worse in measures[:1])
    ranked = sorted(cases, key=lambda case: _badness([found[0] for found in values[case]], larger_is_worse))
    rows = []
    for case in ranked[:MAX_CASES]:
        pairs = [pair for found in values[case] for pair in zip(names, found, strict=True)]
        rows.append((case, cases[case], *(number(value, digits_of(name)) for name, value in pairs)))
    columns = [f"{title}, {init}" for init in run.inits for _, title, _ in measures]
    return Table(("Case", "Patient", *columns), tuple(rows), num_words=2)


def _badness(values: Sequence[float | None], larger_is_worse: bool) -> tuple[bool, float]:
    """Return a sort key: worst first, undefined last."""
    value = mean_of(values)
    if value is None:
        return True, 0.0
    return False, -value if larger_is_worse else value


Measure = tuple[str, str, bool]  # key, title, whether larger is worse


def case_measures(run: RunFolder) -> list[Measure]:
    """Return the values of a case that the table shows; the first one orders it."""
    first = next((training.rows[0] for training in run.runs if training.rows), {})
    if "dice" in first:
        return [("dice", "Dice", False)] + [
            (f"hd95_{unit}", f"HD95 ({unit})", True) for unit in UNITS if f"hd95_{unit}" in first
        ]
    if any(column.startswith("probability_") for column in first):
        if run.headline == "macro_auc":
            return [("true_class", "Probability of the true class", False)]
        return [("brier", "Squared error", True)]
    return []


def _values_of(runs: Sequence[TrainingRun], names: Sequence[str]) -> dict[str, list[float | None]]:
    """Return for each case its values, averaged over training runs."""
    gathered: dict[str, list[list[float | None]]] = {}
    for run in runs:
        for row in run.rows:
            gathered.setdefault(row["id"], []).append([case_value(row, name) for name in names])
    return {case: [mean_of(column) for column in zip(*rows, strict=True)] for case, rows in gathered.items()}


def case_value(row: Row, name: str) -> float | None:
    """Return one value of a row: a column, the probability of the true class, or the squared error over labels."""
    if name not in ("brier", "true_class"):
        return mean_of([row.get(name)])
    labels = [column.removeprefix("truth_") for column in row if column.startswith("truth_")]
    pairs = [defined([row[f"truth_{label}"], row.get(f"probability_{label}")]) for label in labels]
    known = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    if name == "true_class":
        return mean_of([probability for truth, probability in known if truth > 0.5])
    return mean_of([(truth - probability) ** 2 for truth, probability in known])


def differences(a: Sequence[TrainingRun], b: Sequence[TrainingRun]) -> list[float]:
    """Return B - A of the same folds and seeds, averaged over them: Dice of each case, or AUC of each label."""
    gathered: dict[str, list[float]] = {}
    for before, training in product(a, b):
        # Masks of another tool have no folds.
        if training.seed != before.seed or (training.fold != before.fold and not training.is_scored):
            continue
        values = _values(before)
        for name, value in _values(training).items():
            earlier = values.get(name)
            if value is not None and earlier is not None:
                gathered.setdefault(name, []).append(value - earlier)
    return [float(np.mean(values)) for values in gathered.values()]


def _values(training: TrainingRun) -> Mapping[str, float | None]:
    if training.rows and "dice" in training.rows[0]:
        return {row["id"]: case_value(row, "dice") for row in training.rows}
    return {name: label.get("auc") for name, label in training.summary.get("labels", {}).items()}
