"""Sentences made from facts: the verdict for a clinician, and what limits it."""

from collections.abc import Sequence
from typing import Any

from selfmae.networks import SELF_STARTS
from selfmae.report.caveats import (
    Pair,
    compute_sentences,
    missing_sentences,
    noise_sentences,
    outlook_sentences,
    unknown_sentences,
    unlisted_sentences,
)
from selfmae.report.results import Cell, Results, mean_of
from selfmae.report.words import (
    difference_digits,
    duration,
    interval,
    number,
    origin,
    plural,
    span,
    spoken,
    subject,
)


def main_pair(results: Results) -> Pair | None:
    """Return the pair that answers the question: scratch against self pre-training, otherwise the first."""
    pairs = results.verdict.get("pairs", [])
    wanted = [pair for pair in pairs if pair["a"] == "scratch" and pair["b"] in SELF_STARTS]
    return next(iter([*wanted, *pairs]), None)


def verdict_sentences(results: Results) -> list[str]:
    """Return the answer first, then what limits it; without a comparison, what can be said instead."""
    pair = main_pair(results)
    if pair is None:
        return _without_comparison(results)
    return [
        pair_sentence(results, pair),
        *_equal_compute(results, pair),
        *_cost(results, pair),
        *_limits(results, pair),
        *unknown_sentences(results.scored, alone=not results.trained),
        *unlisted_sentences(results.verdict),
        *missing_sentences(results.verdict),
    ]


def _equal_compute(results: Results, pair: Pair) -> list[str]:
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


def _cost(results: Results, pair: Pair) -> list[str]:
    """Return what self pre-training cost, beside what it gained; nothing where the pair has none."""
    seconds = [cell.where.get("seconds") for cell in results.pretrained]
    steps = [cell.num_steps for cell in results.pretrained if cell.num_steps]
    if pair["b"] not in SELF_STARTS or not steps:
        return []
    tuned = mean_of([cell.where.get("seconds") for cell in results.cells_of(pair["b"])])
    planned = int(results.settings.get("pretrain.steps", 0))
    early = f" ({planned:,} were planned; the probe ended it early)" if min(steps) < planned else ""
    return [
        f"Self pre-training cost {span(steps)} {'step' if max(steps) == 1 else 'steps'}{early} and "
        f"{duration(mean_of(seconds))} for each training, beside {duration(tuned)} of fine-tuning."
    ]


def pair_sentence(results: Results, pair: Pair) -> str:
    """Return one sentence: the verdict, both means, the difference with its interval, and on how many cases."""
    metric, starts = results.headline, results.verdict.get("starts", {})
    ci95 = pair.get("ci95")
    digits = difference_digits(pair)
    means = [number(pair.get(f"mean_{side}", starts.get(pair[side], {}).get("mean")), digits) for side in ("b", "a")]
    whose = f"of {pair['a']}" if pair["a"] in results.scored else origin(pair["a"])
    bounds = f"95 % interval {interval(ci95, digits)}; " if ci95 else "no interval can be computed; "
    return (
        f"{_claim(results, pair)}: {spoken(metric)} {means[0]} against {means[1]} {whose}, "
        f"difference {number(pair['difference'], digits, sign=True)} ({bounds}"
        f"{plural(pair['num_cases'], 'test case')} of {plural(pair['num_patients'], 'patient')}, "
        f"{plural(pair['num_seeds'], 'seed')})."
    )


def _claim(results: Results, pair: Pair) -> str:
    """Return the verdict as a clause; scored masks neither help nor hurt, they are better or worse."""
    scored = pair["b"] in results.scored
    who = f"the masks of {pair['b']}" if scored else subject(pair["b"])
    helps, hurts = ("are better", "are worse") if scored else ("helps", "hurts")
    claims = {"helps": f"{capital(who)} {helps} on this data", "hurts": f"{capital(who)} {hurts} on this data"}
    unclear = f"This data cannot tell whether {who} {helps} or {hurts.removeprefix('are ')}"
    # Where the claim does not compare with scratch, its subject alone would not say what the other start was.
    other = f"the masks of {pair['a']}" if pair["a"] in results.scored else subject(pair["a"])
    against = "" if pair["a"] == "scratch" and not scored else f" compared with {other}"
    return claims.get(pair["verdict"], unclear) + against


def _limits(results: Results, pair: Pair) -> list[str]:
    """Return what the verdict leaves open."""
    digits, ci95 = difference_digits(pair), pair.get("ci95")
    sentences = []
    if pair["verdict"] not in ("helps", "hurts") and ci95:
        low, high = (number(bound, digits, sign=True) for bound in ci95)
        sentences.append(
            f"This is not evidence of no effect: any true difference from {low} to {high} fits these results. "
            "More test patients or more seeds would narrow the interval."
        )
    if not ci95:
        sentences.append(
            f"{pair.get('num_deciding', 0):,} of the test patients decide the score (with the structure, or with the "
            "rarer outcome): too few, or too much alike, for an interval."
        )
    sentences += outlook_sentences(pair)
    sentences += noise_sentences(pair, results.scored)
    return sentences + compute_sentences(pair, results.verdict.get("starts", {}))


def _without_comparison(results: Results) -> list[str]:
    """Say what a single stage, scored masks or an unfinished run show."""
    evaluated = [cell for cell in results.cells if cell.metrics]
    if evaluated:
        return [
            _score_sentence(results, [cell for cell in evaluated if cell.start == evaluated[0].start]),
            "Nothing is compared here, so this page cannot say whether self pre-training helps.",
        ]
    cell = (results.cells or results.pretrained)[0]
    stage = f"Fine-tuning {origin(cell.start)}" if results.cells else "Self pre-training"
    reached = f" reached step {cell.num_steps:,}" if cell.num_steps else " has begun"
    return [f"{stage}{reached}; no model has been evaluated on the test cases yet, so there is no verdict."]


def _score_sentence(results: Results, cells: Sequence[Cell]) -> str:
    """Return what the trainings of one start reach, as the verdict says or on average, and on how many cases."""
    start = cells[0].start
    known = results.verdict.get("starts", {}).get(start, {})
    value = known.get("mean", mean_of([cell.metrics.get(results.headline) for cell in cells]))
    bounds = f"95 % interval {interval(known['ci95'], 2)}; " if known.get("ci95") else ""
    cases, patients = ({row[key] for cell in cells for row in cell.rows} for key in ("id", "patient"))
    whose, seeds = f"The model fine-tuned {origin(start)} reaches", plural(len({cell.seed for cell in cells}), "seed")
    if start in results.scored:
        whose, seeds = f"The masks of {start} reach", "one training"
    return (
        f"{whose} {spoken(results.headline)} {number(value, 2)} ({bounds}{plural(len(cases), 'test case')} of "
        f"{plural(len(patients), 'patient')}, {seeds})."
    )


def capital(text: str) -> str:
    """Return the text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]
