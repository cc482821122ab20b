"""The planned U-Net: MONAI's DynUNet with the same weights, slices, deep supervision, and hidden voxels filled in."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from selfmae.models.planned_unet import LARGEST, MaskedUNet, PlannedUNet, hidden_loss
from selfmae.networks import network_of
from selfmae.networks.dynunet import build_body, plan_topology
from selfmae.options import Recipe

MakeRecipe = Callable[..., Recipe]
CROPS = {"image": (32, 48), "volume": (32, 32, 16), "slice": (32, 48, 1)}
FEATURES = 4


def network_for(crop: tuple[int, ...], channels: int = 1, outputs: int = 3, residual: bool = False) -> PlannedUNet:
    return PlannedUNet(build_body(crop, (), channels, FEATURES, residual), outputs)


def monai_of(ours: PlannedUNet, crop: tuple[int, ...], channels: int, outputs: int, residual: bool) -> DynUNet:
    """Return MONAI's network with the same weights."""
    topology = plan_topology(crop, ())
    theirs = DynUNet(
        spatial_dims=len(crop),
        in_channels=channels,
        out_channels=outputs,
        kernel_size=topology.kernels,
        strides=topology.strides,
        upsample_kernel_size=topology.strides[1:],
        filters=ours.encoder.filters,
        res_block=residual,
        trans_bias=True,
        deep_supervision=len(ours.heads) > 1,
        deep_supr_num=max(1, len(ours.heads) - 1),
    )
    for name in ("input_block", "downsamples", "bottleneck", "upsamples"):
        getattr(theirs, name).load_state_dict(getattr(ours.encoder, name).state_dict())
    coarser = theirs.deep_supervision_heads if len(ours.heads) > 1 else ()
    for head, block in zip(ours.heads, (theirs.output_block, *coarser), strict=True):
        block.conv.conv.load_state_dict(head.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("crop", [CROPS["image"], CROPS["volume"]])
def test_logits_are_those_of_monai_with_the_same_weights(
    crop: tuple[int, ...], residual: bool, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    ours: Any = randomise(network_for(crop, channels=2, outputs=3, residual=residual))
    images = torch.randn(2, 2, *crop)
    with torch.no_grad():
        expected = monai_of(ours, crop, 2, 3, residual)(images)
        torch.testing.assert_close(ours(images), expected)
    assert expected.std() > 0.01


@pytest.mark.parametrize("crop", [CROPS["image"], CROPS["volume"], (16, 16, 16)])
def test_logits_of_all_resolutions_are_those_of_monai_in_training(
    crop: tuple[int, ...], randomise: Callable[[nn.Module], nn.Module]
) -> None:
    ours: Any = randomise(network_for(crop))
    images = torch.randn(2, 1, *crop)
    with torch.no_grad():
        levels, expected = ours.train()(images), monai_of(ours, crop, 1, 3, False).train()(images)
    if len(ours.heads) == 1:
        torch.testing.assert_close(levels, expected)
        return
    for logits, other in zip(levels, expected.unbind(1), strict=True):
        torch.testing.assert_close(nn.functional.interpolate(logits, crop), other)  # MONAI's have the size of the image


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
def test_logits_have_the_size_of_the_images(crop: tuple[int, ...]) -> None:
    network = network_for(crop, channels=2, outputs=5).eval()
    with torch.no_grad():
        assert network(torch.randn(3, 2, *crop)).shape == (3, 5, *crop)
        if len(crop) == 2 or crop[2] > 1:
            larger = tuple(2 * extent for extent in crop)
            assert network(torch.randn(1, 2, *larger)).shape == (1, 5, *larger)


def test_the_network_of_a_slice_is_the_one_of_the_image() -> None:
    images = torch.randn(2, 1, 32, 48)
    network = network_for(CROPS["slice"])
    assert network.encoder.num_axes == 2
    flat = network_for(CROPS["image"])
    flat.load_state_dict(network.state_dict())
    for mode in (True, False):
        network.train(mode)
        flat.train(mode)
        with torch.no_grad():
            ours, theirs = network(images[..., None]), flat(images)
        for one, other in zip(*((ours, theirs) if mode else ([ours], [theirs])), strict=True):
            assert one.shape == (*other.shape, 1)
            torch.testing.assert_close(one[..., 0], other)


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
def test_coarser_resolutions_give_logits_in_training_only(crop: tuple[int, ...]) -> None:
    network = network_for(crop)
    images = torch.randn(2, 1, *crop)
    levels = network.train()(images)
    num_levels = len(plan_topology([extent for extent in crop if extent > 1], ()).strides)
    assert len(levels) == num_levels - 2  # of the decoder's, all but the coarsest
    halved = [tuple(-(-extent // 2**level) for extent in crop) for level in range(len(levels))]
    assert [tuple(logits.shape) for logits in levels] == [(2, 3, *shape) for shape in halved]
    sum(logits.square().mean() for logits in levels).backward()
    assert all(parameter.grad is not None for parameter in network.heads.parameters())
    alone = network.eval()(images)
    assert isinstance(alone, Tensor)
    torch.testing.assert_close(alone, levels[0])  # instance norms do the same in training


def test_the_smallest_network_has_one_output_in_training_too() -> None:
    network = network_for((16, 16)).train()
    assert network.encoder.num_levels == 3
    assert isinstance(network(torch.randn(1, 1, 16, 16)), Tensor)


def test_features_double_up_to_those_of_nnunet() -> None:
    body = build_body((256, 256), (), 1, 32)
    assert body.filters == [32, 64, 128, 256, 512, 512, 512]
    assert build_body((64, 64, 64), (), 1, 32).filters == [32, 64, 128, 256, LARGEST[3]]


def test_the_recipe_says_features_residual_blocks_channels_and_outputs(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe((32, 32, 1), (8, 8, 1), channels=2, network="dynunet", features=8, residual=True)
    network: Any = network_of(recipe).build(recipe)
    plain: Any = network_of(recipe).build(replace(recipe, model=replace(recipe.model, residual=False)))
    assert network.encoder.filters == plain.encoder.filters == [8, 16, 32, 64]
    assert network.heads[0].weight.shape == (recipe.target.num_outputs, 8, 1, 1)
    assert network.encoder.input_block.conv1.conv.weight.shape == (8, 2, 3, 3)
    sizes = [sum(parameter.numel() for parameter in item.parameters()) for item in (network, plain)]
    assert sizes[0] > sizes[1]
    assert not set(plain.state_dict()) >= set(network.state_dict())  # residual blocks have a convolution more


def test_no_tensor_has_two_names() -> None:
    """Weight files hold each tensor once."""
    state = network_for(CROPS["volume"]).state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


def test_an_anisotropic_volume_keeps_its_slices_apart_where_they_are_thick() -> None:
    body = build_body((64, 64, 8), (1.0, 1.0, 5.0), 1, FEATURES)
    assert body.input_block.conv1.conv.weight.shape[2:] == (3, 3, 1)
    with torch.no_grad():
        assert body(torch.randn(1, 1, 64, 64, 8))[0].shape[2:] == (64, 64, 8)


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
def test_hidden_voxels_do_not_reach_the_network(crop: tuple[int, ...]) -> None:
    model = MaskedUNet(build_body(crop, (), 2, FEATURES), 2).eval()
    images, hidden = torch.randn(2, 2, *crop), torch.rand(2, 1, *crop) < 0.5
    with torch.no_grad():
        filled = model(images, hidden)
        others = model(torch.where(hidden, 1e3 * torch.randn(images.shape), images), hidden)
        seen = model(torch.where(hidden, images, images + 1), hidden)
    assert filled.shape == images.shape
    assert filled.dtype == torch.float32
    assert torch.equal(filled, others)
    assert not torch.allclose(filled, seen)


def test_the_loss_is_the_mean_square_over_hidden_voxels_of_all_channels() -> None:
    filled, images = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    hidden = torch.rand(2, 1, 4, 5) < 0.4
    terms = [
        float(filled[index] - images[index]) ** 2
        for index in [(b, c, x, y) for b in range(2) for c in range(3) for x in range(4) for y in range(5)]
        if hidden[index[0], 0, index[2], index[3]]
    ]
    assert len(terms) == 3 * int(hidden.sum())
    assert float(hidden_loss(filled, images, hidden)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_visible_voxels_are_no_part_of_the_loss() -> None:
    filled, images = torch.randn(2, 2, 8, 8, requires_grad=True), torch.randn(2, 2, 8, 8, requires_grad=True)
    hidden = torch.rand(2, 1, 8, 8) < 0.5
    hidden_loss(filled, images, hidden).backward()
    for tensor in (filled, images):
        assert tensor.grad is not None
        everywhere = hidden.expand_as(tensor)
        assert (tensor.grad[~everywhere] == 0).all()
        assert (tensor.grad[everywhere] != 0).all()


def test_a_batch_without_hidden_voxels_has_no_loss() -> None:
    images = torch.randn(1, 1, 4, 4)
    assert float(hidden_loss(images + 1, images, torch.zeros(1, 1, 4, 4, dtype=torch.bool))) == 0.0
