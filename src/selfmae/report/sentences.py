"""Sentences made from facts: the verdict for a clinician, and what limits it."""

from collections.abc import Mapping
from typing import Any

from selfmae.networks import SELF_STARTS
from selfmae.report.results import Results, mean_of
from selfmae.report.words import (
    difference_digits,
    duration,
    interval,
    number,
    origin,
    p_value,
    plural,
    rounded,
    spoken,
    subject,
)

Pair = Mapping[str, Any]
MOST_NAMED = 3  # trainings that a sentence names


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
        *_limits(pair),
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
        "difference": None if difference is None else -difference,
        "ci95": [-ci95[1], -ci95[0]] if ci95 else None,
        "verdict": verdict,
    }


def _cost(results: Results, pair: Pair) -> list[str]:
    """Return what self pre-training cost, beside what it gained; nothing where the pair has none."""
    seconds = [cell.where.get("seconds") for cell in results.pretrained]
    steps = max((cell.num_steps or 0 for cell in results.pretrained), default=0)
    if pair["b"] not in SELF_STARTS or not steps:
        return []
    tuned = mean_of([cell.where.get("seconds") for cell in results.cells_of(pair["b"])])
    return [
        f"Self pre-training cost {plural(steps, 'step')} and {duration(mean_of(seconds))} for each training, beside "
        f"{duration(tuned)} of fine-tuning."
    ]


def pair_sentence(results: Results, pair: Pair) -> str:
    """Return one sentence: the verdict, both means, the difference with its interval, and on how many cases."""
    metric, starts = results.headline, results.verdict.get("starts", {})
    ci95 = pair.get("ci95")
    digits = difference_digits(pair)
    means = [number(starts.get(pair[side], {}).get("mean"), digits) for side in ("b", "a")]
    claims = {
        "helps": f"{capital(subject(pair['b']))} helps on this data",
        "hurts": f"{capital(subject(pair['b']))} hurts on this data",
    }
    claim = claims.get(pair["verdict"], f"This data cannot tell whether {subject(pair['b'])} helps or hurts")
    # Where the claim does not compare with scratch, its subject alone would not say what the other start was.
    against = "" if pair["a"] == "scratch" else f" compared with {subject(pair['a'])}"
    bounds = f"95 % interval {interval(ci95, digits)}; " if ci95 else "no interval can be computed; "
    return (
        f"{claim}{against}: {spoken(metric)} {means[0]} against {means[1]} {origin(pair['a'])}, "
        f"difference {number(pair['difference'], digits, sign=True)} ({bounds}"
        f"{plural(pair['num_cases'], 'test case')} of {plural(pair['num_patients'], 'patient')}, "
        f"{plural(pair['num_seeds'], 'seed')})."
    )


def _limits(pair: Pair) -> list[str]:
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
    if pair["num_seeds"] == 1:
        sentences.append(
            "Each start was trained with one seed only, so the interval does not cover training noise: "
            "another seed may give another difference (use --seeds 3 or more)."
        )
    return sentences


def outlook_sentences(pair: Pair) -> list[str]:
    """Return why an interval without 0 does not suffice, and what it would take to tell; none for a clear verdict."""
    sentences, ci95, p_holm = [], pair.get("ci95"), pair.get("p_holm")
    if pair["verdict"] in ("helps", "hurts") or not ci95:
        return []
    if p_holm is not None and not ci95[0] <= 0 <= ci95[1]:
        sentences.append(
            "Taken alone this interval leaves out 0, but several pairs of starts were compared, and corrected for "
            f"their number (Holm) p is {p_value(p_holm)}, not below 0.05."
        )
    if (needed := pair.get("to_tell")) is not None:
        sentences.append(_outlook(needed, pair["num_seeds"]))
    return sentences


def _outlook(needed: Mapping[str, int | None], num_seeds: int) -> str:
    """Return what it would take to tell, as a sentence."""
    seeds, patients = needed["seeds"], needed["patients"]
    ways = [f"{rounded(seeds)} more seed{'s' if seeds > 1 else ''}"] if seeds else []
    ways += [f"{rounded(patients)} more test patient{'s' if patients > 1 else ''}"] if patients else []
    noise = "; how much the noise of training adds is not known from one seed" if num_seeds == 1 else ""
    if ways:
        return f"If the difference stays as it is, about {' or '.join(ways)} would be enough to tell{noise}."
    return (
        "If the difference stays as it is, neither more seeds alone nor more test patients alone would be enough to "
        f"tell{noise}."
    )


def missing_sentences(verdict: Mapping[str, Any]) -> list[str]:
    """Return which trainings the verdict lacks, as a sentence; none if it lacks none."""
    missing = verdict.get("missing", [])
    if not missing:
        return []
    named = [f"{cell['start']}, fold {cell['fold']}, seed {cell['seed']}" for cell in missing[:MOST_NAMED]]
    more = "; ..." if len(missing) > MOST_NAMED else ""
    return [
        f"{plural(len(missing), 'training')} of this run did not finish ({'; '.join(named)}{more}): the verdict rests "
        "on the folds and seeds that did; the same command trains what is missing."
    ]


def _without_comparison(results: Results) -> list[str]:
    """Say what a single stage or an unfinished run shows."""
    scored = [cell for cell in results.cells if cell.metrics]
    if scored:
        start = scored[0].start
        cells = [cell for cell in scored if cell.start == start]
        value = mean_of([cell.metrics.get(results.headline) for cell in cells])
        summary = cells[0].summary
        return [
            f"The model fine-tuned {origin(start)} reaches {spoken(results.headline)} {number(value, 2)} "
            f"({plural(summary['num_cases'], 'test case')} of {plural(summary['num_patients'], 'patient')}, "
            f"{plural(len(cells), 'seed')}).",
            "Nothing is compared here, so this page cannot say whether self pre-training helps.",
        ]
    cell = (results.cells or results.pretrained)[0]
    stage = f"Fine-tuning {origin(cell.start)}" if results.cells else "Self pre-training"
    reached = f" reached step {cell.num_steps:,}" if cell.num_steps else " has begun"
    return [f"{stage}{reached}; no model has been evaluated on the test cases yet, so there is no verdict."]


def capital(text: str) -> str:
    """Return the text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]
