"""The headline: which pair it asks, which way round, and when there is no verdict."""

from collections.abc import Sequence
from typing import Any

import pytest

from selfmae.results.headline import answer, claim_facts, headline, main_pair, question, split_name
from selfmae.results.limitations import sentence

ALL = ("scratch", "scratch+", "mae")
MEANS = {"scratch": 0.80, "scratch+": 0.82, "mae": 0.85, "moco": 0.70}


def pair(a: str, b: str, verdict: str = "helps", num_seeds: int = 3) -> dict[str, Any]:
    """Return a pair of initializations with the means of `MEANS`."""
    difference = MEANS.get(b, 0.8) - MEANS.get(a, 0.8)
    numbers = {"mean_a": MEANS.get(a, 0.8), "mean_b": MEANS.get(b, 0.8), "difference": difference}
    bounds = {"ci95": [difference - 0.02, difference + 0.01], "num_cases": 12, "num_patients": 6}
    return {"a": a, "b": b, "verdict": verdict, "num_seeds": num_seeds, **numbers, **bounds}


def make(*pairs: dict[str, Any], inits: Sequence[str] = ALL, **facts: Any) -> dict[str, Any]:
    found = {init: {"mean": MEANS.get(init, 0.8), "ci95": None} for init in inits}
    return {"metric": "dice_per_case", "inits": found, "pairs": list(pairs), "margin": 0.01} | facts


@pytest.mark.parametrize(
    ("inits", "asked"),
    [
        (ALL, ("scratch+", "mae")),
        (("mae", "scratch+", "scratch"), ("scratch+", "mae")),
        (("scratch", "mae"), ("scratch", "mae")),
        (("scratch", "moco", "mae"), ("scratch", "moco")),
        (("imagenet", "scratch"), None),
        (("imagenet", "mae"), None),
        (("mae",), None),
        (("scratch (vit)", "scratch (dynunet)", "mae (dynunet)"), ("scratch (dynunet)", "mae (dynunet)")),
    ],
)
def test_self_pretraining_is_asked_against_equal_compute_or_else_scratch(
    inits: tuple[str, ...], asked: tuple[str, str] | None
) -> None:
    assert question(inits) == asked


def test_a_network_behind_a_name_is_told_from_the_name_of_a_file() -> None:
    assert split_name("mae (unetr)") == ("mae", " (unetr)")
    assert split_name("vit (2).pth") == ("vit (2).pth", "")


def test_the_pair_with_equal_compute_decides_not_that_with_scratch() -> None:
    pairs = [pair("scratch", "scratch+", "hurts"), pair("scratch", "mae", "helps")]
    assert headline(make(*pairs, pair("scratch+", "mae", "no difference"))) == "no difference"
    assert headline(make(*pairs, pair("scratch+", "mae", "hurts"))) == "hurts"


def test_the_pair_is_told_as_self_pretraining_against_scratch_whichever_stands_first() -> None:
    verdict = make(pair("mae", "scratch+", "hurts"), inits=("mae", "scratch+"))
    assert headline(verdict) == "helps"
    found = main_pair(verdict)
    assert found is not None
    assert (found["a"], found["b"], found["mean_a"], found["mean_b"]) == ("scratch+", "mae", 0.82, 0.85)
    assert found["difference"] == pytest.approx(0.03)
    assert found["ci95"] == pytest.approx([0.02, 0.05])


@pytest.mark.parametrize("stored", ["helps", "hurts", "no difference", "cannot tell", "no verdict"])
def test_one_seed_gives_no_verdict(stored: str) -> None:
    one = pair("scratch+", "mae", stored, num_seeds=1)
    assert headline(make(one)) == "no verdict"
    assert answer(one) == "one seed: no verdict"
    assert answer(one, scored=["mae"]) == stored
    assert answer(one | {"num_seeds": 2}) == stored


def test_without_the_pair_there_is_no_verdict() -> None:
    assert headline(make(inits=("mae",))) == "no verdict"
    assert headline(make(pair("scratch", "imagenet"), inits=("scratch", "imagenet"))) == "no verdict"


@pytest.mark.parametrize(("stored", "told"), [("helps", "cannot tell"), ("hurts", "hurts"), ("no difference",) * 2])
def test_a_gain_over_scratch_of_less_compute_cannot_be_told(stored: str, told: str) -> None:
    inits = ("scratch", "mae")
    assert headline(make(pair("scratch", "mae", stored), inits=inits)) == told
    turned = {"helps": "hurts", "hurts": "helps"}.get(stored, stored)
    assert headline(make(pair("mae", "scratch", turned), inits=inits)) == told
    # With scratch+ trained, scratch is not what is asked.
    assert headline(make(pair("scratch", "mae", "helps"), pair("scratch+", "mae", stored))) == stored


def test_masks_of_another_tool_are_no_self_pretraining_whatever_they_are_called() -> None:
    found = pair("scratch", "mae")
    verdict = make(found, inits=("scratch", "mae"), scored=["mae"])
    assert (main_pair(verdict), headline(verdict)) == (None, "no verdict")
    assert say(found, verdict).startswith(
        "The masks of mae are better on this data compared with training from scratch:"
    )


def say(found: dict[str, Any], verdict: dict[str, Any]) -> str:
    return sentence("claim", claim_facts(found, verdict))


def test_no_difference_is_said_with_the_margin() -> None:
    found = pair("scratch+", "mae", "no difference") | {"difference": 0.002, "ci95": [-0.003, 0.007]}
    assert say(found, make(found)) == (
        "No difference: self pre-training is neither better nor worse on this data compared with training from scratch "
        "with equal compute: mean Dice 0.850 against 0.820 from scratch with equal compute, difference +0.002 (95 % "
        "interval \N{MINUS SIGN}0.003 to 0.007; 12 test cases of 6 patients, 3 seeds). The whole interval lies within "
        "0.01 of mean Dice, the smallest difference that matters here (--margin)."
    )


def test_one_seed_is_said_first_and_its_interval_is_for_two_models() -> None:
    found = pair("scratch+", "mae", "no verdict", num_seeds=1)
    text = say(found, make(found))
    assert text.startswith(
        "One seed: no verdict on whether self pre-training helps or hurts compared with training from"
    )
    assert "to 0.04, for these two models only; 12 test cases of 6 patients, 1 seed)." in text


def test_a_gain_that_longer_training_may_bring_is_said_so() -> None:
    found = pair("scratch", "mae")
    assert say(found, make(found, inits=("scratch", "mae"))).startswith(
        "This data cannot tell whether self pre-training helps more than longer training from scratch: mean Dice 0.85 "
        "against 0.80 from scratch, difference +0.05"
    )
    assert say(found, make(found)).startswith("Self pre-training helps on this data: mean Dice 0.85 against 0.80")
