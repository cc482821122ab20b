"""Weight files: written and read unchanged, loaded with a report, and refused with a reason."""

import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from selfmae.errors import UserError
from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.unetr import UNETR
from selfmae.models.vit import Classifier
from selfmae.options import ModelOptions
from selfmae.results.exposure import read_header
from selfmae.weights.file import load_encoder, load_whole, read_metadata, read_weights, save_weights

OPTIONS = ModelOptions((4, 4), width=48, depth=2, heads=3, decoder_features=4)
MASK = mae.Options(decoder_width=24, decoder_depth=1, decoder_heads=2)


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


def test_tensors_and_metadata_come_back_from_the_file(tmp_path: Path) -> None:
    path, weights = tmp_path / "model.safetensors", autoencoder().state_dict()
    metadata = {"channels": ["CT"], "recipe": {"seed": 3}}
    save_weights(path, weights, metadata)
    again, read = read_weights(path)
    assert read == metadata
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert list(tmp_path.iterdir()) == [path]


def test_a_safetensors_file_of_another_tool_has_empty_metadata(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors")
    assert read_weights(tmp_path / "other.safetensors")[1] == {}


@pytest.mark.parametrize("read", [read_weights, read_metadata, read_header])
def test_a_file_of_an_older_version_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"contract": "{}"})
    with pytest.raises(UserError, match=r"SelfMAE 0\.1, whose files this version does not read: train again"):
        read(path)


@pytest.mark.parametrize("key", [None, "model", "state_dict", "network_weights"])
def test_a_torch_file_gives_its_tensors_wherever_they_lie(tmp_path: Path, key: str | None) -> None:
    tensors = {"w": torch.ones(2)}
    torch.save({key: tensors, "epoch": 3} if key else tensors, tmp_path / "model.pth")
    weights, metadata = read_weights(tmp_path / "model.pth")
    assert list(weights) == ["w"]
    assert torch.equal(weights["w"], torch.ones(2))
    assert metadata == {}


def test_the_arguments_of_a_script_may_lie_beside_the_tensors(tmp_path: Path) -> None:
    """Checkpoints of facebook's MAE hold the `Namespace` of the command that made them."""
    content = {"model": {"w": torch.ones(2)}, "args": Namespace(lr=1e-3, out=None), "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "checkpoint-399.pth")
    assert list(read_weights(tmp_path / "checkpoint-399.pth")[0]) == ["w"]


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_numbers_of_numpy_may_lie_beside_the_tensors(tmp_path: Path, core: bytes) -> None:
    """SelfMedMAE's best models hold their score so; NumPy 2 calls the place numpy._core, those before it numpy.core."""
    content = {"state_dict": {"w": torch.ones(2)}, "metric": np.float64(0.83), "loss": np.float32(1)}
    torch.save(content, tmp_path / "best_model.pth.tar", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "best_model.pth.tar").read_bytes()
    (tmp_path / "best_model.pth.tar").write_bytes(raw.replace(b"cnumpy._core.", b"c" + core + b"."))
    assert list(read_weights(tmp_path / "best_model.pth.tar")[0]) == ["w"]


@pytest.mark.parametrize("build", [classifier, lambda: UNETR(OPTIONS, 1, (8, 8), 2)])
def test_the_encoder_of_an_autoencoder_works_the_same_in_a_fine_tuned_model(build) -> None:  # type: ignore[no-untyped-def]
    pretrained, model = autoencoder(), build()
    new = load_encoder(model, pretrained.encoder.state_dict())
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.encoder(images).tokens, pretrained.encoder(images).tokens)
    assert set(new) == {name for name in model.state_dict() if not name.startswith("encoder.")}


def test_positions_of_the_class_token_start_at_zero() -> None:
    model = classifier()
    torch.nn.init.ones_(model.encoder.pos_embed)
    load_encoder(model, {"pos_embed": torch.full((1, 4, 48), 2.0)})
    assert model.encoder.pos_embed[0, :, 0].tolist() == [0, 2, 2, 2, 2]


def test_what_no_weights_are_given_for_stays_new() -> None:
    model, weights = classifier(), dict(autoencoder().encoder.state_dict())
    before = model.encoder.norm.bias.clone()
    del weights["norm.bias"]
    assert "encoder.norm.bias" in load_encoder(model, weights)
    assert torch.equal(model.encoder.norm.bias, before)


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


@pytest.mark.parametrize("read", [read_weights, read_metadata])
@pytest.mark.parametrize("content", [b"", b"no header at all"])
def test_a_damaged_safetensors_file_is_named(tmp_path: Path, content: bytes, read: Callable[[Path], object]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path} could not be read as safetensors (")
    assert str(error.value).endswith("): the file is damaged or of another kind; copy it again.")


@pytest.mark.parametrize("content", [b"", b"no zip file at all"])
def test_a_damaged_torch_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value).startswith(f"{path} could not be read as weights (")


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 4))])
@pytest.mark.filterwarnings("error")  # the one sentence is all that a user reads
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


def test_a_full_disk_is_a_sentence_and_the_weights_before_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, {"a": torch.ones(1)}, {})
    before = path.read_bytes()

    def full(tensors: object, part: Path, metadata: object) -> None:
        part.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("selfmae.weights.file.save_file", full)
    with pytest.raises(
        UserError, match=r"The weights could not be written to .*model.*No space left .*free some space"
    ):
        save_weights(path, {"a": torch.zeros(1)}, {})
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
