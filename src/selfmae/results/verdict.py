"""Comparison of finished runs: paired differences between initializations on the same test cases, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from pathlib import Path
from typing import Any

from selfmae.display import Display, interval, number
from selfmae.errors import UserError
from selfmae.files import read_json, write_json
from selfmae.metrics.decisions import MARGIN, check_margin, judge, look_level, what_it_takes
from selfmae.metrics.rows import HEADLINES, Runs, Scorer, auc_scorer, compare_runs, dice_scorer
from selfmae.metrics.statistics import LABEL_RESAMPLES, LEVEL, VERDICT_RESAMPLES, Comparison, StandardErrors, holm
from selfmae.options import TargetOptions
from selfmae.results.convergence import are_converged, measure, recommend
from selfmae.results.exposure import check_models, say_leakage, unlisted_in
from selfmae.results.formatting import MINUS, metric_title, plural
from selfmae.results.headline import NO_VERDICT, answer, claim_facts, headline, is_one_seed, main_pair
from selfmae.results.label_points import label_facts
from selfmae.results.limitations import find_limitations, sentence, told, worth_sentences
from selfmae.results.selection import find_runs, join_runs, keep_complete, missing_runs, target_of
from selfmae.results.subgroups import Subgroup, column_groups, keep_columns, kept_columns, size_groups, table_of
from selfmae.results.training_run import TrainingRun, by_init

PAIR_FACTS = ("mean_a", "mean_b", "difference", "ci95", "p", "num_cases", "num_patients", "effective_n", "num_seeds")
LABEL_FACTS = ("mean_a", "mean_b", "difference", "ci95", "p", "num_patients")


@dataclass(frozen=True)
class Rule:
    """How pairs are judged: the smallest difference that matters, and (look, number of looks) of a sequential run."""

    margin: float = MARGIN
    looks: tuple[int, int] | None = None

    @classmethod
    def of(cls, folder: Path, margin: float | None, looks: tuple[int, int] | None) -> "Rule":
        """Return the rule with what is given, otherwise with "margin" and "looks" of a folder's `run.json`."""
        path = folder / "run.json"
        facts: dict[str, Any] = read_json(path) if path.exists() else {}
        known = looks or facts.get("looks")
        asked = facts.get("margin") if margin is None else margin
        return cls(check_margin(MARGIN if asked is None else asked), (known[0], known[1]) if known else None)

    @property
    def level(self) -> float:
        """Return the error level of each interval: 0.05 unless seeds come one by one (`look_level`)."""
        return look_level(*self.looks) if self.looks else LEVEL


def compare(
    folders: Sequence[Path],
    transductive: bool = False,
    subgroups: Sequence[str] = (),
    table: Path | None = None,
    margin: float | None = None,
    look: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return the verdict over the training runs of these folders; a single run folder gets it as `verdict.json`.

    Initializations are paired in the order in which `run.json` lists them, otherwise in that of the folders. Raises
    `UserError` where the initializations' test cases differ, or a model knows cases it is evaluated on, unless
    `transductive` allows it. `subgroups` are columns of the source's table, or of another `table`, by whose values the
    test cases are grouped; a run folder keeps them, so that a later verdict has them too. `margin` is the smallest
    difference that matters, in units of the metric, otherwise that of the first folder's `run.json` (0.01 without one).
    With `look` (from 1, of how many), or "looks" of that file, seeds are added one by one: intervals of pairs are then
    repeated confidence intervals.
    """
    if table is not None and not subgroups:
        raise UserError(f"--table {table} is for --subgroups, which was not given: name columns of it, as in sex,view.")
    rule, runs = Rule.of(folders[0], margin, look), find_runs(folders)
    facts: dict[str, Any] = {"leakage": check_models(runs, transductive)}
    target = target_of(runs)
    lacking = missing_runs(folders, runs)
    facts["missing"] = [{"init": run.init, "fold": run.fold, "seed": run.seed} for run in lacking]
    if unlisted := unlisted_in(runs):
        facts["unlisted"] = unlisted
    if scored := list(dict.fromkeys(run.init for run in runs if run.is_scored)):
        facts["scored"] = scored
    if rule.looks:
        facts["looks"] = [*rule.looks]
    kept = by_init(keep_complete(runs, folders))
    joined = {init: join_runs(found) for init, found in kept.items()}
    is_run = len(folders) == 1 and (folders[0] / "run.json").exists()
    if not subgroups:
        subgroups, table = kept_columns(folders[0])
    elif table is None:
        table = table_of(Path(runs[0].settings.get("data.source", "")))
    groups = size_groups(next(iter(joined.values())), target)
    groups += column_groups(next(iter(joined.values())), subgroups, table) if table else []
    verdict = _verdict(joined, target, rule, scored) | _training_facts(kept, target, rule) | facts
    verdict["subgroups"] = [row for group in groups for row in _group_rows(joined, target, group)]
    verdict |= label_facts(folders[0], target) if is_run else {}
    verdict["headline"] = headline(verdict)
    verdict["limitations"] = find_limitations(verdict)
    if is_run and table:
        keep_columns(folders[0], [row["id"] for row in runs[0].cases], subgroups, table)
    if is_run:
        write_json(folders[0] / "verdict.json", verdict)
    return verdict


def _verdict(runs: Mapping[str, Runs], target: TargetOptions, rule: Rule, scored: Sequence[str]) -> dict[str, Any]:
    _check_pairs(runs)
    scorer, names = _make_scorer(target), list(combinations(runs, 2))
    pairs = [compare_runs(runs[a], runs[b], scorer, VERDICT_RESAMPLES, rule.level) for a, b in names]
    corrected = holm([pair.p for pair in pairs])
    rows = [
        {"a": a, "b": b} | _pair_row(result, p_holm, len(names), rule)
        for (a, b), result, p_holm in zip(names, pairs, corrected, strict=True)
    ]
    for row in (row for row in rows if is_one_seed(row, scored)):
        row |= {"verdict": NO_VERDICT, "to_tell": None}
    return {
        "metric": HEADLINES[target.kind],
        "margin": rule.margin,
        "inits": _scores(runs, scorer, VERDICT_RESAMPLES),
        "pairs": rows,
        "per_label": [row for label in target.reported_names for row in _label_rows(runs, target, label)],
        "per_label_inits": {
            label: _scores(runs, _make_scorer(target, label), LABEL_RESAMPLES) for label in target.reported_names
        },
    }


def _training_facts(runs: Mapping[str, list[TrainingRun]], target: TargetOptions, rule: Rule) -> dict[str, Any]:
    """Return what the training runs themselves tell: whether they were long enough, and which start to take."""
    convergence = measure(runs)
    return {
        "convergence": convergence,
        "converged": are_converged(convergence, rule.margin),
        "recommended": recommend(runs, HEADLINES[target.kind], rule.margin),
    }


def _check_pairs(runs: Mapping[str, Runs]) -> None:
    """Raise if two initializations were not evaluated on the same test cases, or have no seed in common."""
    for a, b in combinations(runs, 2):
        if runs[a].ids != runs[b].ids:
            raise UserError(
                f"{a} and {b} were not evaluated on the same test cases: give runs with one and the same split."
            )
        if not runs[a].repeats.keys() & runs[b].repeats.keys():
            raise UserError(f"{a} and {b} have no seed in common: train both with the same seeds.")


def _scores(runs: Mapping[str, Runs], scorer: Scorer, num_resamples: int) -> dict[str, dict[str, Any]]:
    """Return the score of each initialization with its interval."""
    found = {init: compare_runs(run, run, scorer, num_resamples) for init, run in runs.items()}
    return {init: {"mean": result.mean_a, "ci95": result.ci95_a} for init, result in found.items()}


def _pair_row(result: Comparison, p_holm: float | None, num_pairs: int, rule: Rule) -> dict[str, Any]:
    """Return what `Comparison` tells of a pair, by the seeds that both have, with the verdict."""
    verdict = judge(result.ci95, p_holm, num_pairs, rule.margin, rule.level)
    to_tell = _to_tell(result, num_pairs, rule) if verdict == "cannot tell" else None
    facts = {key: getattr(result, key) for key in PAIR_FACTS}
    return facts | {"p_holm": p_holm, "verdict": verdict, "to_tell": to_tell}


def _to_tell(result: Comparison, num_pairs: int, rule: Rule) -> dict[str, int | None] | None:
    """Return how many more seeds, or test patients, would tell if the difference stays; None where none is defined."""
    if result.difference is None or result.ci95 is None:
        return None
    errors = StandardErrors(result.patient_error, result.seed_error, result.effective_n, result.num_seeds)
    seeds, deciding = what_it_takes(result.difference, errors, rule.margin, num_pairs, rule.level)
    patients = None if deciding is None else ceil(deciding * result.num_patients / result.effective_n)
    return {"seeds": seeds, "patients": patients}


def _label_rows(runs: Mapping[str, Runs], target: TargetOptions, label: str) -> list[dict[str, Any]]:
    """Return the effect of each pair of initializations on one label, "" is the headline.

    Not corrected for their number, nor for that of labels or subgroups.
    """
    rows = []
    for a, b in combinations(runs, 2):
        result = compare_runs(runs[a], runs[b], _make_scorer(target, label), LABEL_RESAMPLES)
        rows.append({"label": label, "a": a, "b": b} | {key: getattr(result, key) for key in LABEL_FACTS})
    return rows


def _group_rows(runs: Mapping[str, Runs], target: TargetOptions, group: Subgroup) -> list[dict[str, Any]]:
    """Return the effect of each pair of initializations in a subgroup."""
    parts = {init: run.part(group.ids) for init, run in runs.items()}
    about = {"subgroup": group.name, "num_cases": len(group.ids)}
    return [row | about for row in _label_rows(parts, target, group.label)]


def _make_scorer(target: TargetOptions, label: str = "") -> Scorer:
    """Return what turns the rows of one repeat into the headline metric, or its part of one label, by case weights."""
    if target.kind == "mask":
        return dice_scorer(f"dice_{label}" if label else "dice")
    return auc_scorer((label,) if label else target.output_names)


def show_verdict(verdict: Mapping[str, Any], display: Display) -> None:
    """Print the headline, what it rests on, whether training was long enough, and which initialization to take."""
    metric, stamp = metric_title(verdict["metric"]), say_leakage(verdict["leakage"], display)
    pairs, scored = verdict["pairs"], verdict.get("scored", [])
    main = main_pair(verdict) or next(iter(pairs), None)
    if main:
        _say(f"{stamp}{sentence('claim', claim_facts(main, verdict))}", display)
    rows = [(name, number(item["mean"]), interval(item["ci95"])) for name, item in verdict["inits"].items()]
    display.table((f"{stamp}initialization", metric, "95 % interval"), rows)
    for pair in pairs:
        display.say(
            f"{stamp}{pair['b']} against {pair['a']}: {answer(pair, scored)}; difference of {metric} "
            f"{number(pair['difference'], sign=True)} (95 % interval {interval(pair['ci95'], sign=True)}, "
            f"{pair['num_cases']} test cases of {pair['num_patients']} patients, {plural(pair['num_seeds'], 'seed')})."
        )
    for text in (*told(verdict, main), *worth_sentences(verdict)):
        _say(text, display)
    _say(sentence("intervals", verdict), display)


def _say(text: str, display: Display) -> None:
    """Print a sentence in ASCII, which any terminal and pipe takes."""
    display.say(text.replace(MINUS, "-"))
