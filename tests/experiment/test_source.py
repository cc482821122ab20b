"""Sources of a recipe: split tables, folds, crops that fit, and who is in which part."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfmae.data.case import Case
from selfmae.data.files.images import read_image
from selfmae.data.files.volumes import save_volume
from selfmae.data.folds import Folding
from selfmae.data.source import (
    Source,
    apply_splits,
    check_crop,
    checked_source,
    fold_of,
    load_cases,
    name_patients,
    write_cases,
)
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.options import DataOptions, Recipe
from selfmae.recipe import load_recipe

Call = Callable[..., int]
CASES = [Case(name, name, (Path(name),), (1.0,), "") for name in "abc"]


@pytest.fixture(scope="session")
def recipe(volume_recipe: Path) -> Recipe:
    return load_recipe(str(volume_recipe))


@pytest.fixture(scope="session")
def source(recipe: Recipe) -> Source:
    return checked_source(load_cases(recipe.data), masks=False, display=Display(quiet=True))


def write(folder: Path, *rows: str) -> Path:
    (folder / "splits.csv").write_text("\n".join(rows) + "\n")
    return folder / "splits.csv"


def test_a_split_table_gives_patient_and_part(tmp_path: Path) -> None:
    table = write(tmp_path, "id,patient,split", "a,one,train", "b,two,test")
    cases, unlisted = apply_splits(CASES, table)
    assert [(case.patient, case.split) for case in cases] == [("one", "train"), ("two", "test"), ("c", "unused")]
    assert unlisted == 1


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (("id,patient,split", "a,one,trian"), "but has the split 'trian': correct the table."),
        (("a letter",), "but holds no row: correct the table."),
        (("id,split", "a,train"), "but lacks a column: correct the table."),
        (("id,patient,split", "x,one,train"), "lists 1 cases that the source does not have (first: 'x')"),
    ],
)
def test_what_is_wrong_with_a_split_table_is_told(tmp_path: Path, rows: tuple[str, ...], text: str) -> None:
    with pytest.raises(UserError) as error:
        apply_splits(CASES, write(tmp_path, *rows))
    assert text in str(error.value)


def test_a_split_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.splits names .*none\.csv, but there is no such file: check the path"):
        apply_splits(CASES, tmp_path / "none.csv")


def test_a_patient_in_two_parts_is_an_error(tmp_path: Path, recipe: Recipe) -> None:
    rows = [f"phantom_00{place},{min(place, 7)},{'test' if place == 8 else 'train'}" for place in range(9)]
    table = write(tmp_path, "id,patient,split", *rows)
    with pytest.raises(
        UserError, match=r"Patients must stand in one part of the split only, but 1 stand in several \(7"
    ):
        load_cases(replace(recipe.data, splits=str(table)))


def test_unlisted_cases_are_told(tmp_path: Path, recipe: Recipe) -> None:
    rows = [f"phantom_00{place},{place},train" for place in range(6)]
    cases = load_cases(replace(recipe.data, splits=str(write(tmp_path, "id,patient,split", *rows))))
    assert "5 cases are not listed in splits.csv and are left out (unused)." in cases.notes
    assert len(cases.part("unused")) == 5


def with_crop(recipe: Recipe, *crop: int) -> Recipe:
    return replace(recipe, data=replace(recipe.data, crop=crop))


def test_a_crop_up_to_a_patch_larger_than_the_images_is_padded(recipe: Recipe, source: Source) -> None:
    check_crop(with_crop(recipe, 24, 16, 16), source)


@pytest.mark.parametrize("crop", [(32, 16, 16), (16, 32, 16), (16, 16, 32)])
def test_a_larger_crop_is_an_error(recipe: Recipe, source: Source, crop: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as error:
        check_crop(with_crop(recipe, *crop), source)
    text = f"data.crop {list(crop)} is more than a patch larger than the largest training image [16, 16, 16]"
    assert text in str(error.value)


def test_what_counts_is_the_size_after_preparation(recipe: Recipe, source: Source) -> None:
    finer = replace(recipe.data, spacing_mm=(0.75, 1.5, 2.0), crop=(32, 16, 16))
    check_crop(replace(recipe, data=finer), source)


def test_one_fold_is_the_split_of_the_source(recipe: Recipe, source: Source) -> None:
    assert fold_of(source, 0, Folding(), recipe.data) is source


def test_folds_spread_the_labels_that_the_survey_found_in_the_masks(recipe: Recipe, source: Source) -> None:
    rare = [case.id for case in source.cases.part("train", "val", "test")][:3]
    facts = [replace(fact, mask_counts=((0, 9), (7 if fact.id in rare else 1, 3))) for fact in source.facts]
    marked = replace(source, facts=tuple(facts))
    folds = [fold_of(marked, fold, Folding(3), recipe.data).cases.part("test") for fold in range(3)]
    assert [len({case.id for case in fold} & set(rare)) for fold in folds] == [1, 1, 1]


def test_cases_are_written_once_and_compared_after_that(tmp_path: Path, recipe: Recipe, source: Source) -> None:
    write_cases(tmp_path / "cases.csv", source)
    before = (tmp_path / "cases.csv").read_bytes()
    write_cases(tmp_path / "cases.csv", source)
    assert (tmp_path / "cases.csv").read_bytes() == before
    with pytest.raises(
        UserError, match=r"first difference: case 'phantom_00\d', see cases.csv\): choose another --out"
    ):
        write_cases(tmp_path / "cases.csv", fold_of(source, 0, Folding(3), recipe.data))


def test_a_case_that_went_away_is_a_difference(tmp_path: Path, source: Source) -> None:
    write_cases(tmp_path / "cases.csv", source)
    fewer = replace(source, cases=replace(source.cases, cases=source.cases.cases[:-1]))
    with pytest.raises(UserError, match="first difference: case 'unlabelled_001'"):
        write_cases(tmp_path / "cases.csv", fewer)


def test_a_copy_of_a_test_image_is_not_trained_on(volumes: Path, recipe: Recipe, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(volumes, tmp_path / "copy"))
    test = load_cases(replace(recipe.data, source=str(copy))).part("test")[0]
    shutil.copy(test.images[0], copy / "imagesTs" / "unlabelled_001.nii.gz")
    looked = checked_source(
        load_cases(replace(recipe.data, source=str(copy))), masks=False, display=Display(quiet=True)
    )
    assert {case.id: case.split for case in looked.cases.cases}["unlabelled_001"] == "unused"


def test_a_copy_of_a_test_image_that_is_a_little_noisier_is_not_trained_on(
    volumes: Path, recipe: Recipe, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(volumes, tmp_path / "copy"))
    test = load_cases(replace(recipe.data, source=str(copy))).part("test")[0]
    image = read_image(test.images)
    noise = np.random.default_rng(0).normal(0, 2, image.array.shape)
    assert image.affine is not None
    save_volume(copy / "imagesTs" / "unlabelled_001.nii.gz", image.array + noise, image.affine)
    looked = checked_source(
        load_cases(replace(recipe.data, source=str(copy))), masks=False, display=Display(quiet=True)
    )
    assert {case.id: case.split for case in looked.cases.cases}["unlabelled_001"] == "unused"
    assert "near_duplicate_across_parts" in {finding.code for finding in looked.findings}


def test_an_unknown_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The source .*none was expected, but there is no such file or folder"):
        load_cases(DataOptions(str(tmp_path / "none")))


def test_the_display_counts_what_it_looks_at(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    checked_source(load_cases(recipe.data), masks=False, display=Display())
    assert "reading the images: 11/11" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_the_stages_alone_refuse_a_crop_that_is_too_large(
    tmp_path: Path, volume_recipe: Path, call: Call, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = ("--set", "data.crop=[16, 16, 32]", "--out", tmp_path / "out")
    assert call(command, volume_recipe, *words) == 2
    assert "data.crop [16, 16, 32] is more than a patch larger" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("pattern", "patient"), [(r"^(\w+?)_", "p1"), (r"p\d", "p1"), (r"_(s\d)", "s2")])
def test_a_pattern_names_the_patient_of_a_case(pattern: str, patient: str) -> None:
    case = Case("p1_s2", "p1_s2", (Path("x"),), None, "")
    assert [named.patient for named in name_patients([case], pattern)] == [patient]


def test_a_pattern_that_misses_an_id_is_an_error() -> None:
    with pytest.raises(UserError, match=r"must find a patient in every id, but finds none in 2 of 3 \(first: 'b'\)"):
        name_patients(CASES, "a")


def test_a_pattern_that_is_none_is_an_error() -> None:
    with pytest.raises(UserError, match=r"data.patient_pattern '\(' is no regular expression \(missing"):
        name_patients(CASES, "(")


def test_the_flag_keeps_the_scans_of_a_patient_together(
    volumes: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("inspect", volumes, "--patient-pattern", r"_\d(\d)\d") == 1
    assert "label at least 3 patients" in capsys.readouterr().out
