"""The masked autoencoder: sizes of the released models, loss on hidden patches only, pictures without the answer."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from selfmae.errors import UserError
from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder, masked_loss, normalise
from selfmae.models.vit import draw_visible, num_visible, patchify, sincos_positions, unpatchify
from selfmae.options import ModelOptions
from selfmae.seeds import generator

CROPS = [((16, 16), (4, 4)), ((8, 8, 12), (4, 4, 2))]


def make(
    crop: Sequence[int], patch: Sequence[int], channels: int = 1, target: str = "patch", ratio: float = 0.5
) -> MaskedAutoencoder:
    model = ModelOptions(tuple(patch), width=48, depth=2, heads=3)
    mask = mae.Options(ratio, target, decoder_width=24, decoder_depth=1, decoder_heads=2)  # type: ignore[arg-type]
    return MaskedAutoencoder(model, mask, channels, crop)


def orders(model: MaskedAutoencoder, num_images: int) -> Tensor:
    count, ratio = model.encoder.num_patches, model.options.ratio
    return torch.from_numpy(np.stack([draw_visible(count, ratio, generator(seed)) for seed in range(num_images)]))


def change_hidden(model: MaskedAutoencoder, images: Tensor, order: Tensor, channels: int = 1) -> Tensor:
    """Return the images with other values in their hidden patches."""
    patches = patchify(images, model.encoder.patch)
    for image, places in enumerate(order):
        hidden = places[num_visible(len(places), model.options.ratio) :]
        patches[image, hidden] = 7 + 3 * torch.randn(len(hidden), patches.shape[2])
    return unpatchify(patches, model.encoder.grid, model.encoder.patch)


@pytest.mark.parametrize(
    ("crop", "channels", "trainable", "whole"),
    [((96, 96, 96), 1, 104_272_384, 104_521_216), ((128, 128, 128), 4, 118_440_448, 119_030_272)],
)
def test_the_autoencoders_of_btcv_and_brats_have_the_released_sizes(
    crop: tuple[int, ...], channels: int, trainable: int, whole: int
) -> None:
    with torch.device("meta"):
        model = MaskedAutoencoder(ModelOptions((16, 16, 16)), mae.Options(), channels, crop)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (count, count + sum(buffer.numel() for buffer in model.buffers())) == (trainable, whole)


def test_encoder_and_decoder_of_brats_share_the_parameters_as_released() -> None:
    with torch.device("meta"):
        model = MaskedAutoencoder(ModelOptions((16, 16, 16)), mae.Options(), 4, (128, 128, 128))
    encoder, decoder, embed = (
        sum(parameter.numel() for parameter in part.parameters())
        for part in (model.encoder, model.decoder, model.decoder.embed)
    )
    assert encoder == 97_640_448
    assert decoder - embed == 20_504_704


@pytest.mark.parametrize("target", ["patch", "channel", "raw"])
@pytest.mark.parametrize(("crop", "patch"), CROPS)
def test_the_loss_is_that_of_a_loop_over_hidden_patches(crop: tuple, patch: tuple, target: str) -> None:
    model = make(crop, patch, channels=2, target=target)
    images, order = torch.randn(2, 2, *crop), orders(model, 2)
    predicted, truth = model(images, order)
    patches, errors = patchify(images, patch), []
    for image in range(2):
        hidden = order[image, num_visible(model.encoder.num_patches, 0.5) :]
        for guess, place in zip(predicted[image].double(), hidden, strict=True):
            parts = patches[image, place].double().reshape(2 if target == "channel" else 1, -1)
            if target != "raw":
                parts = (parts - parts.mean(1, keepdim=True)) / (parts.var(1, correction=0)[:, None] + 1e-6).sqrt()
            errors += [(a - b) ** 2 for a, b in zip(guess, parts.flatten(), strict=True)]
    torch.testing.assert_close(masked_loss(predicted, truth).double(), torch.stack(errors).mean(), rtol=1e-5, atol=0)


def test_channel_targets_do_not_mix_the_scales_of_the_channels() -> None:
    patches = torch.cat([torch.randn(1, 2, 16), 1000 * torch.randn(1, 2, 16)], dim=2)
    target = normalise(patches, "channel", channels=2)
    torch.testing.assert_close(target.reshape(1, 2, 2, 16).mean(-1), torch.zeros(1, 2, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(target.reshape(1, 2, 2, 16).var(-1, correction=0), torch.ones(1, 2, 2))


def test_a_flat_patch_has_a_finite_target() -> None:
    assert not normalise(torch.full((1, 1, 16), 3.0), "patch", 1).any()


@pytest.mark.parametrize(("crop", "patch"), CROPS)
def test_predictions_do_not_depend_on_hidden_pixels(crop: tuple, patch: tuple) -> None:
    model = make(crop, patch)
    images, order = torch.randn(2, 1, *crop), orders(model, 2)
    changed = change_hidden(model, images, order)
    assert not torch.equal(changed, images)
    assert torch.equal(model(changed, order)[0], model(images, order)[0])


def test_predictions_depend_on_visible_pixels_of_the_same_image_only() -> None:
    model = make((16, 16), (4, 4))
    images, order = torch.randn(2, 1, 16, 16), orders(model, 2)
    other = images.clone()
    other[1] += torch.randn(1, 16, 16)
    before, after = model(images, order)[0], model(other, order)[0]
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_a_prediction_belongs_to_the_patch_named_in_the_order() -> None:
    model = make((16, 16), (4, 4))
    torch.nn.init.normal_(model.decoder.pred.weight)
    images, order = torch.randn(1, 1, 16, 16), orders(model, 1)
    swapped = torch.cat([order[:, :8], order[:, 8:].flip(1)], dim=1)
    predicted, truth = model(images, order)
    swapped_predicted, swapped_truth = model(images, swapped)
    torch.testing.assert_close(swapped_predicted, predicted.flip(1), rtol=1e-4, atol=1e-4)
    assert torch.equal(swapped_truth, truth.flip(1))
    assert (predicted[:, 0] - predicted[:, 1]).abs().max() > 1e-2


def test_the_decoder_knows_where_the_visible_patches_lie() -> None:
    model = make((16, 16), (4, 4))
    tokens, order = torch.randn(1, 9, 48), orders(model, 1)
    visible, hidden = order[:, :8], order[:, 8:]
    moved = torch.cat([tokens[:, :1], tokens[:, 1:].flip(1)], dim=1)
    before = model.decoder(tokens, visible, hidden)
    torch.testing.assert_close(model.decoder(moved, visible.flip(1), hidden), before, rtol=1e-4, atol=1e-5)
    assert (model.decoder(moved, visible, hidden) - before).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient_and_positions_none() -> None:
    model = make((8, 8, 12), (4, 4, 2))
    masked_loss(*model(torch.randn(2, 1, 8, 8, 12), orders(model, 2))).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert not any("pos_embed" in name for name, _ in model.named_parameters())
    for part, width in ((model.encoder, 48), (model.decoder, 24)):
        assert torch.equal(part.pos_embed[0], sincos_positions(model.encoder.grid, width))


@pytest.mark.parametrize("target", ["patch", "channel", "raw"])
@pytest.mark.parametrize(("crop", "patch"), CROPS)
def test_the_true_values_of_hidden_patches_leave_no_bit_in_the_picture(crop: tuple, patch: tuple, target: str) -> None:
    model = make(crop, patch, channels=2, target=target, ratio=0.75)
    images, order = torch.randn(2, 2, *crop), orders(model, 2)
    changed = change_hidden(model, images, order)
    for before, after in zip(model.reconstruct(images, order), model.reconstruct(changed, order), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("target", ["patch", "raw"])
def test_a_picture_keeps_visible_patches_and_empties_or_fills_the_others(target: str) -> None:
    model = make((16, 16), (4, 4), target=target)
    images, order = torch.randn(1, 1, 16, 16) + 4, orders(model, 1)
    whole = patchify(images, (4, 4))[0]
    empty, filled = (patchify(picture, (4, 4))[0] for picture in model.reconstruct(images, order))
    visible, hidden = order[0, :8], order[0, 8:]
    assert torch.equal(empty[visible], whole[visible])
    assert torch.equal(filled[visible], whole[visible])
    assert not empty[hidden].any()
    assert filled[hidden].any(dim=1).all()


def test_raw_predictions_enter_the_picture_as_they_are() -> None:
    model = make((16, 16), (4, 4), target="raw")
    images, order = torch.randn(1, 1, 16, 16), orders(model, 1)
    filled = patchify(model.reconstruct(images, order)[1], (4, 4))
    assert torch.equal(filled[0, order[0, 8:]], model(images, order)[0][0])


@pytest.mark.parametrize(("target", "num_groups"), [("patch", 1), ("channel", 2)])
def test_hidden_patches_get_mean_and_spread_from_a_gaussian_over_visible_ones(target: str, num_groups: int) -> None:
    model = make((12, 20), (4, 4), channels=2, target=target)
    images, order = torch.randn(1, 2, 12, 20) * 3 + 10, orders(model, 1)
    count = num_visible(15, 0.5)
    places = [(place // 5, place % 5) for place in order[0].tolist()]
    seen = patchify(images, (4, 4))[0, order[0, :count]].reshape(count, num_groups, -1).double()
    means, spreads = seen.mean(-1), (seen.var(-1, correction=0) + 1e-6).sqrt()
    filled = patchify(model.reconstruct(images, order)[1], (4, 4))[0]
    for guess, place, number in zip(model(images, order)[0][0], places[count:], order[0, count:], strict=True):
        squares = torch.tensor([sum((a - b) ** 2 for a, b in zip(place, other, strict=True)) for other in places])
        shares = (-squares[:count].double() / 2).exp()
        mean, spread = ((shares[:, None] * moment).sum(0) / shares.sum() for moment in (means, spreads))
        expected = guess.reshape(num_groups, -1) * spread[:, None] + mean[:, None]
        torch.testing.assert_close(filled[number].double(), expected.flatten(), rtol=1e-4, atol=1e-4)


def test_a_patch_far_from_every_visible_one_takes_after_the_nearest() -> None:
    model = make((4, 160), (4, 4), ratio=0.94)  # 40 patches in a row, the two at the left end visible
    torch.nn.init.zeros_(model.decoder.pred.weight)
    images = torch.zeros(1, 1, 4, 160)
    images[..., 4:8] = 5
    filled = model.reconstruct(images, torch.arange(40)[None])[1]
    torch.testing.assert_close(filled[..., 100:], torch.full((1, 1, 4, 60), 5.0))


def test_bfloat16_autocast_trains_with_the_fused_optimiser() -> None:
    model = make((8, 8, 8), (4, 4, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    images, order, losses = torch.randn(2, 1, 8, 8, 8), orders(model, 2), []
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(masked_loss(*model(images, order)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0].dtype == torch.float32
    assert losses[-1] < 0.8 * losses[0]


def test_a_crop_of_one_patch_leaves_nothing_to_hide() -> None:
    with pytest.raises(UserError) as error:
        make((8, 8), (8, 8))
    assert str(error.value) == (
        "data.crop [8, 8] holds one patch of model.patch [8, 8], but a masked autoencoder needs a visible and a hidden "
        "one: make the crop larger or the patch smaller."
    )
