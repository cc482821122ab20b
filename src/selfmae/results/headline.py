"""The headline of a verdict: does self pre-training help against training from scratch, asked of one pair."""

from collections.abc import Iterable, Mapping
from typing import Any

from selfmae.methods import EQUAL, is_method
from selfmae.metrics.decisions import MARGIN

NO_VERDICT = "no verdict"  # of one seed: it says nothing about another one
SCRATCH = "scratch"

Pair = Mapping[str, Any]
Verdict = Mapping[str, Any]


def split_name(init: str) -> tuple[str, str]:
    """Return an initialization and the network that `name_apart` put behind it: "mae (unetr)" is "mae" and " (unetr)".

    A name in brackets that is typed by a user, as in a file's, stays as it is.
    """
    base, bracket, network = init.partition(" (")
    known = base in (SCRATCH, EQUAL) or is_method(base)
    return (base, f"{bracket}{network}") if known else (init, "")


def is_self_pretraining(init: str) -> bool:
    """Return whether an initialization is a self pre-training, whatever network is named behind it."""
    return is_method(split_name(init)[0])


def question(inits: Iterable[str]) -> tuple[str, str] | None:
    """Return the reference and the self pre-training that the headline compares, None where one of them is missing.

    The first self pre-training is compared with scratch of equal compute; without that one, with scratch.
    """
    named = list(inits)
    ours = next(filter(is_self_pretraining, named), None)
    if ours is None:
        return None
    network = split_name(ours)[1]
    reference = next((base + network for base in (EQUAL, SCRATCH) if base + network in named), None)
    return None if reference is None else (reference, ours)


def main_pair(verdict: Verdict) -> Pair | None:
    """Return the pair of the headline, with the self pre-training as "b"; None where none was compared."""
    asked = question(init for init in verdict["inits"] if init not in verdict.get("scored", []))
    pairs = [pair for pair in verdict.get("pairs", []) if asked and {pair["a"], pair["b"]} == {*asked}]
    return next((pair if (pair["a"], pair["b"]) == asked else turn(pair) for pair in pairs), None)


def orient(pair: Pair) -> Pair:
    """Return a pair with the self pre-training, if it has one, as "b"."""
    return turn(pair) if is_self_pretraining(pair["a"]) and not is_self_pretraining(pair["b"]) else pair


def turn(pair: Pair) -> Pair:
    """Return a pair with its sides exchanged."""
    ci95, difference = pair.get("ci95"), pair.get("difference")
    return {
        **pair,
        "a": pair["b"],
        "b": pair["a"],
        **{f"mean_{side}": pair[f"mean_{other}"] for side, other in ("ab", "ba") if f"mean_{other}" in pair},
        "difference": None if difference is None else -difference,
        "ci95": [-ci95[1], -ci95[0]] if ci95 else None,
        "verdict": {"helps": "hurts", "hurts": "helps"}.get(pair["verdict"], pair["verdict"]),
    }


def is_one_seed(pair: Pair, scored: Iterable[str] = ()) -> bool:
    """Return whether a pair is of one seed each, which gives no verdict; masks of another tool have no seeds."""
    return bool(pair["num_seeds"] == 1 and not {pair["a"], pair["b"]} & {*scored})


def answer(pair: Pair, scored: Iterable[str] = ()) -> str:
    """Return the verdict of a pair in words, also of a `verdict.json` from before one seed gave no verdict."""
    return f"one seed: {NO_VERDICT}" if is_one_seed(pair, scored) else str(pair["verdict"])


def headline(verdict: Verdict) -> str:
    """Return "helps", "hurts", "no difference", "cannot tell" or "no verdict" on the self pre-training.

    There is no verdict on one seed or without the pair. A gain over scratch that had less compute cannot be told from
    that of longer training.
    """
    pair = main_pair(verdict)
    if pair is None or is_one_seed(pair):
        return NO_VERDICT
    return "cannot tell" if is_unequal(pair, verdict) else str(pair["verdict"])


def is_unequal(pair: Pair, verdict: Verdict) -> bool:
    """Return whether a pair says that self pre-training helps, but scratch of equal compute was not trained.

    Never so of masks of another tool, which may have any name.
    """
    if {pair["a"], pair["b"]} & {*verdict.get("scored", [])}:
        return False
    found = orient(pair)
    base, network = split_name(found["a"])
    gain = found["verdict"] == "helps" and base == SCRATCH and is_self_pretraining(found["b"])
    return gain and EQUAL + network not in verdict["inits"]


def claim_facts(pair: Pair, verdict: Verdict) -> dict[str, Any]:
    """Return what the sentence `claim` needs to say of a pair: its numbers, the answer, the metric and the margin."""
    scored = verdict.get("scored", [])
    unequal = is_unequal(pair, verdict) and not is_one_seed(pair, scored)
    means = {f"mean_{side}": verdict["inits"].get(pair[side], {}).get("mean") for side in "ab"}
    return {
        **means,
        **pair,
        "answer": "unequal" if unequal else NO_VERDICT if is_one_seed(pair, scored) else pair["verdict"],
        "scored": scored,
        "metric": verdict["metric"],
        "margin": verdict.get("margin", MARGIN),
    }
