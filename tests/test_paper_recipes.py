"""The recipes of the paper hold its numbers: golden values, none computed by the code that is tested."""

from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch

from selfmae.data.sources import btcv
from selfmae.data.sources.chestxray14 import FINDINGS
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.vit import grid_of, num_visible
from selfmae.options import Recipe
from selfmae.recipe import find_recipe, flat, make_recipe, overlay, read_content, read_reasons
from selfmae.tasks import make_task
from selfmae.train.optimisation import layer_of, lr_factor, make_optimizer, parameter_groups

SETS = ("btcv", "brats", "chestxray14")
MODES = ("paper", "released", "fixed")
NAMES = [f"{name}:{mode}" for name in SETS for mode in MODES]
# What the sources say of themselves, which no recipe repeats.
SOURCES: dict[str, dict[str, Any]] = {
    "btcv": {
        "data": {"source": "BTCV", "channels": ["CT"]},
        "target": {"kind": "mask", "names": list(btcv.ORGANS), "values": list(range(1, 14))},
    },
    "brats": {
        "data": {"source": "Task01", "channels": ["FLAIR", "T1w", "t1gd", "T2w"]},
        "target": {"kind": "mask", "names": ["edema", "non-enhancing", "enhancing"], "values": [1, 2, 3]},
    },
    "chestxray14": {
        "data": {"source": "NIH", "channels": ["x"]},
        "target": {"kind": "multilabel", "names": list(FINDINGS)},
    },
}


def whole(name: str, **data: object) -> Recipe:
    content = overlay(SOURCES[name.split(":")[0]], read_content(find_recipe(name)))
    return make_recipe(overlay(content, {"data": data}), name)


def size_of(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_its_source(name: str) -> None:
    path = find_recipe(name)
    assert set(flat(read_content(path))) == set(read_reasons(path))
    whole(name)


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "autoencoder"),
    [("btcv", 88.203, 15.773, 104.521), ("brats", 97.640, 20.504, 119.030)],
)
def test_volumes_have_the_autoencoders_of_the_released_code(
    name: str, encoder: float, decoder: float, autoencoder: float
) -> None:
    """Millions of parameters, counted in the authors' models; fixed positions count in the whole model only."""
    recipe = whole(name)
    with torch.device("meta"):
        model = MaskedAutoencoder(recipe.model, recipe.methods["mae"], len(recipe.data.channels), recipe.data.crop)
    parts = {name: size_of(part) for name, part in model.decoder.named_children() if name in ("blocks", "norm", "pred")}
    positions = sum(buffer.numel() for buffer in model.buffers())
    found = [size_of(model.encoder), sum(parts.values()), size_of(model) + positions]
    assert [number / 1e6 for number in found] == pytest.approx([encoder, decoder, autoencoder], abs=5e-4)


@pytest.mark.parametrize(("name", "network", "decoder"), [("btcv", 92.813, 4.443), ("brats", 102.479, 4.444)])
def test_volumes_have_the_unetr_of_the_released_code(name: str, network: float, decoder: float) -> None:
    """Millions of parameters (A11); BraTS's decoder is BTCV's with 3 more channels in and 11 fewer out."""
    with torch.device("meta"):
        model = make_task(whole(name)).build()
    found = [size_of(model), size_of(model) - size_of(model.encoder)]  # type: ignore[arg-type]
    assert [number / 1e6 for number in found] == pytest.approx([network, decoder], abs=1e-3)


def test_radiographs_have_vit_b_with_14_outputs() -> None:
    """The released code repeats the grey image three times: 85.809 M (A1); one channel has 2/3 of the kernel less."""
    assert size_of(make_task(whole("chestxray14", channels=["r", "g", "b"])).build()) == 85_809_422
    assert size_of(make_task(whole("chestxray14")).build()) == 85_809_422 - 2 * 16 * 16 * 768


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("btcv", [27, 54, 108, 162, 189]),
        ("brats", [64, 128, 256, 384, 448]),
        ("chestxray14", [25, 49, 98, 147, 172]),
    ],
)
def test_as_many_patches_are_hidden_as_in_the_released_code(name: str, hidden: list[int]) -> None:
    recipe = whole(name)
    count = int(np.prod(grid_of(recipe.data.crop, recipe.model.patch)))
    assert [count - num_visible(count, ratio) for ratio in (0.125, 0.25, 0.5, 0.75, 0.875)] == hidden
    assert recipe.methods["mae"].ratio == (0.75 if name == "chestxray14" else 0.125)


@pytest.mark.parametrize(
    ("name", "pretrain", "fit"),
    [
        ("btcv", (30_000, 300), (15_000, 150)),
        ("brats", (32_500, 650), (19_500, 650)),
        ("chestxray14", (800 * 337, 40 * 337), (100 * 337, 5 * 337)),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_schedules_are_epochs_times_steps(
    name: str, mode: str, pretrain: tuple[int, int], fit: tuple[int, int]
) -> None:
    recipe = whole(f"{name}:{mode}")
    assert (recipe.pretrain.steps, recipe.pretrain.warmup_steps) == pretrain
    assert (recipe.fit.steps, recipe.fit.warmup_steps) == fit


@pytest.mark.parametrize(
    ("name", "pretrain", "fit"),
    [
        ("btcv:paper", (6, 1), (6, 1)),
        ("btcv:released", (24, 4), (24, 4)),
        ("btcv:fixed", (24, 1), (24, 1)),
        ("brats:paper", (6, 1), (6, 1)),
        ("brats:released", (24, 4), (6, 1)),
        ("brats:fixed", (24, 1), (6, 1)),
        ("chestxray14:released", (256, 1), (256, 1)),
    ],
)
def test_batches_count_crops(name: str, pretrain: tuple[int, int], fit: tuple[int, int]) -> None:
    recipe = whole(name)
    assert [(o.batch, o.crops_per_case) for o in (recipe.pretrain, recipe.fit)] == [pretrain, fit]


@pytest.mark.parametrize(
    ("name", "pretrain", "fit"),
    [
        ("btcv:paper", 1.5e-4, 8e-4),
        ("btcv:released", 6.4e-3 * 6 / 256, 3.44e-2 * 6 / 256),
        ("brats:paper", 1.5e-4, 4e-4),
        ("brats:released", 6.4e-3 * 6 / 256, 1.72e-2 * 6 / 256),
        ("chestxray14:released", 1.5e-4, 1e-3),
    ],
)
def test_learning_rates_are_those_of_the_text_and_of_the_scripts(name: str, pretrain: float, fit: float) -> None:
    recipe = whole(name)
    assert (recipe.pretrain.lr, recipe.fit.lr) == pytest.approx((pretrain, fit))


@pytest.mark.parametrize(
    ("name", "stage", "per_epoch", "warmup", "epochs", "peak", "second"),
    [
        ("btcv", "pretrain", 3, 100, 10_000, 1.5e-4, 5e-7),
        ("btcv", "fit", 3, 50, 5_000, 8.0625e-4, 5.375e-6),
        ("brats", "pretrain", 65, 10, 500, 1.5e-4, 1.5e-4 / 650),
        ("brats", "fit", 65, 10, 300, 4.03125e-4, 4.03125e-4 / 650),
        ("chestxray14", "pretrain", 337, 40, 800, 1.5e-4, 1.5e-4 / 13_480),
        ("chestxray14", "fit", 337, 5, 100, 1e-3, 1e-3 / 1_685),
    ],
)
def test_the_rate_begins_at_zero_and_changes_with_every_step(
    name: str, stage: str, per_epoch: int, warmup: int, epochs: int, peak: float, second: float
) -> None:
    """The released schedule counts epochs and fractions of them: linear warm-up from 0, half a cosine to 0."""
    options = getattr(whole(f"{name}:released"), stage)

    def released(step: int) -> float:
        epoch = step / per_epoch
        falling = 0.5 * (1 + cos(pi * (epoch - warmup) / (epochs - warmup)))
        return peak * (epoch / warmup if epoch < warmup else falling)

    top, end = warmup * per_epoch, epochs * per_epoch
    steps = [0, 1, 2, top - 1, top, top + 1, (top + end) // 2, end - 1]
    rates = [options.lr * lr_factor(step, options) for step in steps]
    assert rates == pytest.approx([released(step) for step in steps])
    assert rates[:2] == pytest.approx([0, second])
    assert rates[4] == pytest.approx(peak)


@pytest.mark.parametrize("name", SETS)
def test_layer_scales_are_those_of_the_released_code(name: str) -> None:
    recipe = whole(name)
    model = make_task(recipe).build()
    peaks = {
        layer_of(names[id(parameter)], 12): group["peak_lr"] / recipe.fit.lr
        for names in [{id(parameter): key for key, parameter in model.named_parameters()}]
        for group in make_optimizer(model, 12, recipe.fit).param_groups
        for parameter in group["params"]
    }
    assert peaks == pytest.approx({layer: 0.75 ** (13 - layer) for layer in range(14)})
    assert (peaks[0], peaks[12], peaks[13]) == pytest.approx((0.0238, 0.75, 1.0), rel=2e-3)


@pytest.mark.parametrize(("mode", "decayed"), [("released", True), ("fixed", False)])
def test_tokens_are_decayed_in_pretraining_as_released_only(mode: str, decayed: bool) -> None:
    options = whole(f"btcv:{mode}").pretrain
    token = torch.nn.Parameter(torch.zeros(1, 1, 8))
    (group,) = parameter_groups([("decoder.mask_token", token)], 12, options)
    assert (group["weight_decay"] > 0) is decayed
    assert whole(f"btcv:{mode}").fit.decay_tokens is False


def test_optimisers_have_the_betas_of_the_released_configs() -> None:
    betas = {name: (whole(name).pretrain.betas, whole(name).fit.betas) for name in SETS}
    assert betas["btcv"] == betas["brats"] == ((0.9, 0.95), (0.9, 0.95))
    assert betas["chestxray14"] == ((0.9, 0.95), (0.9, 0.999))


def test_the_split_of_btcv_is_that_of_transunet() -> None:
    train = (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40)
    test = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
    assert sorted(map(int, btcv.TRAIN)) == list(train)
    assert sorted(map(int, btcv.TEST)) == list(test)
    assert {len(number) for number in (*btcv.TRAIN, *btcv.TEST)} == {4}


def test_labels_have_the_names_and_the_order_of_their_data_sets() -> None:
    """BTCV's ids 1 to 13; the findings of ChestX-ray14 in the usual order."""
    assert dict(enumerate(btcv.ORGANS, 1)) == {
        1: "spleen",
        2: "right kidney",
        3: "left kidney",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "inferior vena cava",
        10: "portal and splenic veins",
        11: "pancreas",
        12: "right adrenal gland",
        13: "left adrenal gland",
    }
    first = "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax Consolidation Edema"
    assert " ".join(FINDINGS) == f"{first} Emphysema Fibrosis Pleural_Thickening Hernia"


@pytest.mark.parametrize("mode", MODES)
def test_eight_of_thirteen_organs_are_reported_in_the_order_of_the_table(mode: str) -> None:
    target = whole(f"btcv:{mode}").target
    value_of = dict(zip(target.names, target.values, strict=True))
    assert [value_of[name] for name in target.report] == [8, 4, 3, 2, 6, 11, 1, 7]
    assert target.num_outputs == 14


def test_the_enhancing_tumour_is_label_3_but_in_the_released_code() -> None:
    regions = {mode: whole(f"brats:{mode}").target.regions for mode in MODES}
    assert list(regions["fixed"].items()) == [("WT", (1, 2, 3)), ("ET", (3,)), ("TC", (2, 3))]
    assert regions["paper"] == regions["fixed"]
    assert list(regions["released"].items()) == [("TC", (2, 3)), ("WT", (1, 2, 3)), ("ET", (2,))]


def test_only_the_fixed_mode_chooses_on_training_patients_and_scores_on_the_file() -> None:
    for name in SETS:
        chosen = {mode: whole(f"{name}:{mode}") for mode in MODES}
        assert [chosen[mode].data.val_fraction > 0 for mode in MODES] == [False, False, True]
        assert all((recipe.fit.validate_every > 0) == (recipe.data.val_fraction > 0) for recipe in chosen.values())
    for name in ("btcv", "brats"):
        assert [whole(f"{name}:{mode}").predict.grid for mode in MODES] == ["prepared", "prepared", "file"]
    assert [whole(f"btcv:{mode}").predict.distances for mode in MODES] == ["voxels", "voxels", "mm"]
    assert [whole(f"btcv:{mode}").fit.augment["laterality"].swap for mode in MODES] == [False, False, True]


def test_intensities_are_prepared_as_the_paper_says() -> None:
    btcv_data, brats_data, cxr = (whole(name).data for name in SETS)
    assert (btcv_data.spacing_mm, btcv_data.window) == ((1.5, 1.5, 2.0), (-175, 250))
    assert (brats_data.spacing_mm, brats_data.intensity) == ((1, 1, 1), "zscore_nonzero")
    assert (cxr.equalise, cxr.size, cxr.crop, cxr.mean, cxr.std) == (True, (256, 256), (224, 224), 0.5, 0.225)
    assert [whole(f"brats:{mode}").data.normalise_crops for mode in MODES] == [False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_is_clipped_and_only_fine_tuning_drops_paths(name: str) -> None:
    recipe = whole(name)
    assert (recipe.pretrain.clip, recipe.fit.clip) == (0, 0)
    assert (recipe.pretrain.drop_path, recipe.fit.drop_path) == (0, 0.1)
    assert (recipe.pretrain.weight_decay, recipe.fit.weight_decay) == (0.05, 0.05)
    assert (recipe.pretrain.layer_decay, recipe.fit.layer_decay) == (1, 0.75)


def test_released_crops_are_turned_and_shaded_as_in_its_transforms() -> None:
    for name in ("btcv", "brats"):
        spatial, intensity = (whole(f"{name}:released").fit.augment[part] for part in ("spatial", "intensity"))
        assert (spatial.flip_axes, spatial.flip, spatial.quarter_turns) == ((0, 1, 2), 0.2, 0.2)
        assert (intensity.gain, intensity.offset, intensity.probability) == (0.1, 0.1, 0.1)
        plain = whole(f"{name}:paper").fit.augment
        assert (plain["spatial"].quarter_turns, plain["intensity"].gain, plain["intensity"].offset) == (0, 0, 0)


def test_radiographs_are_changed_by_rand_augment_but_in_the_text() -> None:
    """Crops of 8 % to all of the image, half mirrored, and in the code rand-m9-mstd0.5-inc1 in fine-tuning."""
    modes = {mode: whole(f"chestxray14:{mode}") for mode in MODES}
    assert {mode: recipe.fit.augment["randaugment"].magnitude for mode, recipe in modes.items()} == {
        "paper": 0,
        "released": 9,
        "fixed": 9,
    }
    for recipe in modes.values():
        for spatial in (recipe.pretrain.augment["spatial"], recipe.fit.augment["spatial"]):
            assert (spatial.min_scale, spatial.flip, spatial.flip_axes) == (0.08, 0.5, (1,))
        assert recipe.pretrain.augment["randaugment"].magnitude == 0


def test_the_regions_of_brats_are_learned_by_dice_and_the_organs_by_dice_and_cross_entropy() -> None:
    """As in the released code; the losses themselves are compared in tests of the task."""
    assert whole("btcv").target.regions == {}
    assert all(set(whole(f"brats:{mode}").target.regions) == {"WT", "ET", "TC"} for mode in MODES)
