import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from selfmae.metrics.scores import mean_score
from selfmae.metrics.statistics import LABEL_RESAMPLES, compare_paired
from selfmae.report.intervals import effects_table
from selfmae.results.formatting import interval, number
from selfmae.results.training_logs import read_results

Make = Callable[..., Path]


def test_the_effect_on_a_label_is_compared_as_the_verdict_is(make_run: Make) -> None:
    results = read_results(make_run())
    scores = [
        [
            mean_score(np.array([float(row["dice_spleen"] or "nan") for row in cell.rows]))
            for cell in results.cells_of(s)
        ]
        for s in ("scratch", "mae")
    ]
    patients = [row["patient"] for row in results.cells[0].rows]
    found = compare_paired(*scores, patients, seed=0, num_resamples=LABEL_RESAMPLES, limits=(0, 1))
    table = effects_table(results)
    assert table.columns == ("Label", "Dice, scratch", "Dice, mae", "mae against scratch")
    assert table.rows[0] == (
        "spleen",
        f"{number(found.mean_a)} ({interval(found.ci95_a)})",
        f"{number(found.mean_b)} ({interval(found.ci95_b)})",
        f"{number(found.difference, sign=True)} ({interval(found.ci95, sign=True)})",
    )


def test_no_difference_is_larger_than_possible(make_run: Make) -> None:
    folder = make_run(num_seeds=2)
    path = folder / "mae" / "fold0" / "seed1" / "rows-test.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(re.sub(r"^(\w+,\w+),[^,]*", r"\1,0.0", row) for row in rows)]) + "\n")
    assert effects_table(read_results(folder)).rows[0][3].endswith("(\u22121.000 to +1.000)")


def test_the_auc_of_a_finding_is_that_of_the_summary(make_run: Make) -> None:
    results = read_results(make_run("multilabel", num_seeds=1))
    row = effects_table(results).rows[0]
    for text, init in zip(row[1:], ("scratch", "mae"), strict=False):
        assert text.startswith(f"{results.cells_of(init)[0].summary['labels']['nodule']['auc']:.3f} (")


def test_a_finding_that_nobody_has_is_undefined(make_run: Make) -> None:
    assert effects_table(read_results(make_run("multilabel", num_seeds=1))).rows[2] == ("effusion", *["\u2013"] * 3)


def test_a_start_alone_has_no_difference(make_cell: Make) -> None:
    assert effects_table(read_results(make_cell("mae"))).columns == ("Label", "Dice, mae")


def test_an_unfinished_seed_is_left_out_for_every_start(make_run: Make) -> None:
    folder = make_run(num_seeds=2)
    (folder / "mae" / "fold0" / "seed1" / "rows-test.csv").unlink()
    both = effects_table(read_results(folder))
    (folder / "scratch" / "fold0" / "seed1" / "rows-test.csv").unlink()
    assert both == effects_table(read_results(folder))
    assert len(both.rows) == 3


def test_starts_tested_on_other_cases_are_not_compared(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    path = folder / "mae" / "fold0" / "seed0" / "rows-test.csv"
    path.write_text(path.read_text().replace("case03", "case99"))
    assert effects_table(read_results(folder)).rows == ()


def test_the_folds_of_a_repeat_make_one_score(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    for init in ("scratch", "mae"):
        head, *rows = (folder / init / "fold0" / "seed0" / "rows-test.csv").read_text().splitlines()
        other = folder / init / "fold1" / "seed0"
        other.mkdir(parents=True)
        (other / "summary-test.json").write_bytes(
            (folder / init / "fold0" / "seed0" / "summary-test.json").read_bytes()
        )
        for fold, part in ((0, rows[:6]), (1, rows[6:])):
            (folder / init / f"fold{fold}" / "seed0" / "rows-test.csv").write_text("\n".join([head, *part]) + "\n")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"num_folds": 2}))
    results = read_results(folder)
    dice = [float(row["dice_spleen"]) for cell in results.cells_of("mae") for row in cell.rows]
    assert float(effects_table(results).rows[0][2].split(" ")[0]) == pytest.approx(np.mean(dice), abs=5e-4)
