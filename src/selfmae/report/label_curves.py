"""What labels are worth: the score of each initialization over the number of labelled patients, as table and plot."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import NullFormatter

from selfmae.report.figures import INK, init_colors, panel, to_svg
from selfmae.report.tables import Table
from selfmae.results.formatting import interval, metric_title, number
from selfmae.results.limitations import worth_sentences
from selfmae.results.run_folder import RunFolder

APART = 1.03  # factor between the numbers of labels at which initializations are drawn, or their bars hide each other

Row = Mapping[str, Any]


def label_worth(run: RunFolder) -> dict[str, Any]:
    """Return what the section on labels shows: sentences, plot and table; empty where labels were not varied."""
    rows = curve_rows(run.verdict)
    return {
        "worth": worth_sentences(run.verdict),
        "label_curves": label_plot(run, rows) if rows else None,
        "label_points": label_points(rows, metric_title(run.headline)) if rows else Table((), ()),
        "curve_colors": list(init_colors(list(_lines(rows))).items()),
    }


def curve_rows(verdict: Mapping[str, Any]) -> Sequence[Row]:
    """Return the points of the curves; an older verdict has other rows under this name."""
    labels = verdict.get("labels")
    return labels.get("curve", []) if isinstance(labels, Mapping) else []


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the points of each initialization by its name, behind the network where there are several."""
    several = len({row["network"] for row in rows}) > 1
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["labels"]):
        lines.setdefault(f"{row['network']} {row['init']}" if several else row["init"], []).append(row)
    return dict(sorted(lines.items(), key=lambda item: (item[0] != "scratch", item[0])))


def label_points(rows: Sequence[Row], metric: str) -> Table:
    """Return one row a number of labelled patients and initialization."""
    texts = [
        (str(row["labels"]), name, number(row["mean"]), interval(row["ci95"]), str(row["num_draws"]))
        for name, line in _lines(rows).items()
        for row in line
    ]
    columns = ("Labelled patients", "Initialization", metric, "95 % interval", "Draws")
    return Table(columns, tuple(sorted(texts, key=lambda row: int(row[0]))), num_words=2)


def label_plot(run: RunFolder, rows: Sequence[Row]) -> Markup:
    """Return the curves with the interval of each point; the axis of labels is logarithmic."""
    lines, counts = _lines(rows), sorted({row["labels"] for row in rows})
    colors = init_colors(list(lines))
    with panel(4.8, 3.0) as (figure, axes):
        for index, (name, line) in enumerate(lines.items()):
            shift = APART ** (index - (len(lines) - 1) / 2)
            known = [row for row in line if row["mean"] is not None]
            places = [row["labels"] * shift for row in known]
            axes.plot(places, [row["mean"] for row in known], "o-", color=colors[name], markersize=4, linewidth=1.4)
            for place, row in zip(places, known, strict=True):
                if row["ci95"]:
                    axes.plot([place, place], row["ci95"], color=colors[name], linewidth=2.5, alpha=0.35)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", length=0)
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.5)
        axes.set(xlabel="labelled patients (log scale)", ylabel=metric_title(run.headline))
        return to_svg(figure, "labels", f"{metric_title(run.headline)} against labelled patients")
