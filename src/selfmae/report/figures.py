"""Plots of the page as inline SVG that follows the page's text colour and font; equal data give equal bytes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import product
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from selfmae.report.tables import case_value
from selfmae.results.formatting import MINUS
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Curve, TrainingRun

INK = "#0a0b0c"  # stands for the page's text colour until the SVG is written
COLORS = {"scratch": "#7a828e", "mae": "#2a7de1"}  # of initializations; readable on white and on black
OTHER_COLORS = ("#d2691e", "#12937a", "#a855c8", "#c8415b")
MAX_POINTS = 300  # of one curve
WIDE = 8  # times the smallest value is the largest where a logarithmic axis has ticks at 1, 2 and 5 only
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label called "$x$" is no formula
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)


GUESSES = {"mean_patch": "mean patch", "neighbour_copy": "nearest patch"}  # key of a validation: words in the plot


@dataclass(frozen=True)
class ProbePlot:
    """One plot of the probe: "reconstruction" or "probe", whether it chose the weights, and how many cases it used."""

    key: str
    title: str
    plot: Markup
    chooses: bool
    facts: Mapping[str, Any]


def color_of(run: RunFolder, init: str) -> str:
    """Return the colour of an initialization on the whole page."""
    others = [name for name in run.inits if name not in COLORS]
    return COLORS[init] if init in COLORS else OTHER_COLORS[others.index(init) % len(OTHER_COLORS)]


@contextmanager
def panel(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Give a figure (inches) with one pair of axes, drawn by our style whatever the user's own is."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, title: str) -> Markup:
    """Return the figure as an SVG element without dates, with ids of its own and the page's ink."""
    buffer = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    return Markup(svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(title), 1))


def difference_plot(run: RunFolder) -> Markup | None:
    """Return the interval of every pair of initializations and a dot for each case (masks) or label (otherwise)."""
    pairs = run.verdict.get("pairs", [])
    if not pairs:
        return None
    with panel(4.8, 0.6 + 1.1 * len(pairs)) as (figure, axes):
        axes.axvline(0, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
        for index, pair in enumerate(pairs):
            color = color_of(run, pair["b"]) if run.runs_of(pair["b"]) else INK
            dots = differences(run.runs_of(pair["a"]), run.runs_of(pair["b"]))
            axes.scatter(dots, index - 0.12 - 0.26 * _stack(dots), s=20, color=color, alpha=0.45, linewidths=0)
            if pair.get("ci95"):
                axes.plot(pair["ci95"], [index + 0.18] * 2, color=color, linewidth=2.5, solid_capstyle="butt")
            if pair.get("difference") is not None:
                axes.plot([pair["difference"]], [index + 0.18], "D", color=color, markersize=6)
        axes.set_yticks(range(len(pairs)), [f"{pair['b']}\nagainst\n{pair['a']}" for pair in pairs])
        axes.set_ylim(len(pairs) - 0.5, -0.55)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(_signed)
        axes.set_xlabel("difference (right of 0: the first initialization is better)")
        return to_svg(figure, "differences", "Paired differences of the initializations")


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


def _stack(values: Sequence[float]) -> np.ndarray:
    """Return a height 0..1 for each dot so that near ones lie apart: dots of a bin are stacked."""
    bins = np.round((np.array(values) - np.min(values)) / (np.ptp(values) or 1) * 40) if len(values) else np.zeros(0)
    heights = np.array([np.sum(bins[:index] == value) for index, value in enumerate(bins)])
    return heights / max(heights.max(initial=0), 5)


def _signed(value: float, position: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:+.3g}".replace("-", MINUS)


def _plain(value: float, position: float) -> str:
    return f"{value:g}"


def curve_plots(run: RunFolder) -> list[tuple[str, Markup]]:
    """Return title and plot of the learning curves there are: both losses and the validation score."""
    pre = [(training.losses, COLORS["mae"]) for training in run.pretrainings]
    losses = [(training.losses, color_of(run, training.init)) for training in run.runs]
    scores = [(training.scores, color_of(run, training.init)) for training in run.runs]
    plots = (
        ("pretraining", "Pre-training loss (log scale)", pre, "log"),
        ("finetuning", "Fine-tuning loss", losses, "linear"),
        ("validation", "Validation score", scores, "linear"),
    )
    return [
        (title, _curves(name, title, lines, scale)) for name, title, lines, scale in plots if any(c for c, _ in lines)
    ]


def _curves(name: str, title: str, lines: Sequence[tuple[Curve, str]], scale: str) -> Markup:
    with panel(3.15, 2.3) as (figure, axes):
        for curve, color in lines:
            steps, values = np.array(_thin(curve)).T if curve else np.zeros((2, 0))
            axes.plot(steps, values, color=color, linewidth=1.1, alpha=0.85, marker="." if len(steps) < 12 else "")
        axes.set_yscale(scale)
        if scale == "log":
            low, high = axes.dataLim.intervaly
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > WIDE * low else range(1, 10)))
            axes.yaxis.set_major_formatter(_plain)
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("step")
        axes.grid(color=INK, alpha=0.12, linewidth=0.5)
        return to_svg(figure, name, title)


def _thin(curve: Sequence[Any] | np.ndarray) -> list[Any]:
    """Return at most `MAX_POINTS` points, evenly spread, first and last among them."""
    indices = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MAX_POINTS)).round().astype(int))
    return [curve[index] for index in indices]


def probe_plots(run: RunFolder) -> list[ProbePlot]:
    """Return the held-out reconstruction error and the read-out of frozen features, where pre-training was probed."""
    runs = [found for found in run.pretrainings if found.validations]
    facts: Mapping[str, Any] = next((r.environment["probe"] for r in runs if "probe" in r.environment), {})
    chooses = "probe" if any(found.choice == "probe" for found in runs) else "reconstruction"
    titles = {"reconstruction": "Held-out reconstruction error", "probe": "Read-out of frozen features (AUC)"}
    return [
        ProbePlot(key, title, _plot(f"probe-{key}", title, runs, key), key == chooses, facts)
        for key, title in titles.items()
        if any(found.curve(key) for found in runs)
    ]


def _plot(name: str, title: str, runs: Sequence[TrainingRun], key: str) -> Markup:
    with panel(3.15, 2.3) as (figure, axes):
        for run in runs:
            curve = run.curve(key)
            _line(axes, curve, color=COLORS["mae"], linewidth=1.1, alpha=0.85)
            kept = [point for point in curve if point[0] == run.kept_step]
            _line(axes, kept, color=COLORS["mae"], marker="o", markersize=7, fillstyle="none")
        if key == "reconstruction":
            _draw_guesses(axes, runs)
            axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.grid(color=INK, alpha=0.12, linewidth=0.5)
        return to_svg(figure, name, title)


def _line(axes: Axes, points: Sequence[tuple[int, float]], **style: Any) -> None:
    steps, values = np.array(points).T if points else np.zeros((2, 0))
    axes.plot(steps, values, **style)


def _draw_guesses(axes: Axes, runs: Sequence[TrainingRun]) -> None:
    """Draw a dashed line for each guess without a model, its name at the first one."""
    for key, words in GUESSES.items():
        curves = [curve for run in runs if (curve := run.curve(key))]
        for index, curve in enumerate(curves):
            _line(axes, curve, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.7)
            if index == 0:
                axes.annotate(words, curve[0], (2, 2), textcoords="offset points", color=INK, fontsize=8)
