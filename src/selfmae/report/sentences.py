"""Sentences made from facts: the verdict for a clinician, and what limits it."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfmae.methods import is_method
from selfmae.results.formatting import (
    difference_digits,
    duration,
    interval,
    mean_of,
    number,
    origin,
    plural,
    span,
    spoken,
    subject,
)
from selfmae.results.limitations import concerns, find_limitations, sentence
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun

Pair = Mapping[str, Any]


def main_pair(results: RunFolder) -> Pair | None:
    """Return the pair that answers the question: scratch against self pre-training, otherwise the first."""
    pairs = results.verdict.get("pairs", [])
    wanted = [pair for pair in pairs if pair["a"] == "scratch" and is_method(pair["b"])]
    return next(iter([*wanted, *pairs]), None)


def verdict_sentences(results: RunFolder) -> list[str]:
    """Return the answer first, then what limits it; without a comparison, what can be said instead."""
    pair = main_pair(results)
    if pair is None:
        return _without_comparison(results)
    return [
        pair_sentence(results, pair),
        *_equal_compute(results, pair),
        *_cost(results, pair),
        *limitation_sentences(results, pair),
    ]


def _equal_compute(results: RunFolder, pair: Pair) -> list[str]:
    """Return the comparison with scratch of the same compute, where it was made."""
    pairs = results.verdict.get("pairs", [])
    found = [other for other in pairs if {other["a"], other["b"]} == {"scratch+", pair["b"]} and other is not pair]
    turned = [other if other["b"] == pair["b"] else _turn(other) for other in found]
    return [pair_sentence(results, other) for other in turned]


def _turn(pair: Pair) -> dict[str, Any]:
    """Return a pair with its sides exchanged."""
    ci95, difference = pair.get("ci95"), pair.get("difference")
    verdict = {"helps": "hurts", "hurts": "helps"}.get(pair["verdict"], pair["verdict"])
    return {
        **pair,
        "a": pair["b"],
        "b": pair["a"],
        **{f"mean_{side}": pair[f"mean_{other}"] for side, other in ("ab", "ba") if f"mean_{other}" in pair},
        "difference": None if difference is None else -difference,
        "ci95": [-ci95[1], -ci95[0]] if ci95 else None,
        "verdict": verdict,
    }


def _cost(results: RunFolder, pair: Pair) -> list[str]:
    """Return what self pre-training cost, beside what it gained; nothing where the pair has none."""
    seconds = [cell.environment.get("seconds") for cell in results.pretrainings]
    steps = [cell.num_steps for cell in results.pretrainings if cell.num_steps]
    if not is_method(pair["b"]) or not steps:
        return []
    tuned = mean_of([cell.environment.get("seconds") for cell in results.runs_of(pair["b"])])
    planned = int(results.settings.get("pretrain.steps", 0))
    early = f" ({planned:,} were planned; the probe ended it early)" if min(steps) < planned else ""
    return [
        f"Self pre-training cost {span(steps)} {'step' if max(steps) == 1 else 'steps'}{early} and "
        f"{duration(mean_of(seconds))} for each training, beside {duration(tuned)} of fine-tuning."
    ]


def pair_sentence(results: RunFolder, pair: Pair) -> str:
    """Return one sentence: the verdict, both means, the difference with its interval, and on how many cases."""
    metric, inits = results.headline, results.verdict.get("inits", {})
    ci95 = pair.get("ci95")
    digits = difference_digits(pair)
    means = [number(pair.get(f"mean_{side}", inits.get(pair[side], {}).get("mean")), digits) for side in ("b", "a")]
    whose = f"of {pair['a']}" if pair["a"] in results.scored else origin(pair["a"])
    bounds = f"95 % interval {interval(ci95, digits)}; " if ci95 else "no interval can be computed; "
    return (
        f"{_claim(results, pair)}: {spoken(metric)} {means[0]} against {means[1]} {whose}, "
        f"difference {number(pair['difference'], digits, sign=True)} ({bounds}"
        f"{plural(pair['num_cases'], 'test case')} of {plural(pair['num_patients'], 'patient')}, "
        f"{plural(pair['num_seeds'], 'seed')})."
    )


def _claim(results: RunFolder, pair: Pair) -> str:
    """Return the verdict as a clause; scored masks neither help nor hurt, they are better or worse."""
    scored = pair["b"] in results.scored
    who = f"the masks of {pair['b']}" if scored else subject(pair["b"])
    helps, hurts = ("are better", "are worse") if scored else ("helps", "hurts")
    claims = {"helps": f"{capital(who)} {helps} on this data", "hurts": f"{capital(who)} {hurts} on this data"}
    unclear = f"This data cannot tell whether {who} {helps} or {hurts.removeprefix('are ')}"
    # Where the claim does not compare with scratch, its subject alone would not say what the other initialization was.
    other = f"the masks of {pair['a']}" if pair["a"] in results.scored else subject(pair["a"])
    against = "" if pair["a"] == "scratch" and not scored else f" compared with {other}"
    return claims.get(pair["verdict"], unclear) + against


def limitation_sentences(results: RunFolder, pair: Pair) -> list[str]:
    """Return what the verdict of a pair leaves open; a verdict of an older version does not list its limitations."""
    facts = results.verdict.get("limitations") or find_limitations(results.verdict)
    return [sentence(fact["code"], fact) for fact in facts if "a" not in fact or concerns(fact, pair)]


def _without_comparison(results: RunFolder) -> list[str]:
    """Say what a single stage, scored masks or an unfinished run show."""
    evaluated = [cell for cell in results.runs if cell.metrics]
    if evaluated:
        return [
            _score_sentence(results, [cell for cell in evaluated if cell.init == evaluated[0].init]),
            "Nothing is compared here, so this page cannot say whether self pre-training helps.",
        ]
    cell = (results.runs or results.pretrainings)[0]
    stage = f"Fine-tuning {origin(cell.init)}" if results.runs else "Self pre-training"
    reached = f" reached step {cell.num_steps:,}" if cell.num_steps else " has begun"
    return [f"{stage}{reached}; no model has been evaluated on the test cases yet, so there is no verdict."]


def _score_sentence(results: RunFolder, cells: Sequence[TrainingRun]) -> str:
    """Return what the trainings of one init reach, as the verdict says or on average, and on how many cases."""
    init = cells[0].init
    known = results.verdict.get("inits", {}).get(init, {})
    value = known.get("mean", mean_of([cell.metrics.get(results.headline) for cell in cells]))
    bounds = f"95 % interval {interval(known['ci95'], 2)}; " if known.get("ci95") else ""
    cases, patients = ({row[key] for cell in cells for row in cell.rows} for key in ("id", "patient"))
    whose, seeds = f"The model fine-tuned {origin(init)} reaches", plural(len({cell.seed for cell in cells}), "seed")
    if init in results.scored:
        whose, seeds = f"The masks of {init} reach", "one training"
    return (
        f"{whose} {spoken(results.headline)} {number(value, 2)} ({bounds}{plural(len(cases), 'test case')} of "
        f"{plural(len(patients), 'patient')}, {seeds})."
    )


def capital(text: str) -> str:
    """Return the text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]
