"""MoCo against its formula: the loss, the copies that follow, the queue, and the encoder that fine-tuning receives."""

import importlib.util
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfmae.errors import UserError
from selfmae.methods import moco
from selfmae.networks import network_of
from selfmae.options import Recipe, TargetOptions
from selfmae.weights.file import load_encoder
from selfmae.weights.own import fit_own_weights

pytest.importorskip("lightly", reason='lightly is not installed: pip install "selfmae[moco]"')

from selfmae.models.moco import MomentumContrast

MakeRecipe = Callable[..., Recipe]
TINY = "test_resnet"  # of timm
OPTIONS = moco.Options(queue=6)


@pytest.fixture
def model() -> MomentumContrast:
    return MomentumContrast(TINY, 1, OPTIONS, 0.9)


def pictures(count: int = 3) -> Tensor:
    return torch.randn(count, 1, 32, 32)


def embed(encoder: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
    return F.normalize(head(encoder(images)), dim=1)


def step(model: MomentumContrast, queries: Tensor, keys: Tensor) -> None:
    """Take one step of plain gradient descent."""
    model.zero_grad()
    model(queries, keys).backward()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.grad is not None:
                weight -= 0.1 * weight.grad


def test_the_loss_is_info_nce_of_the_key_among_the_queue(model: MomentumContrast) -> None:
    before, queries, keys = deepcopy(model), pictures(), pictures()
    loss = model(queries, keys)
    asked = embed(before.encoder, before.head, queries)
    found = embed(before.key_encoder, before.key_head, keys)
    right = (asked * found).sum(1, keepdim=True)
    wrong = asked @ before.contrast.memory_bank.bank.T
    expected = torch.cat([right, wrong], dim=1).div(0.2).log_softmax(1)[:, 0].neg().mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_keys_join_the_queue_in_the_place_of_the_oldest(model: MomentumContrast) -> None:
    queue = model.contrast.memory_bank
    old = queue.bank.clone()
    model(pictures(4), pictures(4))
    assert torch.equal(queue.bank[4:], old[4:])
    assert not torch.isclose(queue.bank[:4], old[:4]).all(1).any()
    assert torch.allclose(queue.bank.norm(dim=1), torch.ones(6))
    model(pictures(4), pictures(4))
    assert not torch.isclose(queue.bank[4:], old[4:]).all(1).any()


def test_the_copy_is_the_moving_average_of_the_encoder(model: MomentumContrast) -> None:
    step(model, pictures(), pictures())
    before = [weight.clone() for weight in (*model.key_encoder.parameters(), *model.key_head.parameters())]
    now = [weight.clone() for weight in (*model.encoder.parameters(), *model.head.parameters())]
    step(model, pictures(), pictures())
    after = [*model.key_encoder.parameters(), *model.key_head.parameters()]
    assert any(not torch.equal(old, new) for old, new in zip(before, now, strict=True))
    for old, new, moved in zip(before, now, after, strict=True):
        assert torch.allclose(moved, 0.9 * old + 0.1 * new, atol=1e-6)


def test_the_copy_begins_where_the_encoder_started_from(model: MomentumContrast) -> None:
    load_encoder(model, {name: tensor + 1 for name, tensor in model.encoder.state_dict().items()})
    model(pictures(), pictures())
    pairs = zip(model.encoder.parameters(), model.key_encoder.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_no_gradient_reaches_the_copy(model: MomentumContrast) -> None:
    model(pictures(), pictures()).backward()
    lacking = {name for name, weight in model.named_parameters() if weight.grad is None}
    copies = {name for name, _ in model.named_parameters() if name.startswith(("key_encoder.", "key_head."))}
    assert lacking == copies


def test_keys_are_normalised_in_other_groups_than_queries(model: MomentumContrast) -> None:
    groups: dict[str, list[set[float]]] = {"encoder": [], "key_encoder": []}
    for name, found in groups.items():
        note = lambda _, inputs, found=found: found.append(set(inputs[0][:, 0, 0, 0].tolist()))  # noqa: E731
        getattr(model, name).register_forward_pre_hook(note)
    images = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 1, 32, 32)
    model(images, images)
    assert len(groups["encoder"]) == len(groups["key_encoder"]) == 4
    assert max(len(ours & theirs) for ours in groups["encoder"] for theirs in groups["key_encoder"]) == 1


def test_embeddings_of_keys_keep_the_order_of_the_batch(model: MomentumContrast) -> None:
    model.eval()
    keys = pictures(7)
    with torch.no_grad():
        assert torch.allclose(model._embed_keys(keys, 3), model.key_head(model.key_encoder(keys)), atol=1e-5)


def test_the_queue_is_part_of_the_state(model: MomentumContrast) -> None:
    step(model, pictures(), pictures())
    other = MomentumContrast(TINY, 1, OPTIONS, 0.9)
    other.load_state_dict(model.state_dict())
    queries, keys = pictures(), pictures()
    assert torch.equal(model(queries, keys), other(queries, keys))
    assert torch.equal(model.contrast.memory_bank.bank, other.contrast.memory_bank.bank)


def test_the_encoder_reaches_resnet50_whole(make_recipe: MakeRecipe) -> None:
    recipe = replace(
        make_recipe((32, 32), (8, 8), network="resnet50"), target=TargetOptions("multiclass", ("well", "ill"))
    )
    trained = MomentumContrast("resnet50", 1, OPTIONS, 0.9)
    metadata = {"recipe": {"model": {"network": "resnet50"}}, "channels": ["c0"]}
    fitted = fit_own_weights(trained.state_dict(), metadata, recipe, "moco")
    model = network_of(recipe).build(recipe)
    assert load_encoder(model, fitted.weights) == ("head.weight", "head.bias")
    ours, theirs = model.encoder.state_dict(), trained.encoder.state_dict()  # type: ignore[union-attr]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_missing_lightly_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfmae.models.moco.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'^MoCo needs lightly: run `pip install "selfmae\[moco\]"`\.$'):
        MomentumContrast(TINY, 1, OPTIONS, 0.9)
    assert importlib.util.find_spec("lightly") is not None
