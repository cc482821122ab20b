"""The page: everything a run folder says, as one HTML file that needs no network; the words are its templates'."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from selfmae import plugins
from selfmae.losses import USUAL
from selfmae.methods import EQUAL, is_method
from selfmae.report.figures import curve_plots, difference_plot, init_colors, outcome_plots, probe_plots
from selfmae.report.images import contour_colors, examples, label_colors, reconstructions, viewer
from selfmae.report.label_curves import label_worth
from selfmae.report.paper import paper_labels, paper_table
from selfmae.report.provenance import provenance
from selfmae.report.tables import (
    case_table,
    conventions,
    effects_table,
    inits_table,
    label_table,
    pairs_table,
    subgroups_table,
)
from selfmae.results.formatting import mean_of, metric_title, plural, span
from selfmae.results.headline import SCRATCH, claim_facts, main_pair, orient, split_name
from selfmae.results.limitations import sentence, templates, told
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun

PACKAGES = ("selfmae", "torch", "timm", "monai")  # that the methods paragraph names
PARTS = {"labelled": "labelled", "train": "training", "val": "validation", "test": "test", "unlabelled": "unlabelled"}
ENCODER = ("patch", "width", "depth", "heads")  # of a Vision Transformer

Pair = Mapping[str, Any]


def build_page(run: RunFolder, leakage: Sequence[str] = ()) -> str:
    """Return the report of a run folder as HTML; equal files give equal bytes.

    With `leakage`, sentences on models that know their test cases, every table and figure is stamped.
    """
    leakage = [*leakage] or [str(item) for item in run.verdict.get("leakage", [])]
    page = render("page.html", page_facts(run, leakage))
    return stamp(page) if leakage else page


def render(template: str, facts: dict[str, Any]) -> str:
    """Return a template of the report filled with facts; texts are escaped."""
    return templates("selfmae.report", autoescape=True).get_template(template).render(facts)


def stamp(page: str) -> str:
    """Return the page with the word TRANSDUCTIVE on the verdict, every table and every figure."""
    page = page.replace('<div class="verdict">', '<div class="verdict"><p class="alarm">TRANSDUCTIVE</p>')
    page = re.sub(r"<table[^>]*>", r'\g<0><caption class="alarm">TRANSDUCTIVE</caption>', page)
    return re.sub(r"<figure[^>]*>", r'\g<0><p class="alarm">TRANSDUCTIVE</p>', page)


def page_facts(run: RunFolder, leakage: Sequence[str] = ()) -> dict[str, Any]:
    """Return what `page.html` and the templates that it includes need."""
    return {
        "run": run,
        "leakage": leakage,
        "kind": run.kind,
        "pair": _main_pair(run),
        **_verdict(run),
        **_tables(run),
        **_plots(run),
        **label_worth(run),
        **provenance(run),
        **_methods(run),
        **_card(run),
    }


def _main_pair(run: RunFolder) -> Pair | None:
    """Return the pair that answers the question, that of the headline, otherwise the first."""
    pairs = run.verdict.get("pairs", [])
    return (main_pair(run.verdict) or pairs[0]) if pairs else None


def _verdict(run: RunFolder) -> dict[str, Any]:
    """Return what the verdict says, costs and leaves open; without a comparison, what can be said instead."""
    pair = _main_pair(run)
    evaluated = [found for found in run.runs if found.metrics]
    if pair:
        claims = [claim_facts(shown, run.verdict) for shown in (pair, _scratch_pair(run, pair)) if shown]
        return {
            "claims": [sentence("claim", facts) for facts in claims],
            "cost": _cost(run, pair),
            "told": told(run.verdict, pair),
        }
    if not evaluated:
        return {"alone": None, "begun": (run.runs or run.pretrainings)[0]}
    init = evaluated[0].init
    runs = [found for found in evaluated if found.init == init]
    mean, ci95 = _headline(run, init)
    seeds = {"num_seeds": len({found.seed for found in runs})}
    return {"alone": {"init": init, "mean": mean, "ci95": ci95} | _count_tested(runs) | seeds}


def _headline(run: RunFolder, init: str) -> tuple[float | None, Sequence[float] | None]:
    """Return the deciding metric of an initialization with its interval, by the verdict or else its training runs."""
    known = run.verdict.get("inits", {}).get(init, {})
    mean = known.get("mean")
    if mean is None:
        mean = mean_of([found.metrics.get(run.headline) for found in run.runs_of(init)])
    return mean, known.get("ci95")


def _scratch_pair(run: RunFolder, pair: Pair) -> Pair | None:
    """Return the comparison with scratch of less compute, where the main pair has scratch of equal compute."""
    base, network = split_name(pair["a"])
    wanted = {SCRATCH + network, pair["b"]}
    found = [orient(other) for other in run.verdict["pairs"] if {other["a"], other["b"]} == wanted]
    return next(iter(found), None) if base == EQUAL else None


def _cost(run: RunFolder, pair: Pair) -> dict[str, Any] | None:
    """Return what self pre-training cost, None where the pair has none; `planned` steps where it ended early."""
    steps = [found.num_steps for found in run.pretrainings if found.num_steps]
    if not is_method(pair["b"]) or not steps:
        return None
    planned = int(run.settings.get("pretrain.steps", 0))
    return {
        "steps": span(steps),
        "planned": planned if min(steps) < planned else None,
        "seconds": mean_of([found.environment.get("seconds") for found in run.pretrainings]),
        "fit_seconds": mean_of([found.environment.get("seconds") for found in run.runs_of(pair["b"])]),
    }


def _tables(run: RunFolder) -> dict[str, Any]:
    """Return the tables of numbers."""
    inits = [init for init in run.inits if any(found.summary for found in run.runs_of(init))]
    labels = {init: label_table(run, init) for init in inits}
    return {
        "pairs": pairs_table(run),
        "intervals": sentence("intervals", run.verdict),
        "inits": inits_table(run),
        "metric": metric_title(run.headline) if run.headline else "",
        "conventions": conventions(run),
        "effects": effects_table(run),
        "subgroups": subgroups_table(run),
        "paper": paper_table(run),
        "paper_labels": paper_labels(run),
        "labels": {init: table for init, table in labels.items() if table.rows},
        "cases": case_table(run),
        "num_cases": _count_tested(run.runs)["num_cases"],
    }


def _plots(run: RunFolder) -> dict[str, Any]:
    """Return plots and pictures, and the viewer if an example has a volume to browse."""
    rows = next((found.rows for found in run.runs if found.rows), [])
    shown = examples(run)
    cases = [case for found in shown.values() for case in found]
    has_volumes = any(case.volume for case in cases)
    return {
        "differences": difference_plot(run),
        "dots": "case" if rows and "dice" in rows[0] else "label",
        "curves": curve_plots(run),
        "probe": probe_plots(run),
        "validated": any(found.scores for found in run.runs),
        "init_colors": [item for item in init_colors(run.inits).items() if item[0] not in run.scored],
        "reconstructions": reconstructions(run),
        "label_colors": contour_colors(run.labels),
        "outcome_plots": outcome_plots(run),
        "examples": shown,
        "outlined": any(not case.labels.rows for case in cases),
        "viewer": viewer() if has_volumes else "",
        "volume_colors": label_colors(run.labels) if has_volumes else {},
    }


def _methods(run: RunFolder) -> dict[str, Any]:
    """Return the facts of the methods paragraph; what the folder does not tell is empty."""
    loss = run.settings.get("fit.loss") or USUAL.get(run.kind, "")
    encoder = {key: run.settings.get(f"model.{key}") for key in ENCODER}
    explained = (found.summary.get("conventions", {}).get(run.headline, "") for found in run.runs)
    return {
        "software": _software([*run.trained, *run.pretrainings]),
        "parts": _count_parts(run, PARTS),
        "baseline": _baseline(run),
        "loss": plugins.load("losses", loss).WORDS if loss in plugins.names("losses") else "",
        "encoder": encoder if all(encoder.values()) else None,
        "pretraining": _pretraining(run),
        "finetuning": _finetuning(run),
        "convention": next(filter(None, explained), ""),
    }


def _software(runs: Sequence[TrainingRun]) -> dict[str, Any] | None:
    environment = runs[0].environment if runs else {}
    known = environment.get("versions", {})
    packages = [f"{name} {known[name]}" for name in PACKAGES if name in known]
    if not packages:
        return None
    precision = environment.get("precision", "an unknown precision")
    return {"packages": packages, "device": environment.get("device"), "precision": precision}


def _count_parts(run: RunFolder, words: Mapping[str, str]) -> list[str]:
    """Return "20 training cases of 10 patients" for each part of the split that has cases."""
    counts = run.facts.get("counts", {})
    return [
        f"{plural(counts[part]['cases'], f'{word} case')} of {plural(counts[part]['patients'], 'patient')}"
        for part, word in words.items()
        if counts.get(part, {}).get("cases")
    ]


def _baseline(run: RunFolder) -> str:
    """Return the network that stands in the place of the Vision Transformer and where it is from, "" if none does."""
    name = str(run.settings.get("model.network") or "")
    network = plugins.load("networks", name) if name in plugins.names("networks") else None
    if network is None or network.ENCODER == "vit":
        return ""
    library = network.LIBRARY
    if library == "timm" and len(run.settings.get("data.crop", ())) == 3:
        library = "MONAI"
    return f"{name} of {library}" if library else name


def _pretraining(run: RunFolder) -> dict[str, Any] | None:
    if not run.pretrainings:
        return None
    first, settings = run.pretrainings[0], run.settings
    method = str(first.environment.get("method", "mae"))
    known = method in plugins.names("methods")
    begun = str(settings.get("init.pretrain") or "scratch").replace("\\", "/")
    return {
        "how": plugins.load("methods", method).describe(settings) if known else f"with {method}",
        "num_images": [found.environment["num_seen"] for found in run.pretrainings if "num_seen" in found.environment],
        "num_steps": [found.num_steps for found in run.pretrainings if found.num_steps],
        "begun": "" if begun == "scratch" else begun.rpartition("/")[2],
        "choice": first.choice,
    }


def _finetuning(run: RunFolder) -> dict[str, Any] | None:
    if not run.trained:
        return None
    equal = [found for found in run.trained if found.init == EQUAL]
    others = [found for found in run.trained if found.init != EQUAL]
    return {
        "inits": [init for init in run.inits if init not in run.scored],
        "num_seeds": len({found.seed for found in run.trained}),
        "num_steps": max((found.num_steps or 0 for found in others), default=0),
        "num_equal_steps": max((found.num_steps or 0 for found in equal), default=0),
    }


def _card(run: RunFolder) -> dict[str, Any]:
    """Return the facts of the model card."""
    scores = [(init, *_headline(run, init)) for init in run.inits if init not in run.scored]
    by_column = {str(row["subgroup"]) for row in run.verdict.get("subgroups", []) if not row.get("label")}
    return {
        "trained_on": _count_parts(run, {"labelled": "labelled", "train": "labelled", "unlabelled": "unlabelled"}),
        "scores": scores,
        "tested": _count_tested(run.trained),
        "undefined": _undefined_labels(run),
        "groups": sorted({name.partition(":")[0] for name in by_column}),
    }


def _count_tested(runs: Sequence[TrainingRun]) -> dict[str, int]:
    """Return how many different cases and patients these training runs were tested on."""
    rows = [row for found in runs for row in found.rows]
    return {f"num_{key}s": len({row[name] for row in rows}) for key, name in (("case", "id"), ("patient", "patient"))}


def _undefined_labels(run: RunFolder) -> list[str]:
    """Return the labels of which no test case tells anything, in any fold or over all folds."""
    found = [item.summary.get("undefined", []) for item in run.trained if item.summary]
    known = {row["label"] for row in run.verdict.get("per_label", []) if row.get("mean_a") is not None}
    return [name for name in (found[0] if found else []) if name not in known and all(name in item for item in found)]
