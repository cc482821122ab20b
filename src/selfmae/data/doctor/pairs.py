"""Image and mask of a case: whether they lie on one grid."""

from collections.abc import Sequence

import numpy as np

from selfmae.data.doctor.facts import Problem
from selfmae.data.files.affines import HALF_VOXEL, SAME_PLACE, differing_parts, voxels_apart
from selfmae.data.files.images import Image
from selfmae.data.files.masks import Mask


def check_pair(case: str, shape: Sequence[int], affine: np.ndarray | None, mask: Mask, file: str) -> list[Problem]:
    """Compare the grid of an image with that of its mask; files without an affine are compared by size alone."""
    if tuple(shape) != mask.array.shape:
        sizes = f"({times(shape)} against {times(mask.array.shape)}, {file})"
        return [Problem("size_differs", case, f"image and mask of {case} differ in size {sizes}")]
    if affine is None or mask.affine is None:
        return []
    apart = voxels_apart(affine, mask.affine, shape)
    if apart <= SAME_PLACE:
        return []
    code = "place_differs" if apart > HALF_VOXEL else "place_shifted"
    parts = " and ".join(differing_parts(affine, mask.affine))
    allowed = f"voxels lie up to {apart:.3g} voxels apart, {SAME_PLACE:g} are allowed"
    return [Problem(code, case, f"image and mask of {case} differ in {parts} ({allowed}, {file})")]


def resample_onto(image: Image, mask: Mask) -> np.ndarray:
    """Return the values of a mask at the voxels of an image, by nearest neighbour, 0 outside the mask.

    Affines say where voxels lie; without them, the mask covers what the image covers.
    """
    from scipy import ndimage  # a third of a second that `inspect` need not wait for

    shape = image.array.shape[1:]
    if image.affine is not None and mask.affine is not None:
        to_mask = np.linalg.solve(mask.affine, image.affine)
        matrix, offset = to_mask[:3, :3], to_mask[:3, 3]
    else:
        steps = np.array(mask.array.shape) / np.array(shape)
        matrix, offset = np.diag(steps), steps / 2 - 0.5
    values: np.ndarray = ndimage.affine_transform(mask.array, matrix, offset, shape, order=0, mode="grid-constant")
    return values


def times(shape: Sequence[int]) -> str:
    """Return "35x50x35"."""
    return "x".join(str(extent) for extent in shape)
