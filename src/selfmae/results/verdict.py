"""Comparison of finished runs: paired differences between initializations on the same test cases, and the verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import ceil
from pathlib import Path
from typing import Any

from selfmae.display import Display, interval, number
from selfmae.errors import UserError
from selfmae.files import read_json, read_table, write_json
from selfmae.metrics.power import StandardErrors, what_it_takes
from selfmae.metrics.rows import HEADLINES, Runs, Scorer, compare_runs
from selfmae.metrics.statistics import LABEL_RESAMPLES, LEVEL, VERDICT_RESAMPLES, Comparison, holm, judge
from selfmae.options import TargetOptions
from selfmae.report.sentences import (
    INTERVALS,
    compute_sentences,
    missing_sentences,
    noise_sentences,
    power_sentences,
    unknown_sentences,
    unlisted_sentences,
)
from selfmae.results.exposure import check_models, say_leakage, unlisted_in
from selfmae.results.formatting import metric_title, plural
from selfmae.results.run_folder import read_recipe
from selfmae.results.subgroups import Subgroup, column_groups, keep_columns, kept_columns, size_groups, table_of
from selfmae.results.training_logs import what_instead
from selfmae.results.training_run import (
    Evaluation,
    check_same_images,
    find_evaluations,
    join_cells,
    keep_complete,
    make_scorer,
    missing_cells,
    name_apart,
    target_of,
)


def compare(
    folders: Sequence[Path], transductive: bool = False, subgroups: Sequence[str] = (), table: Path | None = None
) -> dict[str, Any]:
    """Return the verdict over the cells of these folders; a single run folder gets it as `verdict.json`.

    Initializations are paired in the order in which `run.json` lists them, otherwise in that of the folders. Raises
    `UserError` where the initializations' test cases differ, or a model knows cases it is evaluated on, unless
    `transductive` allows it. `subgroups` are columns of the source's table, or of another `table`, by whose values the
    test cases are grouped; a run folder keeps them, so that a later verdict has them too.
    """
    if table is not None and not subgroups:
        raise UserError(f"--table {table} is for --subgroups, which was not given: name columns of it, as in sex,view.")
    found = [find_evaluations(folder) for folder in folders]
    empty = [str(folder) for folder, cells in zip(folders, found, strict=True) if not cells]
    if empty:
        raise UserError(
            f"{', '.join(empty)}: no finished run was found (summary-test.json): {what_instead(Path(empty[0]))}."
        )
    cells = name_apart([cell for cells in found for cell in cells])
    check_once(cells)
    check_same_images(cells)
    inits = _ordered_inits(cells, folders)
    known = {init: [cell.folder for cell in cells if cell.init == init and cell.is_trained] for init in inits}
    leakage = check_models(known, transductive)
    target = target_of(cells)
    missing, cells = missing_cells(folders, cells), keep_complete(cells, folders)
    runs = {init: join_cells([cell for cell in cells if cell.init == init]) for init in inits}
    verdict = _verdict(runs, target) | {"leakage": leakage, "missing": missing}
    if unlisted := unlisted_in(known):
        verdict["unlisted"] = unlisted
    if scored := [init for init in inits if not known[init]]:
        verdict["scored"] = scored
    is_run = len(folders) == 1 and (folders[0] / "run.json").exists()
    if not subgroups:
        subgroups, table = kept_columns(folders[0])
    elif table is None:
        table = table_of(Path(read_recipe(cells[0].folder / "recipe.yaml").data.source))
    groups = size_groups(runs[inits[0]], target)
    groups += column_groups(runs[inits[0]], subgroups, table) if table else []
    verdict["subgroups"] = [row for group in groups for row in _group_rows(runs, target, group)]
    if is_run and table:
        keep_columns(folders[0], [row["id"] for row in read_table(cells[0].folder / "cases.csv")], subgroups, table)
    if is_run:
        write_json(folders[0] / "verdict.json", verdict)
    return verdict


def check_once(cells: Sequence[Evaluation]) -> None:
    """Raise if two models are the same initialization, fold and seed: they would count as repeats of one."""
    counts = Counter((cell.init, cell.fold, cell.seed) for cell in cells)
    (init, fold, seed), count = counts.most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{count} of the folders hold the initialization {init} with fold {fold} and seed {seed}, but each "
            "model may be "
            "there once: leave out one of these folders."
        )


def _ordered_inits(cells: Sequence[Evaluation], folders: Sequence[Path]) -> list[str]:
    """Return the initializations as the first `run.json` lists them, then the others as they were found."""
    paths = [folder / "run.json" for folder in folders if (folder / "run.json").exists()]
    wanted: list[str] = read_json(paths[0])["inits"] if paths else []
    places = {name: place for place, name in enumerate(wanted)}
    found = dict.fromkeys(cell.init for cell in cells)
    return sorted(found, key=lambda name: places.get(name, places.get(name.rpartition(" (")[0], len(wanted))))


def _verdict(runs: Mapping[str, Runs], target: TargetOptions) -> dict[str, Any]:
    scorer, names = make_scorer(target), list(combinations(runs, 2))
    alone = {init: _compare((init, run), (init, run), scorer) for init, run in runs.items()}
    pairs = {(a, b): _compare((a, runs[a]), (b, runs[b]), scorer) for a, b in names}
    corrected = holm([pair.p for pair in pairs.values()])
    return {
        "metric": HEADLINES[target.kind],
        "inits": {init: {"mean": result.mean_a, "ci95": result.ci95_a} for init, result in alone.items()},
        "pairs": [
            _pair_row(a, b, result, p_holm, len(names))
            for ((a, b), result), p_holm in zip(pairs.items(), corrected, strict=True)
        ],
        "labels": [row for label in target.reported_names for row in _label_rows(runs, target, label)],
    }


def _pair_row(a: str, b: str, result: Comparison, p_holm: float | None, num_pairs: int) -> dict[str, Any]:
    verdict = judge(result.ci95, p_holm, num_pairs)
    return {
        "a": a,
        "b": b,
        "mean_a": result.mean_a,  # over the seeds that both have
        "mean_b": result.mean_b,
        "difference": result.difference,  # b - a
        "ci95": result.ci95,
        "p": result.p,
        "p_holm": p_holm,
        "num_cases": result.num_cases,
        "num_patients": result.num_patients,
        "effective_n": result.effective_n,  # of these patients; they limit how well the score is known
        "num_seeds": result.num_seeds,
        "verdict": verdict,
        "to_tell": _to_tell(result, num_pairs) if verdict == "cannot tell" else None,
    }


def _to_tell(result: Comparison, num_pairs: int) -> dict[str, int | None] | None:
    """Return how many more seeds, or test patients, would tell if the difference stays; None where none is defined."""
    if result.difference is None or result.ci95 is None:
        return None
    errors = StandardErrors(result.patient_error, result.seed_error, result.effective_n, result.num_seeds)
    seeds, deciding = what_it_takes(result.difference, errors, LEVEL / num_pairs)
    patients = None if deciding is None else ceil(deciding * result.num_patients / result.effective_n)
    return {"seeds": seeds, "patients": patients}


def _label_rows(runs: Mapping[str, Runs], target: TargetOptions, label: str) -> list[dict[str, Any]]:
    """Return the effect of each pair of initializations on one label, "" is the headline.

    Not corrected for their number.
    """
    rows = []
    for a, b in combinations(runs, 2):
        result = _compare((a, runs[a]), (b, runs[b]), make_scorer(target, label), LABEL_RESAMPLES)
        means: dict[str, Any] = {"mean_a": result.mean_a, "mean_b": result.mean_b}
        effect = {"difference": result.difference, "ci95": result.ci95, "p": result.p}
        rows.append({"label": label, "a": a, "b": b} | means | effect | {"num_patients": result.num_patients})
    return rows


def _group_rows(runs: Mapping[str, Runs], target: TargetOptions, group: Subgroup) -> list[dict[str, Any]]:
    """Return the effect of each pair of initializations in a subgroup; not corrected for looking at several."""
    parts = {init: run.part(group.ids) for init, run in runs.items()}
    rows = _label_rows(parts, target, group.label)
    return [{**row, "subgroup": group.name, "num_cases": len(group.ids)} for row in rows]


def _compare(
    a: tuple[str, Runs], b: tuple[str, Runs], scorer: Scorer, num_resamples: int = VERDICT_RESAMPLES
) -> Comparison:
    """Compare two initializations, each with its name, by the seeds that both have."""
    (name_a, runs_a), (name_b, runs_b) = a, b
    if runs_a.ids != runs_b.ids:
        raise UserError(
            f"{name_a} and {name_b} were not evaluated on the same test cases: give runs with one and the same split."
        )
    if not runs_a.repeats.keys() & runs_b.repeats.keys():
        raise UserError(f"{name_a} and {name_b} have no seed in common: train both with the same seeds.")
    return compare_runs(runs_a, runs_b, scorer, num_resamples)


def show_verdict(verdict: dict[str, Any], display: Display) -> None:
    """Print the mean of each initialization and the difference of each pair, with 95 % intervals."""
    metric, stamp = metric_title(verdict["metric"]), say_leakage(verdict["leakage"], display)
    rows = [(name, number(item["mean"]), interval(item["ci95"])) for name, item in verdict["inits"].items()]
    display.table((f"{stamp}initialization", metric, "95 % interval"), rows)
    scored = verdict.get("scored", [])
    for sentence in missing_sentences(verdict):
        display.say(sentence)
    for pair in verdict["pairs"]:
        display.say(
            f"{stamp}{pair['b']} against {pair['a']}: {pair['verdict']}; difference of {metric} "
            f"{number(pair['difference'], sign=True)} (95 % interval {interval(pair['ci95'], sign=True)}, "
            f"{pair['num_cases']} test cases of {pair['num_patients']} patients, {plural(pair['num_seeds'], 'seed')})."
        )
        open_points = (*power_sentences(pair), *noise_sentences(pair, scored))
        for sentence in (*open_points, *compute_sentences(pair, verdict["inits"])):
            display.say(sentence)
    unknown = unknown_sentences(scored, alone=len(scored) == len(verdict["inits"]))
    for sentence in (*unknown, *unlisted_sentences(verdict), INTERVALS):
        display.say(sentence)
