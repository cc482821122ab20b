"""What weights have seen: by image and by patient, trained on or used to choose, also through the init's file."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from selfmae.data.source import Source, checked_source, load_cases
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.experiment.report import report
from selfmae.files import read_table
from selfmae.recipe import load_recipe
from selfmae.report.sweep import build_sweep_page
from selfmae.results.exposure import (
    NUM_KEPT,
    ExposureLog,
    SetExposure,
    check_unseen,
    digest,
    exposure_in,
    exposure_of,
    find_leaks,
    read_header,
    set_name,
)
from selfmae.results.sweep_results import gather, save_sweep, show_sweep
from selfmae.results.verdict import compare
from selfmae.weights.file import read_metadata, save_weights

Call = Callable[..., int]

ROWS = [
    {"id": "a", "patient": "p1", "split": "train", "hash": "h1"},
    {"id": "b", "patient": "p2", "split": "val", "hash": "h2"},
    {"id": "c", "patient": "p3", "split": "test", "hash": "h3"},
]


@pytest.fixture(scope="module")
def source(volume_recipe: Path) -> Source:
    return checked_source(load_cases(load_recipe(str(volume_recipe)).data), masks=False, display=Display(quiet=True))


@pytest.fixture
def run(volume_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volume_run, tmp_path / "run"))


def known(
    images: str = "", patients: str = "", choice: str = "", choice_patients: str = "", name: str = ""
) -> ExposureLog:
    """Return what was seen of one data set, each as names between spaces."""
    digests = [frozenset(map(digest, text.split())) for text in (patients, choice_patients)]
    found = SetExposure(frozenset(images.split()), *digests)
    return ExposureLog(frozenset(images.split()), frozenset(choice.split()), {digest(name): found})


def add_to_contract(folder: Path, key: str, value: str) -> None:
    """Let a model have seen something: an image under "seen" or "chosen_on", a patient under a key of its set."""
    path = folder / "model.safetensors"
    metadata = read_metadata(path)
    place = metadata if key in metadata else next(iter(metadata["seen_sets"].values()))
    place[key] = [*place[key], value]
    save_weights(path, load_file(path), metadata)


def row_of(folder: Path, split: str) -> dict[str, str]:
    return next(row for row in read_table(folder / "cases.csv") if row["split"] == split)


@pytest.mark.parametrize(
    ("seen", "leaks"),
    [
        (known("h1", "p1", name="set"), {}),
        (known("h2 h3"), {"image": ["b", "c"]}),
        (known("h1", "p3"), {"patient": ["c"]}),
        (known("h9", "p2 p3", name="set"), {"patient": ["b", "c"]}),
        (known(choice="h2 h3"), {"choice": ["c"]}),
        (known(choice_patients="p2 p3", name="set"), {"choice_patient": ["c"]}),
    ],
)
def test_held_out_cases_are_known_by_image_and_by_patient(seen: ExposureLog, leaks: dict[str, list[str]]) -> None:
    assert find_leaks(seen, ROWS, "set") == leaks


def test_an_equal_name_in_a_data_set_with_nothing_in_common_is_another_person() -> None:
    assert find_leaks(known("h9", "p2 p3", name="elsewhere"), ROWS, "set") == {}


def test_names_of_one_set_do_not_count_in_another_that_the_same_weights_have_seen() -> None:
    both = known("h9", "p2 p3", name="elsewhere") | known("h1", "p1", name="set")
    assert find_leaks(both, ROWS, "set") == {}
    assert find_leaks(both | known("h8", "p3", name="set"), ROWS, "set") == {"patient": ["c"]}


def test_a_large_set_is_known_again_by_few_images_under_another_name() -> None:
    rows = [{"id": str(n), "patient": f"p{n // 2}", "split": "train", "hash": f"{n:04d}"} for n in range(400)]
    seen = known(" ".join(row["hash"] for row in rows[::2]), "p7", name="old")
    kept = seen | known("9999", name="old")
    assert len(next(iter(kept.sets.values())).images) == NUM_KEPT
    moved = [{**row, "split": "test"} if row["hash"] == "0015" else row for row in rows]
    assert find_leaks(kept, moved, "renamed") == {"patient": ["15"]}


@pytest.mark.parametrize(
    ("source", "name"), [("x/set/labels.csv", "set"), ("x/set", "set"), ("x/pathmnist.npz", "pathmnist")]
)
def test_a_data_set_is_named_by_its_folder_or_its_archive(source: str, name: str) -> None:
    assert set_name(Path(source)) == name


def test_weights_may_know_training_images_but_no_others(source: Source) -> None:
    train, test = source.cases.part("train"), source.cases.part("test")[0]
    assert check_unseen(source, exposure_of(source, train, source.cases.part("val")), "x") == []
    with pytest.raises(UserError, match=rf"weights of x were trained on 1 image .* \({test.id}\): the score would be"):
        check_unseen(source, ExposureLog(frozenset([source.hashes[test.id]])), "x")


def test_what_is_allowed_is_told(source: Source) -> None:
    val = source.cases.part("val")
    (sentence,) = check_unseen(replace(source, transductive=True), exposure_of(source, val, ()), "x")
    assert sentence.startswith("The weights of x were trained on ")
    assert sentence.endswith(f"({', '.join(case.id for case in val[:3])}).")


def test_a_contract_lists_patients_without_naming_them(volume_run: Path) -> None:
    folder = volume_run / "mae" / "fold0" / "seed0"
    seen = exposure_in(read_header(folder / "model.safetensors"))
    rows = read_table(folder / "cases.csv")
    (found,) = seen.sets.values()
    assert found.patients == {digest(row["patient"]) for row in rows if row["split"] in ("train", "unlabelled")}
    assert seen.choice_images == {row["hash"] for row in rows if row["split"] == "val"}
    assert "phantom" not in json.dumps(seen.as_content())


def test_the_contract_reads_the_same_without_torch(volume_run: Path) -> None:
    path = volume_run / "mae" / "fold0" / "seed0" / "model.safetensors"
    assert read_header(path) == read_metadata(path)


@pytest.mark.parametrize("key", ["patients", "chosen_on_patients"])
def test_a_model_that_knows_a_test_patient_is_refused_everywhere(
    run: Path, call: Call, error_line: Callable[[], str], key: str
) -> None:
    cell = run / "mae" / "fold0" / "seed0"
    case = row_of(cell, "test")
    add_to_contract(cell, key, digest(case["patient"]))
    for words in (("compare", run), ("report", run), ("report", cell), ("evaluate", cell)):
        assert call(*words) == 2
        assert re.search(
            rf"on images of the patients of 1 case .*\({case['id']}\): the score .* --allow-tr", error_line()
        )


def test_what_is_allowed_is_stamped_on_every_table_and_figure(
    run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = run / "mae" / "fold0" / "seed0"
    add_to_contract(cell, "seen", row_of(cell, "test")["hash"])
    assert call("compare", run, "--allow-transductive") == 0
    assert len(json.loads((run / "verdict.json").read_text())["leakage"]) == 1
    out = capsys.readouterr().out
    assert "TRANSDUCTIVE: The weights of mae were trained on 1 image" in out
    assert "TRANSDUCTIVE: initialization" in out
    assert "TRANSDUCTIVE: mae against scratch" in out
    (page,) = report([run], Display(quiet=True), transductive=True)
    text = page.read_text()
    marks = text.count(">TRANSDUCTIVE</")
    assert marks - 1 == len(re.findall(r"<(?:table|figure)[ >]", text)) > 5  # and the verdict
    assert call("evaluate", cell, "--allow-transductive") == 0
    assert "TRANSDUCTIVE: metric" in capsys.readouterr().out
    assert json.loads((cell / "summary-test.json").read_text())["leakage"][0].startswith("The weights of mae")


def test_a_sweep_with_a_leak_is_stamped_too(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = run / "mae" / "fold0" / "seed0"
    add_to_contract(cell, "seen", row_of(cell, "test")["hash"])
    shutil.move(run, tmp_path / "base")
    facts = json.loads((tmp_path / "base" / "run.json").read_text())
    found = gather([{}], facts, tmp_path, transductive=True)
    content = found | {"axes": {"mae.ratio": [0.5]}, "failed": {}, "halving": [], "paper": {"rows": ()}}
    assert [text[:26] for text in content["leakage"]] == ["base: The weights of mae w"]
    for row in (*content["rows"], *content["pairs"]):
        row["settings"]["mae.ratio"] = 0.5
    save_sweep(content, tmp_path)
    assert {row["leakage"] for row in read_table(tmp_path / "sweep.csv")} == {"TRANSDUCTIVE"}
    show_sweep(content, Display())
    assert "TRANSDUCTIVE: mae.ratio=0.5: mae against scratch" in capsys.readouterr().err
    page = build_sweep_page(content)
    assert page.count(">TRANSDUCTIVE</") == len(re.findall(r"<(?:table|figure)[ >]", page)) >= 3


def test_a_clean_report_bears_no_stamp(volume_run: Path) -> None:
    assert "TRANSDUCTIVE" not in (volume_run / "report.html").read_text()
    assert compare([volume_run], transductive=True)["leakage"] == []


@pytest.mark.parametrize("key", ["seen", "patients", "chosen_on"])
def test_a_file_that_knows_a_test_case_is_no_start_of_a_run_unless_allowed(
    tmp_path: Path, volumes: Path, volume_run: Path, small_volumes: list[str], call: Call, key: str
) -> None:
    folder = volume_run / "pretrain-mae" / "fold0" / "seed0"
    case, out = row_of(folder, "test"), tmp_path / "out"
    leaky = Path(shutil.copytree(folder, tmp_path / "leaky"))
    add_to_contract(leaky, key, digest(case["patient"]) if key == "patients" else case["hash"])
    weights = (leaky / "model.safetensors").rename(tmp_path / "leaky.safetensors")
    words = ("run", volumes, "--out", out, "--init", weights, *small_volumes)
    assert call(*words) == 2
    assert not out.exists()
    assert call(*words, "--allow-transductive") == 0
    (sentence,) = json.loads((out / "verdict.json").read_text())["leakage"]
    assert "leaky" in sentence
    assert "TRANSDUCTIVE" in (out / "report.html").read_text()
    assert call("compare", out) == 2
