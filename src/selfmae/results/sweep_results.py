"""What came out of a sweep: the mean and interval of every combination and initialization, as JSON, CSV and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfmae.display import Display, interval, number
from selfmae.errors import UserError
from selfmae.experiment.combinations import Settings, name_of
from selfmae.files import read_table, write_json, write_table
from selfmae.report.paper_comparison import paper_table
from selfmae.report.sentences import sweep_noise
from selfmae.results.exposure import STAMP, say_leakage
from selfmae.results.formatting import metric_title, plural
from selfmae.results.training_logs import Results, read_results
from selfmae.results.verdict import compare

COUNTS = ("num_cases", "num_seeds")


def gather(
    combinations: Sequence[Settings], facts: Mapping[str, Any], out: Path, transductive: bool = False
) -> dict[str, Any]:
    """Compare the inits of every combination in its folder; return the rows, pairs and leakage of all, and the table
    that sets them beside the paper.

    `facts` are those of `run.json`, equal for all. A combination without a finished cell has no row. No times and no
    paths, so that the same sweep gives the same bytes.
    """
    found: dict[str, Any] = {"metric": "", "rows": [], "pairs": [], "leakage": []}
    runs: list[Results] = []
    for settings in combinations:
        folder = out / name_of(settings)
        write_json(folder / "run.json", facts)
        if not any(folder.glob("*/fold*/seed*/summary-test.json")):
            continue
        verdict = compare([folder], transductive)
        runs.append(read_results(folder))
        found["metric"] = verdict["metric"]
        found["rows"] += [_row(folder, settings, name, item) for name, item in verdict["inits"].items()]
        found["pairs"] += [{"settings": dict(settings)} | pair for pair in verdict["pairs"]]
        found["leakage"] += [f"{name_of(settings)}: {leak}" for leak in verdict["leakage"]]
    if not found["rows"]:
        raise UserError(f"{out} has no finished cell: look at the errors above, and give the same command again.")
    return found | {"paper": asdict(paper_table(*runs))}


def _row(folder: Path, settings: Settings, init: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line: the settings, and what an initialization reached with them."""
    tables = sorted((folder / init).glob("fold*/seed*/rows-test.csv"))
    ids = {row["id"] for path in tables for row in read_table(path)}
    counts = {"num_cases": len(ids), "num_seeds": len({path.parts[-2] for path in tables})}
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
            f"{stamp}{name_of(pair['settings'])}: {pair['b']} against {pair['a']}: {pair['verdict']}; difference "
            f"{number(pair['difference'], sign=True)} (95 % interval {interval(pair['ci95'], sign=True)}, "
            f"{plural(pair['num_seeds'], 'seed')})."
        )
    for sentence in sweep_noise(content["pairs"]):
        display.say(sentence)
    display.say(
        "Every interval is for one combination alone: the best of several looks better than it is. Choose on val, or "
        "test the chosen one on new cases."
    )
    for name, error in content["failed"].items():
        display.say(f"Missing: {name} ({error})")
