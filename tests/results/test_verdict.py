"""The verdict on rows with known differences: margin, one seed, looks, and what the terminal shows of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.metrics.decisions import look_level
from selfmae.metrics.rows import Runs, compare_runs, dice_scorer, join_rows
from selfmae.metrics.statistics import VERDICT_RESAMPLES, holm
from selfmae.options import TargetOptions
from selfmae.results.formatting import MINUS
from selfmae.results.headline import headline
from selfmae.results.limitations import find_limitations
from selfmae.results.verdict import Rule, _verdict, show_verdict

TARGET = TargetOptions("mask", ("organ",), (1,))
NUM_PATIENTS = 30


def runs(gain: float = 0.0, spread: float = 0.0, num_seeds: int = 3) -> Runs:
    """Return runs whose Dice is that of scratch and a gain, with a spread over patients, equal for all seeds."""
    rng = np.random.default_rng(0)
    own, noise = rng.random(NUM_PATIENTS), rng.normal(size=NUM_PATIENTS)
    dice = 0.7 + 0.1 * own + gain + spread * (noise - noise.mean())
    rows = [{"id": f"c{i}", "patient": f"p{i}", "dice": str(x), "dice_organ": str(x)} for i, x in enumerate(dice)]
    found = join_rows({(seed, 0): rows for seed in range(num_seeds)})
    assert found
    return found


def judge(found: Mapping[str, Runs], rule: Rule, scored: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the verdict without what only folders tell."""
    verdict = _verdict(found, TARGET, rule, scored) | {"leakage": [], "recommended": None, "scored": [*scored]}
    return verdict | {"headline": headline(verdict), "limitations": find_limitations(verdict)}


def pair_of(gain: float, spread: float, rule: Rule = Rule(), num_seeds: int = 3) -> dict[str, Any]:  # noqa: B008
    found = {"scratch+": runs(num_seeds=num_seeds), "mae": runs(gain, spread, num_seeds)}
    (pair,) = judge(found, rule)["pairs"]
    return dict(pair)


def test_a_difference_within_the_margin_is_none_even_if_its_interval_leaves_out_0() -> None:
    pair = pair_of(0.004, 0.004)
    assert pair["ci95"][0] > 0
    assert (pair["verdict"], pair["to_tell"]) == ("no difference", None)
    assert pair_of(0.004, 0.004, Rule(0.001))["verdict"] == "helps"
    assert pair_of(-0.004, 0.004, Rule(0.001))["verdict"] == "hurts"


def test_what_cannot_be_told_says_what_would_give_any_of_the_answers() -> None:
    pair = pair_of(0.0, 0.06)
    assert pair["verdict"] == "cannot tell"
    assert pair["to_tell"]["patients"] > 0  # equal scores: more patients make the interval fit into the margin
    assert pair_of(0.0, 0.06, Rule(0.005))["to_tell"]["patients"] > pair["to_tell"]["patients"]


def test_of_several_pairs_the_corrected_p_value_must_agree() -> None:
    gains = {"imagenet": (0.02, 0.05), "moco": (-0.01, 0.06), "mae": (0.03, 0.06)}
    pairs = judge({"scratch": runs()} | {init: runs(*found) for init, found in gains.items()}, Rule())["pairs"]
    clear = [pair for pair in pairs if not pair["ci95"][0] <= 0 <= pair["ci95"][1]]
    assert [pair["p_holm"] for pair in pairs] == holm([pair["p"] for pair in pairs])
    assert {pair["p_holm"] < 0.05 for pair in clear} == {True, False}
    assert all((pair["verdict"] == "cannot tell") == (pair["p_holm"] >= 0.05) for pair in clear)


def test_one_seed_has_an_interval_and_no_verdict_but_scored_masks_have_one() -> None:
    pair = pair_of(0.05, 0.01, num_seeds=1)
    assert pair["ci95"][0] > 0.01
    assert (pair["verdict"], pair["to_tell"]) == ("no verdict", None)
    found = {"scratch": runs(num_seeds=1), "nnunet": runs(0.05, 0.01, 1)}
    assert judge(found, Rule(), ("nnunet",))["pairs"][0]["verdict"] == "helps"


def test_the_headline_of_a_clear_gain_needs_scratch_of_equal_compute() -> None:
    found = {"scratch": runs(), "mae": runs(0.05, 0.01)}
    verdict = judge(found, Rule())
    assert (verdict["pairs"][0]["verdict"], verdict["headline"]) == ("helps", "cannot tell")
    assert [fact["code"] for fact in verdict["limitations"]] == ["unequal_compute"]
    assert judge(found | {"scratch+": runs(0.001, 0.001)}, Rule())["headline"] == "helps"
    assert judge(found | {"scratch+": runs(0.1, 0.01)}, Rule())["headline"] == "hurts"


def test_a_look_of_several_has_the_repeated_interval_of_its_level() -> None:
    found = {"scratch+": runs(), "mae": runs(0.02, 0.05)}
    plain, looked = (judge(found, Rule(looks=looks)) for looks in (None, (1, 5)))
    assert Rule(looks=(1, 5)).level == look_level(1, 5)
    expected = compare_runs(*found.values(), dice_scorer("dice"), VERDICT_RESAMPLES, look_level(1, 5))
    assert looked["pairs"][0]["ci95"] == expected.ci95
    assert looked["pairs"][0]["ci95"][0] < plain["pairs"][0]["ci95"][0]
    assert looked["inits"] == plain["inits"]


def test_the_rule_is_given_or_that_of_the_run_or_usual(tmp_path: Path) -> None:
    assert Rule.of(tmp_path, None, None) == Rule(0.01, None)
    (tmp_path / "run.json").write_text(json.dumps({"margin": 0.02, "looks": [2, 4]}))
    assert Rule.of(tmp_path, None, None) == Rule(0.02, (2, 4))
    assert Rule.of(tmp_path, 0.03, (3, 4)) == Rule(0.03, (3, 4))


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_that_is_none_is_refused(tmp_path: Path, margin: float) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"margin": 0.02}))
    with pytest.raises(UserError, match="The margin is the smallest difference that matters, above 0 and below 1"):
        Rule.of(tmp_path, margin, None)


def test_the_terminal_leads_with_the_headline_and_an_ascii_minus(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"scratch": runs(), "scratch+": runs(0.001, 0.001), "mae": runs(0.002, 0.002)}
    show_verdict(judge(found, Rule()), Display(stdout=True))
    out = " ".join(capsys.readouterr().out.split())
    assert MINUS not in out
    assert out.startswith(
        "No difference: self pre-training is neither better nor worse on this data compared with training"
    )
    assert "lies within 0.01 of mean Dice, the smallest difference that matters here (--margin)." in out
    assert "mae against scratch+: no difference; difference of Dice per case" in out
    assert "not evidence" not in out


def test_the_terminal_never_says_that_one_seed_helps(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"scratch": runs(num_seeds=1), "mae": runs(0.05, 0.01, 1)}
    show_verdict(judge(found, Rule()), Display(stdout=True))
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("One seed: no verdict on whether self pre-training helps or hurts: mean Dice")
    assert "mae against scratch: one seed: no verdict; difference" in out
