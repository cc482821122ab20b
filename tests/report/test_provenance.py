import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.report.page import build_page
from selfmae.report.provenance import digest, machines_table, plan_table, recipe_text, splits_table
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def test_every_part_has_its_counts_and_digest(make_run: Make) -> None:
    results = RunFolder.read(make_run())
    table = splits_table(results)
    cases = results.runs[0].cases
    assert table.rows == (
        ("0", "train", digest(cases[:3]), "3", "2"),
        ("0", "validation", digest(cases[3:4]), "1", "1"),
        ("0", "test", digest(cases[4:]), "2", "1"),
    )


def test_a_digest_follows_the_pixels_and_neither_names_nor_order() -> None:
    cases = [{"id": "a", "hash": "1"}, {"id": "b", "hash": "2"}]
    assert digest(cases) == digest([{"id": "x", "hash": "2"}, {"id": "y", "hash": "1"}])
    assert digest(cases) != digest([{"id": "a", "hash": "1"}, {"id": "b", "hash": "3"}])
    assert len(digest(cases)) == 12
    assert digest([{"id": "a", "hash": ""}]) == "\u2013"


def test_the_plan_lists_what_has_a_reason(make_run: Make) -> None:
    assert plan_table(RunFolder.read(make_run())).rows == (
        ("data.source", "abdomen", "as given"),
        ("data.channels", "[CT]", "found in the source"),
        ("data.intensity", "window", "values below -500: Hounsfield units"),
        ("model.width", "192", "a CPU affords <small> models"),
        ("pretrain.augment.flip_axes", "[1]", "no label has a side"),
    )


@pytest.mark.parametrize(
    "line",
    ["/home/anna/set.csv", "'/home/anna b/set.csv'", '"C:\\\\anna\\\\set.csv"', "~/anna/set.csv", "../anna/set.csv"],
)
def test_a_recipe_on_the_page_tells_no_folder_of_the_machine(make_run: Make, line: str) -> None:
    folder = make_run(num_seeds=1)
    with (folder / "recipe.yaml").open("a") as file:
        file.write(f"init:\n  pretrain: {line}  # as 1/2\n")
    text = recipe_text(RunFolder.read(folder))
    assert "anna" not in text
    assert "set.csv" in text
    assert "# as 1/2" in text
    assert "anna" not in build_page(RunFolder.read(folder))


def test_what_was_not_measured_is_said(make_run: Make) -> None:
    run = RunFolder.read(make_run(num_seeds=1))
    table = machines_table(run)
    assert {row[-1] for row in table.rows} == {"not measured"}
    assert "Energy was not measured." in build_page(run)


def test_the_memory_of_a_training_is_told(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    path = folder / "mae" / "fold0" / "seed0" / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peak_bytes": 3_400_000_000}))
    rows = {row[0]: row for row in machines_table(RunFolder.read(folder)).rows}
    assert rows["mae (fold 0, seed 0)"][-1] == "3.4 GB"
