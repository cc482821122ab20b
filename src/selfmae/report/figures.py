"""Plots of the page as inline SVG that follows the page's text colour and font; equal data give equal bytes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from sklearn.metrics import roc_auc_score, roc_curve

from selfmae.report.tables import differences
from selfmae.results.formatting import MINUS, number
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Curve, TrainingRun

INK = "#0a0b0c"  # stands for the page's text colour until the SVG is written
COLORS = {"scratch": "#7a828e", "mae": "#2a7de1"}  # of initializations; readable on white and on black
OTHER_COLORS = ("#d2691e", "#12937a", "#a855c8", "#c8415b")
MAX_POINTS = 300  # of one curve
WIDE = 8  # times the smallest value is the largest where a logarithmic axis has ticks at 1, 2 and 5 only
GRID = np.linspace(0, 1, 101)  # false positive rates of the mean ROC curve
MAX_GROUPS, CASES_IN_GROUP = 10, 10  # of a calibration curve: at most so many groups, of at least so many cases
MAX_LABELS = 24  # with ROC and calibration curves
GUESSES = {"mean_patch": "mean patch", "neighbour_copy": "nearest patch"}  # key of a validation: words in the plot
DASHED = (0, (4, 3))
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

Outcome = tuple[np.ndarray, np.ndarray]  # truth (bool) and probability of one label by one training


@dataclass(frozen=True)
class ProbePlot:
    """One plot of the probe: "reconstruction" or "probe", whether it chose the weights, and how many cases it used."""

    key: str
    title: str
    plot: Markup
    chooses: bool
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class OutcomePlots:
    """The two plots of one label."""

    name: str
    roc: Markup
    calibration: Markup


def init_colors(inits: Sequence[str]) -> dict[str, str]:
    """Return the colour of each initialization on the whole page."""
    others = [name for name in inits if name not in COLORS]
    return {name: COLORS.get(name) or OTHER_COLORS[others.index(name) % len(OTHER_COLORS)] for name in inits}


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
    colors = init_colors(run.inits)
    with panel(4.8, 0.6 + 1.1 * len(pairs)) as (figure, axes):
        axes.axvline(0, color=INK, linewidth=0.6, linestyle=DASHED)
        for index, pair in enumerate(pairs):
            color = colors.get(pair["b"], INK)
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


def _stack(values: Sequence[float]) -> np.ndarray:
    """Return a height 0..1 for each dot so that near ones lie apart: dots of a bin are stacked."""
    bins = np.round((np.array(values) - np.min(values)) / (np.ptp(values) or 1) * 40) if len(values) else np.zeros(0)
    heights = np.array([np.sum(bins[:index] == value) for index, value in enumerate(bins)])
    return heights / max(heights.max(initial=0), 5)


def _signed(value: float, position: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:+.3g}".replace("-", MINUS)


def curve_plots(run: RunFolder) -> list[tuple[str, Markup]]:
    """Return title and plot of the learning curves there are: both losses and the validation score."""
    colors = init_colors(run.inits)
    pre = [(training.losses, COLORS["mae"]) for training in run.pretrainings]
    losses = [(training.losses, colors[training.init]) for training in run.runs]
    scores = [(training.scores, colors[training.init]) for training in run.runs]
    plots = (
        ("pretraining", "Pre-training loss (log scale)", pre),
        ("finetuning", "Fine-tuning loss", losses),
        ("validation", "Validation score", scores),
    )
    return [(title, _curves(name, title, lines)) for name, title, lines in plots if any(curve for curve, _ in lines)]


def _curves(name: str, title: str, lines: Sequence[tuple[Curve, str]]) -> Markup:
    with _step_panel() as (figure, axes):
        for curve, color in lines:
            points = _thin(curve)
            _draw_line(axes, points, color=color, linewidth=1.1, alpha=0.85, marker="." if len(points) < 12 else "")
        if name == "pretraining":
            axes.set_yscale("log")
            low, high = axes.dataLim.intervaly
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > WIDE * low else range(1, 10)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        return to_svg(figure, name, title)


@contextmanager
def _step_panel() -> Iterator[tuple[Figure, Axes]]:
    """Give the panel of what depends on the step."""
    with panel(3.15, 2.3) as (figure, axes):
        axes.set_xlabel("step")
        axes.grid(color=INK, alpha=0.12, linewidth=0.5)
        yield figure, axes


def _draw_line(axes: Axes, points: Sequence[tuple[int, float]], **style: Any) -> None:
    steps, values = np.array(points).T if points else np.zeros((2, 0))
    axes.plot(steps, values, **style)


def _thin(curve: Curve) -> list[tuple[int, float]]:
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
        ProbePlot(key, title, _probe_plot(key, title, runs), key == chooses, facts)
        for key, title in titles.items()
        if any(found.curve(key) for found in runs)
    ]


def _probe_plot(key: str, title: str, runs: Sequence[TrainingRun]) -> Markup:
    with _step_panel() as (figure, axes):
        for run in runs:
            curve = run.curve(key)
            _draw_line(axes, curve, color=COLORS["mae"], linewidth=1.1, alpha=0.85)
            kept = [point for point in curve if point[0] == run.kept_step]
            _draw_line(axes, kept, color=COLORS["mae"], marker="o", markersize=7, fillstyle="none")
        if key == "reconstruction":
            _draw_guesses(axes, runs)
            axes.set_ylim(bottom=0)
        return to_svg(figure, f"probe-{key}", title)


def _draw_guesses(axes: Axes, runs: Sequence[TrainingRun]) -> None:
    """Draw a dashed line for each guess without a model, its name at the first one."""
    for key, words in GUESSES.items():
        curves = [curve for run in runs if (curve := run.curve(key))]
        for index, curve in enumerate(curves):
            _draw_line(axes, curve, color=INK, linewidth=0.8, linestyle=DASHED, alpha=0.7)
            if index == 0:
                axes.annotate(words, curve[0], (2, 2), textcoords="offset points", color=INK, fontsize=8)


def outcome_plots(run: RunFolder) -> list[OutcomePlots]:
    """Return ROC and calibration curves, averaged over training runs, of the first labels that have both outcomes."""
    colors = init_colors(run.inits)
    plots: list[OutcomePlots] = []
    for name in run.labels:
        found = {init: _outcomes_of(run, init, name) for init in run.inits}
        shown = {init: outcomes for init, outcomes in found.items() if outcomes}
        if shown and len(plots) < MAX_LABELS:
            roc, calibration = (plot(name, shown, colors, len(plots)) for plot in (_roc_plot, _calibration_plot))
            plots.append(OutcomePlots(name, roc, calibration))
    return plots


def _roc_plot(name: str, found: Mapping[str, Sequence[Outcome]], colors: Mapping[str, str], index: int) -> Markup:
    with panel(2.5, 2.4) as (figure, axes):
        curves = {init: np.stack([[0, *GRID], [0, *mean_roc(outcomes)]]) for init, outcomes in found.items()}
        _draw_square(axes, curves, colors, 1.0)
        for line, (init, outcomes) in enumerate(found.items()):
            area = float(np.mean([roc_auc_score(*outcome) for outcome in outcomes]))
            place = 0.04 + 0.1 * (len(found) - 1 - line)
            axes.text(0.98, place, f"AUC {number(area)}", ha="right", color=colors[init])
        axes.set(xlabel="1 - specificity", ylabel="sensitivity")
        return to_svg(figure, f"roc{index}", f"ROC curves, {name}")


def _calibration_plot(
    name: str, found: Mapping[str, Sequence[Outcome]], colors: Mapping[str, str], index: int
) -> Markup:
    with panel(2.5, 2.4) as (figure, axes):
        curves = {init: mean_reliability(outcomes) for init, outcomes in found.items()}
        end = min(1.0, 1.1 * max(points.max() for points in curves.values())) or 1.0
        _draw_square(axes, curves, colors, end, "o")
        axes.set(xlabel="predicted probability", ylabel="share of positives")
        return to_svg(figure, f"calibration{index}", f"Calibration curves, {name}")


def _draw_square(
    axes: Axes, curves: Mapping[str, np.ndarray], colors: Mapping[str, str], end: float, marker: str = ""
) -> None:
    """Draw the diagonal of a square of side `end`, and the points [2, n] of each initialization."""
    axes.plot([0, end], [0, end], color=INK, linewidth=0.6, linestyle=DASHED)
    for init, points in curves.items():
        axes.plot(*points, color=colors[init], linewidth=1.6, marker=marker, markersize=3.5)
    axes.set(xlim=(-0.02 * end, 1.02 * end), ylim=(-0.02 * end, 1.02 * end), aspect="equal")


def mean_roc(outcomes: Sequence[Outcome]) -> np.ndarray:
    """Return the mean sensitivity at each rate of `GRID`, which is vertical averaging (Fawcett 2006, section 9)."""
    curves = [roc_curve(truth, probability, drop_intermediate=False)[:2] for truth, probability in outcomes]
    mean: np.ndarray = np.mean([np.interp(GRID, *curve) for curve in curves], axis=0)
    return mean


def mean_reliability(outcomes: Sequence[Outcome]) -> np.ndarray:
    """Return mean probability and share of positives [2, groups].

    The cases of each training, ordered by probability, are dealt into groups of equal size; the groups of equal rank
    are averaged over the training runs.
    """
    fewest = min(len(truth) for truth, _ in outcomes)
    num_groups = int(np.clip(fewest // CASES_IN_GROUP, 2, MAX_GROUPS))
    tables = []
    for truth, probability in outcomes:
        groups = np.array_split(np.argsort(probability, kind="stable"), num_groups)
        tables.append([[values[group].mean() for group in groups] for values in (probability, truth)])
    mean: np.ndarray = np.mean(tables, axis=0)
    return mean


def _outcomes_of(run: RunFolder, init: str, name: str) -> list[Outcome]:
    """Return the outcomes of a label, over the rows that tell them, for every training that tested both outcomes."""
    keys = f"truth_{name}", f"probability_{name}"
    outcomes = []
    for training in run.runs_of(init):
        pairs = [[float(row[key]) for key in keys] for row in training.rows if all(row.get(key) for key in keys)]
        table = np.array(pairs).reshape(-1, 2)
        truth = table[:, 0] > 0.5
        if 0 < truth.sum() < len(truth):
            outcomes.append((truth, table[:, 1]))
    return outcomes
