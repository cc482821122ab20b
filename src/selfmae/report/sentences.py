"""Sentences made from facts: the verdict for a clinician, and a methods paragraph for a paper."""

from collections.abc import Mapping
from typing import Any

from selfmae.report.results import Results, mean_of
from selfmae.report.words import (
    difference_digits,
    interval,
    listed,
    metric_title,
    number,
    origin,
    plural,
    spoken,
    subject,
)

Pair = Mapping[str, Any]
PARTS = {"train": "train", "val": "validation", "test": "test", "unlabelled": "unlabelled"}


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


def methods_paragraph(results: Results) -> str:
    """Return a methods paragraph made only of facts in the folder."""
    parts = [_software(results), _data(results), _pretraining(results), _finetuning(results), _statistics(results)]
    return " ".join(part for part in parts if part)


def _software(results: Results) -> str:
    cell = (*results.cells, *results.pretrained)[0]
    versions = cell.where.get("versions", {})
    known = [f"{name} {versions[name]}" for name in ("selfmae", "torch", "timm", "monai") if name in versions]
    device = (
        f" on {cell.where['device']} in {cell.where.get('precision', 'an unknown precision')}"
        if "device" in cell.where
        else ""
    )
    return f"Models were trained with {listed(known)}{device}." if known else ""


def _data(results: Results) -> str:
    counts = results.run.get("counts", {})
    parts = [
        f"{plural(counts[split]['cases'], f'{word} case')} of {plural(counts[split]['patients'], 'patient')}"
        for split, word in PARTS.items()
        if counts.get(split, {}).get("cases")
    ]
    folds = results.run.get("num_folds", 1)
    if not parts:
        return ""
    crossed = f", with {folds}-fold patient-wise cross-validation" if folds > 1 else ""
    return f"The data set {results.source} gave {listed(parts)}{crossed}; no patient stands in two parts of a split."


def _pretraining(results: Results) -> str:
    if not results.pretrained:
        return ""
    cell = results.pretrained[0]
    seen = f" on {plural(cell.where['num_seen'], 'image')}" if "num_seen" in cell.where else ""
    steps = f" for {cell.num_steps:,} steps" if cell.num_steps else ""
    return (
        f"A vision transformer was pre-trained as a masked autoencoder (He et al. 2021; Zhou et al. 2023)"
        f"{seen}{steps}, without labels and without validation or test cases."
    )


def _finetuning(results: Results) -> str:
    if not results.cells:
        return ""
    steps = max((cell.num_steps or 0 for cell in results.cells), default=0)
    seeds = len({cell.seed for cell in results.cells})
    starts = listed([origin(start) for start in results.starts])
    model = "The model" if results.pretrained else "A vision transformer"
    equal = " on the same splits and seeds" if len(results.starts) > 1 else ""
    return (
        f"{model} was fine-tuned {starts}{equal} ({plural(seeds, 'seed')}, up to {steps:,} steps), "
        "and the weights with the best validation score were kept."
    )


def _statistics(results: Results) -> str:
    pair, metric = main_pair(results), results.headline
    if not metric:
        return ""
    convention = next((cell.summary["conventions"][metric] for cell in results.cells if _explains(cell, metric)), "")
    text = f"The metric on the test cases was {metric_title(metric)}" + (
        f" ({convention.rstrip('.')})." if convention else "."
    )
    if pair is None:
        return text
    seeds = " and the training seed" if pair["num_seeds"] > 1 else ", for the one training seed used"
    digits = difference_digits(pair)
    return (
        f"{text} 95 % intervals are from a bootstrap over patients, paired between the starts{seeds}. "
        f"The difference of {pair['b']} and {pair['a']} was {number(pair['difference'], digits, sign=True)} "
        f"(95 % interval {interval(pair.get('ci95'), digits)}, p {_relation(pair.get('p'))})."
    )


def _explains(cell: Any, metric: str) -> bool:
    return metric in cell.summary.get("conventions", {})


def _relation(p: float | None) -> str:
    if p is None:
        return "undefined"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def capital(text: str) -> str:
    """Return the text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]
