from collections.abc import Callable
from pathlib import Path

import numpy as np

from selfmae.report.images import examples
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def dice_of(folder: Path, init: str) -> dict[float, str]:
    cells = RunFolder.read(folder).runs_of(init)
    return {
        float(row["dice"]): f"{row['id']}, Dice {float(row['dice']):.3f} (fold 0, seed {cell.seed})"
        for cell in cells
        for row in cell.rows
    }


def test_the_extremes_are_those_of_all_trainings(make_run: Make) -> None:
    folder = make_run()
    for init, shown in examples(RunFolder.read(folder)).items():
        names = dice_of(folder, init)
        worst, _, best = (item.title for item in shown)
        assert worst == f"Worst: {names[min(names)]}"
        assert best == f"Best: {names[max(names)]}"


def test_the_median_is_the_saved_one_nearest_to_that_of_all(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    names = dice_of(folder, "mae")
    assert examples(RunFolder.read(folder))["mae"][1].title == f"Median: {names[sorted(names)[5]]}"


def test_a_mask_has_planes_and_a_volume_and_no_probabilities(make_run: Make) -> None:
    item = examples(RunFolder.read(make_run(num_seeds=1)))["mae"][0]
    assert [plane for plane, _ in item.pictures] == ["axial"]
    assert item.volume is not None
    assert not item.labels.rows


def test_the_first_case_of_findings_shows_truth_and_probabilities(make_run: Make) -> None:
    results = RunFolder.read(make_run("multilabel", num_seeds=1))
    item = examples(results)["mae"][0]
    row = next(row for row in results.runs_of("mae")[0].rows if f": {row['id']}, " in item.title)
    assert [plane for plane, _ in item.pictures] == [""]
    assert {name: (truth, float(value)) for name, truth, value in item.labels.rows} == {
        name: ("yes" if float(row[f"truth_{name}"]) else "no", round(float(row[f"probability_{name}"]), 3))
        for name in ("nodule", "<i>mass</i>", "effusion")
    }
    truths = [truth for _, truth, _ in item.labels.rows]
    assert truths == sorted(truths, reverse=True)
    assert "Squared error" in item.title


def test_a_large_error_is_worse_than_a_small_one(make_run: Make) -> None:
    shown = examples(RunFolder.read(make_run("multilabel", num_seeds=1)))["mae"]
    errors = [float(item.title.split("Squared error ")[1].split(" ")[0]) for item in shown]
    assert errors[0] >= errors[1] >= errors[2]


def test_a_case_without_a_row_is_not_shown(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    path = folder / "mae" / "fold0" / "seed0" / "figures" / "examples.npz"
    np.savez(path, **dict(np.load(path)) | {"worst_id": np.array("somebody else")})
    assert not any("somebody" in item.title for item in examples(RunFolder.read(folder))["mae"])
