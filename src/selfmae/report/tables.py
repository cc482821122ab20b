"""Tables of the page: initializations, pairs, labels, cases; every entry is text."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    rows = [(metric_title(headline) + bounds, *(_headline(run, init) for init in inits))]
    for name in _metrics(run):
        if name != headline:
            columns = [[training.metrics.get(name) for training in group] for group in trainings]
            texts = (with_spread(values, digits_of(name)) for values in columns)
            rows.append((metric_title(name), *texts))
    rows = [
        *(rows if headline else []),
        ("Time of pre-training", *(_pretraining_time(run, init) for init in inits)),
        ("Time of fine-tuning", *map(_time, trainings)),
        ("Steps of fine-tuning", *map(_steps, trainings)),
    ]
    return Table(("", *inits), tuple(rows) if inits else ())


def pairs_table(run: RunFolder) -> Table:
    """Return one row a pair of inits: difference, interval, p (of several pairs corrected too), counts and verdict."""
    several = len(run.verdict.get("pairs", [])) > 1
    rows = tuple(
        (
            f"{pair['b']} against {pair['a']}",
            str(pair["verdict"]),
            number(pair["difference"], max(3, difference_digits(pair)), sign=True),
            interval(pair.get("ci95"), max(3, difference_digits(pair)), sign=True),
            p_value(pair.get("p")),
            *([p_value(pair.get("p_holm"))] if several else []),
            f"{pair['num_cases']:,}",
            f"{pair['num_patients']:,}",
            str(pair["num_seeds"]),
        )
        for pair in run.verdict.get("pairs", [])
    )
    p_columns = ("p", "p (Holm)") if several else ("p",)
    columns = ("Pair", "Verdict", "Difference", "95 % interval", *p_columns, "Cases", "Patients", "Seeds")
    return Table(columns, rows, num_words=2)


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
            f"{row['num_cases']:,}",
            f"{row['num_patients']:,}" if "num_patients" in row else DASH,
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
    names = run.labels
    trainings = [training for training in run.runs_of(init) if training.summary.get("labels")]
    keys = {key for training in trainings for label in training.summary["labels"].values() for key in label}
    measures = sorted(keys, key=lambda key: (key.startswith("num_"), list(_ORDER).index(key) if key in _ORDER else 99))
    rows = []
    for name in names:
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
    scores = run.verdict.get("label_inits", {})
    paired = dict.fromkeys(pair[side] for pair in run.verdict.get("pairs", []) for side in "ab")
    inits = list(paired or run.verdict.get("inits", {}))
    base, *others = inits or [""]
    effects = {(row["label"], row["a"], row["b"]): row for row in run.verdict.get("labels", [])}
    rows: list[tuple[str, ...]] = []
    for label in (label for label in run.labels if label in scores):
        alone = [scores[label][init] for init in inits]
        pairs = [effects[label, base, other] for other in others]
        texts = [_with_interval(item["mean"], item["ci95"]) for item in alone]
        rows.append((label, *texts, *(_with_interval(pair["difference"], pair["ci95"], sign=True) for pair in pairs)))
    measure = "Dice" if run.headline == HEADLINES["mask"] else "AUC"
    columns = ("Label", *(f"{measure}, {init}" for init in inits), *(f"{init} against {base}" for init in others))
    return Table(columns, tuple(rows))


def _with_interval(value: float | None, bounds: Sequence[float] | None, sign: bool = False) -> str:
    return number(value, sign=sign) + (f" ({interval(bounds, sign=sign)})" if bounds else "")


def case_table(run: RunFolder) -> Table:
    """Return one row a test case, worst first, at most `MAX_CASES`; values are means over training runs."""
    measures = case_measures(run)
    known = sorted(run.runs, key=lambda training: not training.is_scored)  # scored masks do not tell whose they are
    cases = {row["id"]: row.get("patient", "") for training in known for row in training.rows}
    values = {init: _values_of(run.runs_of(init), [name for name, _, _ in measures]) for init in run.inits}
    _, _, larger_is_worse = measures[0] if measures else ("", "", False)
    ranked = sorted(
        cases, key=lambda case: _badness([values[init].get(case, [None])[0] for init in values], larger_is_worse)
    )
    columns = [f"{title}, {init}" for init in values for _, title, _ in measures]
    rows = tuple(
        (case, cases[case], *_entries([values[init].get(case) for init in values], measures))
        for case in ranked[:MAX_CASES]
    )
    return Table(("Case", "Patient", *columns), rows, num_words=2)


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
    pairs = [(defined([row[f"truth_{label}"]]), defined([row.get(f"probability_{label}")])) for label in labels]
    known = [(truth[0], probability[0]) for truth, probability in pairs if truth and probability]
    if name == "true_class":
        return mean_of([probability for truth, probability in known if truth > 0.5])
    return mean_of([(truth - probability) ** 2 for truth, probability in known])


def _badness(values: Sequence[float | None], larger_is_worse: bool) -> tuple[bool, float]:
    """Return a sort key: worst first, undefined last."""
    value = mean_of(values)
    if value is None:
        return True, 0.0
    return False, -value if larger_is_worse else value


def _entries(inits: Sequence[list[float | None] | None], measures: Sequence[Measure]) -> list[str]:
    return [
        number(value, digits_of(name))
        for values in inits
        for (name, _, _), value in zip(measures, values or [None] * len(measures), strict=True)
    ]


def _metrics(run: RunFolder) -> list[str]:
    return list(dict.fromkeys(name for training in run.runs for name in training.metrics))


def _headline(run: RunFolder, init: str) -> str:
    """Return the deciding metric of an initialization with its interval, from the verdict or else from its runs."""
    known = run.verdict.get("inits", {}).get(init)
    if known:
        text = number(known.get("mean"))
        return f"{text} ({interval(known['ci95'])})" if known.get("ci95") else text
    values = [training.metrics.get(run.headline) for training in run.runs_of(init)]
    return with_spread(values)


def _pretraining_time(run: RunFolder, init: str) -> str:
    """Return the time of self pre-training for the initializations that used it."""
    used = any(is_method(training.environment.get("init", {}).get("kind", init)) for training in run.runs_of(init))
    return _time(run.pretrainings) if used else DASH


def _time(runs: Sequence[TrainingRun]) -> str:
    return duration(mean_of([run.environment.get("seconds") for run in runs]))


def _steps(runs: Sequence[TrainingRun]) -> str:
    return span([run.num_steps for run in runs if run.num_steps])
