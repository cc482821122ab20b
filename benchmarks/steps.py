"""Training steps against plain compositions of timm and MONAI: `python benchmarks/steps.py [--small] [--bf16]`.

The two sides take turns (A, B, A, B...), so that a busy machine slows both; each ratio is ours / theirs, of medians.
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from time import perf_counter

import torch
from monai.losses import DiceCELoss
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from selfmae.methods.mae import Options as MaeOptions
from selfmae.models.mae import MaskedAutoencoder, masked_loss
from selfmae.models.unetr import UNETR
from selfmae.models.vit import num_visible, patchify
from selfmae.options import DeviceOptions, ModelOptions
from selfmae.train.device import keep_freed_memory, tune_attention

Step = Callable[[], None]
CLASSES = 14


class PlainAutoencoder(nn.Module):
    """The textbook way: embed every patch by convolution, gather the visible ones, predict all, average the hidden."""

    positions: Tensor
    decoder_positions: Tensor

    def __init__(self, model: ModelOptions, mask: MaeOptions, num_patches: int, num_values: int) -> None:
        super().__init__()
        self.model, self.mask = model, mask
        inner = mask.decoder_width
        patch = model.patch[0]
        self.proj = nn.Conv3d(1, model.width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, model.width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        self.register_buffer("positions", torch.randn(1, num_patches, model.width))
        self.register_buffer("decoder_positions", torch.randn(1, num_patches, inner))
        self.blocks = nn.Sequential(*(Block(model.width, model.heads, qkv_bias=True) for _ in range(model.depth)))
        self.norm = nn.LayerNorm(model.width)
        self.embed = nn.Linear(model.width, inner)
        self.decoder = nn.Sequential(
            *(Block(inner, mask.decoder_heads, qkv_bias=True) for _ in range(mask.decoder_depth)), nn.LayerNorm(inner)
        )
        self.pred = nn.Linear(inner, num_values)

    def forward(self, images: Tensor, order: Tensor) -> Tensor:
        """Return the loss."""
        tokens = self.proj(images).flatten(2).transpose(1, 2) + self.positions
        count = num_visible(tokens.shape[1], self.mask.ratio)
        seen = tokens.gather(1, order[:, :count, None].expand(-1, -1, tokens.shape[2]))
        seen = self.norm(self.blocks(torch.cat([self.cls_token.expand(len(images), -1, -1), seen], dim=1)))
        seen = self.embed(seen).float()
        guesses = self.mask_token.expand(len(images), order.shape[1] - count, -1)
        whole = torch.cat([seen[:, 1:], guesses], dim=1)
        whole = whole.gather(1, order.argsort(1)[..., None].expand(-1, -1, whole.shape[2])) + self.decoder_positions
        predicted = self.pred(self.decoder(torch.cat([seen[:, :1], whole], dim=1)))[:, 1:].float()
        truth = nn.functional.layer_norm(patchify(images, self.model.patch), predicted.shape[2:], eps=1e-6)
        hidden = torch.ones(order.shape, device=images.device).scatter(1, order[:, :count], 0.0)
        return ((predicted - truth).square().mean(-1) * hidden).sum() / hidden.sum()


def make_step(model: nn.Module, loss: Callable[[], Tensor], fused: bool, bf16: bool) -> Step:
    """Return one whole step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def tuned(model: nn.Module, bf16: bool) -> nn.Module:
    """Return the model as the training loop sets it up for a CPU."""
    tune_attention(model, DeviceOptions("cpu", precision="bf16" if bf16 else "fp32"))
    return model


def mae_steps(options: ModelOptions, side: int, ratio: float, bf16: bool) -> tuple[Step, Step]:
    """Return our step and the plain one on the same images and masks, batch 2."""
    mask = MaeOptions(ratio)
    images = torch.randn(2, 1, side, side, side)
    ours = tuned(MaskedAutoencoder(options, mask, 1, (side,) * 3), bf16)
    num_patches = (side // options.patch[0]) ** 3
    order = torch.stack([torch.randperm(num_patches) for _ in images])
    plain = PlainAutoencoder(options, mask, num_patches, options.patch[0] ** 3)
    return (
        make_step(ours, lambda: masked_loss(*ours(images, order)), True, bf16),
        make_step(plain, lambda: plain(images, order), False, bf16),
    )


def unetr_steps(options: ModelOptions, side: int, bf16: bool) -> tuple[Step, Step]:
    """Return our step and MONAI's on the same images, batch 1, with the same loss."""
    from monai.networks.nets import unetr as monai_unetr

    images, labels = torch.randn(1, 1, side, side, side), torch.randint(CLASSES, (1, 1, side, side, side))
    ours = tuned(UNETR(options, 1, (side,) * 3, CLASSES), bf16)
    theirs = monai_unetr.UNETR(
        in_channels=1,
        out_channels=CLASSES,
        img_size=(side,) * 3,
        feature_size=options.decoder_features,
        hidden_size=options.width,
        mlp_dim=4 * options.width,
        num_heads=options.heads,
        qkv_bias=True,
    )
    criterion = DiceCELoss(softmax=True, to_onehot_y=True, squared_pred=True)
    return (
        make_step(ours, lambda: criterion(ours(images).float(), labels), True, bf16),
        make_step(theirs, lambda: criterion(theirs(images).float(), labels), False, bf16),
    )


def compare(name: str, ours: Step, theirs: Step, num_turns: int) -> None:
    """Time the steps in turns, after one turn of warm-up, and print both medians and their ratio."""
    seconds: list[list[float]] = [[], []]
    for turn in range(num_turns + 1):
        for side, step in enumerate((ours, theirs)):
            begin = perf_counter()
            step()
            if turn:
                seconds[side].append(perf_counter() - begin)
    first, second = map(median, seconds)
    print(f"{name}: {first:.3f} s against {second:.3f} s, ratio {first / second:.2f}", flush=True)


def main() -> None:
    """Run every comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small models, a minute")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16 (slow on a CPU without it)")
    parser.add_argument("--turns", type=int, default=5, help="timed turns of each side")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    # MONAI's UNETR has twelve blocks, whatever its width.
    options = ModelOptions((16, 16, 16), width=192, heads=3) if arguments.small else ModelOptions((16, 16, 16))
    side, bf16 = 48 if arguments.small else 96, arguments.bf16
    for ratio in (0.125, 0.75):
        ours, plain = mae_steps(options, side, ratio, bf16)
        compare(f"MAE {side}^3, mask {ratio}, against plain timm blocks", ours, plain, arguments.turns)
    if find_spec("einops") is None:
        print(f"UNETR {side}^3: skipped, MONAI's UNETR needs einops (pip install einops)")
        return
    compare(f"UNETR {side}^3, against MONAI", *unetr_steps(options, side, bf16), arguments.turns)


if __name__ == "__main__":
    main()
