"""What limits a verdict: facts in `verdict.json`, and the sentences that the terminal and the report make of them."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from selfmae.methods import EQUAL, is_method
from selfmae.results.formatting import FILTERS

MIN_SEEDS = 2  # of which an interval covers the variance of training: Student's t of 12.7, with three 4.3

Fact = Mapping[str, Any]  # "code", which is a macro of templates/sentences.txt, and what the sentence needs


def find_limitations(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what limits a verdict, from its other facts; what concerns a pair has its "a" and "b"."""
    scored = verdict.get("scored", [])
    found: list[dict[str, Any]] = []
    for pair in verdict["pairs"]:
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
    if not ci95:
        yield {"code": "no_interval", "effective_n": pair.get("effective_n", 0)}
    elif pair["verdict"] not in ("helps", "hurts"):
        yield {"code": "open_interval", "difference": pair["difference"], "ci95": ci95}
        if p_holm is not None and not ci95[0] <= 0 <= ci95[1]:
            yield {"code": "many_pairs", "p_holm": p_holm}
        if pair["num_seeds"] == MIN_SEEDS:
            yield {"code": "two_seeds"}
        if needed is not None:
            yield {"code": "low_power", **needed, "num_seeds": pair["num_seeds"]}
    if {pair["a"], pair["b"]} & {*verdict.get("scored", [])}:
        yield {"code": "scored_masks"}
    elif pair["num_seeds"] == 1:
        yield {"code": "one_seed"}
    gain = pair["verdict"] == "helps" and pair["a"] == "scratch" and is_method(pair["b"])
    if gain and EQUAL not in verdict["inits"]:
        yield {"code": "unequal_compute"}


def concerns(fact: Fact, pair: Fact) -> bool:
    """Return whether a limitation is one of a pair."""
    return (fact.get("a"), fact.get("b")) == (pair["a"], pair["b"])


def sentence(code: str, fact: Fact | None = None) -> str:
    """Return the sentence of a fact as plain text, by the macro of this name in `templates/sentences.txt`."""
    sentences = templates("selfmae.results").get_template("sentences.txt").module
    text: str = getattr(sentences, code)(fact or {})
    return " ".join(text.split())


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
