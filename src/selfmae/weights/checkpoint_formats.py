"""Layouts of weight files: which tool's a file is, and its encoder's tensors by the names used here, which are timm's.

Facts about names and orders come from the tools' documentation and public sources (docs, not code). A layout that
cannot become this encoder is recognised too, and says why.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from selfmae.errors import UserError

EMBED = "patch_embed.proj.weight"
OWN = "SelfMAE"
MONAI_EPS = 1e-5  # of the layer norms of MONAI's models, which no argument of theirs changes
TIMM_EPS = 1e-6  # of those of timm's ViTs and of the others
SCRAMBLED = "SelfMedMAE MAE, 2-D"
CC_BY_NC = "CC BY-NC 4.0"  # of github.com/facebookresearch/mae


@dataclass(frozen=True)
class Layout:
    """One tool's layout: names only its files have, and how its names become ours (first pattern that matches)."""

    name: str
    marks: tuple[str, ...]  # patterns; each must match one whole name
    renames: tuple[tuple[str, str], ...]  # from pattern to our name; a name that none matches is not the encoder's
    hindrance: str = ""  # why its weights cannot be used
    licence: str = ""  # of the weights that the tool's authors give away, which the file itself does not name

    def owns(self, names: Mapping[str, object]) -> bool:
        """Return whether the names are those of such a file."""
        return all(any(re.fullmatch(mark, name) for name in names) for mark in self.marks)


def rename(name: str, renames: Iterable[tuple[str, str]], otherwise: str = "") -> str:
    """Return another name by the first pattern that matches, `otherwise` if none does."""
    matches = ((re.fullmatch(pattern, name), other) for pattern, other in renames)
    return next((match.expand(other) for match, other in matches if match), otherwise)


TIMM = ((r"((?:patch_embed|blocks|norm|norm_pre)\..+|cls_token|pos_embed|reg_token|dist_token)", r"\1"),)
OURS = ((r"encoder\.(.+)", r"\1"),)
MONAI = (
    (r".*cross_attn\..+", ""),  # old MONAI files hold these, unused by their own models
    (r"patch_embedding\.patch_embeddings\.(?:1\.)?(weight|bias)", r"patch_embed.proj.\1"),
    (r"patch_embedding\.position_embeddings", "pos_embed"),
    (r"patch_embedding\.cls_token|cls_token", "cls_token"),
    (r"blocks\.\d+\.(weight|bias)", r"norm.\1"),  # the last "block" of MaskedAutoEncoderViT is its norm
    (r"(blocks\.\d+\.attn)\.out_proj\.(.+)", r"\1.proj.\2"),
    (r"(blocks\.\d+\.mlp)\.linear([12])\.(.+)", r"\1.fc\2.\3"),
    (r"((?:blocks|norm)\..+)", r"\1"),
)

LAYOUTS = (
    Layout(
        "nnssl Eva/Primus",
        (r"(?:.*\.)?(?:eva|vit)\.blocks\.0\.attn\.q_proj\.weight",),
        (),
        "it has rotary positions and gated MLPs, which this encoder has not",
    ),
    Layout(
        SCRAMBLED,
        ("encoder_pos_embed", "encoder_to_decoder.weight", r"encoder\.patch_embed\.proj\.weight"),
        (("encoder_pos_embed", "pos_embed"), *OURS),
    ),
    Layout("SelfMedMAE UNETR3D", (r"encoder\.patch_embed\.proj\.weight", r"decoder\.encoder1\..+"), OURS),
    Layout(OWN, (r"encoder\.patch_embed\.proj\.weight", r"encoder\.blocks\.0\.attn\.qkv\.weight"), OURS),
    Layout(
        "MONAI UNETR",
        (r"vit\.patch_embedding\.patch_embeddings\..+", r"encoder1\..+"),
        tuple((rf"vit\.{pattern}", ours) for pattern, ours in MONAI),
    ),
    Layout("MONAI MaskedAutoEncoderViT", (r"patch_embedding\.patch_embeddings\..+", "mask_tokens"), MONAI),
    Layout("MONAI ViT", (r"patch_embedding\.patch_embeddings\..+", r"blocks\.0\.attn\.qkv\.weight"), MONAI),
    Layout(
        "facebook MAE",
        (EMBED, "mask_token", r"decoder_blocks\.0\.norm1\.weight"),
        TIMM,
        licence=f"facebook's {CC_BY_NC}",
    ),
    Layout(
        "timm ViT or facebook MAE, averaged patches",
        (EMBED, r"fc_norm\.weight"),
        ((r"fc_norm\.(.+)", r"norm.\1"), *TIMM),
        licence=f"if facebook's, {CC_BY_NC}",
    ),
    Layout("timm ViT", (EMBED, r"blocks\.0\.attn\.qkv\.weight"), TIMM),
)


def find_layout(weights: Mapping[str, Tensor]) -> Layout | None:
    """Return the layout of a file by its tensors' names, None if no known tool writes such."""
    found = next((layout for layout in LAYOUTS if layout.owns(weights)), None)
    if found and found.name == SCRAMBLED and weights["encoder.patch_embed.proj.weight"].ndim == 5:
        return Layout("SelfMedMAE MAE3D", found.marks, found.renames)
    return found


def licence_of(weights: Mapping[str, Tensor]) -> str:
    """Return what is known of the licence of a file that names none."""
    layout = find_layout(strip_wrapper(weights))
    return f"not stated in the file; {layout.licence}" if layout and layout.licence else "not stated"


def strip_wrapper(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the "module." that a data-parallel wrapper puts before every name."""
    wrapped = bool(weights) and all(name.startswith("module.") for name in weights)
    return {name.removeprefix("module.") if wrapped else name: tensor for name, tensor in weights.items()}


def translate(weights: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, str]]:
    """Return a file's layout and, for each of our names that it has, its name there; raise if it is of no use."""
    layout = find_layout(weights)
    if layout is None:
        known = ", ".join(dict.fromkeys(item.name for item in LAYOUTS if not item.hindrance))
        raise UserError(
            f"The weights of {source} are of no known layout (first of {len(weights)} tensors: "
            f"{min(weights, default='none')}): give a file of {known}."
        )
    if layout.hindrance:
        raise UserError(
            f"The weights of {source} are of the layout {layout.name}, but {layout.hindrance}: give those of a "
            "plain ViT."
        )
    return layout.name, {ours: name for name in weights if (ours := rename(name, layout.renames))}


def kernel_of(weight: Tensor, layout: str, wanted: tuple[int, ...]) -> Tensor | None:
    """Return patch weights [D, C, *S] as convolutions hold them; None for a matrix of another patch than `wanted`.

    MONAI's "perceptron" embedding is a matrix whose columns go [*patch, C]. SelfMedMAE's 2-D pre-training takes
    patches [C, *patch] as if they were [*patch, C], a bug of the released code: the weights are put where its pixels
    really were, so that tokens are those of its pre-training.
    """
    if weight.ndim == 2:
        channels, *patch = wanted[1:]
        if weight.shape[1] != channels * prod(patch):
            return None
        return weight.reshape(len(weight), *patch, channels).movedim(-1, 1).contiguous()
    if layout == SCRAMBLED:
        return weight.movedim(1, -1).reshape(weight.shape).contiguous()
    return weight
