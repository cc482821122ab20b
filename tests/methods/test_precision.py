"""What an autoencoder is to fill in is float32 under every precision: half of its digits would be noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfmae.data.case import Case
from selfmae.methods import mae
from selfmae.models import mae as models
from selfmae.options import DataOptions, DeviceOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.tasks.pretraining import Pretraining
from selfmae.train.device import make_fabric
from selfmae.train.loop import Trainer, Training


def targets_of(folder: Path, precision: Any, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Return the targets of the first training step on a scan whose values hardly vary within a patch."""
    rng = np.random.default_rng(0)
    np.save(folder / "scan.npy", (1000 + rng.normal(size=(16, 16, 16))).astype(np.float32))
    case = Case("scan", "p", (folder / "scan.npy",), None, "train")
    optim = OptimOptions(1, 2, 1e-3)
    recipe = Recipe(
        DataOptions("x", ("ct",), intensity="range", crop=(16, 16, 16), cache=str(folder / "cache")),
        TargetOptions("mask", ("organ",), (1,)),
        ModelOptions((8, 8, 8), width=24, depth=1, heads=2),
        optim,
        optim,
        methods={"mae": mae.Options(decoder_width=24, decoder_depth=1, decoder_heads=2)},
        device=DeviceOptions("cpu", precision=precision),
    )
    found: list[torch.Tensor] = []
    loss: Callable[..., torch.Tensor] = models.masked_loss

    def note(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        found.append(truth)
        return loss(predicted, truth)

    monkeypatch.setattr(models, "masked_loss", note)
    task = Pretraining(recipe, "mae")
    task.prepare([case])
    (folder / precision).mkdir()
    trainer = Trainer(make_fabric(recipe.device), Training("x", task, optim, folder / precision, [case], {}))
    trainer.step(next(trainer.batches()))
    return found[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_targets_have_all_their_digits(tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, found = (targets_of(tmp_path, name, monkeypatch) for name in ("fp32", precision))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=0)
