"""Comparison: only like with like, never a model that saw what it is tested on."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from selfmae.errors import UserError
from selfmae.files import read_table, write_table
from selfmae.metrics.scores import mean_score
from selfmae.metrics.statistics import LABEL_RESAMPLES, compare_paired, holm
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import evaluated_runs
from selfmae.results.verdict import compare
from selfmae.weights.file import read_metadata, save_weights

Call = Callable[..., int]


@pytest.fixture
def run(volume_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volume_run, tmp_path / "run"))


def cell(run: Path, init: str) -> Path:
    return run / init / "fold0" / "seed0"


def test_comparing_again_gives_the_same_verdict(run: Path) -> None:
    before = (run / "verdict.json").read_bytes()
    (run / "verdict.json").unlink()
    verdict = compare([run])
    assert (run / "verdict.json").read_bytes() == before
    assert json.loads(before) == json.loads(json.dumps(verdict))


def test_single_models_compare_as_in_a_run_and_nothing_is_written(
    run: Path, bytes_of: Callable[..., dict[str, bytes]]
) -> None:
    before = bytes_of(run)
    verdict = compare([cell(run, "scratch"), cell(run, "mae")])
    assert json.loads(json.dumps(verdict)) == json.loads((run / "verdict.json").read_text())
    assert bytes_of(run) == before


def test_the_difference_is_second_minus_first(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (cell(run, "mae") / "rows-test.csv").read_text().splitlines()
    column = rows[0].split(",").index("dice")
    better = [rows[0]]
    for row in rows[1:]:
        values = row.split(",")
        values[column] = "1.0"
        better.append(",".join(values))
    (cell(run, "mae") / "rows-test.csv").write_text("\n".join(better) + "\n")
    pair = compare([run])["pairs"][0]
    scratch = compare([run])["inits"]["scratch"]["mean"]
    assert pair["difference"] == pytest.approx(1 - scratch)
    assert call("compare", run) == 0
    out = capsys.readouterr().out
    assert "mae against scratch: " in out
    assert "2 test cases of 2 patients, 1 seed)" in out
    assert "Each initialization was trained with one seed only, so the interval does not cover training variance" in out
    assert "95 % intervals: bootstrap over patients, the same resamples for all initializations" in out


def test_other_test_cases_are_refused(run: Path) -> None:
    path = cell(run, "mae") / "rows-test.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(
        UserError, match="scratch and mae were not evaluated on the same test cases: give runs with one"
    ):
        compare([run])


def test_a_seed_without_some_test_cases_is_refused(run: Path) -> None:
    other = Path(shutil.copytree(cell(run, "mae"), run / "mae" / "fold0" / "seed1"))
    rows = (other / "rows-test.csv").read_text().splitlines()
    (other / "rows-test.csv").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(UserError, match="The seeds of mae were not evaluated on the same test cases: let every fold"):
        compare([run])


def test_initializations_without_a_common_seed_are_refused(run: Path) -> None:
    (run / "mae" / "fold0" / "seed0").rename(run / "mae" / "fold0" / "seed3")
    with pytest.raises(UserError, match="scratch and mae have no seed in common: train both with the same seeds"):
        compare([run])


def test_seeds_are_averaged(run: Path) -> None:
    for init in ("scratch", "mae"):
        shutil.copytree(cell(run, init), run / init / "fold0" / "seed1")
    alone = json.loads((run / "verdict.json").read_text())
    verdict = compare([run])
    assert verdict["pairs"][0]["num_seeds"] == 2
    assert verdict["pairs"][0]["num_cases"] == alone["pairs"][0]["num_cases"]
    assert verdict["inits"]["mae"]["mean"] == pytest.approx(alone["inits"]["mae"]["mean"])


def test_a_model_that_saw_a_test_image_is_refused(run: Path) -> None:
    folder = cell(run, "mae")
    row = next(row for row in (folder / "cases.csv").read_text().splitlines() if ",test," in row)
    name, digest = row.split(",")[0], row.split(",")[-1]
    metadata = read_metadata(folder / "model.safetensors")
    metadata["seen"].append(digest)
    save_weights(folder / "model.safetensors", load_file(folder / "model.safetensors"), metadata)
    with pytest.raises(UserError, match=rf"weights of mae were trained on 1 image .*\({name}\)"):
        compare([run])


def test_a_finished_run_is_found_whole_and_shows_no_leak(volume_run: Path) -> None:
    cells = evaluated_runs(volume_run)
    assert [(item.init, item.fold, item.seed) for item in cells] == [("mae", 0, 0), ("scratch", 0, 0)]
    assert compare([volume_run])["leakage"] == []


def test_a_folder_without_a_run_is_named_beside_finished_ones(volume_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        compare([volume_run, tmp_path / "no"])
    assert str(error.value).startswith(f"{tmp_path / 'no'}: no finished run was found (summary-test.json)")


def test_folders_without_a_finished_run_are_an_error(
    tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("compare", tmp_path) == 2
    assert f"{tmp_path}: no finished run was found (summary-test.json): run `selfmae run" in capsys.readouterr().err


def copy_fold(run: Path, init: str, fold: int, change: Callable[[float], float]) -> None:
    """Make another fold of the first one, with changed Dice, as a further repeat has it."""
    other = Path(shutil.copytree(cell(run, init), run / init / f"fold{fold}" / "seed0"))
    with (other / "rows-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["dice"] = str(change(float(row["dice"])))
    write_table(other / "rows-test.csv", rows)


def test_a_case_counts_once_however_often_it_was_tested_and_its_repeats_are_averaged(run: Path) -> None:
    before = compare([run])
    for init, step in (("scratch", 0.0), ("mae", 0.3)):
        copy_fold(run, init, 1, lambda dice, step=step: dice + step)  # type: ignore[misc]
    verdict = compare([run])
    counts = {key: verdict["pairs"][0][key] for key in ("num_cases", "num_patients", "num_seeds")}
    assert counts == {key: before["pairs"][0][key] for key in counts}
    assert verdict["inits"]["scratch"]["mean"] == pytest.approx(before["inits"]["scratch"]["mean"])
    assert verdict["inits"]["mae"]["mean"] == pytest.approx(before["inits"]["mae"]["mean"] + 0.15)


def test_repeats_that_agree_do_not_narrow_the_interval(run: Path) -> None:
    before = compare([run])["pairs"][0]["ci95"]
    for init in ("scratch", "mae"):
        for fold in (1, 2):
            copy_fold(run, init, fold, lambda dice: dice)
    assert compare([run])["pairs"][0]["ci95"] == pytest.approx(before)


def test_an_unfinished_repeat_is_refused(run: Path) -> None:
    for init in ("scratch", "mae"):
        copy_fold(run, init, 1, lambda dice: dice)
    rows = run / "mae" / "fold1" / "seed0" / "rows-test.csv"
    rows.write_text("\n".join(rows.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match="The seeds of mae were not evaluated on the same test cases: let every fold"):
        compare([run])


def test_auc_compares_cases_of_one_fold_only(picture_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(picture_run, tmp_path / "run"))
    shutil.copytree(run / "mae" / "fold0", run / "mae" / "fold1")
    for fold, (high, low) in enumerate(((0.9, 0.8), (0.2, 0.1))):
        path = run / "mae" / f"fold{fold}" / "seed0" / "rows-test.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["id"] = f"{row['id']}-{fold}"
            for name in [key for key in row if key.startswith("truth_")]:
                row[name.replace("truth", "probability")] = str(high if float(row[name]) else low)
        write_table(path, rows)
    shutil.rmtree(run / "scratch")
    assert compare([run])["inits"]["mae"]["mean"] == pytest.approx(1.0)


def test_one_model_given_twice_is_refused(run: Path) -> None:
    text = (
        "2 of the folders hold the initialization (mae|scratch) with fold 0 and seed 0, but each model may be "
        "there once: leave"
    )
    with pytest.raises(UserError, match=text):
        compare([run, cell(run, "mae"), cell(run, "scratch")])


def test_every_label_has_the_score_of_each_initialization_and_the_effect_of_each_pair(picture_run: Path) -> None:
    verdict = json.loads((picture_run / "verdict.json").read_text())
    names = RunFolder.read(picture_run).labels
    assert [(row["label"], row["a"], row["b"]) for row in verdict["per_label"]] == [
        (n, "scratch", "mae") for n in names
    ]
    for row in verdict["per_label"]:
        scores = verdict["per_label_inits"][row["label"]]
        assert (scores["scratch"]["mean"], scores["mae"]["mean"]) == (row["mean_a"], row["mean_b"])
        if scores["mae"]["ci95"] is not None:
            low, high = scores["mae"]["ci95"]
            assert low <= scores["mae"]["mean"] <= high
        if row["difference"] is not None:
            assert row["difference"] == pytest.approx(row["mean_b"] - row["mean_a"])


def test_the_score_of_a_label_is_compared_as_the_headline_is(run: Path) -> None:
    tables = {init: read_table(cell(run, init) / "rows-test.csv") for init in ("scratch", "mae")}
    scores = [mean_score(np.array([float(row["dice_liver"] or "nan") for row in rows])) for rows in tables.values()]
    patients = [row["patient"] for row in tables["mae"]]
    found = compare_paired(scores[:1], scores[1:], patients, seed=0, num_resamples=LABEL_RESAMPLES, limits=(0, 1))
    verdict = compare([run])
    row = next(row for row in verdict["per_label"] if row["label"] == "liver")
    assert (row["difference"], row["ci95"]) == (found.difference, found.ci95)
    assert verdict["per_label_inits"]["liver"]["scratch"] == {"mean": found.mean_a, "ci95": found.ci95_a}


def test_one_initialization_alone_has_scores_and_no_effects(run: Path) -> None:
    verdict = compare([cell(run, "mae")])
    assert verdict["per_label"] == []
    assert list(verdict["per_label_inits"]["liver"]) == ["mae"]


def test_limitations_are_facts(run: Path) -> None:
    found = compare([run])["limitations"]
    assert {"a": "scratch", "b": "mae", "code": "one_seed"} in found
    assert all(set(fact) >= {"code"} for fact in found)


def test_the_dice_of_a_label_differs_by_the_mean_over_cases_that_have_it(run: Path) -> None:
    rows = {}
    for init in ("scratch", "mae"):
        with (cell(run, init) / "rows-test.csv").open(newline="") as file:
            rows[init] = [float(row["dice_liver"] or "nan") for row in csv.DictReader(file)]
    expected = np.nanmean(rows["mae"]) - np.nanmean(rows["scratch"])
    assert {row["label"]: row["difference"] for row in compare([run])["per_label"]}["liver"] == pytest.approx(expected)


def test_several_initializations_are_corrected_for_their_number(run: Path) -> None:
    for init, step in (("better", 0.002), ("third", 0.0)):
        shutil.copytree(run / "mae", run / init)
        copy_fold(run, init, 1, lambda dice, step=step: dice + step * (1 + dice))  # type: ignore[misc]
        shutil.rmtree(run / init / "fold0")
        (run / init / "fold1").rename(run / init / "fold0")
    pairs = compare([run])["pairs"]
    assert len(pairs) == 6
    assert [pair["p_holm"] for pair in pairs] == holm([pair["p"] for pair in pairs])
    assert {pair["verdict"] for pair in pairs} == {"no verdict"}  # one seed


def test_what_is_not_told_says_what_it_would_take(run: Path) -> None:
    for init in ("scratch", "mae"):
        shutil.copytree(cell(run, init), run / init / "fold0" / "seed1")
    pair = compare([run])["pairs"][0]
    assert pair["verdict"] != "no verdict"
    assert (pair["to_tell"] is None) == (pair["verdict"] != "cannot tell")


def test_a_table_without_subgroups_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--table t\.csv is for --subgroups, which was not given: name columns of it"):
        compare([run], table=Path("t.csv"))


def test_other_images_under_the_same_ids_are_not_paired(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    for path in other.rglob("cases.csv"):
        rows = list(csv.DictReader(path.open(newline="")))
        write_table(path, [{**row, "hash": row["hash"][::-1]} for row in rows])
    with pytest.raises(UserError, match=r"have different images for the case '.*': compare runs on the same data"):
        compare([cell(run, "scratch"), cell(other, "mae")])


def test_a_folder_without_results_is_told_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no finished run was found \(summary-test\.json\): "):
        compare([tmp_path])
