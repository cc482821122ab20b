"""What was run: data, findings, machines and starts, and which file each number comes from."""

from selfmae.report.results import Cell, Results
from selfmae.report.tables import Table
from selfmae.report.words import DASH, duration

PARTS = {"train": "train", "val": "validation", "test": "test", "unlabelled": "unlabelled", "unused": "unused"}
FILES = (
    ("Verdict, differences, intervals", "verdict.json"),
    ("Metrics of starts and labels, conventions", "<start>/fold<k>/seed<n>/summary-test.json"),
    ("Dots of the differences, cases, ROC curves", "<start>/fold<k>/seed<n>/rows-test.csv"),
    ("Learning curves, steps", "<start>/fold<k>/seed<n>/steps.jsonl"),
    ("Reconstructions", "pretrain/fold<k>/seed<n>/figures/reconstructions.npz"),
    ("Example predictions", "<start>/fold<k>/seed<n>/figures/predictions.npz"),
    ("Versions, device, precision, parameters, seconds, start report", "<start>/fold<k>/seed<n>/where.json"),
    ("Counts, split notes, findings of the data", "run.json"),
    ("Recipe", "recipe.yaml"),
)


def counts_table(results: Results) -> Table:
    """Return cases and patients of each part of the split."""
    counts = results.run.get("counts", {})
    rows = tuple(
        (title, f"{counts[part]['cases']:,}", f"{counts[part]['patients']:,}")
        for part, title in PARTS.items()
        if part in counts
    )
    return Table(("Part", "Cases", "Patients"), rows)


def findings_table(results: Results) -> Table:
    """Return what the data doctor found."""
    rows = tuple(
        (str(item["severity"]), str(item["code"]), _cases(item.get("cases")), str(item["cause"]), str(item["fix"]))
        for item in results.run.get("findings", [])
    )
    return Table(("Severity", "Finding", "Cases", "Cause", "What to do"), rows, num_words=5)


def machines_table(results: Results) -> Table:
    """Return device, precision, parameters, time and start report of every training."""
    rows = tuple(
        (
            cell_name(cell),
            _loaded(cell),
            _device(cell),
            str(cell.where.get("precision", DASH)),
            _count(cell.where.get("num_parameters")),
            duration(cell.where.get("seconds")),
        )
        for cell in (*results.pretrained, *results.cells)
    )
    return Table(("Training", "Start", "Device", "Precision", "Parameters", "Time"), rows, num_words=4)


def versions(results: Results) -> list[tuple[str, str]]:
    """Return the distinct versions of every package, in the order of the file."""
    found: dict[str, list[str]] = {}
    for cell in (*results.cells, *results.pretrained):
        for name, version in cell.where.get("versions", {}).items():
            if version not in found.setdefault(name, []):
                found[name].append(str(version))
    return [(name, ", ".join(texts)) for name, texts in found.items()]


def tensor_lists(results: Results) -> list[tuple[str, list[str], list[str]]]:
    """Return for each start, from its first cell, the names of new and of unused tensors."""
    firsts = [results.cells_of(start)[0] for start in results.starts]
    lists = [
        (cell.start, list(report.get("new", [])), list(report.get("unused", [])))
        for cell in firsts
        for report in [cell.where.get("start", {})]
    ]
    return [entry for entry in lists if entry[1] or entry[2]]


def cell_name(cell: Cell) -> str:
    """Return how the page names a training."""
    return f"{cell.start}, fold {cell.fold}, seed {cell.seed}"


def _loaded(cell: Cell) -> str:
    report = cell.where.get("start", {})
    if "loaded" not in report:
        return "random weights"
    return (
        f"{report['loaded']} tensors loaded, {len(report.get('new', []))} new, {len(report.get('unused', []))} unused"
    )


def _device(cell: Cell) -> str:
    devices = cell.where.get("devices", 1)
    return str(cell.where.get("device", DASH)) + (f" \u00d7 {devices}" if devices > 1 else "")


def _cases(cases: object) -> str:
    """Return a number of cases, or the first few names of a list."""
    if not isinstance(cases, list):
        return DASH if cases is None else str(cases)
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    return ", ".join(map(str, cases[:3])) + more


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"
