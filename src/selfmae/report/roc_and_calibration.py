"""ROC and calibration curves of every label, averaged over the training runs of an initialization."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from sklearn.metrics import roc_auc_score, roc_curve

from selfmae.report.figures import INK, color_of, panel, to_svg
from selfmae.results.formatting import number
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import Row

GRID = np.linspace(0, 1, 101)  # false positive rates of the mean ROC curve
MAX_GROUPS, CASES_IN_GROUP = 10, 10  # of a calibration curve: at most so many groups, of at least so many cases
MAX_LABELS = 24

Outcome = tuple[np.ndarray, np.ndarray]  # truth (bool) and probability of one label by one training
Curves = Mapping[str, np.ndarray]  # points [2, n] of each initialization


@dataclass(frozen=True)
class Plots:
    """The two plots of one label."""

    name: str
    roc: Markup
    calibration: Markup


def outcome_plots(run: RunFolder) -> list[Plots]:
    """Return the plots of the first `MAX_LABELS` labels that have both outcomes."""
    plots: list[Plots] = []
    for name in run.labels:
        found = {init: _outcomes_of(run, init, name) for init in run.inits}
        shown = {init: outcomes for init, outcomes in found.items() if outcomes}
        if shown and len(plots) < MAX_LABELS:
            plots.append(_plot(run, name, shown, len(plots)))
    return plots


def _plot(run: RunFolder, name: str, found: Mapping[str, Sequence[Outcome]], index: int) -> Plots:
    colors = {init: color_of(run, init) for init in found}
    areas = {init: np.mean([roc_auc_score(*outcome) for outcome in outcomes]) for init, outcomes in found.items()}
    rocs = {init: np.stack([[0, *GRID], [0, *mean_roc(outcomes)]]) for init, outcomes in found.items()}
    groups = {init: mean_reliability(outcomes) for init, outcomes in found.items()}

    def draw_roc(axes: Axes) -> None:
        _lines(axes, rocs, colors, 1.0)
        for line, (init, area) in enumerate(areas.items()):
            text = f"AUC {number(float(area))}"
            axes.text(0.98, 0.04 + 0.1 * (len(areas) - 1 - line), text, ha="right", color=colors[init])
        axes.set(xlabel="1 - specificity", ylabel="sensitivity")

    def draw_calibration(axes: Axes) -> None:
        _lines(axes, groups, colors, min(1.0, 1.1 * max(points.max() for points in groups.values())) or 1.0, "o")
        axes.set(xlabel="predicted probability", ylabel="share of positives")

    return Plots(
        name,
        _square(draw_roc, f"roc{index}", f"ROC curves, {name}"),
        _square(draw_calibration, f"calibration{index}", f"Calibration curves, {name}"),
    )


def _square(draw: Callable[[Axes], None], key: str, title: str) -> Markup:
    with panel(2.5, 2.4) as (figure, axes):
        draw(axes)
        axes.set_aspect("equal")
        return to_svg(figure, key, title)


def _lines(axes: Axes, curves: Curves, colors: Mapping[str, str], end: float, marker: str = "") -> None:
    """Draw the diagonal, and one line for each initialization."""
    axes.plot([0, end], [0, end], color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
    for init, points in curves.items():
        axes.plot(*points, color=colors[init], linewidth=1.6, marker=marker, markersize=3.5)
    axes.set(xlim=(-0.02 * end, 1.02 * end), ylim=(-0.02 * end, 1.02 * end))


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
    """Return the outcomes of a label for every training of an initialization that tested both outcomes."""
    found = [_outcome(training.rows, name) for training in run.runs_of(init)]
    return [(truth, probability) for truth, probability in found if 0 < truth.sum() < len(truth)]


def _outcome(rows: Sequence[Row], name: str) -> Outcome:
    """Return truth and probability over the rows that have both."""
    keys = f"truth_{name}", f"probability_{name}"
    pairs = [[float(row[key]) for key in keys] for row in rows if all(row.get(key) for key in keys)]
    table = np.array(pairs).reshape(len(pairs), 2)
    return table[:, 0] > 0.5, table[:, 1]
