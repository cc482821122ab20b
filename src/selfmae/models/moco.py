"""MoCo v2 (Chen et al. 2020): a network learns to tell which two views come from the same image.

The parts are those of lightly. Letters: B images, C channels, S spatial size, E numbers of an embedding.
"""

from copy import deepcopy
from importlib.util import find_spec
from typing import Any, Protocol

import timm
import torch
from torch import Tensor, nn

from selfmae.errors import UserError

HIDDEN, EMBEDDING = 2048, 128  # of the head, as in the paper
MAX_GROUPS = 4  # of a batch; the paper has one on each of 8 GPUs


class MocoOptions(Protocol):
    """What decides the comparison; `methods.moco.Options` explains each."""

    @property
    def temperature(self) -> float: ...
    @property
    def queue(self) -> int: ...


class MomentumContrast(nn.Module):
    """Query encoder and projection head, their momentum (EMA) copies that encode the keys, and a queue of past keys.

    `momentum` is what the copies keep of themselves at each step; the encoder's tensors have timm's names.
    """

    num_updates: Tensor

    def __init__(self, network: str, channels: int, options: MocoOptions, momentum: float) -> None:
        super().__init__()
        if missing := missing_extra():
            raise UserError(f"MoCo {missing}.")
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import MoCoProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        encoder: Any = timm.create_model(network, pretrained=False, in_chans=channels, num_classes=0)
        self.encoder = encoder
        self.head = MoCoProjectionHead(encoder.num_features, HIDDEN, EMBEDDING)
        self.key_encoder, self.key_head = deepcopy(self.encoder), deepcopy(self.head)
        deactivate_requires_grad(self.key_encoder)
        deactivate_requires_grad(self.key_head)
        self.contrast = NTXentLoss(options.temperature, (options.queue, EMBEDDING), gather_distributed=True)
        queue = self.contrast.memory_bank
        for name in ("bank", "bank_ptr"):
            queue.register_buffer(name, getattr(queue, name))  # persistent, unlike lightly's: checkpoints hold it
        self.momentum = momentum
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the loss of finding each key's embedding [B, E] by its query's, among those in the queue.

        Both are views [B, C, *S] of the same pictures. The keys' embeddings then join the queue.
        """
        from lightly.models.utils import update_momentum

        if self.training:
            # At first the copies become equal to encoder and head, wherever the encoder started from.
            momentum = self.momentum if self.num_updates else 0.0
            update_momentum(self.encoder, self.key_encoder, momentum)
            update_momentum(self.head, self.key_head, momentum)
            self.num_updates += 1
        num_groups = max(1, min(MAX_GROUPS, len(queries) // 2))
        embedded = torch.cat([self.head(self.encoder(part)) for part in queries.tensor_split(num_groups)])
        with torch.no_grad():
            embedded_keys = self._embed_keys(keys, num_groups)
        with torch.autocast(queries.device.type, enabled=False):
            loss: Tensor = self.contrast(embedded.float(), embedded_keys.float())
        return loss

    def _embed_keys(self, keys: Tensor, num_groups: int) -> Tensor:
        """Return embeddings [B, E] of keys, computed in other groups than the queries'.

        A batch norm would tell by its statistics which query a key belongs to (He et al. 2020, section 3.3, where
        pictures are shuffled between GPUs).
        """
        parts = [self.key_head(self.key_encoder(keys[group::num_groups])) for group in range(num_groups)]
        embedded = torch.empty(len(keys), EMBEDDING, dtype=parts[0].dtype, device=keys.device)
        for group, part in enumerate(parts):
            embedded[group::num_groups] = part
        return embedded


def missing_extra() -> str:
    """Return what is to be installed for MoCo, as a clause; "" if it is there."""
    return "" if find_spec("lightly") else 'needs lightly: run `pip install "selfmae[moco]"`'
