"""NRRD, MHA and MHD through SimpleITK, seen as NIfTI images in memory, so that one code knows of axes and places."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

ENDINGS = (".nrrd", ".mha", ".mhd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's first two axes point the other way


def load_itk(path: Path) -> Any:
    """Return a volume [X, Y, Z] or [X, Y, Z, C] with its affine to mm in RAS; raises what ITK raises."""
    import SimpleITK  # 0.2 seconds that other formats need not wait for

    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() != 3:
        raise ValueError(f"it has {image.GetDimension()} axes, not 3")
    array = np.moveaxis(SimpleITK.GetArrayViewFromImage(image), (0, 1, 2), (2, 1, 0))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    # NIfTI has no 64-bit integers that all readers know; no scan or mask needs them.
    narrow = {np.dtype(np.int64): np.int32, np.dtype(np.uint64): np.uint32}.get(array.dtype, array.dtype)
    volume: Any = nib.Nifti1Image(array.astype(narrow, copy=False), LPS_TO_RAS @ affine)
    volume.itk = image  # which owns the voxels
    return volume


def save_itk(array: np.ndarray, path: Path, like: Path) -> None:
    """Write a mask [X, Y, Z] with spacing, origin and direction of the file `like`."""
    import SimpleITK

    reference = SimpleITK.ReadImage(str(like))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(reference.GetSpacing())
    image.SetOrigin(reference.GetOrigin())
    image.SetDirection(reference.GetDirection())
    SimpleITK.WriteImage(image, str(path), useCompression=True)
