"""Values of a plan that no measurement gives: what a CPU and a GPU afford, training recipes, and what each rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A reason must not say more than was measured: compared with another value, or only what the runs in the log had.
TUNED = "better than others on 20 volumes of Hippocampus"
USED = "as in our experiments; not compared"
BTCV = "Zhou et al. 2023 for BTCV; not run here"
NIH = "Zhou et al. 2023 for ChestX-ray14; not run here"
OFTEN = "often enough to catch the best"

Schedule = Mapping[str, tuple[float, str]]  # a recipe's keys with their values and reasons

CPU_VOLUMES: Schedule = {
    "pretrain.steps": (1200, USED),
    "pretrain.batch": (8, USED),
    "pretrain.lr": (1e-3, "AdamW at this batch size"),
    "fit.steps": (400, USED),
    "fit.batch": (2, USED),
    "fit.lr": (2e-3, TUNED),
    "fit.layer_decay": (1.0, TUNED),
    "fit.validate_every": (100, OFTEN),
}
CPU_PICTURES: Schedule = {
    "pretrain.steps": (2000, USED),
    "pretrain.batch": (32, USED),
    "pretrain.lr": (1e-3, "AdamW at this batch size"),
    "fit.steps": (400, USED),
    "fit.batch": (32, USED),
    "fit.lr": (5e-4, "AdamW at this batch size"),
    "fit.layer_decay": (0.85, f"between 0.75 of Zhou et al. 2023 for a deeper encoder and none; {USED}"),
    "fit.validate_every": (50, OFTEN),
}
GPU_VOLUMES: Schedule = {
    "pretrain.steps": (30000, BTCV),
    "pretrain.batch": (24, BTCV),
    "pretrain.lr": (1.5e-4, BTCV),
    "fit.steps": (15000, BTCV),
    "fit.batch": (6, f"a quarter of the crops, for one GPU, of {BTCV}"),
    "fit.lr": (4e-4, f"half, as a quarter of the batch, of {BTCV}"),
    "fit.layer_decay": (0.75, BTCV),
    "fit.validate_every": (500, OFTEN),
}
GPU_PICTURES: Schedule = {
    "pretrain.steps": (20000, f"a thirteenth, for fewer images, of {NIH}"),
    "pretrain.batch": (256, NIH),
    "pretrain.lr": (1.5e-4, NIH),
    "fit.steps": (4000, f"an eighth, for fewer images, of {NIH}"),
    "fit.batch": (128, f"half of {NIH}"),
    "fit.lr": (5e-4, f"half, as the batch, of {NIH}"),
    "fit.layer_decay": (0.75, NIH),
    "fit.validate_every": (200, OFTEN),
}
SCHEDULES = (CPU_VOLUMES, CPU_PICTURES, GPU_VOLUMES, GPU_PICTURES)


NETWORK = {
    "mask": "planned as nnU-Net; ahead of UNETR at equal time on Hippocampus and the left atrium",
    "multilabel": "the network of Zhou et al. 2023 for radiographs",
    "multiclass": "the network of Zhou et al. 2023 for radiographs",
}
# The U-Net: 0.855 on 160 hippocampi after 2,000 steps from 20 (LOG.md), where the ViT's values gave 0.829.
UNET: Schedule = {
    "pretrain.lr": (1e-3, "AdamW, for the U-Net; not compared"),
    "fit.lr": (2e-3, "AdamW, for the U-Net; as on Hippocampus, not compared"),
    "fit.validate_every": (100, OFTEN),
    "pretrain.steps": (1000, USED),
    "fit.steps": (1000, USED),
}
NNUNET = "as nnU-Net (Isensee et al. 2021); no worse than rotation and zoom alone on ACDC, one seed"
UNET_AUGMENT: Mapping[str, Any] = {
    "spatial.zoom_range": (0.7, 1.4),
    "spatial.zoom_probability": 0.3,
    "noise.probability": 0.1,
    "blur.probability": 0.2,
    "brightness.probability": 0.15,
    "low_resolution.probability": 0.25,
    "gamma.probability": 0.3,
    "gamma.inverted": 0.1,
}


@dataclass(frozen=True)
class Machine:
    """What a kind of machine affords. Widths are those of ViT-Ti and B."""

    name: str
    voxels: int  # of one crop
    pixels: int  # side of a 2-D image that is classified
    side: int  # of a 2-D image or a slice that is segmented
    width: int
    depth: int
    features: int
    patches: tuple[int, int]  # along an axis of a whole image, and of a whole volume
    segmentation: Schedule
    classification: Schedule
    budget: float  # seconds of a run, where none is given


CPU = Machine("a CPU", 48**3, 64, 256, 192, 6, 8, (8, 4), CPU_VOLUMES, CPU_PICTURES, 3600.0)
GPU = Machine("a GPU", 96**3, 224, 512, 768, 12, 16, (14, 6), GPU_VOLUMES, GPU_PICTURES, 6 * 3600.0)
TRAINING = ({reason for schedule in SCHEDULES for _, reason in schedule.values()} | {TUNED, USED}) - {OFTEN}
