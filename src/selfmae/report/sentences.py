"""Sentences made from facts: the verdict for a clinician, and what limits it."""

from collections.abc import Mapping
from typing import Any

from selfmae.report.results import Results, mean_of
from selfmae.report.words import (
    difference_digits,
    interval,
    number,
    origin,
    plural,
    spoken,
    subject,
)

Pair = Mapping[str, Any]


def main_pair(results: Results) -> Pair | None:
    """Return the pair that answers the question: scratch against self pre-training, otherwise the first."""
    pairs = results.verdict.get("pairs", [])
    wanted = [pair for pair in pairs if (pair["a"], pair["b"]) == ("scratch", "mae")]
    return next(iter([*wanted, *pairs]), None)


def verdict_sentences(results: Results) -> list[str]:
    """Return the answer first, then what limits it; without a comparison, what can be said instead."""
    pair = main_pair(results)
    if pair is None:
        return _without_comparison(results)
    return [pair_sentence(results, pair), *_limits(pair)]


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
    if pair["num_seeds"] == 1:
        sentences.append(
            "Each start was trained with one seed only, so the interval does not cover training noise: "
            "another seed may give another difference (use --seeds 3 or more)."
        )
    return sentences


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
