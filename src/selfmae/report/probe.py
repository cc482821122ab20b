"""The probe of pre-training on the page: its findings at every look, guesses without a model, its choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from selfmae.report.figures import COLORS, INK, panel, to_svg
from selfmae.report.methods import kind_of
from selfmae.report.results import Cell, Results
from selfmae.report.words import plural

GUESSES = {"mean_patch": "mean patch", "neighbour_copy": "nearest patch"}  # key of a look: words in the plot
TARGETS = {"patch": "normalised per patch", "channel": "normalised per channel of a patch", "raw": "not normalised"}


@dataclass(frozen=True)
class ProbePlot:
    """One plot of the page, its title and its caption."""

    title: str
    plot: Markup
    caption: str


def probe_plots(results: Results) -> list[ProbePlot]:
    """Return the held-out reconstruction error and the read-out of frozen features, where pre-training was probed."""
    cells = [cell for cell in results.pretrained if cell.looks]
    facts: Mapping[str, Any] = next((cell.where["probe"] for cell in cells if "probe" in cell.where), {})
    chooses = "probe" if any("probe" in look for cell in cells for look in cell.looks) else "reconstruction"
    plots = (
        ("reconstruction", "Held-out reconstruction error", _reconstruction_caption(results, facts)),
        ("probe", "Read-out of frozen features (AUC)", _labels_caption(results, facts)),
    )
    return [
        ProbePlot(title, _plot(f"probe-{key}", title, cells, key), caption + _choice(key == chooses))
        for key, title, caption in plots
        if any(cell.curve(key) for cell in cells)
    ]


def _plot(name: str, title: str, cells: Sequence[Cell], key: str) -> Markup:
    with panel(3.15, 2.3) as (figure, axes):
        for cell in cells:
            curve = cell.curve(key)
            _line(axes, curve, color=COLORS["mae"], linewidth=1.1, alpha=0.85)
            kept = [point for point in curve if point[0] == cell.kept_step]
            _line(axes, kept, color=COLORS["mae"], marker="o", markersize=7, fillstyle="none")
        if key == "reconstruction":
            _draw_guesses(axes, cells)
            axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.grid(color=INK, alpha=0.12, linewidth=0.5)
        return to_svg(figure, name, title)


def _line(axes: Axes, points: Sequence[tuple[int, float]], **style: Any) -> None:
    steps, values = np.array(points).T if points else np.zeros((2, 0))
    axes.plot(steps, values, **style)


def _draw_guesses(axes: Axes, cells: Sequence[Cell]) -> None:
    """Draw a dashed line for each guess without a model, its name at the first one."""
    for key, words in GUESSES.items():
        curves = [curve for cell in cells if (curve := cell.curve(key))]
        for place, curve in enumerate(curves):
            _line(axes, curve, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.7)
            if place == 0:
                axes.annotate(words, curve[0], (2, 2), textcoords="offset points", color=INK, fontsize=8)


def _reconstruction_caption(results: Results, facts: Mapping[str, Any]) -> str:
    target = str(results.settings.get("mask.target", "patch"))
    return (
        f"Mean squared error of hidden patches, {TARGETS[target]}{_held_out(facts)}; lower is better. Every look has "
        "the same views and hidden patches. Dashed, on the same patches and in the same units: guesses that need no "
        "model, the mean of the image's visible patches and a copy of the nearest visible patch."
    )


def _held_out(facts: Mapping[str, Any]) -> str:
    images, patients = facts.get("num_held_out"), facts.get("num_held_out_patients")
    return f", of {plural(images, 'validation image')} of {plural(patients, 'patient')}" if images and patients else ""


def _labels_caption(results: Results, facts: Mapping[str, Any]) -> str:
    cases, patients = facts.get("num_labelled"), facts.get("num_labelled_patients")
    whose = f" of {plural(cases, 'training case')} of {plural(patients, 'patient')}" if cases and patients else ""
    masks = kind_of(results) in ("mask", "regions")
    what = "single patches (positive: any voxel of the label)" if masks else "whole images"
    return (
        f"Area under the ROC curve of ridge regression on frozen features of {what}{whose}, each patient predicted "
        "from others (cross-validation); mean over the labels, higher is better. No weight of the encoder learned from "
        "a label."
    )


def _choice(chooses: bool) -> str:
    how = ", chosen by this score" if chooses else ""
    return f" One line for each training; ring: the step whose weights were kept{how}."
