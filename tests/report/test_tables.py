import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from selfmae.report import tables
from selfmae.report.page import build_page
from selfmae.report.provenance import findings_table, machines_table
from selfmae.report.tables import (
    case_table,
    case_value,
    effects_table,
    inits_table,
    label_table,
    pairs_table,
    subgroups_table,
)
from selfmae.results.formatting import DASH, duration, interval, metric_title, number, p_value, plural
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def test_initializations_have_the_interval_of_the_verdict_and_the_spread_over_seeds(make_run: Make) -> None:
    results = RunFolder.read(make_run())
    table = inits_table(results)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.columns == ("", "scratch", "mae")
    assert rows["Dice per case (95 % interval)"] == ("0.810 (0.780 to 0.840)", "0.840 (0.810 to 0.870)")
    pooled = [cell.metrics["dice_pooled"] for cell in results.runs_of("mae")]
    assert rows["Dice pooled"][1] == f"{np.mean(pooled):.3f} \u00b1 {np.std(pooled, ddof=1):.3f}"


def test_only_the_initialization_that_used_it_pays_for_pretraining(make_run: Make) -> None:
    rows = {row[0]: row[1:] for row in inits_table(RunFolder.read(make_run())).rows}
    assert rows["Time of pre-training"] == (DASH, "5 min")
    assert rows["Steps of fine-tuning"] == ("400", "400")


def test_one_training_has_no_spread(make_run: Make) -> None:
    rows = inits_table(RunFolder.read(make_run("multilabel", num_seeds=1))).rows
    assert not any("\u00b1" in text for row in rows for text in row)


def test_labels_keep_the_order_of_their_places(make_run: Make) -> None:
    assert RunFolder.read(make_run()).labels == ["spleen", "<b>liver</b>", "$x$ & kidney"]


def test_a_label_table_shows_means_over_seeds(make_run: Make) -> None:
    results = RunFolder.read(make_run())
    table = label_table(results, "mae")
    dice = [cell.summary["labels"]["spleen"]["dice"] for cell in results.runs_of("mae")]
    assert table.columns[:2] == ("Label", "Dice")
    assert table.rows[0][:2] == ("spleen", f"{np.mean(dice):.3f} \u00b1 {np.std(dice, ddof=1):.3f}")


def test_a_finding_without_both_outcomes_has_a_dash(make_run: Make) -> None:
    table = label_table(RunFolder.read(make_run("multilabel")), "scratch")
    row = dict(zip(table.columns, table.rows[2], strict=True))
    assert (row["AUC"], row["positive"], row["negative"]) == (DASH, "0", "30")


def test_the_worst_case_stands_first(make_run: Make) -> None:
    table = case_table(RunFolder.read(make_run()))
    dice = [float(row[2]) + float(row[4]) for row in table.rows]
    assert table.columns == ("Case", "Patient", "Dice, scratch", "HD95 (mm), scratch", "Dice, mae", "HD95 (mm), mae")
    assert len(dice) == 12
    assert dice == sorted(dice)


def test_an_undefined_case_stands_last(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    for path in folder.glob("*/fold0/seed0/rows-test.csv"):
        head, first, *others = path.read_text().splitlines()
        path.write_text("\n".join([head, first.rsplit(",", 2)[0] + ",,", *others]) + "\n")
    last = case_table(RunFolder.read(folder)).rows[-1]
    assert last == ("case00", "patient0", DASH, DASH, DASH, DASH)


def test_the_largest_error_stands_first_in_classification(make_run: Make) -> None:
    errors = [float(row[2]) + float(row[3]) for row in case_table(RunFolder.read(make_run("multilabel"))).rows]
    assert errors == pytest.approx(sorted(errors, reverse=True), abs=2e-3)


def test_a_long_table_is_cut_and_says_so(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_CASES", 5)
    folder = make_run()
    table = case_table(RunFolder.read(folder))
    assert len(table.rows) == 5
    assert "The worst 5 of 12 cases; all are in rows-test.csv." in build_page(RunFolder.read(folder))


def test_the_value_of_a_case_is_its_brier_score_or_the_probability_of_its_class() -> None:
    row = {"truth_a": "0.0", "truth_b": "1.0", "probability_a": "0.3", "probability_b": "0.6"}
    assert case_value(row, "brier") == pytest.approx((0.09 + 0.16) / 2)
    assert case_value(row, "true_class") == pytest.approx(0.6)


def test_an_empty_cell_of_a_row_is_undefined() -> None:
    assert case_value({"dice": ""}, "dice") is None


def test_pairs_show_signs_and_counts(make_run: Make) -> None:
    (row,) = pairs_table(RunFolder.read(make_run(verdict="hurts"))).rows
    expected = ("mae against scratch", "hurts", "\u22120.030", "\u22120.050 to \u22120.010", "0.004", "12", "6", "3")
    assert row == expected


def test_every_training_says_what_became_of_its_initialization(make_run: Make) -> None:
    rows = {row[0]: row[1] for row in machines_table(RunFolder.read(make_run(num_seeds=1))).rows}
    assert rows["scratch (fold 0, seed 0)"] == "random weights"
    assert rows["mae (fold 0, seed 0)"] == "74 tensors loaded, 2 new, 1 unused"


def test_findings_name_their_cases(make_run: Make) -> None:
    assert findings_table(RunFolder.read(make_run())).rows[0][:3] == ("warning", "spacing-varies", "case03, case07")


def test_seeds_are_ordered_as_numbers(make_run: Make) -> None:
    folder = make_run(num_seeds=2)
    (folder / "mae" / "fold0" / "seed0").rename(folder / "mae" / "fold0" / "seed10")
    assert [cell.seed for cell in RunFolder.read(folder).runs_of("mae")] == [1, 10]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(-0.0001, 2), "0.00"),
        (number(None), DASH),
        (number(float("nan")), DASH),
        (number(0.5, 2, sign=True), "+0.50"),
        (interval(None), DASH),
        (p_value(0.0004), "< 0.001"),
        (duration(90), "90 s"),
        (duration(600), "10 min"),
        (duration(9000), "2.5 h"),
        (plural(1, "seed"), "1 seed"),
        (plural(12000, "case"), "12,000 cases"),
        (metric_title("hd95_mm_found_only"), "HD95 found only (mm)"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_a_subgroup_has_its_scores_in_the_order_in_which_the_pair_names_the_initializations(make_run: Make) -> None:
    folder = make_run()
    verdict = json.loads((folder / "verdict.json").read_text())
    row = {"subgroup": "sex: F", "label": "", "a": "scratch", "b": "mae", "mean_a": 0.5, "mean_b": 0.7, "ci95": None}
    verdict["subgroups"] = [row | {"difference": 0.2, "num_cases": 5, "num_patients": 4}]
    (folder / "verdict.json").write_text(json.dumps(verdict))
    (texts,) = subgroups_table(RunFolder.read(folder)).rows
    assert texts[:5] == ("sex: F", "mae against scratch", "0.700", "0.500", "+0.200")
    assert texts[-2:] == ("5", "4")


def test_the_effect_on_a_label_is_that_of_the_verdict(make_run: Make) -> None:
    folder = make_run()
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict["per_label_inits"] = {
        "spleen": {"scratch": {"mean": 0.7, "ci95": [0.6, 0.8]}, "mae": {"mean": 0.9, "ci95": [0.85, 0.95]}},
        "$x$ & kidney": {"scratch": {"mean": None, "ci95": None}, "mae": {"mean": None, "ci95": None}},
    }
    pair = {"a": "scratch", "b": "mae"}
    verdict["per_label"] = [
        pair | {"label": "spleen", "difference": 0.2, "ci95": [0.1, 0.3]},
        pair | {"label": "$x$ & kidney", "difference": None, "ci95": None},
    ]
    (folder / "verdict.json").write_text(json.dumps(verdict))
    table = effects_table(RunFolder.read(folder))
    assert table.columns == ("Label", "Dice, scratch", "Dice, mae", "mae against scratch")
    assert table.rows == (
        ("spleen", "0.700 (0.600 to 0.800)", "0.900 (0.850 to 0.950)", "+0.200 (+0.100 to +0.300)"),
        ("$x$ & kidney", DASH, DASH, DASH),
    )


def test_one_initialization_has_scores_of_labels_and_no_effects(make_run: Make) -> None:
    folder = make_run("multilabel", num_seeds=1)
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict |= {"pairs": [], "per_label": [], "inits": {"mae": verdict["inits"]["mae"]}}
    verdict["per_label_inits"] = {"nodule": {"mae": {"mean": 0.7, "ci95": None}}}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    table = effects_table(RunFolder.read(folder))
    assert (table.columns, table.rows) == (("Label", "AUC, mae"), (("nodule", "0.700"),))


def test_without_a_verdict_there_are_no_effects(make_run: Make) -> None:
    folder = make_run()
    (folder / "verdict.json").unlink()
    assert effects_table(RunFolder.read(folder)).rows == ()
