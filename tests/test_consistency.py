from typing import Any

import pytest

from selfmae.errors import UserError
from selfmae.options import Recipe
from selfmae.recipe import make_recipe, overlay, parse_sets

CONTENT: dict[str, Any] = {
    "data": {"source": "scans", "channels": ["ct"], "crop": [32, 32, 16], "intensity": "zscore"},
    "target": {"kind": "mask", "names": ["liver", "spleen"], "values": [6, 1]},
    "model": {"patch": [8, 8, 4], "width": 48, "depth": 2, "heads": 3, "network": "unetr"},
    "mae": {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 3},
    "pretrain": {"steps": 10, "batch": 4, "lr": 1e-3},
    "fit": {"steps": 10, "batch": 4, "lr": 1e-3},
}


def recipe_with(*settings: str) -> Recipe:
    return make_recipe(overlay(CONTENT, parse_sets(settings)), "my.yaml")


def error_of(*settings: str) -> str:
    with pytest.raises(UserError) as caught:
        recipe_with(*settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("mae.ratio=1.0", "mae.ratio is 1.0, but must be above 0 and below 1"),
        ("mae.ratio=.nan", "mae.ratio is nan, but must be above 0 and below 1"),
        ("data.crop=[32, 32, 18]", "data.crop [32, 32, 18] must be a multiple of model.patch [8, 8, 4] on every axis"),
        ("model.patch=[8, 8]", "model.patch [8, 8] and data.crop [32, 32, 16] must have two or three axes each"),
        ("model.patch=[8, 8, 0]", "must be a multiple of model.patch"),
        ("model.heads=5", "model.width 48 must be a multiple of its 5 heads"),
        ("model.heads=0", "model.heads is 0, but must be at least 1"),
        ("mae.decoder_heads=0", "mae.decoder_heads is 0, but must be at least 1"),
        ("model.depth=0", "model.depth is 0, but must be at least 1"),
        ("model.norm_eps=0", "model.norm_eps is 0.0, but must be above 0 and below 1"),
        ("data.intensity=window", "data.window [] must be two rising values for data.intensity window"),
        ("data.size=[32, 32]", "data.size [32, 32] must have a value above 0 for each of the 3 axes of data.crop"),
        ("data.spacing_mm=[1, 0, 1]", "data.spacing_mm [1.0, 0.0, 1.0] must have a value above 0"),
        ("data.std=0", "data.std is 0.0, but must be above 0"),
        ("data.mean=.inf", "data.mean is inf, but must be a finite number"),
        ("data.anisotropy=0.5", "data.anisotropy is 0.5, but must be a ratio of at least 1, or 0 to switch it off"),
        ("data.test_fraction=1", "data.test_fraction is 1.0, but must be at least 0 and below 1"),
        ("data.val_fraction=-0.1", "data.val_fraction is -0.1"),
        ("target.values=[6]", "target.values [6] must name one mask value for each of ['liver', 'spleen']"),
        ("target.values=[6, 6]", "target.values [6, 6] must be different and above 0"),
        ("target.values=[6, 0]", "target.values [6, 0] must be different and above 0 (0 is the background)"),
        ("target.names=[]", "target.names is empty"),
        ("fit.steps=0", "fit.steps is 0, but must be at least 1"),
        ("fit.accumulate=3", "fit.batch 4 must be a multiple of fit.accumulate 3 times device.devices 1"),
        ("device.devices=3", "pretrain.batch 4 must be a multiple of pretrain.accumulate 1 times device.devices 3"),
        ("device.devices=0", "device.devices is 0, but must be at least 1"),
        ("device.shard=true", "device.shard shares a model out over several devices, but device.devices is 1"),
        ("pretrain.lr=0", "pretrain.lr is 0.0, but must be above 0"),
        ("probe.every=-1", "probe.every is -1, but must be at least 0"),
        ("moco.temperature=0", "moco.temperature is 0.0, but must be above 0"),
        ("moco.momentum=1", "moco.momentum is 1.0, but must be at least 0 and below 1"),
        ("moco.queue=0", "moco.queue is 0, but must be at least 1"),
        ("pretrain.patience=3", "pretrain.validate_every and pretrain.patience mean nothing: set probe.every"),
        ("pretrain.lr=.nan", "pretrain.lr is nan"),
        ("fit.drop_path=1", "fit.drop_path is 1.0, but must be at least 0 and below 1"),
        ("fit.layer_decay=0", "fit.layer_decay is 0.0, but must be above 0 and at most 1"),
        ("fit.patience=-1", "fit.patience is -1, but must be at least 0"),
        ("fit.clip=-1", "fit.clip is -1.0, but must be at least 0"),
        ("fit.crops_per_case=3", "fit.batch 4 must be a multiple of fit.crops_per_case 3"),
        ("fit.crops_per_case=0", "fit.crops_per_case is 0, but must be at least 1"),
        ("target.report=[spleen, lung]", "target.report names ['lung'], but the model learns ['liver', 'spleen']"),
        ("data.channels=[a, a]", "data.channels ['a', 'a'] must be different names"),
        ("target.names=[liver, liver]", "target.names ['liver', 'liver'] must be different names"),
        ("data.crop=[-32, 32, 16]", "data.crop is -32, but must be above 0"),
        ("data.crop=[0, 0, 0]", "data.crop is 0, but must be above 0"),
        ("data.val_fraction=0.9", "must leave patients to train on: their sum must be below 1"),
        ("data.labels=-1", "data.labels is -1, but must be at least 0"),
        ("data.labels=1", "data.labels is 1, but a draw of a single patient tells nothing of others: set at least 2"),
        ("target.regions={whole: [1, 7]}", "target.regions.whole [1, 7] must be some of the mask values [1, 6]"),
        ("target.regions={none: []}", "target.regions.none [] must be some of the mask values [1, 6]"),
        ("model.mlp_ratio=0", "model.mlp_ratio is 0.0, but must be above 0"),
        ("model.decoder_features=-3", "model.decoder_features is -3, but must be at least 1"),
        (
            "model.out_indices=[99, 1]",
            "model.out_indices [99, 1] must name 2 of the blocks 0 to 1 for model.patch [8, 8, 4], or be",
        ),
        ("fit.betas=[2.0, 0.5]", "fit.betas is 2.0, but must be at least 0 and below 1"),
        ("fit.patience=2", "fit.patience means nothing without fit.validate_every: set it too"),
        ("probe.patience=2", "probe.patience means nothing without probe.every: set it too"),
        ("predict.overlap=1", "predict.overlap is 1.0, but must be at least 0 and below 1"),
    ],
)
def test_values_out_of_range_are_a_sentence(setting: str, expected: str) -> None:
    assert expected in error_of(setting)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fit.augment.spatial.flip_axes=[3]", "[3] must name axes from 0 to 2"),
        ("fit.augment.intensity.gain=1", "is 1.0, but must be at least 0 and below 1"),
        ("fit.augment.intensity.offset=-1", "is -1.0, but must be at least 0"),
        ("pretrain.augment.intensity.blur=2", "is 2.0, but must be at least 0 and at most 1"),
        ("fit.augment.spatial.foreground=1.5", "is 1.5, but must be at least 0 and at most 1"),
        ("pretrain.augment.spatial.min_scale=0", "is 0.0, but must be above 0 and at most 1"),
        ("fit.augment.intensity.probability=2", "is 2.0, but must be at least 0 and at most 1"),
        ("fit.augment.spatial.quarter_turns=2", "is 2.0, but must be at least 0 and at most 1"),
        ("fit.augment.spatial.zoom=1", "is 1.0, but must be at least 0 and below 1"),
    ],
)
def test_values_of_augmentations_out_of_range_are_a_sentence(setting: str, expected: str) -> None:
    assert f"{setting.partition('=')[0]} {expected}" in error_of(setting)


def test_all_values_out_of_range_are_listed_at_once() -> None:
    text = error_of("mae.ratio=2", "fit.lr=-1", "predict.overlap=-1")
    assert all(part in text for part in ("mae.ratio is 2.0", "fit.lr is -1.0", "predict.overlap is -1.0"))


def test_only_a_transformer_in_fp32_or_bf16_can_be_shared_out() -> None:
    two = ("device.devices=2", "device.shard=true")
    assert recipe_with(*two).device.shard
    assert "device.shard takes fp32 or bf16, but device.precision is fp16" in error_of(*two, "device.precision=fp16")
    text = error_of(*two, "model.network=segresnet")
    assert "device.shard is for the Vision Transformer, but model.network is segresnet" in text


def test_crops_are_normalised_by_scores_only() -> None:
    text = error_of("data.normalise_crops=true", "data.intensity=range")
    assert "data.normalise_crops needs data.intensity zscore or zscore_nonzero, but it is range" in text
    assert recipe_with("data.normalise_crops=true", "data.intensity=zscore_nonzero").data.normalise_crops


def test_labels_are_asked_for_by_number_or_by_share() -> None:
    assert recipe_with("data.labels=2").data.labels == 2
    text = error_of("data.labels=2", "data.fraction=0.5")
    assert "data.labels and data.fraction exclude each other: set data.labels=0 or data.fraction=1" in text


def test_further_unlabelled_images_must_be_pretrained_on() -> None:
    assert recipe_with("data.unlabelled=more").data.unlabelled == "more"
    text = error_of("data.unlabelled=more", "data.pretrain_on=[train]")
    assert "data.unlabelled has no use where data.pretrain_on leaves out unlabelled: add it there" in text


def test_more_labels_than_a_byte_holds_is_a_sentence() -> None:
    names, values = [f"l{number}" for number in range(256)], list(range(1, 257))
    assert "256 values, but at most 255 labels" in error_of(f"target.names={names}", f"target.values={values}")


def test_quarter_turns_need_a_square_plane() -> None:
    recipe_with("fit.augment.spatial.quarter_turns=0.2")
    text = "fit.augment.spatial.quarter_turns needs a data.crop with two equal first axes, but it is [32, 16, 16]"
    assert text in error_of("fit.augment.spatial.quarter_turns=0.2", "data.crop=[32, 16, 16]")


def test_a_patch_of_twelve_does_not_fit_unetr() -> None:
    text = error_of("model.patch=[12, 8, 4]", "data.crop=[24, 32, 16]")
    assert "model.patch [12, 8, 4] must be powers of two for UNETR" in text


def test_options_that_exclude_each_other_are_a_sentence() -> None:
    assert "data.size and data.spacing_mm exclude" in error_of("data.size=[32, 32, 16]", "data.spacing_mm=[1, 1, 1]")
    text = error_of("fit.augment.spatial.foreground=0.5", "fit.augment.spatial.min_scale=0.5")
    assert "fit.augment.spatial.foreground means nothing with fit.augment.spatial.min_scale below 1" in text


def test_only_masks_have_regions() -> None:
    text = error_of("target.kind=multilabel", "target.values=[]", "target.regions={a: [1]}")
    assert "target.regions is for masks, but target.kind is multilabel" in text


def test_only_masks_report_some_of_their_names() -> None:
    text = error_of("target.kind=multilabel", "target.values=[]", "target.report=[liver]")
    assert "target.report is for masks, but target.kind is multilabel" in text


PICTURES = (
    "data.crop=[32, 32]",
    "model.patch=[8, 8]",
    "target.kind=multilabel",
    "target.values=[]",
    "model.network=vit",
)


def test_rand_augment_is_for_pictures_between_0_and_1_in_fine_tuning() -> None:
    recipe = recipe_with(*PICTURES, "data.intensity=range", "fit.augment.randaugment.magnitude=9")
    assert recipe.fit.augment["randaugment"].magnitude == 9
    text = error_of(*PICTURES, "fit.augment.randaugment.magnitude=9")
    assert (
        "fit.augment.randaugment.magnitude needs data.intensity percentile, window or range, whose values lie between"
        in text
    )
    text = error_of(*PICTURES, "data.intensity=range", "fit.augment.randaugment.magnitude=11")
    assert "fit.augment.randaugment.magnitude is 11.0, but must be at least 0 and at most 10" in text
    only = "augment.randaugment.magnitude is for fine-tuning on 2-D images with multilabel or multiclass targets: set"
    assert f"fit.{only} it to 0" in error_of("fit.augment.randaugment.magnitude=9")
    settings = (*PICTURES, "data.intensity=range", "pretrain.augment.randaugment.magnitude=9")
    assert f"pretrain.{only} it to 0" in error_of(*settings)
