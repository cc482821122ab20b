"""Weight files: written and read unchanged, loaded with a report, and refused with a reason."""

import pickle
from pathlib import Path

import pytest
import timm.models.vision_transformer as timm_vit
import torch
from torch import nn

from selfmae.errors import UserError
from selfmae.models.classifier import Classifier
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.unetr import UNETR
from selfmae.models.weights import load_encoder, load_whole, read_weights, save_weights
from selfmae.options import MaskOptions, ModelOptions

OPTIONS = ModelOptions((4, 4), width=48, depth=2, heads=3, decoder_features=4)
MASK = MaskOptions(decoder_width=24, decoder_depth=1, decoder_heads=2)


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def autoencoder(crop: tuple[int, int] = (8, 8)) -> MaskedAutoencoder:
    return MaskedAutoencoder(OPTIONS, MASK, 1, crop)


def classifier(options: ModelOptions = OPTIONS) -> Classifier:
    return Classifier(options, 1, (8, 8), 3)


def test_tensors_and_contract_come_back_from_the_file(tmp_path: Path) -> None:
    path, weights = tmp_path / "model.safetensors", autoencoder().state_dict()
    contract = {"channels": ["CT"], "recipe": {"seed": 3}}
    save_weights(path, weights, contract)
    again, read = read_weights(path)
    assert read == contract
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert list(tmp_path.iterdir()) == [path]


def test_a_safetensors_file_of_another_tool_has_an_empty_contract(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors")
    assert read_weights(tmp_path / "other.safetensors")[1] == {}


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_a_torch_file_gives_its_tensors_wherever_they_lie(tmp_path: Path, key: str | None) -> None:
    tensors = {"w": torch.ones(2)}
    torch.save({key: tensors, "epoch": 3} if key else tensors, tmp_path / "model.pth")
    weights, contract = read_weights(tmp_path / "model.pth")
    assert list(weights) == ["w"]
    assert torch.equal(weights["w"], torch.ones(2))
    assert contract == {}


@pytest.mark.parametrize("build", [classifier, lambda: UNETR(OPTIONS, 1, (8, 8), 2)])
def test_the_encoder_of_an_autoencoder_works_the_same_in_a_fine_tuned_model(build) -> None:  # type: ignore[no-untyped-def]
    pretrained, model = autoencoder(), build()
    loaded = load_encoder(model, pretrained.state_dict(), "mae:run")
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.encoder(images).tokens, pretrained.encoder(images).tokens)
    names = [name for name, _ in pretrained.encoder.named_parameters()]
    assert loaded.used == len(names)
    assert set(loaded.new) == model.state_dict().keys() - {f"encoder.{name}" for name in names}
    assert set(loaded.unused) == pretrained.state_dict().keys() - {f"encoder.{name}" for name in names}


def test_fixed_positions_of_another_grid_do_not_hinder_loading() -> None:
    model = classifier()
    before = model.encoder.pos_embed.clone()
    loaded = load_encoder(model, autoencoder((16, 16)).state_dict(), "mae:run")
    assert torch.equal(model.encoder.pos_embed, before)
    assert "encoder.pos_embed" in loaded.new
    assert "encoder.pos_embed" in loaded.unused


def test_timms_names_load_with_their_learned_positions() -> None:
    theirs = timm_vit.VisionTransformer(8, 4, 1, 5, "token", 48, 2, 3)
    nn.init.normal_(theirs.pos_embed)
    model, images = classifier(), torch.randn(2, 1, 8, 8)
    loaded = load_encoder(model, theirs.state_dict(), "vit.pth")
    torch.testing.assert_close(model.encoder(images).tokens, theirs.forward_features(images), rtol=1e-4, atol=1e-5)
    assert loaded.new == ("head.weight", "head.bias")
    assert loaded.unused == ("head.bias", "head.weight")


def test_learned_positions_of_another_grid_are_reported_as_not_used() -> None:
    theirs = timm_vit.VisionTransformer(16, 4, 1, 0, "token", 48, 2, 3)
    loaded = load_encoder(classifier(), theirs.state_dict(), "vit.pth")
    assert loaded.unused == ("pos_embed",)
    assert "encoder.pos_embed" in loaded.new


def test_fixed_positions_of_a_model_are_never_replaced() -> None:
    weights = {name: tensor + 1 for name, tensor in autoencoder().state_dict().items()}
    model = autoencoder()
    before = model.encoder.pos_embed.clone()
    assert "encoder.pos_embed" in load_encoder(model, weights, "mae:run").new
    assert torch.equal(model.encoder.pos_embed, before)


def test_weights_of_a_shallower_encoder_are_refused() -> None:
    deeper = classifier(ModelOptions((4, 4), width=48, depth=3, heads=3))
    with pytest.raises(UserError) as error:
        load_encoder(deeper, autoencoder().state_dict(), "mae:run")
    assert str(error.value) == (
        "The weights of mae:run lack 12 of the encoder's 41 tensors (first: blocks.2.norm1.weight): give weights of a "
        "ViT with the same depth, or change model.depth."
    )


def test_weights_of_another_patch_are_refused() -> None:
    model = classifier(ModelOptions((2, 2), width=48, depth=2, heads=3))
    with pytest.raises(UserError) as error:
        load_encoder(model, autoencoder().state_dict(), "mae:run")
    assert str(error.value) == (
        "The weights of mae:run do not fit: patch_embed.proj.weight has shape [48, 1, 4, 4], but the recipe's model "
        "wants [48, 1, 2, 2] (1 tensors differ): set model.width, model.patch and the number of channels as they were "
        "in pre-training."
    )


def test_a_refused_file_leaves_the_model_as_it_was() -> None:
    model = classifier()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = autoencoder().state_dict()
    del weights["encoder.norm.bias"]
    with pytest.raises(UserError):
        load_encoder(model, weights, "mae:run")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_whole_model_is_loaded_strictly() -> None:
    source, model = classifier(), classifier()
    load_whole(model, source.state_dict(), Path("run/model.safetensors"))
    images = torch.randn(1, 1, 8, 8)
    assert torch.equal(model(images), source(images))
    with pytest.raises(UserError) as error:
        load_whole(model, {"head.weight": torch.ones(3, 48)}, Path("run/model.safetensors"))
    assert str(error.value).startswith("The weights of run/model.safetensors do not fit the recipe beside them (Error")
    assert "Missing key(s)" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "no.safetensors")
    expected = f"Weights were expected in {tmp_path / 'no.safetensors'}, but there is no such file: check the path."
    assert str(error.value) == expected


@pytest.mark.parametrize("content", [b"", b"no header at all"])
def test_a_damaged_safetensors_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value).startswith(f"{path} could not be read as safetensors (")
    assert str(error.value).endswith("): the file is damaged or of another kind; copy it again.")


@pytest.mark.parametrize("content", [b"", b"no zip file at all"])
def test_a_damaged_torch_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value).startswith(f"{path} could not be read as weights (")


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    write({"w": Payload(trace)}, path)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value) == (
        f"{path} could not be read as weights (UnpicklingError): it is damaged or holds more than tensors, and code in "
        "a file is never run; give a .safetensors file, or a .pth file of tensors only."
    )
    assert not trace.exists()


@pytest.mark.parametrize("content", [torch.ones(2), {"epoch": 3}, [1, 2]])
def test_a_torch_file_without_weights_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "model.pth")
    expected = f"{tmp_path / 'model.pth'} holds no weights: give a file with a dictionary of tensors."
    assert str(error.value) == expected
