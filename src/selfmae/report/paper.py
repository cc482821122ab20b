"""Comparison with the paper: its numbers, and those of runs in the rows of its tables that they stand for.

Zhou et al., "Self Pre-training with Masked Autoencoders for Medical Image Classification and Segmentation", ISBI 2023:
every row of the tables, averages and labels, in percent and, for HD95, as printed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from selfmae.recipe import as_content, check_partial, flat, named_recipes, read_content
from selfmae.report.tables import Table
from selfmae.results.formatting import number
from selfmae.results.run_folder import RunFolder
from selfmae.results.training_run import TrainingRun

DICE, HD95, AUC = "dice_per_case", "hd95", "mean_auc"
# The released code measures HD95 in voxels after resampling, which are 1 mm for BraTS only; recipes of its mode do too,
# others measure in mm. Its average over BTCV drops missed organs, as ours in voxels does; its average over BraTS counts
# a missed region as infinite.
TITLES = {DICE: "Dice (%)", HD95: "HD95 (voxels)", AUC: "AUC (%)"}
HD95_AVERAGES = {"mm": "hd95_mm_per_case", "voxels": "hd95_voxels_found_only"}  # of ours, by unit
# What only the source says, and what leaves the experiment the same.
SAID = ("data.source", "data.channels", "target.kind", "target.names", "target.values")
HARMLESS = ("data.cache", "data.licence", "device.", "seed", "pretrain.accumulate", "fit.accumulate")
# What plays no part in training from some of the initializations.
ONLY_MAE = ("pretrain.", "mae.", "probe.", "init.pretrain", "data.pretrain_on")
ONLY_IMAGENET = ("init.inflate", "init.positions", "init.partial")
SWEPT = ("mae.ratio", "pretrain.steps", "fit.steps")  # settings that the paper varies
TOLERANCE = 0.01  # of the number of test cases: copies that stand in other parts are left out

Scores = Mapping[str, float]  # by measure


@dataclass(frozen=True)
class PaperRow:
    """One row of a table; `init` and `needs` tell which run it stands for."""

    name: str
    scores: Scores  # averages
    init: str = ""  # "" is a method that SelfMAE does not train
    needs: Mapping[str, float] = field(default_factory=dict)  # settings that rows of one initialization differ in
    labels: Mapping[str, Scores] = field(default_factory=dict)  # by name of the label


ORGANS = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
REGIONS = ("WT", "ET", "TC")


def _organs(*dice: float) -> dict[str, Scores]:
    return {name: {DICE: value} for name, value in zip(ORGANS, dice, strict=True)}


def _regions(*dice: float, hd95: Sequence[float] = ()) -> dict[str, Scores]:
    found: dict[str, Scores] = {name: {DICE: value} for name, value in zip(REGIONS, dice, strict=True)}
    return {name: {**found[name], HD95: far} for name, far in zip(REGIONS, hd95, strict=True)} if hd95 else found


def _row(name: str, dice: float, hd95: float, labels: Mapping[str, Scores], init: str = "") -> PaperRow:
    return PaperRow(name, {DICE: dice, HD95: hd95}, init, labels=labels)


def _mae(
    ratio: float, steps: int, scores: Scores, labels: Mapping[str, Scores] | None = None, more: str = ""
) -> PaperRow:
    """Return a row of self pre-training, by the share of hidden patches and the steps."""
    needs = {"mae.ratio": ratio, "pretrain.steps": steps}
    return PaperRow(f"UNETR + MAE, {100 * ratio:g} % hidden{more}", scores, "mae", needs, labels or {})


# Tables 1 and 4 (right). An epoch of pre-training has 3 steps.
BTCV = (
    _row("U-Net (R50)", 74.68, 36.87, _organs(84.18, 62.84, 79.19, 71.29, 93.35, 48.23, 84.41, 73.92)),
    _row("AttnUNet (R50)", 75.57, 36.97, _organs(55.92, 63.91, 79.20, 72.71, 93.56, 49.37, 87.19, 74.95)),
    _row("TransUNet", 77.48, 31.69, _organs(87.23, 63.13, 81.87, 77.02, 94.08, 55.86, 85.08, 75.62)),
    _row("DSTUNet", 82.44, 17.83, _organs(88.16, 67.40, 87.46, 81.90, 94.17, 66.16, 92.13, 82.10)),
    _row("nnFormer", 86.57, 10.63, _organs(92.04, 70.17, 86.57, 86.25, 96.84, 83.35, 90.51, 86.83)),
    _row("nnUNet", 86.99, 10.78, _organs(93.01, 71.77, 85.57, 88.18, 97.23, 83.01, 91.86, 85.26)),
    _row("UNETR", 78.83, 25.59, _organs(85.46, 70.88, 83.03, 82.02, 95.83, 50.99, 88.26, 72.74), "scratch"),
    _row("UNETR + ImageNet", 79.67, 24.28, _organs(86.07, 74.29, 82.44, 81.65, 95.84, 58.08, 87.74, 69.98), "imagenet"),
    _mae(0.125, 30_000, {DICE: 83.52, HD95: 10.24}, _organs(88.92, 75.25, 86.37, 84.00, 95.95, 65.02, 90.56, 80.89)),
    _mae(0.25, 30_000, {DICE: 83.18}),
    _mae(0.5, 30_000, {DICE: 83.2}),
    _mae(0.75, 30_000, {DICE: 82.76}),
    _mae(0.875, 30_000, {DICE: 82.21}),
    _mae(0.75, 120_000, {DICE: 81.09}, more=", 40,000 instead of 10,000 epochs"),
)
# Tables 3 and 4 (left). An epoch of pre-training has 65 steps.
BRATS = (
    _row("UNETR", 77.40, 7.78, _regions(90.25, 61.45, 80.51, hd95=(6.79, 8.33, 7.57)), "scratch"),
    _row("UNETR + ImageNet", 77.78, 7.38, _regions(90.34, 62.23, 80.78, hd95=(7.19, 7.86, 7.00)), "imagenet"),
    _mae(0.125, 32_500, {DICE: 78.91, HD95: 7.22}, _regions(90.84, 63.88, 82.00, hd95=(7.04, 7.15, 7.13))),
    _mae(0.25, 32_500, {DICE: 78.71}, _regions(90.76, 63.48, 81.88)),
    _mae(0.5, 32_500, {DICE: 78.42}, _regions(90.59, 63.05, 81.63)),
    _mae(0.75, 32_500, {DICE: 78.14}, _regions(90.60, 62.48, 81.35)),
    _mae(0.875, 32_500, {DICE: 77.14}, _regions(90.22, 61.06, 80.15)),
    _mae(0.75, 65_000, {DICE: 78.29}, _regions(90.25, 63.06, 81.55), ", 1,000 instead of 500 epochs"),
    _mae(0.75, 130_000, {DICE: 78.43}, _regions(90.33, 63.45, 81.52), ", 2,000 instead of 500 epochs"),
)
# Table 2. An epoch has 337 steps.
CHESTXRAY14 = (
    PaperRow("CXR14-R50", {AUC: 74.5}),
    PaperRow("ChestNet", {AUC: 78.1}),
    PaperRow("CheXNet", {AUC: 78.9}),
    PaperRow("R18, MoCo, self", {AUC: 78.6}),
    PaperRow("R50, MoCo v2, self", {AUC: 79.4}),
    PaperRow("LSAE, self", {AUC: 79.0}),
    PaperRow("ViT-B, 100 epochs", {AUC: 74.4}, "scratch", {"fit.steps": 33_700}),
    PaperRow("ViT-B, 400 epochs", {AUC: 74.9}, "scratch", {"fit.steps": 134_800}),
    PaperRow("ViT-B, ImageNet supervised", {AUC: 80.7}, "imagenet"),
    PaperRow("ViT-B, MAE, self", {AUC: 81.5}, "mae"),
)
PAPER = {"btcv": BTCV, "brats": BRATS, "chestxray14": CHESTXRAY14}
NUM_TEST = {"btcv": 12, "brats": 97, "chestxray14": 25_596}  # section 3.1 and the lists that the released code uses


def set_of(recipe_name: str) -> str:
    """Return the data set of a recipe such as "btcv", "btcv:paper" or "btcv-released", "" if it is none of these."""
    name = re.split("[:-]", recipe_name)[0]
    return name if name in PAPER else ""


def paper_rows(recipe_name: str) -> tuple[PaperRow, ...]:
    """Return the paper's rows for a recipe by its name, () for any that is not the paper's."""
    return PAPER.get(set_of(recipe_name), ())


@dataclass(frozen=True)
class PaperTable(Table):
    """Averages of the paper and ours; `missing` tells why no row is filled, () where one is.

    `data_set` is "btcv", "brats", "chestxray14" or "", `unit` that of our HD95 ("mm" or "voxels").
    """

    missing: tuple[str, ...] = ()
    data_set: str = ""
    unit: str = "mm"


def paper_table(*runs: RunFolder) -> PaperTable:
    """Return the paper's averages and those of these runs in the same rows; what none ran stays empty."""
    name, unit = recipe_name(runs[0]), _unit(runs[0])
    rows = paper_rows(name)
    measures = list(dict.fromkeys(measure for row in rows for measure in row.scores))
    titles = [(f"{TITLES[measure]}, paper", f"{_titles(unit)[measure]}, here") for measure in measures]
    lines = []
    for row in rows:
        trainings = _trainings(runs, name, row)
        pairs = [(number(row.scores.get(measure), 2), _here(trainings, measure, unit)) for measure in measures]
        lines.append((row.name, *(text for pair in pairs for text in pair)))
    columns = ("Method", *(title for pair in titles for title in pair))
    return PaperTable(columns, tuple(lines), missing=_missing(runs, name), data_set=set_of(name), unit=unit)


def paper_labels(*runs: RunFolder) -> Table:
    """Return the paper's numbers of each label, and below those of these runs for what SelfMAE trains."""
    name, unit = recipe_name(runs[0]), _unit(runs[0])
    rows = [row for row in paper_rows(name) if row.labels]
    columns = list(dict.fromkeys((label, m) for row in rows for label, scores in row.labels.items() for m in scores))
    lines: list[tuple[str, ...]] = []
    for row in rows:
        lines.append((row.name, "paper", *(number(row.labels[label].get(measure), 2) for label, measure in columns)))
        if row.init:
            ours = _trainings(runs, name, row)
            lines.append((row.name, "here", *(_here(ours, measure, unit, label) for label, measure in columns)))
    titles = (f"{label}, {_titles(unit)[measure]}" for label, measure in columns)
    return Table(("Method", "", *titles), tuple(lines), num_words=2)


def _unit(run: RunFolder) -> str:
    return "voxels" if run.settings.get("predict.distances") == "voxels" else "mm"


def _titles(unit: str) -> dict[str, str]:
    """Return the titles of our measures."""
    return TITLES | {HD95: f"HD95 ({unit})"}


def recipe_name(run: RunFolder) -> str:
    """Return the name of the paper's recipe that a run followed, "" if none: known by its values, or as typed."""
    names = [name for name in named_recipes() if set_of(name)]
    equal = next((name for name in names if run.settings and not _changed(run, name, SWEPT)), "")
    given = str(run.facts.get("recipe", "")).replace("-", ":")
    typed = f"{given}:fixed" if given in PAPER else given
    return equal or (typed if typed in names else "")


def _changed(run: RunFolder, name: str, but: Sequence[str]) -> list[str]:
    """Return the keys in which a run differs from the paper's recipe, `but` some."""
    theirs, ours = _values(name), run.settings
    return [
        key
        for key in ours  # a key that a run of an older version lacks has its default
        if theirs.get(key) != ours[key] and not key.startswith((*SAID, *HARMLESS)) and key not in but
    ]


@lru_cache
def _values(name: str) -> Mapping[str, Any]:
    """Return all values of a recipe by dotted key, defaults too."""
    return flat(as_content(check_partial(read_content(named_recipes()[name]), name)))


def _misses(run: RunFolder, name: str, row: PaperRow) -> list[str]:
    """Return why a run does not stand for a row that SelfMAE trains; [] if it does."""
    idle = (*(() if row.init == "mae" else ONLY_MAE), *(() if row.init == "imagenet" else ONLY_IMAGENET))
    changed = [key for key in _changed(run, name, tuple(row.needs)) if not key.startswith(idle)]
    changed += [key for key, value in row.needs.items() if run.settings.get(key) != value]
    return [*changed, *_other_cases(run, set_of(name))]


def _other_cases(run: RunFolder, name: str) -> list[str]:
    """Return what tells that a run was not tested on the paper's cases."""
    counts = [int(training.summary["num_cases"]) for training in run.runs if "num_cases" in training.summary]
    found = ["--folds"] if run.facts.get("num_folds", 1) != 1 else []
    if any(abs(count - NUM_TEST[name]) > TOLERANCE * NUM_TEST[name] for count in counts):
        found.append(f"{counts[0]:,} test cases instead of {NUM_TEST[name]:,}")
    return found


def _missing(runs: Sequence[RunFolder], name: str) -> tuple[str, ...]:
    """Return the fewest differences that keep these runs from filling a row, () if they fill one."""
    rows = [row for row in paper_rows(name) if row.init]
    missing = [_misses(run, name, row) for run in runs for row in rows if run.runs_of(row.init)]
    fewest = min(missing, key=len, default=[])
    return tuple(fewest)


def _trainings(runs: Sequence[RunFolder], name: str, row: PaperRow) -> list[TrainingRun]:
    """Return the training runs that stand for a row: those of the first run that does."""
    found = (run.runs_of(row.init) for run in runs if row.init and not _misses(run, name, row))
    return next((trainings for trainings in found if trainings), [])


def _here(runs: Sequence[TrainingRun], measure: str, unit: str, label: str = "") -> str:
    """Return our mean of a measure, of a label if one is given, in percent or the unit of HD95; "" if undefined."""
    if label:
        name = f"hd95_{unit}" if measure == HD95 else "dice"
        values = [run.summary.get("labels", {}).get(label, {}).get(name) for run in runs]
    else:
        name = HD95_AVERAGES[unit] if measure == HD95 else measure
        values = [run.metrics.get(name) for run in runs]
    known = [value for value in values if value is not None]
    factor = 1 if measure == HD95 else 100
    return number(factor * sum(known) / len(known), 2) if known else ""
