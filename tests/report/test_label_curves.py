"""What labels are worth: the table of the curve, the plot, and the section of the page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfmae.report.label_curves import label_worth
from selfmae.report.page import build_page
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def point(init: str, labels: int, mean: float | None, network: str = "dynunet") -> dict[str, Any]:
    bounds = None if mean is None else [mean - 0.02, mean + 0.02]
    return {"network": network, "init": init, "labels": labels, "mean": mean, "ci95": bounds, "num_draws": 5}


CURVE = [point("mae", 5, 0.8), point("mae", 10, 0.82), point("scratch", 5, 0.7), point("scratch", 10, None)]
WORTH = [{"network": "dynunet", "init": "mae", "labels": 5, "equals": 9.0, "ci95": [6.0, 14.0]}]
HEADROOM = {"mean": 0.015, "ci95": [0.005, 0.025], "from": 5, "to": 10}


def with_labels(folder: Path, curve: list[dict[str, Any]]) -> RunFolder:
    path = folder / "verdict.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"labels": {"curve": curve, "worth": WORTH}, "headroom": HEADROOM}))
    return RunFolder.read(folder)


def test_the_table_has_a_row_for_each_number_of_labels_and_initialization(make_run: Make) -> None:
    table = label_worth(with_labels(make_run(), CURVE))["label_points"]
    assert table.columns == ("Labelled patients", "Initialization", "Dice per case", "95 % interval", "Draws")
    assert table.rows == (
        ("5", "scratch", "0.700", "0.680 to 0.720", "5"),
        ("5", "mae", "0.800", "0.780 to 0.820", "5"),
        ("10", "scratch", "\u2013", "\u2013", "5"),
        ("10", "mae", "0.820", "0.800 to 0.840", "5"),
    )


def test_several_networks_are_named(make_run: Make) -> None:
    table = label_worth(with_labels(make_run(), [*CURVE, point("mae", 5, 0.6, "unetr")]))["label_points"]
    assert {row[1] for row in table.rows} == {"dynunet scratch", "dynunet mae", "unetr mae"}


def test_the_page_has_the_section_with_sentences_plot_and_table(make_run: Make) -> None:
    run = with_labels(make_run(num_seeds=1), CURVE)
    page = build_page(run)
    section = page[page.index("<h2>What labels are worth") : page.index("<h2>Initializations")]
    assert "<p>With 5 labelled patients, mae does as well as scratch with 9 (6 to 14).</p>" in section
    assert "<p>Doubling the labels from 5 to 10 patients brings +0.015 of mean Dice" in section
    assert re.search(r'<svg role="img" aria-label="Dice per case against labelled patients"', section)
    assert section.count("<tr>") == 1 + 4
    assert build_page(run) == page


def test_without_labels_or_with_those_of_an_older_version_there_is_no_section(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    assert "What labels are worth" not in build_page(RunFolder.read(folder))
    path = folder / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": [{"label": "spleen"}]}))
    assert "What labels are worth" not in build_page(RunFolder.read(folder))
