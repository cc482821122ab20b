"""Image and mask files: formats, voxels, axes, and whether a file has changed."""

from pathlib import Path

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".mha", ".mhd")
VOLUMES = (*NIFTI, *ITK)
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
ARRAYS = (".npy", ".npz")
DICOM = (".dcm", ".dicom", ".ima")  # of files that are one image; those of a series may have any name


def suffix_of(path: Path) -> str:
    """Return the file's ending in lower case, ".nii.gz" counted as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem_of(path: Path) -> str:
    """Return the file's name without its ending."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def is_image(path: Path) -> bool:
    """Return whether this is the name of an image file that can be read."""
    return suffix_of(path) in (*VOLUMES, *PICTURES, *ARRAYS) and not path.name.startswith(".")


def may_be_dicom(path: Path) -> bool:
    """Return whether this is the name of a DICOM file, which may be an image, a slice or something else."""
    return suffix_of(path) in DICOM and not path.name.startswith(".")
