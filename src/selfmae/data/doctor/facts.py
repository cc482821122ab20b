"""What the survey writes down of one case: facts of its image and mask, and problems."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What one image holds, and its mask where that was read."""

    id: str
    shape: tuple[int, ...]  # spatial
    num_channels: int
    spacing_mm: tuple[float, ...]  # () where the file has none
    percentiles: tuple[tuple[float, float, float], ...]  # of each channel: 0.5, 50 and 99.5 %
    pixel_hash: str  # equal for equal voxels in whatever file
    mask_counts: tuple[tuple[int, int], ...]  # value and number of its voxels; () where no mask was read
    mask_hash: str = ""  # as `pixel_hash`, of the mask's voxels
    looks_like_mask: bool = False  # few whole values, mostly 0
    is_gray: bool = False  # a picture of three equal channels, which is a gray one as well
    thumbnail: bytes = b""  # of `duplicates.thumbnail`; b"" where the image is too small or constant


@dataclass(frozen=True)
class Problem:
    """What is wrong with one case, "" for a file that belongs to none; `findings.REMEDIES` has the severities."""

    code: str
    case: str
    text: str
    fix: str = ""  # what mends it, where it is more than the code's own remedy


def split_sentence(sentence: str) -> tuple[str, str]:
    """Return cause and remedy of an error's sentence, "cause: what to do."; "" where it says no remedy."""
    cause, colon, fix = sentence.removesuffix(".").rpartition(": ")
    return (cause, fix) if colon else (fix, "")


def to_content(facts: Facts) -> dict[str, Any]:
    """Return facts as JSON can hold them."""
    return {**asdict(facts), "thumbnail": base64.b64encode(facts.thumbnail).decode()}


def from_content(content: Mapping[str, Any]) -> Facts:
    """Return the facts that `to_content` wrote down."""
    return Facts(
        **{
            **content,
            "shape": tuple(content["shape"]),
            "spacing_mm": tuple(content["spacing_mm"]),
            "percentiles": tuple(tuple(levels) for levels in content["percentiles"]),
            "mask_counts": tuple(tuple(pair) for pair in content["mask_counts"]),
            "thumbnail": base64.b64decode(content["thumbnail"]),
        }
    )
