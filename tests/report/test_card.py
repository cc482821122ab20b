import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selfmae.report.page import build_page
from selfmae.results.run_folder import RunFolder

Make = Callable[..., Path]
Card = Callable[..., dict[str, str]]


@pytest.fixture
def card(read_part: Callable[..., list[str]]) -> Card:
    """Return a function that gives the card of a run folder: titles and texts."""

    def read(folder: Path, *leakage: str) -> dict[str, str]:
        parts = read_part("card.html", folder, leakage)
        return dict(zip(parts[::2], parts[1::2], strict=True))

    return read


def test_a_card_of_masks_tells_use_data_metrics_and_limits(make_run: Make, card: Card) -> None:
    found = card(make_run())
    assert "segments spleen, <b>liver</b> and $x$ & kidney in images with the channels CT" in found["Intended use"]
    assert "not a medical device" in found["Intended use"]
    assert found["Training data"].startswith("20 labelled cases of 10 patients of abdomen")
    assert "spacing-varies" in found["Training data"]
    assert "With self pre-training: mean Dice 0.840 (95 % interval 0.810 to 0.870)" in found["Metrics"]
    assert "tested on 12 cases of 6 patients" in found["Limitations"]


def test_a_card_of_findings_names_what_cannot_be_judged(make_run: Make, card: Card) -> None:
    found = card(make_run("multilabel", num_seeds=1))
    assert "gives a probability for each of nodule" in found["Intended use"]
    assert "Nothing can be said about effusion" in found["Limitations"]
    assert "one seed" in found["Limitations"]
    assert "calibrated only as far" in found["Limitations"]


def test_a_finding_is_unknown_only_if_no_fold_tells_of_it(make_run: Make, card: Card) -> None:
    folder = make_run("multilabel", num_seeds=2)
    path = folder / "mae" / "fold0" / "seed1" / "summary-test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"undefined": []}))
    assert "Nothing can be said" not in card(folder)["Limitations"]


def test_regions_and_classes_are_called_so(make_run: Make, card: Card) -> None:
    folder = make_run(num_seeds=1)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"regions": True}))
    assert "segments the overlapping regions" in card(folder)["Intended use"]
    (folder / "run.json").write_text(json.dumps(run | {"kind": "multiclass"}))
    assert "mutually exclusive classes" in card(folder)["Intended use"]


def test_there_is_no_card_before_an_evaluation(make_cell: Make) -> None:
    assert "Model card" not in build_page(RunFolder.read(make_cell("pretrain")))


def test_what_models_know_of_test_cases_comes_first_in_the_limitations(make_run: Make, card: Card) -> None:
    leak = "The weights of mae were trained on 1 image of this split's test part."
    assert card(make_run(), leak)["Limitations"].startswith(leak)


def test_the_card_says_by_what_patients_were_compared(make_run: Make, card: Card) -> None:
    folder = make_run()
    assert card(folder)["Limitations"].endswith("Groups of patients (sex, age, scanner) were not compared.")
    verdict = json.loads((folder / "verdict.json").read_text())
    row = {"a": "scratch", "b": "mae", "mean_a": 0.5, "mean_b": 0.6, "difference": 0.1, "ci95": None, "num_cases": 5}
    groups = [row | {"label": label, "subgroup": name} for label, name in (("", "sex: F"), ("liver", "small liver"))]
    (folder / "verdict.json").write_text(json.dumps(verdict | {"subgroups": groups}))
    assert card(folder)["Limitations"].endswith("Groups of patients were compared by sex only.")
