"""What came out of a sweep: the mean and interval of every combination and initialization, as JSON, CSV and a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfmae.display import Display, interval, number
from selfmae.errors import UserError
from selfmae.files import write_json, write_table
from selfmae.results.exposure import STAMP, say_leakage
from selfmae.results.formatting import metric_title, plural
from selfmae.results.headline import answer
from selfmae.results.limitations import sentence
from selfmae.results.training_run import evaluated_runs
from selfmae.results.verdict import compare

COUNTS = ("num_cases", "num_seeds")

Settings = Mapping[str, Any]  # of a combination, "mae.ratio": 0.5


def name_of(settings: Settings) -> str:
    """Return the name of a combination's folder: "mae.ratio=0.5,fit.steps=400", or "base" without settings."""
    return ",".join(f"{key}={value_text(value)}" for key, value in settings.items()) or "base"


def value_text(value: Any) -> str:
    """Return a value as names of folders have it."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text.replace("/", "_").replace("\\", "_")


def gather(
    combinations: Sequence[Settings], facts: Mapping[str, Any], out: Path, transductive: bool = False
) -> dict[str, Any]:
    """Compare the inits of every combination in its folder; return the rows, pairs, leakage and limitations of all.

    `facts` are those of `run.json`, equal for all. A combination without a finished training run has no row. No times
    and no paths, so that the same sweep gives the same bytes.
    """
    found: dict[str, Any] = {"metric": "", "rows": [], "pairs": [], "leakage": []}
    for settings in combinations:
        folder = out / name_of(settings)
        write_json(folder / "run.json", facts)
        if not evaluated_runs(folder):
            continue
        verdict = compare([folder], transductive)
        found["metric"] = verdict["metric"]
        found["rows"] += [_row(folder, settings, name, item) for name, item in verdict["inits"].items()]
        found["pairs"] += [{"settings": dict(settings)} | pair for pair in verdict["pairs"]]
        found["leakage"] += [f"{name_of(settings)}: {leak}" for leak in verdict["leakage"]]
    if not found["rows"]:
        raise UserError(
            f"{out} has no finished training run: look at the errors above, and give the same command again."
        )
    one_seed = any(pair["num_seeds"] == 1 for pair in found["pairs"])
    return found | {"limitations": [{"code": "one_seed"}] if one_seed else []}


def _row(folder: Path, settings: Settings, init: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line: the settings, and what an initialization reached with them."""
    runs = [run for run in evaluated_runs(folder) if run.init == init]
    cases, seeds = {row["id"] for run in runs for row in run.rows}, {run.seed for run in runs}
    counts = {"num_cases": len(cases), "num_seeds": len(seeds)}
    return {"settings": dict(settings), "init": init, "mean": item["mean"], "ci95": item["ci95"]} | counts


def save_sweep(content: Mapping[str, Any], out: Path) -> None:
    """Write `sweep.json` and `sweep.csv`, one line for each combination and initialization."""
    write_json(out / "sweep.json", content)
    rows = []
    for row in content["rows"]:
        low, high = row["ci95"] or ("", "")
        numbers = {"metric": content["metric"], "mean": row["mean"], "ci95_low": low, "ci95_high": high}
        stamp = {"leakage": STAMP} if content["leakage"] else {}
        rows.append(row["settings"] | {"init": row["init"]} | numbers | {key: row[key] for key in COUNTS} | stamp)
    write_table(out / "sweep.csv", rows)


def show_sweep(content: Mapping[str, Any], display: Display) -> None:
    """Print the table of the sweep, the difference of each pair, and what is missing."""
    keys, stamp = list(content["axes"]), say_leakage(content["leakage"], display)
    rows = [
        [*map(row["settings"].get, keys), row["init"], number(row["mean"]), interval(row["ci95"])]
        + [row[key] for key in COUNTS]
        for row in content["rows"]
    ]
    display.table(
        (*keys, f"{stamp}initialization", metric_title(content["metric"]), "95 % interval", "cases", "seeds"), rows
    )
    for pair in content["pairs"]:
        display.say(
            f"{stamp}{name_of(pair['settings'])}: {pair['b']} against {pair['a']}: {answer(pair)}; difference "
            f"{number(pair['difference'], sign=True)} (95 % interval {interval(pair['ci95'], sign=True)}, "
            f"{plural(pair['num_seeds'], 'seed')})."
        )
    for fact in content["limitations"]:
        display.say(sentence(fact["code"], fact))
    display.say(
        "Every interval is for one combination alone: the best of several looks better than it is. Choose on val, or "
        "test the chosen one on new cases."
    )
    for name, error in content["failed"].items():
        display.say(f"Missing: {name} ({error})")
