"""Models without a class token: what they look at, and that pre-training and all tasks work."""

import pytest
import torch

from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.unetr import UNETR
from selfmae.models.vit import Classifier
from selfmae.options import ModelOptions

OPTIONS = ModelOptions((4, 4), width=48, depth=2, heads=3, decoder_features=4, class_token=False)
MASK = mae.Options(0.5, decoder_width=24, decoder_depth=1, decoder_heads=2)


def test_a_classifier_averages_the_normed_patches() -> None:
    model, images = Classifier(OPTIONS, 1, (8, 12), 3), torch.randn(2, 1, 8, 12)
    tokens = model.encoder(images).tokens
    assert tokens.shape == (2, 6, 48)
    torch.testing.assert_close(model(images), tokens.mean(1) @ model.head.weight.T + model.head.bias)


def test_an_autoencoder_predicts_every_hidden_patch_and_never_sees_it() -> None:
    model, order = MaskedAutoencoder(OPTIONS, MASK, 1, (8, 12)), torch.arange(6).expand(2, -1)
    images = torch.randn(2, 1, 8, 12)
    predicted, truth = model(images, order)
    assert predicted.shape == truth.shape == (2, 3, 16)
    changed = images.clone()
    changed[:, :, 4:] += 5  # the three patches of the second row
    assert torch.equal(model(changed, order)[0], predicted)
    predicted.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("class_token", [True, False])
def test_unetr_puts_every_patch_in_its_place(class_token: bool) -> None:
    options = ModelOptions((4, 4), width=48, depth=2, heads=3, decoder_features=4, class_token=class_token)
    model = UNETR(options, 1, (8, 12), 2)
    tokens = torch.randn(1, 6 + class_token, 48)
    grid = model._as_grid(tokens)
    assert torch.equal(grid[0, :, 1, 2], tokens[0, -1])
    assert torch.equal(grid[0, :, 0, 0], tokens[0, int(class_token)])
