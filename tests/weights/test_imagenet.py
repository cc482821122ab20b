"""timm's pre-trained weights without a network: the hub is replaced by a file, a failure or a name that is unknown."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from selfmae.errors import UserError
from selfmae.options import ModelOptions
from selfmae.weights import imagenet
from selfmae.weights.imagenet import NAMES, SECONDS, check_heads, imagenet_name, timm_weights

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Replace the hub; what was asked of it is in the dictionary."""
    asked: dict[str, Any] = {}
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")

    def download(repository: str, file: str) -> str:
        asked.update(repository=repository, file=file)
        return str(tmp_path / file)

    monkeypatch.setattr(imagenet, "try_to_load_from_cache", lambda *_: asked.get("cached"))
    monkeypatch.setattr(imagenet, "get_hf_file_metadata", lambda url, timeout: asked.update(url=url, timeout=timeout))
    monkeypatch.setattr(imagenet, "hf_hub_download", download)
    return asked


def test_timm_has_pretrained_weights_of_every_name() -> None:
    assert all(timm.models.is_model_pretrained(name) for name in NAMES.values())


@pytest.mark.parametrize(("name", "licence"), [(TINY, "apache-2.0"), ("vit_base_patch16_224.mae", "cc-by-nc-4.0")])
def test_a_name_is_downloaded_once_with_its_licence(hub: dict[str, Any], name: str, licence: str) -> None:
    weights, found = timm_weights(name)
    assert list(weights) == ["w"]
    assert found == licence
    assert (hub["repository"], hub["file"], hub["timeout"]) == (f"timm/{name}", "model.safetensors", SECONDS)
    assert hub["url"].endswith(f"/timm/{name}/resolve/main/model.safetensors")


def test_what_is_in_the_cache_needs_no_network(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["cached"] = str(tmp_path / "model.safetensors")
    assert list(timm_weights(TINY)[0]) == ["w"]
    assert "url" not in hub
    assert "repository" not in hub


def test_the_supervised_vit_is_chosen_by_size() -> None:
    assert imagenet_name(ModelOptions((16, 16))) == "vit_base_patch16_224.augreg_in1k"


def test_a_size_that_timm_does_not_have_is_named() -> None:
    with pytest.raises(UserError) as error:
        imagenet_name(ModelOptions((8, 8), width=48, depth=2, heads=3))
    assert str(error.value) == (
        "--init imagenet has weights for model.width/depth/heads 192/12/3, 384/12/6, 768/12/12, but the recipe has "
        "48/2/3: set one of these."
    )


def test_heads_that_are_not_those_of_timms_model_are_refused() -> None:
    check_heads(TINY, ModelOptions((16, 16), width=192, heads=3))
    with pytest.raises(UserError) as error:
        check_heads(TINY, ModelOptions((16, 16), width=192))
    assert str(error.value) == (
        f"The weights of timm:{TINY} were trained with 3 heads, but model.heads is 12: set model.heads=3."
    )


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        timm_weights("vit_base_patch16_224.may")
    assert str(error.value) == (
        "timm:vit_base_patch16_224.may is no pre-trained ViT of timm: did you mean 'vit_base_patch16_224.mae'?"
    )


@pytest.mark.parametrize(
    ("reason", "text"), [(OSError("no route\nto host"), "no route to host"), (RuntimeError(), "RuntimeError")]
)
def test_without_a_network_one_sentence_comes_at_once(
    hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, reason: Exception, text: str
) -> None:
    def fail(url: str, timeout: float) -> None:
        raise reason

    monkeypatch.setattr(imagenet, "get_hf_file_metadata", fail)
    with pytest.raises(UserError) as error:
        timm_weights(TINY)
    assert str(error.value) == (
        f"The weights {TINY} could not be downloaded ({text}): connect to the network once, or give a file of such "
        "weights (--init FILE, --init imagenet=FILE)."
    )
    assert "repository" not in hub  # the download, which tries for half a minute, was not begun
