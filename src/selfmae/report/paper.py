"""The numbers of Zhou et al. 2023 ("Self Pre-training with Masked Autoencoders for Medical Image Classification and
Segmentation", ISBI), to stand beside a run of the recipe of the same name."""

import re
from dataclasses import dataclass

from selfmae.report.results import Results
from selfmae.report.tables import Table
from selfmae.report.words import number

DICE, HD95, AUC = "dice_per_case", "hd95", "mean_auc"


@dataclass(frozen=True)
class PaperRow:
    """One row of a table of the paper, Dice and AUC in percent; `start` and `ratio` tell which run it stands for."""

    name: str
    scores: dict[str, float]
    start: str = ""  # "" is a method that SelfMAE does not train
    ratio: float | None = None  # share of hidden patches, where the paper names it


BTCV = (
    PaperRow("U-Net (R50)", {DICE: 74.68, HD95: 36.87}),
    PaperRow("AttnUNet (R50)", {DICE: 75.57, HD95: 36.97}),
    PaperRow("TransUNet", {DICE: 77.48, HD95: 31.69}),
    PaperRow("DSTUNet", {DICE: 82.44, HD95: 17.83}),
    PaperRow("nnFormer", {DICE: 86.57, HD95: 10.63}),
    PaperRow("nnUNet", {DICE: 86.99, HD95: 10.78}),
    PaperRow("UNETR", {DICE: 78.83, HD95: 25.59}, "scratch"),
    PaperRow("UNETR + ImageNet", {DICE: 79.67, HD95: 24.28}, "imagenet"),
    PaperRow("UNETR + MAE, 12.5 % hidden", {DICE: 83.52, HD95: 10.24}, "mae", 0.125),
    PaperRow("UNETR + MAE, 25 % hidden", {DICE: 83.18}, "mae", 0.25),
    PaperRow("UNETR + MAE, 50 % hidden", {DICE: 83.2}, "mae", 0.5),
    PaperRow("UNETR + MAE, 75 % hidden", {DICE: 82.76}, "mae", 0.75),
    PaperRow("UNETR + MAE, 87.5 % hidden", {DICE: 82.21}, "mae", 0.875),
    PaperRow("UNETR + MAE, 75 % hidden, 40,000 instead of 10,000 epochs", {DICE: 81.09}),
)
BRATS = (
    PaperRow("UNETR", {DICE: 77.40, HD95: 7.78}, "scratch"),
    PaperRow("UNETR + ImageNet", {DICE: 77.78, HD95: 7.38}, "imagenet"),
    PaperRow("UNETR + MAE, 12.5 % hidden", {DICE: 78.91, HD95: 7.22}, "mae", 0.125),
    PaperRow("UNETR + MAE, 25 % hidden", {DICE: 78.71}, "mae", 0.25),
    PaperRow("UNETR + MAE, 50 % hidden", {DICE: 78.42}, "mae", 0.5),
    PaperRow("UNETR + MAE, 75 % hidden", {DICE: 78.14}, "mae", 0.75),
    PaperRow("UNETR + MAE, 87.5 % hidden", {DICE: 77.14}, "mae", 0.875),
    PaperRow("UNETR + MAE, 75 % hidden, 1,000 instead of 500 epochs", {DICE: 78.29}),
    PaperRow("UNETR + MAE, 75 % hidden, 2,000 instead of 500 epochs", {DICE: 78.43}),
)
CHESTXRAY14 = (
    PaperRow("CXR14-R50", {AUC: 74.5}),
    PaperRow("ChestNet", {AUC: 78.1}),
    PaperRow("CheXNet", {AUC: 78.9}),
    PaperRow("R18, MoCo, self", {AUC: 78.6}),
    PaperRow("R50, MoCo v2, self", {AUC: 79.4}),
    PaperRow("LSAE, self", {AUC: 79.0}),
    PaperRow("ViT-B, 100 epochs", {AUC: 74.4}, "scratch"),
    PaperRow("ViT-B, 400 epochs", {AUC: 74.9}),
    PaperRow("ViT-B, ImageNet supervised", {AUC: 80.7}, "imagenet"),
    PaperRow("ViT-B, MAE, self", {AUC: 81.5}, "mae"),
)
PAPER = {"btcv": BTCV, "brats": BRATS, "chestxray14": CHESTXRAY14}
# The released code measures HD95 in voxels after resampling, which are 1 mm for BraTS only, and drops missed labels; so
# do recipes of its mode, others measure in mm.
THEIRS = {DICE: "Dice (%)", HD95: "HD95 (voxels)", AUC: "AUC (%)"}
OURS = {DICE: "Dice (%)", HD95: "HD95 (mm)", AUC: "AUC (%)"}
METRICS = {DICE: ("dice_per_case", 100), HD95: ("hd95_mm_per_case", 1), AUC: ("mean_auc", 100)}
VOXELS = "hd95_voxels_found_only", 1
# Keys that leave the experiment the same; rows name their mask ratio.
HARMLESS = ("data.source", "data.cache", "data.licence", "device.", "seed", "mask.ratio")


def paper_rows(recipe_name: str) -> tuple[PaperRow, ...]:
    """Return the paper's rows for a recipe such as "btcv", "btcv:paper" or "btcv-released", () for any other."""
    return PAPER.get(re.split("[:-]", recipe_name)[0], ())


def paper_table(results: Results) -> Table:
    """Return the paper's numbers and this run's in the same rows; what was not run stays empty."""
    rows = paper_rows(str(results.run.get("recipe", "")))
    measures = list(dict.fromkeys(measure for row in rows for measure in row.scores))
    ours = OURS | ({HD95: "HD95 (voxels)"} if _in_voxels(results) else {})
    columns = [f"{title}, {whose}" for m in measures for title, whose in ((THEIRS[m], "paper"), (ours[m], "here"))]
    return Table(("Method", *columns), tuple((row.name, *_texts(results, row, measures)) for row in rows))


def _texts(results: Results, row: PaperRow, measures: list[str]) -> list[str]:
    texts = []
    for measure in measures:
        texts += [number(row.scores.get(measure), 2), _here(results, row, measure)]
    return texts


def _here(results: Results, row: PaperRow, measure: str) -> str:
    """Return the mean of this run's trainings that a row of the paper stands for."""
    if (
        _is_changed(results)
        or not row.start
        or (row.ratio is not None and row.ratio != results.settings.get("mask.ratio"))
    ):
        return ""
    name, factor = VOXELS if measure == HD95 and _in_voxels(results) else METRICS[measure]
    values = [value for cell in results.cells_of(row.start) if (value := cell.metrics.get(name)) is not None]
    return number(factor * sum(values) / len(values), 2) if values else ""


def _is_changed(results: Results) -> bool:
    """Return whether `--set` changed what was trained: then the numbers belong to no row of the paper."""
    return any(
        not key.startswith(HARMLESS) and not key.endswith(".accumulate") for key in results.run.get("changed", ())
    )


def _in_voxels(results: Results) -> bool:
    return results.settings.get("predict.distances") == "voxels"
