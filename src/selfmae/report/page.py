"""The page: everything a run folder says, as one HTML file that needs no network."""

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from selfmae.report.examples import Example, examples
from selfmae.report.figures import color_of, curve_plots, difference_plot, probe_plots
from selfmae.report.images import LABEL_COLORS, label_colors, reconstructions, viewer
from selfmae.report.methods import methods_paragraph
from selfmae.report.paper_comparison import paper_labels, paper_table
from selfmae.report.provenance import (
    counts_table,
    files_table,
    findings_table,
    machines_table,
    model_card,
    plan_table,
    recipe_text,
    splits_table,
    tensor_lists,
    versions,
)
from selfmae.report.roc_and_calibration import outcome_plots
from selfmae.report.sentences import verdict_sentences
from selfmae.report.tables import (
    case_table,
    conventions,
    effects_table,
    inits_table,
    label_table,
    pairs_table,
    subgroups_table,
)
from selfmae.results.formatting import metric_title
from selfmae.results.limitations import sentence
from selfmae.results.run_folder import RunFolder


def build_page(results: RunFolder, leakage: Sequence[str] = ()) -> str:
    """Return the report of a run folder as HTML; equal files give equal bytes.

    With `leakage`, sentences on models that know their test cases, every table and figure is stamped.
    """
    environment = Environment(
        loader=PackageLoader("selfmae", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    outcome = _outcome(results)
    outcome["leakage"] = [*leakage] or [str(item) for item in results.verdict.get("leakage", [])]
    page = template.render(
        source=results.source, **outcome, **_looks(results), **_background(results, outcome["leakage"])
    )
    return stamp(page) if outcome["leakage"] else page


def stamp(page: str) -> str:
    """Return the page with the word TRANSDUCTIVE on the verdict, every table and every figure."""
    page = page.replace('<div class="verdict">', '<div class="verdict"><p class="alarm">TRANSDUCTIVE</p>')
    page = re.sub(r"<table[^>]*>", r'\g<0><caption class="alarm">TRANSDUCTIVE</caption>', page)
    return re.sub(r"<figure[^>]*>", r'\g<0><p class="alarm">TRANSDUCTIVE</p>', page)


def _outcome(results: RunFolder) -> dict[str, Any]:
    """Return the verdict and the tables of numbers."""
    inits = [init for init in results.inits if any(cell.summary for cell in results.runs_of(init))]
    labels = {init: label_table(results, init) for init in inits}
    return {
        "verdict": verdict_sentences(results),
        "pairs": pairs_table(results),
        "intervals": sentence("intervals"),
        "inits": inits_table(results),
        "metric": metric_title(results.headline) if results.headline else "",
        "conventions": conventions(results),
        "effects": effects_table(results),
        "subgroups": subgroups_table(results),
        "paper": paper_table(results),
        "paper_labels": paper_labels(results),
        "labels": {init: table for init, table in labels.items() if table.rows},
        "cases": case_table(results),
    }


def _looks(results: RunFolder) -> dict[str, Any]:
    """Return plots and pictures."""
    rows = next((cell.rows for cell in results.runs if cell.rows), ())
    names = results.labels
    return {
        "differences": difference_plot(results),
        "dots": "case" if rows and "dice" in rows[0] else "label",
        "curves": curve_plots(results),
        "probe": probe_plots(results),
        "validated": any(cell.scores for cell in results.runs),
        "init_colors": [(init, color_of(results, init)) for init in results.inits if init not in results.scored],
        "reconstructions": reconstructions(results),
        "label_colors": [(name, LABEL_COLORS[place % len(LABEL_COLORS)]) for place, name in enumerate(names)],
        "outcomes": outcome_plots(results),
        **_examples(examples(results), names),
    }


def _examples(shown: dict[str, list[Example]], names: list[str]) -> dict[str, Any]:
    """Return the example cases, and the viewer if one of them has a volume to look through."""
    turning = any(item.volume for found in shown.values() for item in found)
    return {
        "examples": shown,
        "outlined": any(not item.findings.rows for found in shown.values() for item in found),
        "viewer": viewer() if turning else "",
        "volume_colors": label_colors(names) if turning else {},
    }


def _equal_compute(results: RunFolder) -> list[str]:
    """Return what scratch with equal compute was given, and why."""
    return [f"Equal compute: {found['reason']}"] if (found := results.facts.get("equal_compute")) else []


def _background(results: RunFolder, leakage: Sequence[str]) -> dict[str, Any]:
    """Return what was run, and where the numbers are from."""
    return {
        "counts": counts_table(results),
        "splits": splits_table(results),
        "plan": plan_table(results),
        "notes": [str(note) for note in results.facts.get("notes", [])] + _equal_compute(results),
        "findings": findings_table(results),
        "machines": machines_table(results),
        "versions": versions(results),
        "tensors": tensor_lists(results),
        "recipe": recipe_text(results),
        "methods": methods_paragraph(results, leakage),
        "card": model_card(results, leakage),
        "files": files_table(results),
    }
