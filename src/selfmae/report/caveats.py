"""What a verdict leaves open, as sentences: chance, seeds, several pairs, scored masks, trainings that lack."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from selfmae.networks import SELF_STARTS
from selfmae.report.words import p_value, plural, rounded

Pair = Mapping[str, Any]
FEWEST_SEEDS = 2  # of which an interval covers the noise of training: Student's t of 12.7, with three 4.3
MOST_NAMED = 3  # trainings that a sentence names
INTERVALS = (
    "95 % intervals: bootstrap over patients, the same for all starts, and over training seeds where there are "
    "several, widened to Student's t for few of either. p is two-sided, of the same bootstrap."
)


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
    if pair["num_seeds"] == FEWEST_SEEDS:
        sentences.append("Two seeds tell little of how seeds differ, so the interval is very wide: add a third.")
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
        "Each start was trained with one seed only, so the interval does not cover training noise: another seed may "
        "give another difference (use --seeds 3 or more)."
    ]


def compute_sentences(pair: Pair, starts: Collection[str]) -> list[str]:
    """Return that a gain may be one of more compute alone, where no scratch with equal compute was trained."""
    helped = pair["verdict"] == "helps" and pair["a"] == "scratch" and pair["b"] in SELF_STARTS
    if not helped or "scratch+" in starts:
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
        f"patient is among them, the score of {start} is too good."
        for start, files in verdict.get("unlisted", {}).items()
    ]


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
