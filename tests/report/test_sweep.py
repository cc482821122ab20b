"""The page of a sweep: figure, axis, tables, and nothing that needs a network."""

from typing import Any

import pytest

from selfmae.report.sweep import build_sweep_page, is_logarithmic, sweep_plots


def make_content(axes: dict[str, list[Any]], inits: tuple[str, ...] = ("scratch", "mae")) -> dict[str, Any]:
    key, *others = axes
    rows = [
        {
            "settings": {key: value} | {other: axes[other][0] for other in others},
            "init": init,
            "mean": 0.5 + 0.01 * place,
            "ci95": (0.4, 0.6 + 0.01 * place),
            "num_cases": 17,
            "num_seeds": 3,
        }
        for place, value in enumerate(axes[key])
        for init in inits
    ]
    return {
        "metric": "mean_auc",
        "axes": axes,
        "rows": rows,
        "pairs": [],
        "failed": {},
        "halving": [],
        "leakage": [],
        "limitations": [],
        "paper": {"rows": ()},
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.25, 1.0], True),
        ([100, 10000], True),
        ([0.125, 0.5, 0.875], False),
        ([0, 100], False),
        (["raw", "patch"], False),
        ([True, False], False),
    ],
)
def test_an_axis_is_logarithmic_where_values_span_a_decade(values: list[Any], expected: bool) -> None:
    assert is_logarithmic(values) == expected


def test_the_page_shows_every_initialization_and_value_and_needs_no_network() -> None:
    page = build_sweep_page(make_content({"mae.ratio": [0.25, 0.5, 0.75]}))
    assert page.count("<svg") == 1
    for text in ("mean AUC against mae.ratio", "scratch", "mae", "0.400 to 0.620", "<td>17</td>", "#2a7de1"):
        assert text in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")


def test_the_page_has_one_plot_for_each_value_of_the_shorter_key() -> None:
    page = build_sweep_page(make_content({"mae.ratio": [0.25, 0.5, 0.75], "fit.steps": [4, 8]}))
    assert page.count("<svg") == 2
    assert "<figcaption>fit.steps = 4</figcaption>" in page


def test_the_paper_stands_on_the_page_where_the_recipe_is_its_own() -> None:
    content = make_content({"mae.ratio": [0.25, 0.5]})
    assert "Comparison with the paper" not in build_sweep_page(content)
    paper = {
        "columns": ("Method", "here"),
        "rows": (("UNETR", "81.25"),),
        "num_words": 1,
        "missing": (),
        "data_set": "btcv",
        "unit": "mm",
    }
    page = build_sweep_page(content | {"paper": paper})
    assert "Comparison with the paper" in page
    assert "<td>81.25</td>" in page


def test_words_stand_side_by_side_on_the_axis() -> None:
    page = build_sweep_page(make_content({"mask.target": ["patch", "raw"]}))
    assert ">patch</text>" in page
    assert ">raw</text>" in page


def test_equal_results_give_equal_bytes() -> None:
    content = make_content({"fit.steps": [10, 100, 1000]})
    assert build_sweep_page(content) == build_sweep_page(content)


def test_an_undefined_mean_has_no_point_and_a_dash() -> None:
    content = make_content({"fit.steps": [10, 100]})
    content["rows"][0] |= {"mean": None, "ci95": None}
    assert "<td>\u2013</td>" in build_sweep_page(content)


def test_what_is_missing_chosen_or_leaked_is_said() -> None:
    content = make_content({"mae.ratio": [0.5]}) | {
        "failed": {"mae <b>": "out of memory"},
        "halving": [{"number": 1, "share": 0.5, "scores": {"mae.ratio=0.5": 0.7}, "kept": ["mae.ratio=0.5"]}],
        "leakage": [{"case": "x"}],
    }
    page = build_sweep_page(content)
    assert "mae &lt;b&gt;: out of memory" in page
    assert "mae.ratio=0.5: 0.7, goes on" in page
    assert "TRANSDUCTIVE" in page


@pytest.mark.parametrize("values", [[0.25, 0.5, 0.75], [10, 100, 1000], ["raw", "patch"]])
def test_initializations_stand_side_by_side_within_the_axes(values: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfmae.report.sweep.to_svg", lambda figure, *_: figure)
    ((_, figure),) = sweep_plots(make_content({"key": values}), {"scratch": "gray", "mae": "blue"})
    plot = figure.axes[0]
    low, high = plot.get_ylim()
    assert low < 0.4 < 0.6 + 0.01 * (len(values) - 1) < high
    curves = [line.get_transform().transform(line.get_xydata()) for line in plot.lines if line.get_marker() == "o"]
    assert [len(curve) for curve in curves] == [len(values)] * 2
    assert (curves[1] - curves[0])[:, 0] == pytest.approx(4 * figure.dpi / 72)


def test_a_sweep_says_what_limits_its_intervals() -> None:
    content = make_content({"mae.ratio": [0.25, 0.5]})
    numbers = {"difference": 0.1, "ci95": (0.0, 0.2), "verdict": "helps", "num_seeds": 1}
    content["pairs"] = [
        {"settings": {"mae.ratio": ratio}, "a": "scratch", "b": "mae", **numbers} for ratio in (0.25, 0.5)
    ]
    assert "trained with one seed only" not in build_sweep_page(content)
    content["limitations"] = [{"code": "one_seed"}]
    assert build_sweep_page(content).count("Each initialization was trained with one seed only") == 1
