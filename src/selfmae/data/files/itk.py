"""NRRD, MHA and MHD through SimpleITK, as NIfTI images in memory, so that one code handles axes and positions."""

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from selfmae.data.files.streamed_volume import StreamedVolume, find_voxels

ENDINGS = (".nrrd", ".mha", ".mhd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's first two axes point the other way


def load_itk(path: Path) -> Any:
    """Return a volume [X, Y, Z] or [X, Y, Z, C] with its affine to mm in RAS; raises what ITK raises, or ValueError.

    Where the file allows it, voxels are read when asked for.
    """
    import SimpleITK  # 0.2 seconds that other formats need not wait for

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3:
            raise ValueError(f"it has {reader.GetDimension()} axes, not 3")
        whole, voxels = None, find_voxels(path)
        if voxels and reader.GetNumberOfComponents() == 1:
            sample = SimpleITK.Image([1, 1, 1], reader.GetPixelID())
            array: Any = StreamedVolume(voxels, reader.GetSize(), SimpleITK.GetArrayFromImage(sample).dtype)
        else:
            whole = reader.Execute()
            array = np.moveaxis(SimpleITK.GetArrayViewFromImage(whole), (0, 1, 2), (2, 1, 0))
    except RuntimeError as error:
        raise ValueError(_reason(str(error))) from error
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    volume: Any = nib.Nifti1Image(array, LPS_TO_RAS @ affine, dtype=array.dtype)
    volume.itk = whole  # which owns the voxels
    return volume


def _reason(text: str) -> str:
    """Return what ITK says is wrong, without positions in its source code, addresses and the whole chain of callers.

    What it gives as a reason for MetaImage is the last error of the system, of whatever file.
    """
    said = re.sub(r"^\w+\(0x\w+\): ", "", " ".join(text.rpartition("ERROR: ")[2].split()))
    return said.rpartition("[nrrd] ")[2].partition(" Reason: ")[0]


def save_itk(array: np.ndarray, path: Path, like: Path) -> None:
    """Write a mask [X, Y, Z] with spacing, origin and direction of the file `like`."""
    import SimpleITK

    reference = SimpleITK.ReadImage(str(like))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(reference.GetSpacing())
    image.SetOrigin(reference.GetOrigin())
    image.SetDirection(reference.GetDirection())
    SimpleITK.WriteImage(image, str(path), useCompression=True)
