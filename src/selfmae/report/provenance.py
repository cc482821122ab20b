"""What was run: data, plan, findings, machines and initializations, and which file each number comes from."""

import hashlib
import re
from collections.abc import Iterable, Sequence

from selfmae.report.methods import kind_of
from selfmae.report.sentences import capital, main_pair
from selfmae.report.tables import Table
from selfmae.results.formatting import DASH, duration, interval, listed, mean_of, number, origin, plural, size, spoken
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Row, TrainingRun

PARTS = {
    "labelled": "labelled (train, validation and test in turn)",
    "train": "train",
    "val": "validation",
    "test": "test",
    "unlabelled": "unlabelled",
    "unused": "unused",
}
FILES = (
    ("Metrics of initializations and labels, conventions", "<init>/fold<k>/seed<n>/summary-test.json"),
    (
        "Dots of the differences, intervals of labels, cases, ROC and calibration curves",
        "<init>/fold<k>/seed<n>/rows-test.csv",
    ),
    ("Learning curves, steps", "<init>/fold<k>/seed<n>/steps.jsonl"),
    ("Reconstructions", "pretrain/fold<k>/seed<n>/figures/reconstructions.npz"),
    ("Pictures and volumes of cases", "<init>/fold<k>/seed<n>/figures/examples.npz"),
    (
        "Versions, device, precision, parameters, seconds, peak memory, initialization report",
        "<init>/fold<k>/seed<n>/environment.json",
    ),
    ("Parts of the split and content digests", "<init>/fold<k>/seed<n>/cases.csv"),
    ("Counts, split notes, findings of the data", "run.json"),
    ("Plan and recipe", "recipe.yaml"),
)


TASKS = {
    "mask": "outlines {names} in images",
    "regions": "outlines the overlapping regions {names} in images",
    "multilabel": "gives a probability for each of {names}",
    "multiclass": "gives a probability for each of the exclusive classes {names}",
}


def files_table(results: RunFolder) -> list[tuple[str, str]]:
    """Return what each file holds of the page's numbers; those of scored masks lie in their own folders."""
    scored = [(f"Scores of {name}", "rows-test.csv, summary-test.json of `selfmae score`") for name in results.scored]
    return [("Verdict, differences, intervals, subgroups", results.verdict_file), *FILES, *scored]


def counts_table(results: RunFolder) -> Table:
    """Return cases and patients of each part of the split."""
    counts = results.facts.get("counts", {})
    rows = tuple(
        (title, f"{counts[part]['cases']:,}", f"{counts[part]['patients']:,}")
        for part, title in PARTS.items()
        if part in counts
    )
    return Table(("Part", "Cases", "Patients"), rows)


def splits_table(results: RunFolder) -> Table:
    """Return cases, patients and content digest of each part in each fold, as the trainings recorded them."""
    folds = {cell.fold: cell.cases for cell in (*results.runs, *results.pretrainings) if cell.cases}
    rows = []
    for fold, cases in sorted(folds.items()):
        for part, title in PARTS.items():
            members = [case for case in cases if case["split"] == part]
            if members:
                counts = (f"{len(members):,}", f"{len({case['patient'] for case in members}):,}")
                rows.append((str(fold), title, digest(members), *counts))
    return Table(("Fold", "Part", "Digest", "Cases", "Patients"), tuple(rows), num_words=3)


def digest(cases: Iterable[Row]) -> str:
    """Return 12 hexadecimal digits that change with any pixel of these cases' images, and not with names or order."""
    hashes = sorted(case["hash"] for case in cases if case["hash"])
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:12] if hashes else DASH


def recipe_text(results: RunFolder) -> str:
    """Return the recipe as it stands in its file; of places on the machine only the last part."""
    lines = []
    for line in results.recipe.splitlines(keepends=True):
        setting, mark, reason = line.partition("  # ")
        lines.append(re.sub(r"^( *\w+: ['\"]?)(?![\[{]).*[/\\]", r"\1", setting) + mark + reason)
    return "".join(lines)


def plan_table(results: RunFolder) -> Table:
    """Return key, value and reason of everything in the recipe that was derived or given rather than a default."""
    rows: list[tuple[str, ...]] = []
    sections: list[str] = []
    for line in recipe_text(results).splitlines():
        match = re.match(r"( *)(\w+):(?: (.*?))?(?:  # (.*))?$", line)
        if match:
            depth = len(match[1]) // 2
            sections[depth:] = [match[2]]
            if match[3] and match[4]:
                rows.append((".".join(sections), match[3], match[4]))
    return Table(("Setting", "Value", "Reason"), tuple(rows), num_words=3)


def findings_table(results: RunFolder) -> Table:
    """Return what the data doctor found."""
    rows = tuple(
        (str(item["severity"]), str(item["code"]), _cases(item.get("cases")), str(item["cause"]), str(item["fix"]))
        for item in results.facts.get("findings", [])
    )
    return Table(("Severity", "Finding", "Cases", "Cause", "What to do"), rows, num_words=5)


def machines_table(results: RunFolder) -> Table:
    """Return device, precision, parameters, time, memory and initialization report of every training."""
    rows = tuple(
        (
            cell_name(cell),
            _loaded(cell),
            _device(cell),
            str(cell.environment.get("precision", DASH)),
            _count(cell.environment.get("num_parameters")),
            duration(cell.environment.get("seconds")),
            size(cell.environment.get("peak_bytes")),
        )
        for cell in (*results.pretrainings, *results.trained)
    )
    columns = ("Training", "Initialization", "Device", "Precision", "Parameters", "Time", "Peak memory")
    note = "Memory: the most that the process had by the end of the training (on a GPU, there). Energy: not measured."
    return Table(columns, rows, note, num_words=4)


def versions(results: RunFolder) -> list[tuple[str, str]]:
    """Return the distinct versions of every package, in the order of the file."""
    found: dict[str, list[str]] = {}
    for cell in (*results.trained, *results.pretrainings):
        for name, version in cell.environment.get("versions", {}).items():
            if version not in found.setdefault(name, []):
                found[name].append(str(version))
    return [(name, ", ".join(texts)) for name, texts in found.items()]


def tensor_lists(results: RunFolder) -> list[tuple[str, list[str], list[str]]]:
    """Return for each initialization, from its first cell, the names of new and of unused tensors."""
    firsts = [results.runs_of(init)[0] for init in results.inits if init not in results.scored]
    lists = [
        (cell.init, list(report.get("new", [])), list(report.get("unused", [])))
        for cell in firsts
        for report in [cell.environment.get("init", {})]
    ]
    return [entry for entry in lists if entry[1] or entry[2]]


def cell_name(cell: TrainingRun) -> str:
    """Return how the page names a training."""
    return f"{cell.init}, fold {cell.fold}, seed {cell.seed}"


def _loaded(cell: TrainingRun) -> str:
    report = cell.environment.get("init", {})
    if "loaded" not in report:
        return "random weights"
    return (
        f"{report['loaded']} tensors loaded, {len(report.get('new', []))} new, {len(report.get('unused', []))} unused"
    )


def _device(cell: TrainingRun) -> str:
    devices = cell.environment.get("devices", 1)
    return str(cell.environment.get("device", DASH)) + (f" \u00d7 {devices}" if devices > 1 else "")


def _cases(cases: object) -> str:
    """Return a number of cases, or the first few names of a list."""
    if not isinstance(cases, list) or not cases:
        return str(cases) if cases else DASH
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    return ", ".join(map(str, cases[:3])) + more


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def model_card(results: RunFolder, leakage: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Return titles with their sentences; empty before any evaluation. `leakage` limits what the scores say."""
    if not results.headline or not results.trained:
        return []
    return [
        ("Intended use", _use(results)),
        ("Training data", _data(results)),
        ("Metrics", _metrics(results)),
        ("Limits", [*leakage, *_limits(results)]),
    ]


def _use(results: RunFolder) -> list[str]:
    names, channels = results.labels, results.settings.get("data.channels", [])
    task = TASKS.get(kind_of(results), "predicts {names}").format(names=listed(names))
    like = f" with the channels {listed(channels)}" if channels else ""
    return [
        f"The model {task}{like}, acquired and prepared like those of {results.source}.",
        "It is meant for research: to compare ways of training, and as a first draft that a person checks. "
        "It is not a medical device and was not tested for any decision about a patient.",
    ]


def _data(results: RunFolder) -> list[str]:
    counts = results.facts.get("counts", {})
    trained = [
        f"{plural(counts[part]['cases'], f'{word} case')} of {plural(counts[part]['patients'], 'patient')}"
        for part, word in (("labelled", "labelled"), ("train", "labelled"), ("unlabelled", "unlabelled"))
        if part in counts
    ]
    found = [str(item["code"]) for item in results.facts.get("findings", [])]
    return [
        *(
            [f"{capital(listed(trained))} of {results.source}; the weight files list the hash of every image."]
            if trained
            else []
        ),
        f"The data check found: {listed(found)}." if found else "The data check found nothing to remark.",
    ]


def _metrics(results: RunFolder) -> list[str]:
    inits = results.verdict.get("inits", {})
    sentences = []
    for init in (name for name in results.inits if name not in results.scored):
        mean, ci95 = (inits.get(init, {}).get(key) for key in ("mean", "ci95"))
        if mean is None:
            mean = mean_of([cell.metrics.get(results.headline) for cell in results.runs_of(init)])
        bounds = f" (95 % interval {interval(ci95)})" if ci95 else ""
        sentences.append(f"{capital(origin(init))}: {spoken(results.headline)} {number(mean)}{bounds} on test cases.")
    return sentences


def _undefined(results: RunFolder) -> list[str]:
    """Return the labels of which no test case tells anything, in any fold or over all folds."""
    found = [cell.summary.get("undefined", []) for cell in results.trained if cell.summary]
    known = {row["label"] for row in results.verdict.get("labels", []) if row.get("mean_a") is not None}
    return [name for name in (found[0] if found else []) if name not in known and all(name in item for item in found)]


def _limits(results: RunFolder) -> list[str]:
    pair = main_pair(results)
    cases, patients = (
        {row[key] for cell in results.trained for row in cell.rows if key in row} for key in ("id", "patient")
    )
    undefined = _undefined(results)
    sentences = [
        "All test cases come from the same source as the training cases: other scanners, hospitals or populations may "
        "give other results.",
        f"The models were tested on {plural(len(cases), 'case')} of {plural(len(patients), 'patient')}.",
    ]
    if undefined:
        sentences.append(f"Nothing can be said about {listed(undefined)}: the test cases do not show both outcomes.")
    if pair and pair["num_seeds"] == 1:
        sentences.append("Each initialization was trained with one seed, so the intervals do not cover training noise.")
    if kind_of(results) in ("multilabel", "multiclass"):
        sentences.append("Probabilities are calibrated only as far as the calibration curves show.")
    groups = {
        str(row["subgroup"]).partition(":")[0] for row in results.verdict.get("subgroups", []) if not row.get("label")
    }
    compared = f"were compared by {listed(sorted(groups))} only" if groups else "(sex, age, scanner) were not compared"
    return [*sentences, f"Groups of patients {compared}."]
