"""The page of a sweep: the deciding metric against the swept value, for each init, with intervals and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.transforms import Affine2D, Transform

from selfmae.report.figures import INK, init_colors, panel, to_svg
from selfmae.report.page import render, stamp
from selfmae.report.paper import paper_table
from selfmae.report.tables import Table
from selfmae.results.formatting import interval, metric_title, number
from selfmae.results.headline import answer
from selfmae.results.limitations import sentence
from selfmae.results.run_folder import RunFolder
from selfmae.results.sweep_results import name_of

POINTS_APART = 4  # of the initializations at one value
DECADE = 10  # of the largest value over the smallest: from here on the axis is logarithmic

Row = Mapping[str, Any]


def build_sweep_page(content: Mapping[str, Any]) -> str:
    """Return the page as HTML from what `sweep.json` holds; equal content gives equal bytes."""
    colors = init_colors(list(dict.fromkeys(row["init"] for row in content["rows"])))
    keys, metric = tuple(content["axes"]), metric_title(content["metric"])
    results = (*keys, "initialization", metric, "95 % interval", "cases", "seeds")
    pairs = (*keys, "pair", "difference", "95 % interval", "verdict")
    facts = {
        "keys": keys,
        "metric": metric,
        "colors": list(colors.items()),
        "plots": sweep_plots(content, colors),
        "results": Table(results, tuple(_texts(row, keys) for row in content["rows"])),
        "pairs": Table(pairs, tuple(_pair_texts(pair, keys) for pair in content["pairs"])),
        "failed": list(content["failed"].items()),
        "rounds": content["halving"],
        "intervals": sentence("intervals"),
        "limitations": [sentence(fact["code"], fact) for fact in content["limitations"]],
        "leakage": content["leakage"],
        "paper": content["paper"],
    }
    page = render("sweep.html", facts)
    return stamp(page) if content["leakage"] else page


def sweep_paper(content: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Return the table that sets the runs of a sweep in `out` beside the paper, as `sweep.json` holds it."""
    names = dict.fromkeys(name_of(row["settings"]) for row in content["rows"])
    return asdict(paper_table(*(RunFolder.read(out / name) for name in names)))


def sweep_plots(content: Mapping[str, Any], colors: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """Return title and plot for each combination of all keys but the one with most values, which is the axis."""
    axes: Mapping[str, Sequence[Any]] = content["axes"]
    along = max(axes, key=lambda key: len(axes[key]))
    others = {key: values for key, values in axes.items() if key != along}
    plots = []
    for position, values in enumerate(product(*others.values())):
        fixed = dict(zip(others, values, strict=True))
        rows = [row for row in content["rows"] if fixed.items() <= row["settings"].items()]
        title = ", ".join(f"{key} = {value}" for key, value in fixed.items())
        with panel(4.2, 2.8) as (figure, plot):
            positions = _draw_axis(plot, axes[along])
            for number, (name, color) in enumerate(colors.items()):
                # Side by side, or the bars of equal values would hide each other.
                shift = Affine2D().translate((number - (len(colors) - 1) / 2) * POINTS_APART * figure.dpi / 72, 0)
                mine = [row for row in rows if row["init"] == name]
                _draw_init(plot, mine, (along, positions), color, plot.transData + shift)
            plot.autoscale_view()
            plot.set_xlabel(along)
            plot.set_ylabel(metric_title(content["metric"]))
            plot.grid(axis="y", color=INK, alpha=0.12, linewidth=0.5)
            label = f"{metric_title(content['metric'])} against {along}"
            plots.append((title, to_svg(figure, f"sweep{position}", label)))
    return plots


def is_logarithmic(values: Sequence[Any]) -> bool:
    """Return whether the values are positive numbers that span a decade."""
    return _are_numbers(values) and min(values) > 0 and max(values) / min(values) >= DECADE


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _draw_axis(plot: Axes, values: Sequence[Any]) -> list[tuple[Any, float]]:
    """Set the axis and return where each value stands: numbers at their size, all else side by side."""
    are_numbers = _are_numbers(values)
    positions = [float(value if are_numbers else position) for position, value in enumerate(values)]
    if is_logarithmic(values):
        plot.set_xscale("log")
        plot.minorticks_off()
    plot.set_xticks(positions, [f"{value:g}" if are_numbers else str(value) for value in values])
    return list(zip(values, positions, strict=True))


def _draw_init(
    plot: Axes, rows: Sequence[Row], axis: tuple[str, Sequence[tuple[Any, float]]], color: str, where: Transform
) -> None:
    """Draw the mean and interval of one initialization at each value; where the mean is undefined there is no point."""
    along, positions = axis
    found = [
        (position, row)
        for value, position in sorted(positions, key=lambda item: item[1])
        for row in rows
        if row["settings"][along] == value and row["mean"] is not None
    ]
    means = [row["mean"] for _, row in found]
    plot.plot([position for position, _ in found], means, "o-", color=color, markersize=4, transform=where)
    values = [(position, value) for position, row in found for value in (row["mean"], *(row["ci95"] or ()))]
    # A shifted line has no limits of its own.
    plot.update_datalim(values or [(position, np.nan) for _, position in positions])
    for position, row in found:
        if row["ci95"]:
            style: dict[str, Any] = {"color": color, "linewidth": 2.5, "alpha": 0.35, "solid_capstyle": "butt"}
            plot.plot([position, position], row["ci95"], transform=where, **style)


def _texts(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    numbers = (number(row["mean"]), interval(row["ci95"]), str(row["num_cases"]), str(row["num_seeds"]))
    return (*(str(row["settings"][key]) for key in keys), row["init"], *numbers)


def _pair_texts(pair: Row, keys: Sequence[str]) -> tuple[str, ...]:
    settings = (str(pair["settings"][key]) for key in keys)
    numbers = (number(pair["difference"], sign=True), interval(pair["ci95"], sign=True), answer(pair))
    return (*settings, f"{pair['b']} against {pair['a']}", *numbers)
