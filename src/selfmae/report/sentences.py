"""Sentences made from facts: the verdict for a clinician, and what limits it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from selfmae.methods import method_names
from selfmae.results.formatting import (
    difference_digits,
    duration,
    interval,
    number,
    origin,
    p_value,
    plural,
    rounded,
    span,
    spoken,
    subject,
)
from selfmae.results.training_logs import Cell, Results, mean_of

Pair = Mapping[str, Any]
MIN_SEEDS = 2  # of which an interval covers the noise of training: Student's t of 12.7, with three 4.3
MAX_NAMED = 3  # trainings that a sentence names
INTERVALS = (
    "95 % intervals: bootstrap over patients, the same for all initializations, and over training seeds where "
    "there are "
    "several, widened to Student's t for few of either. p is two-sided, of the same bootstrap."
)


def main_pair(results: Results) -> Pair | None:
    """Return the pair that answers the question: scratch against self pre-training, otherwise the first."""
    pairs = results.verdict.get("pairs", [])
    wanted = [pair for pair in pairs if pair["a"] == "scratch" and pair["b"] in method_names()]
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
    if pair["b"] not in method_names() or not steps:
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


def _claim(results: Results, pair: Pair) -> str:
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
            f"{pair.get('effective_n', 0):,} of the test patients decide the score (with the structure, or with the "
            "rarer outcome): too few, or too much alike, for an interval."
        )
    sentences += power_sentences(pair)
    sentences += noise_sentences(pair, results.scored)
    return sentences + compute_sentences(pair, results.verdict.get("inits", {}))


def _without_comparison(results: Results) -> list[str]:
    """Say what a single stage, scored masks or an unfinished run show."""
    evaluated = [cell for cell in results.cells if cell.metrics]
    if evaluated:
        return [
            _score_sentence(results, [cell for cell in evaluated if cell.init == evaluated[0].init]),
            "Nothing is compared here, so this page cannot say whether self pre-training helps.",
        ]
    cell = (results.cells or results.pretrained)[0]
    stage = f"Fine-tuning {origin(cell.init)}" if results.cells else "Self pre-training"
    reached = f" reached step {cell.num_steps:,}" if cell.num_steps else " has begun"
    return [f"{stage}{reached}; no model has been evaluated on the test cases yet, so there is no verdict."]


def _score_sentence(results: Results, cells: Sequence[Cell]) -> str:
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


def power_sentences(pair: Pair) -> list[str]:
    """Return why an interval without 0 does not suffice, and what it would take to tell; none for a clear verdict."""
    sentences, ci95, p_holm = [], pair.get("ci95"), pair.get("p_holm")
    if pair["verdict"] in ("helps", "hurts") or not ci95:
        return []
    if p_holm is not None and not ci95[0] <= 0 <= ci95[1]:
        sentences.append(
            "Taken alone this interval leaves out 0, but several pairs of initializations were compared, and "
            "corrected for "
            f"their number (Holm) p is {p_value(p_holm)}, not below 0.05."
        )
    if pair["num_seeds"] == MIN_SEEDS:
        sentences.append("Two seeds tell little of how seeds differ, so the interval is very wide: add a third.")
    if (needed := pair.get("to_tell")) is not None:
        sentences.append(_power(needed, pair["num_seeds"]))
    return sentences


def _power(needed: Mapping[str, int | None], num_seeds: int) -> str:
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


def noise_sentences(pair: Pair, scored: Sequence[str]) -> list[str]:
    """Return that the noise of training is not covered by an interval of one seed, or of masks of another tool."""
    if {pair["a"], pair["b"]} & {*scored}:
        return [
            "Scored masks stand for one training, so the interval does not cover training noise: another training may "
            "give another difference."
        ]
    if pair["num_seeds"] > 1:
        return []
    return [
        "Each initialization was trained with one seed only, so the interval does not cover training noise: "
        "another seed may "
        "give another difference (use --seeds 3 or more)."
    ]


def compute_sentences(pair: Pair, inits: Collection[str]) -> list[str]:
    """Return that a gain may be one of more compute alone, where no scratch with equal compute was trained."""
    helped = pair["verdict"] == "helps" and pair["a"] == "scratch" and pair["b"] in method_names()
    if not helped or "scratch+" in inits:
        return []
    return [
        "Pre-training is compute that scratch did not have: whether longer training from scratch does as well is not "
        "known (add --equal-compute)."
    ]


def sweep_noise(pairs: Sequence[Pair]) -> list[str]:
    """Return that some pairs of a sweep have one seed, once for all of them."""
    return list(dict.fromkeys(sentence for pair in pairs for sentence in noise_sentences(pair, ())))


def unknown_sentences(scored: Sequence[str], alone: bool) -> list[str]:
    """Return what is not known of scored masks: their training, and alone, without models of ours, their patients."""
    patients = (
        ["Masks do not tell whose they are: each case counts as a patient of its own."] if scored and alone else []
    )
    return patients + [
        f"What {name} has seen is not known: if it was trained on a test patient, its score is too good."
        for name in scored
    ]


def unlisted_sentences(verdict: Mapping[str, Any]) -> list[str]:
    """Return which models began from files that do not list what they have seen, so that no leak can be found."""
    return [
        f"{' and '.join(files)} {'does' if len(files) == 1 else 'do'} not list the images seen in training: if a test "
        f"patient is among them, the score of {init} is too good."
        for init, files in verdict.get("unlisted", {}).items()
    ]


def missing_sentences(verdict: Mapping[str, Any]) -> list[str]:
    """Return which trainings the verdict lacks, as a sentence; none if it lacks none."""
    missing = verdict.get("missing", [])
    if not missing:
        return []
    named = [f"{cell['init']}, fold {cell['fold']}, seed {cell['seed']}" for cell in missing[:MAX_NAMED]]
    more = "; ..." if len(missing) > MAX_NAMED else ""
    return [
        f"{plural(len(missing), 'training')} of this run did not finish ({'; '.join(named)}{more}): the verdict rests "
        "on the folds and seeds that did; the same command trains what is missing."
    ]
