"""Surfaces of masks, and the distance (HD95) between two. S is the spatial size (2 or 3 numbers)."""

import numpy as np
from scipy.spatial import cKDTree


def surface_distance(truth: np.ndarray, prediction: np.ndarray, spacing: np.ndarray) -> float:
    """Return the larger of the two directed 95th percentiles of distances between the surfaces of bool masks [*S].

    Equals MONAI's `compute_hausdorff_distance(percentile=95)`, in the unit of `spacing`; neither mask may be empty.
    """
    a, b = surface(truth), surface(prediction)
    return max(_directed(a, b, spacing), _directed(b, a, spacing))


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the voxels [*S] of a bool mask that have a face neighbour outside it; outside the array counts so."""
    inner = mask.copy()  # scipy's binary_erosion gives the same and takes ten times as long
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[[0, -1]] = False
    return mask & ~inner


def _directed(start: np.ndarray, goal: np.ndarray, spacing: np.ndarray) -> float:
    """Return the 95th percentile of the distances from one surface to the other."""
    distances = np.zeros(np.count_nonzero(start))
    # Voxels on both surfaces are 0 apart: only the others are worth a query.
    apart = np.argwhere(start & ~goal) * spacing
    if len(apart):
        tree = cKDTree(np.argwhere(goal) * spacing, balanced_tree=False, compact_nodes=False)
        distances[: len(apart)] = tree.query(apart)[0]
    return float(np.percentile(distances, 95))
