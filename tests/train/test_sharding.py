"""Models shared out over devices: the same outputs and gradients as whole, and whole weights for files.

One process is enough here, as its parameters are shared out too; what two processes do, test_launch.py tells.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from selfmae.methods import mae
from selfmae.models.mae import MaskedAutoencoder
from selfmae.models.unetr import UNETR
from selfmae.models.vit import Classifier
from selfmae.options import ModelOptions
from selfmae.train.device import load_weights, shard, whole_weights

OPTIONS = ModelOptions((8, 8), width=48, depth=2, heads=3, decoder_features=4)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "classifier": lambda: Classifier(OPTIONS, 1, (16, 16), 3),
    "unetr": lambda: UNETR(OPTIONS, 1, (16, 16), 3),
    "mae": lambda: MaskedAutoencoder(
        OPTIONS, mae.Options(decoder_width=24, decoder_depth=1, decoder_heads=3), 1, (16, 16)
    ),
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceMesh]:
    store = distributed.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",))
    distributed.destroy_process_group()


def loss_of(model: nn.Module) -> Tensor:
    """Return a number that every parameter takes part in, DropPath and hidden patches included."""
    torch.manual_seed(1)
    images = torch.randn(2, 1, 16, 16)
    if isinstance(model, MaskedAutoencoder):
        predicted, truth = model(images, torch.randperm(4).expand(2, -1))
        return (predicted - truth).square().mean()
    return model(images, torch.tensor([0.0, 2.0]).repeat(2, 2, 1)).square().mean()


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_and_gradients_are_those_of_the_whole_model(kind: str, mesh: DeviceMesh) -> None:
    whole, shared = MODELS[kind](), MODELS[kind]()
    shard(shared, mesh)
    load_weights(shared, whole.state_dict())
    expected, found = loss_of(whole), loss_of(shared)
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    gradients = {name: parameter.grad for name, parameter in shared.named_parameters()}
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(gradients[name].full_tensor(), parameter.grad)


@pytest.mark.parametrize("kind", MODELS)
def test_whole_weights_have_the_names_and_values_of_the_whole_model(kind: str, mesh: DeviceMesh) -> None:
    whole = MODELS[kind]()
    expected = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    shard(whole, mesh)
    found = whole_weights(whole)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert type(found[name]) is Tensor
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
