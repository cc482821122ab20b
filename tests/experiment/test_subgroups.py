"""Subgroups: thirds by the size of a structure, and values of a table's columns."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from selfmae.data.case import Case, Cases, Labels
from selfmae.errors import UserError
from selfmae.files import read_table
from selfmae.metrics.rows import Runs
from selfmae.options import TargetOptions
from selfmae.results.subgroups import column_groups, kept_columns, note_columns, size_groups, table_of
from selfmae.results.verdict import compare

Call = Callable[..., int]

LIVER = TargetOptions("mask", ("liver",), (1,))


def make_runs(sizes: list[int]) -> Runs:
    """Return one seed of one initialization; case n has a liver of so many voxels."""
    ids = tuple(f"case{n:02d}" for n in range(len(sizes)))
    rows = [{"id": case, "voxels_true_liver": str(size)} for case, size in zip(ids, sizes, strict=True)]
    return Runs({0: [rows]}, ids, ids)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_thirds_by_size_hold_every_case_that_has_the_structure_once() -> None:
    sizes = [0, *np.random.default_rng(0).permutation(np.arange(1, 11)).tolist()]
    small, middle, large = size_groups(make_runs(sizes), LIVER)
    assert [len(group.ids) for group in (small, middle, large)] == [4, 3, 3]
    assert small.ids | middle.ids | large.ids == {f"case{n:02d}" for n in range(1, 11)}
    assert large.ids == {f"case{n:02d}" for n, size in enumerate(sizes) if size >= 8}
    assert (small.name, large.name) == ("small liver (1 to 4 voxels)", "large liver (8 to 10 voxels)")


def test_a_rare_structure_and_findings_make_no_thirds() -> None:
    assert size_groups(make_runs([5] * 8), LIVER) == []
    assert size_groups(make_runs([5] * 30), TargetOptions("multilabel", ("nodule",))) == []


def test_values_of_a_column_group_the_cases_and_tiny_groups_are_left_out(tmp_path: Path) -> None:
    sexes = ["f", "m", "f", "m", "f", "m", "", "f"]
    lines = [f"images/case{n:02d}.png,{sex}" for n, sex in enumerate(sexes)]
    table = write(tmp_path / "t.csv", "\n".join(["file,sex", *lines, "images/other.png,x"]) + "\n")
    groups = {group.name: group for group in column_groups(make_runs([1] * 8), ["sex"], table)}
    assert set(groups) == {"sex: f", "sex: m"}
    assert groups["sex: m"].ids == {"case01", "case03", "case05"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,sex\ncase00,f\n", r"--subgroups sexe: .*t.csv has no such column, but id, sex. Did you mean 'sex'\?"),
        ("id,sexe\ncase00,f\n", r"t.csv names 1 of the 12 test cases in one column, not 'case01': add a column"),
        ("id,sexe\n", "t.csv must hold a header and a row for each case"),
        ("id,sexe\n" + "".join(f"case{n:02d},{n}\n" for n in range(12)), "have 12 different values .* at most 10 make"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        column_groups(make_runs([1] * 12), ["sexe"], write(tmp_path / "t.csv", text))


def test_the_table_is_the_source_or_the_only_one_in_its_folder(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "id\n")
    assert table_of(tmp_path) == table_of(table) == table
    write(tmp_path / "u.tsv", "id\n")
    with pytest.raises(UserError, match="is or holds 2: name it with --table"):
        table_of(tmp_path)


def test_the_effect_in_a_subgroup_is_that_of_its_cases_alone(
    picture_run: Path, radiographs: Path, tmp_path: Path, call: Call, bytes_of: Callable[..., dict[str, bytes]]
) -> None:
    import shutil

    run = Path(shutil.copytree(picture_run, tmp_path / "run"))
    ids = [row["id"] for row in read_table(run / "mae/fold0/seed0/rows-test.csv")]
    lines = [f"{case},{'left' if place < 4 else 'right'}" for place, case in enumerate(ids)]
    table = write(tmp_path / "views.csv", "\n".join(["id,view", *lines]) + "\n")
    assert call("compare", run, "--subgroups", "view", "--table", table) == 0
    rows = {row["subgroup"]: row for row in json.loads((run / "verdict.json").read_text())["subgroups"]}
    assert rows["view: left"]["num_cases"] == 4
    table.unlink()
    assert [row["subgroup"] for row in compare([run])["subgroups"]] == ["view: left"]  # kept
    for init in ("scratch", "mae"):  # the same comparison, where the other cases were never there
        path = run / init / "fold0" / "seed0" / "rows-test.csv"
        head, *others = path.read_text().splitlines()
        path.write_text("\n".join([head, *(row for row in others if row.split(",")[0] in ids[:4])]) + "\n")
    assert rows["view: left"]["difference"] == compare([run])["pairs"][0]["difference"]


def cases_of(source: Path, num: int) -> Cases:
    cases = [Case(f"case{n}", f"p{n}", (source.parent / f"case{n}.png",), (0.0,), "train") for n in range(num)]
    return Cases(source, "table", tuple(cases), Labels("multilabel", ("nodule",)), ("gray",))


def test_a_run_notes_the_usual_columns_of_its_table_once(tmp_path: Path) -> None:
    lines = [f"case{n}.png,{'AP' if n % 2 else 'PA'},{'F' if n % 3 else 'M'},{n},one" for n in range(6)]
    head = "image,ViewPosition,Patient Gender,view_number,scanner"
    table = write(tmp_path / "t.csv", "\n".join([head, *lines]) + "\n")
    note_columns(tmp_path, cases_of(table, 6))
    assert kept_columns(tmp_path)[0] == ["ViewPosition", "Patient Gender", "view_number"]
    write(tmp_path / "subgroups.csv", "id,mine\ncase0,x\n")
    note_columns(tmp_path, cases_of(table, 6))
    assert kept_columns(tmp_path) == (["mine"], tmp_path / "subgroups.csv")


def test_a_table_that_lacks_a_case_or_has_no_such_column_is_not_noted(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "image,view\ncase0.png,AP\ncase1.png,PA\n")
    note_columns(tmp_path, cases_of(table, 3))
    note_columns(tmp_path, cases_of(write(tmp_path / "u.csv", "image,age\ncase0.png,1\ncase1.png,2\n"), 2))
    assert kept_columns(tmp_path) == ([], None)
