"""UNETR: layer for layer MONAI's where MONAI has it, and whole for patches that MONAI does not know."""

import monai.networks.nets.unetr as monai_unetr
import pytest
import torch
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.models.unetr import UNETR, level_strides
from selfmae.options import ModelOptions
from selfmae.weights.exports import monai_decoder_name


class EncoderOfOurs(nn.Module):
    """Stands in for MONAI's ViT, which needs einops: our encoder with its kind of output."""

    encoder: nn.Module

    def __init__(self, **options: object) -> None:
        super().__init__()

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = self.encoder(images, out_indices=range(12))
        return features.tokens[:, 1:], [state[:, 1:] for state in features.hidden]


@pytest.mark.parametrize("crop", [(32, 48), (32, 16, 32)])
def test_logits_equal_those_of_monais_unetr_with_the_same_weights(
    crop: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monai_unetr, "ViT", EncoderOfOurs)
    theirs = monai_unetr.UNETR(2, 3, crop, feature_size=4, hidden_size=48, num_heads=3, spatial_dims=len(crop))
    ours = UNETR(ModelOptions((16,) * len(crop), width=48, heads=3, decoder_features=4), 2, crop, 3)
    decoder = {monai_decoder_name(k): v for k, v in ours.state_dict().items() if not k.startswith("encoder.")}
    theirs.load_state_dict(decoder, strict=True)
    theirs.vit.encoder = ours.encoder
    images = torch.randn(2, 2, *crop)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("crop", "channels", "outputs", "size"),
    [((96, 96, 96), 1, 14, 92_813_230), ((128, 128, 128), 4, 3, 102_478_899)],
)
def test_the_models_of_btcv_and_brats_have_the_released_sizes(
    crop: tuple[int, ...], channels: int, outputs: int, size: int
) -> None:
    with torch.device("meta"):
        model = UNETR(ModelOptions((16, 16, 16)), channels, crop, outputs)
    assert sum(parameter.numel() for parameter in model.parameters()) == size


@pytest.mark.parametrize(
    ("patch", "width", "heads", "depth"),
    [
        ((8, 8, 8), 48, 3, 4),
        ((16, 16, 4), 32, 2, 6),
        ((4, 2, 8), 48, 3, 3),
        ((2, 2, 1), 32, 2, 2),
        ((8, 8), 64, 4, 5),
        ((16, 16, 16), 48, 3, 2),  # fewer blocks than levels: one feeds two
    ],
)
def test_logits_have_the_size_of_the_image_and_every_parameter_learns(
    patch: tuple[int, ...], width: int, heads: int, depth: int
) -> None:
    crop = [2 * step for step in patch]
    model = UNETR(ModelOptions(patch, width, depth, heads, decoder_features=4), 1, crop, 2)
    logits = model(torch.randn(2, 1, *crop))
    assert logits.shape == (2, 2, *crop)
    (logits * torch.randn_like(logits)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        ((16, 16, 16), [(2, 2, 2)] * 4),
        ((16, 16, 4), [(2, 2, 1)] * 2 + [(2, 2, 2)] * 2),
        ((4, 2, 8), [(1, 1, 2), (2, 1, 2), (2, 2, 2)]),
        ((2, 2, 1), [(2, 2, 1)]),
        ((8, 8), [(2, 2)] * 3),
    ],
)
def test_short_axes_grow_at_the_coarse_levels_only(patch: tuple[int, ...], strides: list[tuple[int, ...]]) -> None:
    assert level_strides(patch) == strides


def test_skip_paths_grow_from_the_patch_grid_to_their_level_coarse_first() -> None:
    patch = (4, 2, 8)
    model = UNETR(ModelOptions(patch, width=24, depth=2, heads=2, decoder_features=2), 1, (8, 4, 16), 2)
    strides = level_strides(patch)
    for level, drop_path_scale in enumerate(model.skip_connections, start=1):
        grown = [part.stride for part in drop_path_scale.modules() if isinstance(part, nn.ConvTranspose3d)]
        assert grown == strides[level:][::-1]


def test_taps_follow_the_released_code_unless_named() -> None:
    options = ModelOptions((16, 16), width=48, heads=3)
    assert UNETR(options, 1, (32, 32), 2).out_indices == (3, 6, 9)
    paper = ModelOptions((16, 16), width=48, heads=3, out_indices=(2, 5, 8))
    assert UNETR(paper, 1, (32, 32), 2).out_indices == (2, 5, 8)


def test_the_first_tap_feeds_the_finest_skip() -> None:
    model = UNETR(ModelOptions((4, 4), width=48, depth=2, heads=3, decoder_features=4, out_indices=(0,)), 1, (8, 8), 2)
    seen: list[Tensor] = []
    model.skip_connections[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    images = torch.randn(1, 1, 8, 8)
    model(images)
    first = model.encoder(images, out_indices=(0,)).hidden[0]
    assert torch.equal(seen[0], first[:, 1:].transpose(1, 2).reshape(1, 48, 2, 2))


def test_bfloat16_autocast_trains_with_the_fused_optimiser() -> None:
    model = UNETR(ModelOptions((4, 4, 4), width=24, depth=2, heads=2, decoder_features=2), 1, (8, 8, 8), 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    images, losses = torch.randn(1, 1, 8, 8, 8), []
    for _ in range(10):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images, torch.ones(1, 2, 2)).float()
        losses.append(torch.nn.functional.cross_entropy(logits, (images[:, 0] > 0).long()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("patch", [(6, 6), (1, 1), (12, 16, 16)])
def test_a_patch_that_is_no_power_of_two_is_named(patch: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as error:
        level_strides(patch)
    assert str(error.value) == (
        f"model.patch {list(patch)} must be powers of two for UNETR, at least one of them above 1."
    )


@pytest.mark.parametrize("out_indices", [(1,), (0, 1, 4), (-1, 0, 1)])
def test_taps_that_do_not_fit_are_named(out_indices: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as error:
        UNETR(ModelOptions((16, 16), width=48, depth=4, heads=3, out_indices=out_indices), 1, (32, 32), 2)
    assert str(error.value) == (
        f"model.out_indices {list(out_indices)} must name 3 of the blocks 0 to 3 for model.patch [16, 16]: name "
        "as many, or leave it "
        "empty."
    )


def test_normed_taps_do_not_depend_on_the_size_of_the_hidden_states() -> None:
    options = ModelOptions((4, 4, 4), width=24, depth=2, heads=2, decoder_features=4, out_norm="instance")
    model = UNETR(options, 1, (8, 8, 8), 2).eval()
    tokens = torch.randn(2, 9, 24)
    grid = model._as_grid(tokens)
    assert torch.allclose(grid, model._as_grid(tokens * 10 + 3), atol=1e-4)
    assert grid.shape == (2, 24, 2, 2, 2)
    assert torch.allclose(grid.mean((2, 3, 4)), torch.zeros(2, 24), atol=1e-5)
