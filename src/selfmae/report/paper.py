"""The numbers of Zhou et al. 2023: every row of the tables, averages and labels, in percent and, for HD95, as printed.

"Self Pre-training with Masked Autoencoders for Medical Image Classification and Segmentation", ISBI 2023.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DICE, HD95, AUC = "dice_per_case", "hd95", "mean_auc"
Scores = Mapping[str, float]


@dataclass(frozen=True)
class PaperRow:
    """One row of a table; `init` and `needs` tell which run it stands for."""

    name: str
    scores: Scores  # averages, by measure
    init: str = ""  # "" is a method that SelfMAE does not train
    needs: Mapping[str, float] = field(default_factory=dict)  # settings that rows of one initialization differ in
    labels: Mapping[str, Scores] = field(default_factory=dict)  # by name of the label, then by measure


ORGANS = ("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach")
REGIONS = ("WT", "ET", "TC")


def _organs(*dice: float) -> dict[str, Scores]:
    return {name: {DICE: value} for name, value in zip(ORGANS, dice, strict=True)}


def _regions(*dice: float, hd95: tuple[float, ...] = ()) -> dict[str, Scores]:
    found: dict[str, Scores] = {name: {DICE: value} for name, value in zip(REGIONS, dice, strict=True)}
    return {name: {**found[name], HD95: far} for name, far in zip(REGIONS, hd95, strict=True)} if hd95 else found


def _hidden(ratio: float, steps: int) -> dict[str, float]:
    return {"mae.ratio": ratio, "pretrain.steps": steps}


# Tables 1 and 4 (right). An epoch of pre-training has 3 steps.
BTCV = (
    PaperRow(
        "U-Net (R50)",
        {DICE: 74.68, HD95: 36.87},
        labels=_organs(84.18, 62.84, 79.19, 71.29, 93.35, 48.23, 84.41, 73.92),
    ),
    PaperRow(
        "AttnUNet (R50)",
        {DICE: 75.57, HD95: 36.97},
        labels=_organs(55.92, 63.91, 79.20, 72.71, 93.56, 49.37, 87.19, 74.95),
    ),
    PaperRow(
        "TransUNet",
        {DICE: 77.48, HD95: 31.69},
        labels=_organs(87.23, 63.13, 81.87, 77.02, 94.08, 55.86, 85.08, 75.62),
    ),
    PaperRow(
        "DSTUNet",
        {DICE: 82.44, HD95: 17.83},
        labels=_organs(88.16, 67.40, 87.46, 81.90, 94.17, 66.16, 92.13, 82.10),
    ),
    PaperRow(
        "nnFormer",
        {DICE: 86.57, HD95: 10.63},
        labels=_organs(92.04, 70.17, 86.57, 86.25, 96.84, 83.35, 90.51, 86.83),
    ),
    PaperRow(
        "nnUNet",
        {DICE: 86.99, HD95: 10.78},
        labels=_organs(93.01, 71.77, 85.57, 88.18, 97.23, 83.01, 91.86, 85.26),
    ),
    PaperRow(
        "UNETR",
        {DICE: 78.83, HD95: 25.59},
        "scratch",
        labels=_organs(85.46, 70.88, 83.03, 82.02, 95.83, 50.99, 88.26, 72.74),
    ),
    PaperRow(
        "UNETR + ImageNet",
        {DICE: 79.67, HD95: 24.28},
        "imagenet",
        labels=_organs(86.07, 74.29, 82.44, 81.65, 95.84, 58.08, 87.74, 69.98),
    ),
    PaperRow(
        "UNETR + MAE, 12.5 % hidden",
        {DICE: 83.52, HD95: 10.24},
        "mae",
        _hidden(0.125, 30_000),
        _organs(88.92, 75.25, 86.37, 84.00, 95.95, 65.02, 90.56, 80.89),
    ),
    PaperRow("UNETR + MAE, 25 % hidden", {DICE: 83.18}, "mae", _hidden(0.25, 30_000)),
    PaperRow("UNETR + MAE, 50 % hidden", {DICE: 83.2}, "mae", _hidden(0.5, 30_000)),
    PaperRow("UNETR + MAE, 75 % hidden", {DICE: 82.76}, "mae", _hidden(0.75, 30_000)),
    PaperRow("UNETR + MAE, 87.5 % hidden", {DICE: 82.21}, "mae", _hidden(0.875, 30_000)),
    PaperRow("UNETR + MAE, 75 % hidden, 40,000 instead of 10,000 epochs", {DICE: 81.09}, "mae", _hidden(0.75, 120_000)),
)
# Tables 3 and 4 (left). An epoch of pre-training has 65 steps.
BRATS = (
    PaperRow(
        "UNETR",
        {DICE: 77.40, HD95: 7.78},
        "scratch",
        labels=_regions(90.25, 61.45, 80.51, hd95=(6.79, 8.33, 7.57)),
    ),
    PaperRow(
        "UNETR + ImageNet",
        {DICE: 77.78, HD95: 7.38},
        "imagenet",
        labels=_regions(90.34, 62.23, 80.78, hd95=(7.19, 7.86, 7.00)),
    ),
    PaperRow(
        "UNETR + MAE, 12.5 % hidden",
        {DICE: 78.91, HD95: 7.22},
        "mae",
        _hidden(0.125, 32_500),
        _regions(90.84, 63.88, 82.00, hd95=(7.04, 7.15, 7.13)),
    ),
    PaperRow("UNETR + MAE, 25 % hidden", {DICE: 78.71}, "mae", _hidden(0.25, 32_500), _regions(90.76, 63.48, 81.88)),
    PaperRow("UNETR + MAE, 50 % hidden", {DICE: 78.42}, "mae", _hidden(0.5, 32_500), _regions(90.59, 63.05, 81.63)),
    PaperRow("UNETR + MAE, 75 % hidden", {DICE: 78.14}, "mae", _hidden(0.75, 32_500), _regions(90.60, 62.48, 81.35)),
    PaperRow("UNETR + MAE, 87.5 % hidden", {DICE: 77.14}, "mae", _hidden(0.875, 32_500), _regions(90.22, 61.06, 80.15)),
    PaperRow(
        "UNETR + MAE, 75 % hidden, 1,000 instead of 500 epochs",
        {DICE: 78.29},
        "mae",
        _hidden(0.75, 65_000),
        _regions(90.25, 63.06, 81.55),
    ),
    PaperRow(
        "UNETR + MAE, 75 % hidden, 2,000 instead of 500 epochs",
        {DICE: 78.43},
        "mae",
        _hidden(0.75, 130_000),
        _regions(90.33, 63.45, 81.52),
    ),
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
