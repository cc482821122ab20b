"""The page: everything a run folder says, as one HTML file that needs no network."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from selfmae.report.figures import color_of, curve_plots, difference_plot, roc_plots
from selfmae.report.pictures import LABEL_COLORS, predictions, reconstructions
from selfmae.report.provenance import FILES, counts_table, findings_table, machines_table, tensor_lists, versions
from selfmae.report.results import Results, label_names, read_results
from selfmae.report.sentences import methods_paragraph, verdict_sentences
from selfmae.report.tables import case_table, conventions, label_table, pairs_table, starts_table
from selfmae.report.words import metric_title


def build_page(folder: Path) -> str:
    """Return the report of a run folder as HTML; equal files give equal bytes. `UserError` if it holds no results."""
    results = read_results(folder)
    environment = Environment(
        loader=PackageLoader("selfmae", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(source=results.source, **_outcome(results), **_looks(results), **_background(results))


def _outcome(results: Results) -> dict[str, Any]:
    """Return the verdict and the tables of numbers."""
    starts = [start for start in results.starts if any(cell.summary for cell in results.cells_of(start))]
    labels = {start: label_table(results, start) for start in starts}
    return {
        "verdict": verdict_sentences(results),
        "leakage": [str(item) for item in results.verdict.get("leakage", [])],
        "pairs": pairs_table(results),
        "starts": starts_table(results),
        "metric": metric_title(results.headline) if results.headline else "",
        "conventions": conventions(results),
        "labels": {start: table for start, table in labels.items() if table.rows},
        "cases": case_table(results),
    }


def _looks(results: Results) -> dict[str, Any]:
    """Return plots and pictures."""
    rows = next((cell.rows for cell in results.cells if cell.rows), ())
    names = label_names(results)
    return {
        "differences": difference_plot(results),
        "dots": "case" if rows and "dice" in rows[0] else "label",
        "curves": curve_plots(results),
        "validated": any(cell.scores for cell in results.cells),
        "start_colors": [(start, color_of(results, start)) for start in results.starts],
        "reconstructions": reconstructions(results),
        "predictions": predictions(results),
        "label_colors": [(name, LABEL_COLORS[place % len(LABEL_COLORS)]) for place, name in enumerate(names)],
        "rocs": roc_plots(results),
    }


def _background(results: Results) -> dict[str, Any]:
    """Return what was run, and where the numbers are from."""
    return {
        "counts": counts_table(results),
        "notes": [str(note) for note in results.run.get("notes", [])],
        "findings": findings_table(results),
        "machines": machines_table(results),
        "versions": versions(results),
        "tensors": tensor_lists(results),
        "recipe": results.recipe,
        "methods": methods_paragraph(results),
        "files": FILES,
    }
