import json
from collections.abc import Callable
from pathlib import Path

from selfmae.report.provenance import model_card
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]


def card(folder: Path) -> dict[str, str]:
    return {title: " ".join(sentences) for title, sentences in model_card(RunFolder.read(folder))}


def test_a_card_of_masks_tells_use_data_metrics_and_limits(make_run: Make) -> None:
    found = card(make_run())
    assert "outlines spleen, <b>liver</b> and $x$ & kidney in images with the channels CT" in found["Intended use"]
    assert "not a medical device" in found["Intended use"]
    assert found["Training data"].startswith("20 labelled cases of 10 patients of abdomen")
    assert "spacing-varies" in found["Training data"]
    assert "With self pre-training: mean Dice 0.840 (95 % interval 0.810 to 0.870)" in found["Metrics"]
    assert "tested on 12 cases of 6 patients" in found["Limits"]


def test_a_card_of_findings_names_what_cannot_be_judged(make_run: Make) -> None:
    found = card(make_run("multilabel", num_seeds=1))
    assert "gives a probability for each of nodule" in found["Intended use"]
    assert "Nothing can be said about effusion" in found["Limits"]
    assert "one seed" in found["Limits"]
    assert "calibrated only as far" in found["Limits"]


def test_a_finding_is_unknown_only_if_no_fold_tells_of_it(make_run: Make) -> None:
    folder = make_run("multilabel", num_seeds=2)
    path = folder / "mae" / "fold0" / "seed1" / "summary-test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"undefined": []}))
    assert "Nothing can be said" not in card(folder)["Limits"]


def test_regions_and_classes_are_called_so(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"regions": True}))
    assert "outlines the overlapping regions" in card(folder)["Intended use"]
    (folder / "run.json").write_text(json.dumps(run | {"kind": "multiclass"}))
    assert "exclusive classes" in card(folder)["Intended use"]


def test_there_is_no_card_before_an_evaluation(make_cell: Make) -> None:
    assert model_card(RunFolder.read(make_cell("pretrain"))) == []


def test_the_card_says_by_what_patients_were_compared(make_run: Make) -> None:
    folder = make_run()
    assert card(folder)["Limits"].endswith("Groups of patients (sex, age, scanner) were not compared.")
    verdict = json.loads((folder / "verdict.json").read_text())
    row = {"a": "scratch", "b": "mae", "mean_a": 0.5, "mean_b": 0.6, "difference": 0.1, "ci95": None, "num_cases": 5}
    groups = [row | {"label": label, "subgroup": name} for label, name in (("", "sex: F"), ("liver", "small liver"))]
    (folder / "verdict.json").write_text(json.dumps(verdict | {"subgroups": groups}))
    assert card(folder)["Limits"].endswith("Groups of patients were compared by sex only.")
