"""What was run: data, plan and recipe, findings of the data check, machines and initializations."""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from selfmae.report.tables import Table
from selfmae.results.formatting import DASH, duration, size
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


def provenance(run: RunFolder) -> dict[str, Any]:
    """Return what was run, for the page."""
    equal = run.facts.get("equal_compute")
    return {
        "counts": counts_table(run),
        "splits": splits_table(run),
        "plan": plan_table(run),
        "notes": [*map(str, run.facts.get("notes", [])), *([f"Equal compute: {equal['reason']}"] if equal else [])],
        "findings": findings_table(run),
        "machines": machines_table(run),
        "versions": versions(run),
        "tensors": tensor_lists(run),
        "recipe": recipe_text(run),
    }


def counts_table(run: RunFolder) -> Table:
    """Return cases and patients of each part of the split."""
    counts = run.facts.get("counts", {})
    rows = tuple(
        (title, f"{counts[part]['cases']:,}", f"{counts[part]['patients']:,}")
        for part, title in PARTS.items()
        if part in counts
    )
    return Table(("Part", "Cases", "Patients"), rows)


def splits_table(run: RunFolder) -> Table:
    """Return cases, patients and content digest of each part in each fold, as the training runs recorded them."""
    folds = {training.fold: training.cases for training in (*run.runs, *run.pretrainings) if training.cases}
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


def recipe_text(run: RunFolder) -> str:
    """Return the recipe as it stands in its file; of paths on the machine only the last part."""
    lines = []
    for line in run.recipe.splitlines(keepends=True):
        setting, mark, reason = line.partition("  # ")
        lines.append(re.sub(r"^( *\w+: ['\"]?)(?![\[{]).*[/\\]", r"\1", setting) + mark + reason)
    return "".join(lines)


def plan_table(run: RunFolder) -> Table:
    """Return key, value and reason of everything in the recipe that was derived or given rather than a default."""
    rows: list[tuple[str, ...]] = []
    sections: list[str] = []
    for line in recipe_text(run).splitlines():
        match = re.match(r"( *)(\w+):(?: (.*?))?(?:  # (.*))?$", line)
        if match:
            depth = len(match[1]) // 2
            sections[depth:] = [match[2]]
            if match[3] and match[4]:
                rows.append((".".join(sections), match[3], match[4]))
    return Table(("Setting", "Value", "Reason"), tuple(rows), num_words=3)


def findings_table(run: RunFolder) -> Table:
    """Return what the data doctor found."""
    rows = tuple(
        (str(item["severity"]), str(item["code"]), _cases(item.get("cases")), str(item["cause"]), str(item["fix"]))
        for item in run.facts.get("findings", [])
    )
    return Table(("Severity", "Finding", "Cases", "Cause", "What to do"), rows, num_words=5)


def machines_table(run: RunFolder) -> Table:
    """Return device, precision, parameters, time, memory and initialization report of every training."""
    rows = []
    for training in (*run.pretrainings, *run.trained):
        facts = training.environment
        num_parameters = facts.get("num_parameters")
        words = (training.title, _loaded(training), _device(training), str(facts.get("precision", DASH)))
        parameters = DASH if num_parameters is None else f"{num_parameters:,}"
        rows.append((*words, parameters, duration(facts.get("seconds")), size(facts.get("peak_bytes"))))
    columns = ("Training run", "Initialization", "Device", "Precision", "Parameters", "Time", "Peak memory")
    return Table(columns, tuple(rows), num_words=4)


def versions(run: RunFolder) -> list[tuple[str, str]]:
    """Return the distinct versions of every package, in the order of the file."""
    found: dict[str, list[str]] = {}
    for training in (*run.trained, *run.pretrainings):
        for name, version in training.environment.get("versions", {}).items():
            if version not in found.setdefault(name, []):
                found[name].append(str(version))
    return [(name, ", ".join(texts)) for name, texts in found.items()]


def tensor_lists(run: RunFolder) -> list[tuple[str, list[str], list[str]]]:
    """Return for each initialization, from its first training, the names of new and of unused tensors."""
    firsts = [run.runs_of(init)[0] for init in run.inits if init not in run.scored]
    lists = []
    for training in firsts:
        report = training.environment.get("init", {})
        if report.get("new") or report.get("unused"):
            lists.append((training.init, list(report.get("new", [])), list(report.get("unused", []))))
    return lists


def _loaded(training: TrainingRun) -> str:
    report = training.environment.get("init", {})
    if "loaded" not in report:
        return "random weights"
    new, unused = len(report.get("new", [])), len(report.get("unused", []))
    return f"{report['loaded']} tensors loaded, {new} new, {unused} unused"


def _device(training: TrainingRun) -> str:
    devices = training.environment.get("devices", 1)
    return str(training.environment.get("device", DASH)) + (f" \u00d7 {devices}" if devices > 1 else "")


def _cases(cases: object) -> str:
    """Return a number of cases, or the first few names of a list."""
    if not isinstance(cases, list) or not cases:
        return str(cases) if cases else DASH
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    return ", ".join(map(str, cases[:3])) + more
