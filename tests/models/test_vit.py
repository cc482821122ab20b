"""The encoder against timm's Vision Transformer, its positions, and DropPath."""

import pytest
import timm.models.vision_transformer as timm_vit
import torch

from selfmae.models.vit import Encoder, PatchEmbed, make_blocks, num_visible, run_blocks, sincos_positions
from selfmae.options import ModelOptions

SMALL = ModelOptions(patch=(4, 4), width=48, depth=3, heads=3)


def shuffled(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with every parameter random, so that no zero hides a difference."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


def test_the_encoder_gives_the_features_of_timm_with_timms_weights() -> None:
    theirs = shuffled(timm_vit.VisionTransformer((16, 24), 4, 3, 0, "", 48, 3, 3))
    ours = Encoder(SMALL, 3, (16, 24))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 16, 24)
    features = ours(images, out_indices=(0, 2))
    torch.testing.assert_close(features.tokens, theirs.forward_features(images), rtol=1e-4, atol=1e-5)
    hidden = theirs.get_intermediate_layers(images, n=[0, 2], return_prefix_tokens=True)
    for own, (patches, first) in zip(features.hidden, hidden, strict=True):
        torch.testing.assert_close(own, torch.cat([first, patches], dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "patch"), [((8, 12), (4, 2)), ((8, 4, 6), (4, 2, 3))])
def test_patches_are_embedded_as_by_the_convolution_whose_weight_is_stored(
    size: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    encoder = Encoder(ModelOptions(patch, width=24, depth=0, heads=2), 2, size)
    shuffled(encoder)
    images = torch.randn(2, 2, *size)
    tokens = encoder.patch_embed.proj(images).flatten(2).transpose(1, 2)
    expected = encoder.norm(tokens + encoder.pos_embed[:, 1:])
    torch.testing.assert_close(encoder(images).tokens[:, 1:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "patch"), [((16, 16), (4, 4)), ((8, 8, 8), (4, 4, 2))])
def test_hidden_pixels_do_not_change_the_encoder_by_a_bit(size: tuple[int, ...], patch: tuple[int, ...]) -> None:
    encoder = Encoder(ModelOptions(patch, width=48, depth=2, heads=3), 1, size, learn_positions=False)
    images = torch.randn(2, 1, *size)
    visible = torch.tensor([[0, 2, 3], [1, 5, 7]])
    before = encoder(images, visible).tokens
    touched = patch_mask(encoder, visible) * 5 + images
    assert torch.equal(encoder(touched, visible).tokens, before)
    assert not torch.equal(encoder(images + 5, visible).tokens, before)


def patch_mask(encoder: Encoder, visible: torch.Tensor) -> torch.Tensor:
    """Return 1 at every pixel of hidden patches, [B, 1, *S]."""
    mask = torch.ones(len(visible), encoder.num_patches).scatter(1, visible, 0.0).reshape(-1, 1, *encoder.grid)
    for axis, step in enumerate(encoder.patch):
        mask = mask.repeat_interleave(step, dim=2 + axis)
    return mask


def test_seeing_every_patch_by_name_equals_seeing_the_image() -> None:
    encoder = Encoder(SMALL, 1, (8, 8), learn_positions=False)
    images = torch.randn(2, 1, 8, 8)
    named = encoder(images, torch.arange(4).expand(2, -1)).tokens
    torch.testing.assert_close(named, encoder(images).tokens)


def test_a_visible_patch_keeps_its_own_position() -> None:
    encoder = Encoder(ModelOptions((4, 4), width=48, depth=0, heads=3), 1, (8, 8), learn_positions=False)
    images = torch.randn(2, 1, 8, 8)
    whole = encoder(images).tokens
    visible = torch.tensor([[3, 1], [0, 2]])
    seen = encoder(images, visible).tokens
    for image, places in enumerate(visible):
        torch.testing.assert_close(seen[image, 1:], whole[image, 1 + places])


@pytest.mark.parametrize("crop", [(8, 16), (8, 4, 8)])
def test_fine_tuning_positions_are_learnable_and_start_from_sine_and_cosine(crop: tuple[int, ...]) -> None:
    encoder = Encoder(ModelOptions((4,) * len(crop), width=48, depth=1, heads=3), 1, crop)
    assert isinstance(encoder.pos_embed, torch.nn.Parameter)
    assert not encoder.pos_embed[:, 0].any()
    assert torch.equal(encoder.pos_embed[0, 1:], sincos_positions(encoder.grid, 48))
    encoder(torch.randn(1, 1, *crop)).tokens.square().mean().backward()
    assert encoder.pos_embed.grad is not None
    assert encoder.pos_embed.grad.flatten(1).any()


def test_pre_training_positions_are_fixed() -> None:
    encoder = Encoder(SMALL, 1, (8, 8), learn_positions=False)
    assert "pos_embed" not in dict(encoder.named_parameters())
    assert not encoder.pos_embed.requires_grad
    assert encoder.pos_embed.shape == (1, 4, 48)


def test_patch_embedding_starts_xavier_uniform_over_the_whole_patch() -> None:
    weight = PatchEmbed(2, (4, 4, 4), 96).proj.weight
    limit = (6 / (96 + 2 * 64)) ** 0.5
    assert 0.98 * limit < weight.abs().max() <= limit


def test_linear_layers_of_blocks_start_xavier_uniform_with_zero_bias() -> None:
    block = make_blocks(48, 1, 3)[0]
    limit = (6 / (48 + 192)) ** 0.5
    assert 0.98 * limit < block.mlp.fc1.weight.abs().max() <= limit
    assert not block.mlp.fc1.bias.any()
    assert not block.attn.qkv.bias.any()


def test_taps_come_in_the_order_asked_for_even_twice() -> None:
    blocks = make_blocks(48, 3, 3)
    tokens = torch.randn(1, 5, 48)
    first, last = run_blocks(blocks, tokens, (0, 2))[1]
    twice = run_blocks(blocks, tokens, (2, 0, 2))[1]
    assert all(torch.equal(a, b) for a, b in zip(twice, (last, first, last), strict=True))


def test_factors_of_one_change_nothing_and_of_zero_skip_every_branch() -> None:
    blocks = make_blocks(48, 2, 3)
    tokens = torch.randn(2, 5, 48)
    kept, _ = run_blocks(blocks, tokens, drop_path_scale=torch.ones(2, 2, 2))
    torch.testing.assert_close(kept, run_blocks(blocks, tokens)[0])
    assert torch.equal(run_blocks(blocks, tokens, drop_path_scale=torch.zeros(2, 2, 2))[0], tokens)


def test_drop_path_acts_on_its_own_sample_block_and_branch() -> None:
    blocks = make_blocks(48, 2, 3)
    tokens = torch.randn(2, 5, 48)
    drop_path_scale = torch.ones(2, 2, 2)
    drop_path_scale[1, 0, 0] = 0  # the second sample skips the attention of the first block
    out, _ = run_blocks(blocks, tokens, drop_path_scale=drop_path_scale)
    torch.testing.assert_close(out[0], run_blocks(blocks, tokens)[0][0])
    expected = tokens[1:] + blocks[0].mlp(blocks[0].norm2(tokens[1:]))
    torch.testing.assert_close(out[1:], blocks[1](expected))


def test_drop_path_keeps_the_mean_of_a_branch() -> None:
    blocks = make_blocks(48, 1, 3)
    tokens = torch.randn(1, 5, 48)
    rate, count = 0.25, 4
    # Three of four equal samples keep the attention, which is the rate itself; the MLP is off.
    attention = torch.tensor([1.0, 1.0, 1.0, 0.0]) / (1 - rate)
    drop_path_scale = torch.stack([attention, torch.zeros(count)], dim=1)[:, None]
    mean = run_blocks(blocks, tokens.expand(count, -1, -1), drop_path_scale=drop_path_scale)[0].mean(dim=0)
    torch.testing.assert_close(mean, (tokens + blocks[0].attn(blocks[0].norm1(tokens)))[0])


def test_the_encoder_works_on_visible_tokens_only() -> None:
    encoder = Encoder(SMALL, 1, (16, 16), learn_positions=False)
    count = num_visible(16, 0.75)
    order = torch.randperm(16)[None, :count]
    assert encoder(torch.randn(1, 1, 16, 16), order).tokens.shape == (1, 1 + 4, 48)
