"""The curve of the probe on the page: its choice, and held-out reconstruction beside guesses without a model."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfmae.report.figures import probe_plots
from selfmae.report.page import build_page
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]
FACTS = {"num_held_out": 6, "num_held_out_patients": 3, "num_labelled": 20, "num_labelled_patients": 10}


def look(step: int, **found: float | None) -> dict[str, Any]:
    return {"step": step, "reconstruction": 0.3 + step / 1000, "mean_patch": 1.0, "neighbour_copy": 1.6} | found


def probe(folder: Path, looks: list[dict[str, Any]]) -> Path:
    """Add looks of a probe to the first pre-training of a run folder."""
    cell = folder / "pretrain-mae" / "fold0" / "seed0"
    with (cell / "steps.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in looks)
    where = json.loads((cell / "environment.json").read_text())
    (cell / "environment.json").write_text(json.dumps(where | {"probe": FACTS}))
    return folder


@pytest.fixture
def probed(make_run: Make) -> Path:
    areas = {100: 0.7, 200: 0.9, 300: 0.9, 400: 0.8}
    looks = [look(step, score=area, probe=area) for step, area in areas.items()]
    return probe(make_run(num_seeds=1), looks)


def test_the_kept_step_is_the_first_of_the_best(probed: Path) -> None:
    assert RunFolder.read(probed).pretrainings[0].kept_step == 200


def test_of_undefined_scores_the_last_is_kept(make_run: Make) -> None:
    folder = probe(make_run(num_seeds=1), [look(step, score=None, probe=None) for step in (100, 200)])
    assert RunFolder.read(folder).pretrainings[0].kept_step == 200
    assert [item.title for item in probe_plots(RunFolder.read(folder))] == ["Held-out reconstruction error"]


def captions_of(folder: Path) -> list[str]:
    """Return the captions of the plots of the probe as plain text."""
    page = build_page(RunFolder.read(folder))
    part = page[page.index("Probe of pre-training") :]
    return [" ".join(text.split()) for text in re.findall(r"<figcaption>(.*?)</figcaption>", part, re.DOTALL)[:2]]


def test_both_scores_are_drawn_with_their_conventions(probed: Path) -> None:
    (plot, _), (reconstruction, read_out) = probe_plots(RunFolder.read(probed)), captions_of(probed)
    for words in (
        "Mean squared error of hidden patches, normalised per patch, of 6 validation images of 3 patients",
        "lower is better",
        "the mean of the visible patches of the image and a copy of the nearest visible patch",
        "ring: the step whose weights were kept.",
    ):
        assert words in reconstruction
    for words in (
        "of single patches (positive: any voxel of the label) of 20 training cases of 10 patients",
        "higher is better",
        "kept, chosen by this score.",
    ):
        assert words in read_out
    assert re.findall(r">(mean patch|nearest patch)</text>", plot.plot) == ["mean patch", "nearest patch"]


def test_without_labels_reconstruction_chooses(make_run: Make) -> None:
    folder = probe(make_run(num_seeds=1), [look(step, score=-0.3 - step / 1000) for step in (100, 200)])
    (item,) = probe_plots(RunFolder.read(folder))
    assert (item.key, item.chooses) == ("reconstruction", True)
    page = " ".join(build_page(RunFolder.read(folder)).split())
    assert "kept, chosen by this score." in page
    assert "reconstructed the hidden patches of validation images best" in page


def test_targets_that_are_not_normalised_are_not_called_so(probed: Path) -> None:
    recipe = probed / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  ratio: 0.75", "  ratio: 0.75\n  target: raw"))
    assert "Mean squared error of hidden patches, not normalised, of 6 " in captions_of(probed)[0]


def test_the_page_shows_the_probe_only_where_there_was_one(probed: Path, make_run: Make) -> None:
    assert "<h3>Probe of pre-training</h3>" in build_page(RunFolder.read(probed))
    assert "a linear model read the labels of training patients best" in build_page(RunFolder.read(probed))
    assert "Probe of pre-training" not in build_page(RunFolder.read(make_run(num_seeds=2)))
