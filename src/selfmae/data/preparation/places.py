"""Voxels on which a crop may be centred, chosen once per image, so that no draw searches a volume (as in nnU-Net).

A table has one row for each label, or one row alone: how many places it holds, then their indices in the flat volume.
"""

import numpy as np

from selfmae.seeds import generator

MOST_PLACES = 10_000  # of one row
NUM_TRIES = 2**17  # voxels of an image that are looked at
SEPARATES = 0.7  # share of the variance that lies between the two sides; a single normal distribution gives 0.64


def label_places(mask: np.ndarray) -> np.ndarray:
    """Return a row of random places for each label present in a mask [*S] of label places, by rising label."""
    flat = mask.ravel()
    voxels = np.flatnonzero(flat)
    values = flat[voxels]
    voxels = voxels[np.argsort(values, kind="stable")]
    groups = np.split(voxels, np.cumsum(np.bincount(values)[1:])[:-1]) if len(voxels) else []
    rng = generator("places", "labels")
    return _table([_some(group, rng) for group in groups if len(group)], mask.size)


def tissue_places(image: np.ndarray) -> np.ndarray:
    """Return one row of random voxels of an image [C, *S] that are not air, judged by intensity alone.

    Air lies at or below Otsu's threshold in every channel; where no channel has two sides (`SEPARATES`), all voxels
    are taken. `NUM_TRIES` voxels are looked at, so a sliver of tissue gives few places.
    """
    flat = image.reshape(len(image), -1)
    rng = generator("places", "tissue")
    tried = rng.integers(flat.shape[1], size=NUM_TRIES) if flat.shape[1] > NUM_TRIES else np.arange(flat.shape[1])
    values = flat[:, tried].astype(np.float32)
    thresholds = [otsu(channel) for channel in values]
    known = [channel > limit for channel, limit in zip(values, thresholds, strict=True) if limit is not None]
    tissue = tried[np.any(known, axis=0)] if known else tried
    return _table([_some(tissue, rng)], flat.shape[1])


def draw_place(table: np.ndarray, rng: np.random.Generator) -> int | None:
    """Draw a row evenly, then one of its places; None if there is none."""
    filled = np.flatnonzero(table[:, 0])
    if not len(filled):
        return None
    row = table[rng.choice(filled)]
    return int(row[1 + rng.integers(int(row[0]))])


def otsu(values: np.ndarray, num_bins: int = 256) -> float | None:
    """Return the threshold with most variance between the values on its two sides (Otsu 1979), or None.

    It is None where the two sides do not stand apart: see `SEPARATES`.
    """
    counts, edges = np.histogram(values, num_bins)
    centres, shares = (edges[:-1] + edges[1:]) / 2, counts / counts.sum()
    total = float(((centres - shares @ centres) ** 2) @ shares)
    below = shares.cumsum()[:-1]
    sums = (shares * centres).cumsum()[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((shares @ centres * below - sums) ** 2 / (below * (1 - below)), posinf=0)
    best = int(between.argmax())
    return float(edges[best + 1]) if total > 0 and between[best] > SEPARATES * total else None


def _some(voxels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if len(voxels) <= MOST_PLACES:
        return voxels
    return rng.choice(voxels, MOST_PLACES, replace=False, shuffle=False)


def _table(rows: list[np.ndarray], num_voxels: int) -> np.ndarray:
    kind = np.uint32 if num_voxels <= np.iinfo(np.uint32).max else np.uint64
    table = np.zeros((len(rows), 1 + max((len(row) for row in rows), default=0)), dtype=kind)
    for line, row in zip(table, rows, strict=True):
        line[0] = len(row)
        line[1 : 1 + len(row)] = row
    return table
