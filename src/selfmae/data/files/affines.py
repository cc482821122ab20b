"""Affines of two files: how far apart they put the same voxel, and what they differ in."""

from collections.abc import Sequence
from itertools import product

import numpy as np

SAME_PLACE = 1e-3  # voxels that two files may lie apart: rounding of affines saved as float32
HALF_VOXEL = 0.5  # beyond this a mask marks other voxels than its author saw


def voxels_apart(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far, in voxels of the first, two affines put the same voxel apart; largest at a corner of [*S]."""
    corners = np.array([(*corner, 1) for corner in product(*((0, extent - 1) for extent in shape))])
    there = corners @ np.linalg.solve(one, other).T
    return float(np.linalg.norm((there - corners)[:, :3], axis=1).max())


def differing_parts(one: np.ndarray, other: np.ndarray) -> list[str]:
    """Name what differs between two affines, by more than a thousandth of a voxel; "place" if only their sum does."""
    steps, others = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other))
    differs = {
        "spacing": np.abs(steps - others) / steps,
        "direction": np.abs(one[:3, :3] / steps - other[:3, :3] / others),
        "origin": np.abs(one[:3, 3] - other[:3, 3]) / steps.min(),
    }
    return [name for name, change in differs.items() if change.max() > SAME_PLACE] or ["place"]
