"""ImageNet starts without a network: timm's download is replaced by a random model or a failure."""

from typing import Any

import pytest
import timm
import timm.models.vision_transformer as timm_vit
import torch

from selfmae.errors import UserError
from selfmae.models.classifier import Classifier
from selfmae.models.imagenet import NAMES, imagenet_weights
from selfmae.models.weights import load_encoder
from selfmae.options import ModelOptions

TINY = ModelOptions((8, 8), width=192, depth=12, heads=3)


def test_timm_knows_every_name() -> None:
    assert all(timm.is_model(name) for name in NAMES.values())


def test_timm_is_asked_for_the_recipes_size_and_its_weights_fit_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def create(name: str, pretrained: bool, **options: Any) -> torch.nn.Module:
        asked.update(options, name=name, pretrained=pretrained)
        model = timm_vit.VisionTransformer(embed_dim=192, depth=12, num_heads=3, **options)
        torch.nn.init.normal_(model.pos_embed)
        asked["model"] = model
        return model

    monkeypatch.setattr(timm, "create_model", create)
    weights = imagenet_weights(TINY, 1, (32, 48))
    assert asked["name"] == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert asked["pretrained"] is True
    model, images = Classifier(TINY, 1, (32, 48), 2), torch.randn(1, 1, 32, 48)
    assert load_encoder(model, weights, "imagenet").unused == ()
    torch.testing.assert_close(
        model.encoder(images).tokens, asked["model"].forward_features(images), rtol=1e-4, atol=1e-4
    )


def test_volumes_have_no_imagenet_weights() -> None:
    with pytest.raises(UserError) as error:
        imagenet_weights(ModelOptions((8, 8, 8), 192, 12, 3), 1, (32, 32, 32))
    expected = "--start imagenet is for 2-D images, but the recipe's are volumes: use scratch or mae:DIR."
    assert str(error.value) == expected


def test_a_size_that_timm_does_not_have_is_named() -> None:
    with pytest.raises(UserError) as error:
        imagenet_weights(ModelOptions((8, 8), width=48, depth=2, heads=3), 1, (32, 32))
    assert str(error.value) == (
        "--start imagenet has weights for model.width/depth/heads 192/12/3, 384/12/6, 768/12/12, but the recipe has "
        "48/2/3: set one of these."
    )


@pytest.mark.parametrize("reason", [OSError("no route\nto host"), RuntimeError("no route to host")])
def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch, reason: Exception) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise reason

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError) as error:
        imagenet_weights(TINY, 1, (32, 32))
    assert str(error.value) == (
        "The ImageNet weights vit_tiny_patch16_224.augreg_in21k_ft_in1k could not be downloaded (no route to host): "
        "connect to the network once, or give the file of a ViT's weights as start."
    )
