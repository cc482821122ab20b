"""Further unlabelled images: they join from any layout, change no split, and may show nothing of val and test."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from selfmae.data.case import Cases
from selfmae.data.folds import Folding, make_fold
from selfmae.data.source import Source, examine_source, load_cases, write_cases
from selfmae.data.unlabelled import name_apart
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.options import DataOptions

SIZE = 24


def picture(path: Path, seed: int, channels: int = 1) -> Path:
    """Write an image of noise that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (SIZE, SIZE) if channels == 1 else (SIZE, SIZE, channels)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def masked(folder: Path, names: Sequence[str], first: int = 0) -> Path:
    """Write images/ and labels/ of these names."""
    for seed, name in enumerate(names, start=first):
        picture(folder / "images" / f"{name}.png", seed)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[4:9] = 1
        (folder / "labels").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "labels" / f"{name}.png")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return masked(tmp_path / "set", [f"scan{number}" for number in range(10)])


@pytest.fixture
def more(tmp_path: Path) -> Path:
    for number in range(3):
        picture(tmp_path / "more" / f"other{number}.png", 100 + number)
    return tmp_path / "more"


def load(source: Path, more: Path, **options: str) -> Cases:
    return load_cases(DataOptions(str(source), unlabelled=str(more), **options))  # type: ignore[arg-type]


def examine(cases: Cases) -> Source:
    return examine_source(cases, masks=False, display=Display(quiet=True))


def error_of(source: Path, more: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        examine(load(source, more, **options))
    return str(caught.value)


def joined(cases: Cases) -> dict[str, tuple[str, str]]:
    """Return patient and split of the further cases."""
    return {case.id: (case.patient, case.split) for case in cases.cases if case.id in cases.origins}


def test_the_images_of_a_folder_join_as_unlabelled_cases(source: Path, more: Path) -> None:
    cases = load(source, more)
    assert joined(cases) == {f"other{n}": (f"other{n}", "unlabelled") for n in range(3)}
    assert set(cases.origins.values()) == {str(more)}
    assert f"Of the unlabelled images, 0 come from {source} and 3 from {more} (read as paired)." in cases.notes
    examined = examine(cases)
    assert {fact.id for fact in examined.facts} == {case.id for case in cases.cases}
    assert examined.findings == ()


def test_paths_are_taken_as_they_are_typed(source: Path, more: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(more.parent)
    assert load(source, Path("more")).part("unlabelled")[0].images == (Path("more/other0.png"),)


@pytest.mark.parametrize("count", [1, 30])
def test_the_split_of_the_labelled_cases_stays_the_same(source: Path, tmp_path: Path, count: int) -> None:
    for number in range(count):  # before and after the others by name
        picture(tmp_path / "more" / f"{'az'[number % 2]}{number}.png", 100 + number)
    alone, cases = load_cases(DataOptions(str(source))), load(source, tmp_path / "more")
    assert [case for case in cases.cases if case.id not in cases.origins] == list(alone.cases)
    folds = [make_fold(found.cases, 1, Folding(3), 0) for found in (alone, cases)]
    assert [case for case in folds[1] if case.id not in cases.origins] == folds[0]
    assert {case.split for case in folds[1] if case.id in cases.origins} == {"unlabelled"}


def test_labels_of_the_folder_are_not_used_and_its_masks_not_opened(source: Path, tmp_path: Path) -> None:
    more = masked(tmp_path / "more", ["x", "y"], first=100)
    for mask in (more / "labels").iterdir():
        Image.fromarray(np.random.default_rng(0).integers(0, 60_000, (SIZE, SIZE), dtype=np.uint16)).save(mask)
    cases = load(source, more)
    assert joined(cases) == {"x": ("x", "unlabelled"), "y": ("y", "unlabelled")}
    assert all(case.target is None for case in cases.part("unlabelled"))
    assert cases.labels.names == ("label_1",)
    assert any("from" in note and "(read as paired, whose labels are not used)" in note for note in cases.notes)


def test_a_list_of_masks_that_are_not_there_is_of_use(source: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "more" / "x.png", 100)
    listed = '{"training": [{"image": "x.png", "label": "none.png"}]}'
    image.with_name("list.json").write_text(listed)
    assert list(joined(load(source, tmp_path / "more"))) == ["x"]


def test_a_table_names_patients_and_parts_of_its_own(source: Path, tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "more" / f"p{number}.png", 100 + number)
    rows = ["p0.png,a,test,1", "p1.png,a,train,0", "p2.png,b,val,0", "p3.png,b,unused,1"]
    (tmp_path / "more" / "list.csv").write_text("\n".join(["image,patient,split,mass", *rows]))
    parts = {"p0": ("a", "unlabelled"), "p1": ("a", "unlabelled"), "p2": ("b", "unlabelled"), "p3": ("b", "unused")}
    assert joined(load(source, tmp_path / "more" / "list.csv")) == parts


def test_names_that_are_taken_begin_with_the_folder_and_are_other_patients(source: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    for number in range(10):  # of each part
        picture(more / f"scan{number}.png", 100 + number)
    cases = load(source, more)
    assert joined(cases)["more_scan3"] == ("more_scan3", "unlabelled")
    assert len({case.id for case in cases.cases}) == len({case.patient for case in cases.cases}) == 20
    assert "10 of the latter are named like others and were renamed (as more_scan0)." in cases.notes
    assert not {finding.code for finding in examine(cases).findings} & {"near_duplicate_ids"}


def test_names_are_made_apart() -> None:
    assert name_apart(["a", "b", "x_a"], ["a"], "x") == {"a": "x_x_a", "b": "b", "x_a": "x_a"}
    assert name_apart(["a"], ["a", "x_a"], "x") == {"a": "x_x_a"}


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_copy_of_a_held_out_image_is_an_error(source: Path, more: Path, part: str) -> None:
    original = load(source, more).part(part)[0].images[0]
    copy = more / "other9.png"
    Image.open(original).save(copy, compress_level=1)  # other bytes, equal pixels
    assert error_of(source, more) == (
        f"data.unlabelled {more} must hold no image of the val or test part, but 1 of its images are copies of such "
        f"(first: {copy} = {original}, {part}): take these images out."
    )


def test_the_folder_of_the_source_itself_is_an_error(source: Path) -> None:
    text = error_of(source, source)
    assert f"data.unlabelled {source} must hold no image of the val or test part, but " in text


def test_a_copy_of_a_training_image_is_told_and_stays(source: Path, more: Path) -> None:
    shutil.copy(load(source, more).part("train")[0].images[0], more / "other9.png")
    examined = examine(load(source, more))
    assert "duplicate_image" in {finding.code for finding in examined.findings}
    assert joined(examined.cases)["other9"][1] == "unlabelled"


def test_a_near_copy_of_a_test_image_is_left_out_as_within_a_source(source: Path, more: Path) -> None:
    original = np.asarray(Image.open(load(source, more).part("test")[0].images[0]))
    Image.fromarray((original // 2 + 40).astype(np.uint8)).save(more / "other9.png")
    examined = examine(load(source, more))
    assert "near_duplicate_across_parts" in {finding.code for finding in examined.findings}
    assert joined(examined.cases)["other9"][1] == "unused"


def held_out_patient(source: Path, more: Path) -> str:
    return load(source, more).part("test")[0].patient


def test_a_patient_of_the_test_part_is_an_error_where_names_tell_patients(tmp_path: Path) -> None:
    source = masked(tmp_path / "set", [f"patient_{number}_first" for number in range(10)])
    image = picture(tmp_path / "more" / "patient_99_second.png", 100)
    patient = held_out_patient(source, image.parent)
    second = picture(tmp_path / "more" / f"{patient}_second.png", 101)
    assert error_of(source, image.parent) == (
        f"data.unlabelled {image.parent} must hold no image of a patient of the val or test part, but 1 of its images "
        f"are of such patients (first: {second} of {patient!r}, test): take these images out, or rename them if they "
        "show other people."
    )


def test_a_training_patient_may_have_further_images_but_not_in_a_fold_that_tests_it(tmp_path: Path) -> None:
    source = masked(tmp_path / "set", [f"patient_{number}_first" for number in range(10)])
    more = tmp_path / "more"
    picture(more / "patient_99_second.png", 99)
    train = load(source, more).part("train")[0].patient
    picture(more / f"{train}_second.png", 100)
    cases = load(source, more)
    assert joined(cases)[f"{train}_second"] == (train, "unlabelled")
    for fold in (make_fold(cases.cases, number, Folding(5), 0) for number in range(5)):
        held_out = {case.patient for case in fold if case.split in ("val", "test")}
        (second,) = [case for case in fold if case.id == f"{train}_second"]
        assert second.split == ("unused" if train in held_out else "unlabelled")


def test_a_pattern_names_the_patients_of_both_and_misses_none_elsewhere(source: Path, more: Path) -> None:
    patient = load(source, more, patient_pattern=r"^scan\d").part("test")[0].patient
    assert joined(load(source, more, patient_pattern=r"^scan\d"))["other1"] == ("other1", "unlabelled")
    picture(more / f"{patient}-later.png", 200)
    assert f"of {patient!r}, test)" in error_of(source, more, patient_pattern=r"^scan\d")


def test_patients_of_dicom_files_are_known_again_by_their_headers(dicom: ModuleType, tmp_path: Path) -> None:
    def write(folder: str, patient: str, number: int) -> None:
        dicom.write_series(
            tmp_path / folder / f"s{number}",
            PatientID=patient,
            SeriesInstanceUID=f"1.2.{len(folder)}.{number}",
            StudyInstanceUID=f"1.5.{len(folder)}.{number}",
        )

    for number in range(6):
        write("set", f"P{number}", number)
        dicom.write_seg(tmp_path / "set" / f"seg{number}.dcm", {"organ": np.ones((4, 5, 7), bool)}, f"1.2.3.{number}")
        write("further", f"Q{number}", number)  # other patients under equal names of folders
    cases = load(tmp_path / "set", tmp_path / "further")
    assert joined(cases)["further_s1"] == ("further_s1", "unlabelled")
    train, test = cases.part("train")[0].patient, cases.part("test")[0].patient
    write("further", f"P{train[-1]}", 7)
    assert joined(load(tmp_path / "set", tmp_path / "further"))["s7"] == (train, "unlabelled")
    write("further", f"P{test[-1]}", 8)
    with pytest.raises(UserError, match="must hold no image of a patient of the val or test part, but 1 of its images"):
        load(tmp_path / "set", tmp_path / "further")


def test_what_is_wrong_with_masks_of_the_folder_is_no_matter(dicom: ModuleType, tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / "set" / f"s{number}"
        dicom.write_series(folder, PatientID=f"P{number}", SeriesInstanceUID=f"1.2.3.{number}")
        organ = {"organ": np.ones((4, 5, 7), bool)}
        dicom.write_seg(tmp_path / "set" / f"seg{number}.dcm", organ, f"1.2.3.{number}")
    dicom.write_series(tmp_path / "more" / "s9", PatientID="Q", SeriesInstanceUID="1.2.9.9")
    dicom.write_seg(tmp_path / "more" / "seg.dcm", {"organ": np.ones((4, 5, 7), bool)}, "1.2.9.8")  # of no series
    cases = load(tmp_path / "set", tmp_path / "more")
    assert joined(cases) == {"s9": ("s9", "unlabelled")}
    assert cases.findings == ()


def test_channels_and_axes_must_be_those_of_the_source(source: Path, tmp_path: Path) -> None:
    picture(tmp_path / "colours" / "a.png", 100, channels=3)
    assert error_of(source, tmp_path / "colours") == (
        f"The images of data.unlabelled {tmp_path / 'colours'} must have the channels of the source in the same order "
        "(gray), but have red, green, blue: give images with the same channels."
    )
    (tmp_path / "volumes").mkdir()
    np.save(tmp_path / "volumes" / "a.npy", np.random.default_rng(0).uniform(0, 1, (12, 12, 12)).astype(np.float32))
    assert error_of(source, tmp_path / "volumes") == (
        f"The images of data.unlabelled {tmp_path / 'volumes'} must have 2 axes like those of the source, but 1 have "
        f"not (first: {tmp_path / 'volumes' / 'a.npy'} with 3): take them out."
    )


def test_a_folder_that_is_not_there_or_holds_no_images_is_an_error(source: Path, tmp_path: Path) -> None:
    assert error_of(source, tmp_path / "none") == (
        f"data.unlabelled: The source {tmp_path / 'none'} was expected, but there is no such file or folder: check the "
        "path."
    )
    (tmp_path / "empty").mkdir()
    assert error_of(source, tmp_path / "empty").startswith(f"data.unlabelled: The folder {tmp_path / 'empty'} is empty")


def test_a_split_table_need_not_list_them_and_the_cases_of_a_run_do(source: Path, more: Path, tmp_path: Path) -> None:
    table = tmp_path / "splits.csv"
    rows = [f"scan{n},scan{n},{'train' if n < 6 else 'val' if n < 8 else 'test'}" for n in range(10)]
    table.write_text("\n".join(["id,patient,split", *rows]))
    picture(more / "scan9.png", 300)
    cases = load(source, more, splits=str(table))
    assert {split for _, split in joined(cases).values()} == {"unlabelled"}
    assert not any("not listed" in note for note in cases.notes)
    examined = examine(cases)
    examined = replace(examined, cases=replace(cases, cases=tuple(make_fold(cases.cases, 0, Folding(5), 0))))
    write_cases(tmp_path / "cases.csv", examined)
    options = DataOptions(str(source), unlabelled=str(more))
    assert load_cases(options, tmp_path / "cases.csv").cases == examined.cases.cases
