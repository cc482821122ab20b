"""The paper's numbers as typed here: their means are those that reproduction found in the printed tables."""

import pytest

from selfmae.report.paper import AUC, BRATS, BTCV, CHESTXRAY14, DICE, HD95, PaperRow, paper_rows, set_of


def mean_of(row: PaperRow, measure: str) -> float:
    return sum(scores[measure] for scores in row.labels.values()) / len(row.labels)


@pytest.mark.parametrize(
    ("name", "count"), [("btcv", 14), ("btcv:released", 14), ("btcv-paper", 14), ("brats", 9), ("chestxray14", 10)]
)
def test_recipes_of_the_paper_have_its_rows(name: str, count: int) -> None:
    assert len(paper_rows(name)) == count
    assert set_of(name) in ("btcv", "brats", "chestxray14")


@pytest.mark.parametrize("name", ["", "demo-volumes", "btcvx"])
def test_other_recipes_have_none(name: str) -> None:
    assert paper_rows(name) == ()


def test_averages_of_organs_are_the_columns_but_in_four_rows() -> None:
    """AttnUNet's aorta is a slip of the paper; UNETR's rows average the organs of a case first."""
    means = {row.name: mean_of(row, DICE) for row in BTCV if row.labels}
    others = {"AttnUNet (R50)": 72.10, "UNETR": 78.65, "UNETR + ImageNet": 79.51, "UNETR + MAE, 12.5 % hidden": 83.37}
    for row in BTCV[:9]:
        assert means[row.name] == pytest.approx(others.get(row.name, row.scores[DICE]), abs=0.011)


def test_averages_of_regions_are_the_columns_but_of_distances() -> None:
    for row in BRATS:
        assert mean_of(row, DICE) == pytest.approx(row.scores[DICE], abs=0.011)
    assert [mean_of(row, HD95) for row in BRATS[:3]] == pytest.approx([7.56, 7.35, 7.11], abs=0.011)
    assert [row.scores[HD95] for row in BRATS[:3]] == [7.78, 7.38, 7.22]


def test_the_rows_that_the_paper_trained_stand_for_initializations() -> None:
    trained = {row.name: (row.init, dict(row.needs)) for row in (*BTCV, *CHESTXRAY14) if row.init}
    assert trained["UNETR"] == ("scratch", {})
    assert trained["UNETR + MAE, 87.5 % hidden"] == ("mae", {"mae.ratio": 0.875, "pretrain.steps": 10_000 * 3})
    longer = trained["UNETR + MAE, 75 % hidden, 40,000 instead of 10,000 epochs"]
    assert longer == ("mae", {"mae.ratio": 0.75, "pretrain.steps": 40_000 * 3})
    assert trained["ViT-B, 400 epochs"] == ("scratch", {"fit.steps": 400 * 337})
    assert [row.needs["pretrain.steps"] for row in BRATS[-2:]] == [1000 * 65, 2000 * 65]
    assert [row.scores[AUC] for row in CHESTXRAY14 if row.init] == [74.4, 74.9, 80.7, 81.5]
