"""The classifier: its size, what its head reads, and training in bfloat16."""

import pytest
import torch

from selfmae.models.vit import Classifier
from selfmae.options import ModelOptions


def small(crop: tuple[int, ...]) -> Classifier:
    return Classifier(ModelOptions((4,) * len(crop), width=48, depth=2, heads=3), 1, crop, 3)


def test_vit_b_with_14_findings_has_the_released_size() -> None:
    with torch.device("meta"):
        model = Classifier(ModelOptions((16, 16)), 3, (224, 224), 14)
    assert sum(parameter.numel() for parameter in model.parameters()) == 85_809_422


@pytest.mark.parametrize("crop", [(8, 12), (8, 4, 8)])
def test_logits_are_a_linear_function_of_the_normed_class_token(crop: tuple[int, ...]) -> None:
    model = small(crop)
    images = torch.randn(2, 1, *crop)
    expected = model.encoder(images).tokens[:, 0] @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(images), expected)
    assert model(images).shape == (2, 3)


def test_drop_path_reaches_the_blocks() -> None:
    model = small((8, 8))
    images = torch.randn(2, 1, 8, 8)
    skipped = model(images, torch.zeros(2, 2, 2))
    alone = model.head(model.encoder.norm(model.encoder.cls_token + model.encoder.pos_embed[:, :1]))
    torch.testing.assert_close(skipped, alone[:, 0].expand(2, -1))


def test_bfloat16_autocast_trains_with_the_fused_optimiser() -> None:
    model = small((8, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images, target, losses = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), []
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(torch.nn.functional.cross_entropy(model(images, torch.ones(4, 2, 2)).float(), target))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
