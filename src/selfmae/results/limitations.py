"""What limits a verdict: facts in `verdict.json`, and the sentences that the terminal and the report make of them."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from selfmae.metrics.statistics import LEVEL
from selfmae.results.convergence import UNMOVED
from selfmae.results.formatting import FILTERS
from selfmae.results.headline import SCRATCH, is_one_seed, is_unequal, orient

MAX_UNSEEN = 0.1  # of patients: 29 or more tested ones show what happens in a tenth of all
MIN_SEEDS = 2  # of which an interval covers the variance of training: Student's t of 12.7, with three 4.3
OF_TRAINING = ("still_rising", "unknown_convergence", "pretext_unmoved")

Fact = Mapping[str, Any]  # "code", which is a macro of templates/sentences.txt, and what the sentence needs


def find_limitations(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what limits a verdict, from its other facts; what concerns a pair has its "a" and "b"."""
    scored = verdict.get("scored", [])
    found = [*_of_training(verdict)]
    for pair in map(orient, verdict["pairs"]):
        found += [{"a": pair["a"], "b": pair["b"], **fact} for fact in _of_pair(pair, verdict)]
    if scored and len(scored) == len(verdict["inits"]):
        found.append({"code": "unknown_patients"})
    found += [{"code": "unknown_exposure", "init": init} for init in scored]
    unlisted = sorted(verdict.get("unlisted", {}).items())
    found += [{"code": "unlisted_exposure", "init": init, "files": files} for init, files in unlisted]
    if verdict.get("missing"):
        found.append({"code": "missing_runs", "runs": verdict["missing"]})
    return found


def _of_pair(pair: Fact, verdict: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the interval and the training runs of a pair leave open, and what it would take to tell."""
    ci95, p_holm, needed = pair.get("ci95"), pair.get("p_holm"), pair.get("to_tell")
    one_seed = is_one_seed(pair, verdict.get("scored", []))
    if not ci95:
        yield {"code": "no_interval", "effective_n": pair.get("effective_n", 0)}
    elif pair["verdict"] == "cannot tell" and not one_seed:
        yield {"code": "open_interval", "difference": pair["difference"], "ci95": ci95}
        if p_holm is not None and not ci95[0] <= 0 <= ci95[1]:
            yield {"code": "many_pairs", "p_holm": p_holm}
        if pair["num_seeds"] == MIN_SEEDS:
            yield {"code": "two_seeds"}
        if needed is not None:
            yield {"code": "low_power", **needed, "num_seeds": pair["num_seeds"]}
    elif pair["verdict"] == "no difference" and (unseen := _unseen_share(pair)) > MAX_UNSEEN:
        yield {"code": "few_patients", "num_patients": pair["effective_n"], "percent": round(100 * unseen)}
    if one_seed:
        yield {"code": "one_seed"}
    elif is_unequal(pair, verdict):
        yield {"code": "unequal_compute"}
    if {pair["a"], pair["b"]} & {*verdict.get("scored", [])}:
        yield {"code": "scored_masks"}


def _unseen_share(pair: Fact) -> float:
    """Return in what share of patients something may happen that none of those tested shows, with 95 % confidence.

    It is 1 - 0.05^(1/n), about 3 / n (Hanley & Lippman-Hand 1983, JAMA 249:1743).
    """
    number = pair.get("effective_n")  # not known of an older verdict
    return float(1 - LEVEL ** (1 / number)) if number else 0.0


def _of_training(verdict: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield where training ended too early: validation scores that rise, pretext tasks that were not learned."""
    convergence, converged = verdict.get("convergence", {}), verdict.get("converged", {})
    rises = {init: found["rise"] for init, found in convergence.items() if not converged[init]}
    rising = {init: rise for init, rise in rises.items() if rise is not None}
    if rising:
        yield {"code": "still_rising", "inits": [*rising], "rises": [*rising.values()]}
    if unknown := [init for init in rises if init not in rising]:
        yield {"code": "unknown_convergence", "inits": unknown}
    for init, found in convergence.items():
        loss, trivial = found["pretext_loss"], found["trivial_loss"]
        if loss is not None and trivial is not None and loss > UNMOVED * trivial:
            yield {"code": "pretext_unmoved", "init": init, "loss": loss, "trivial": trivial}


def told(verdict: Mapping[str, Any], pair: Fact | None) -> list[str]:
    """Return what a reader should know beside a pair's numbers: was training long enough, what to take, what limits it.

    A verdict of an older version does not list its limitations.
    """
    listed = verdict.get("limitations") or find_limitations(verdict)
    facts = [fact for fact in listed if "a" not in fact or (pair and concerns(fact, pair))]
    training, others = ([fact for fact in facts if (fact["code"] in OF_TRAINING) == wanted] for wanted in (True, False))
    advice = [sentence("recommended", verdict)] if verdict.get("recommended") else []
    sentences = [[sentence(fact["code"], fact) for fact in part] for part in (training, others)]
    return [*sentences[0], *advice, *sentences[1]]


def concerns(fact: Fact, pair: Fact) -> bool:
    """Return whether a limitation is one of a pair."""
    return {fact.get("a"), fact.get("b")} == {pair["a"], pair["b"]}


def sentence(code: str, fact: Fact | None = None) -> str:
    """Return the sentence of a fact as plain text, by the macro of this name in `templates/sentences.txt`."""
    sentences = templates("selfmae.results").get_template("sentences.txt").module
    text: str = getattr(sentences, code)(fact or {})
    return " ".join(text.split())


def worth_sentences(verdict: Mapping[str, Any]) -> list[str]:
    """Return what labels are worth, where several numbers of labelled patients were compared, and what more bring."""
    found, room = verdict.get("labels"), verdict.get("headroom")
    labels = found if isinstance(found, Mapping) else {}  # an older verdict has rows of each label there
    several = len({row["network"] for row in labels.get("curve", [])}) > 1
    facts = [
        {**row, **_place_of(row, labels), "reference": SCRATCH, "several": several} for row in labels.get("worth", [])
    ]
    worth = [sentence("worth", fact) for fact in facts]
    if room and room["mean"] is not None:
        worth.append(sentence("headroom", {**room, "metric": verdict["metric"]}))
    return worth


def _place_of(row: Fact, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the "place" of a point beyond scratch's curve, "above" or "below", and the "end" of the curve next to it.

    "place" is "" where a number of labels was found, or no score is defined.
    """
    curve = [point for point in labels["curve"] if point["network"] == row["network"] and point["mean"] is not None]
    own = [point["mean"] for point in curve if (point["init"], point["labels"]) == (row["init"], row["labels"])]
    theirs = [point for point in curve if point["init"] == SCRATCH]
    if row["equals"] is not None or not own or not theirs:
        return {"place": "", "end": None}
    is_above = own[0] > sum(point["mean"] for point in theirs) / len(theirs)
    ends = [point["labels"] for point in theirs]
    return {"place": "above" if is_above else "below", "end": max(ends) if is_above else min(ends)}


@lru_cache
def templates(package: str, autoescape: bool = False) -> Environment:
    """Return the templates of a package, which may use the filters of `formatting`."""
    environment = Environment(
        loader=PackageLoader(package),
        extensions=["jinja2.ext.do"],
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment
