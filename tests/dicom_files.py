"""DICOM files for tests: series of slices, radiographs, SEG and RTSTRUCT, written with pydicom alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import nibabel as nib
import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SHAPE = (4, 5, 7)  # slices, rows, columns
SPACING = (0.5, 0.75)  # rows, columns
ORIGIN = (-10.0, 20.0, 30.0)
FILE_NUMBERS = {0: 4, 1: 1, 2: 3, 3: 2}  # of the first slices; the others follow in order


def write_file(path: Path, modality: str, pixels: np.ndarray | None = None, **tags: Any) -> Path:
    """Write one DICOM file; a tag of None is left out."""
    content = Dataset()
    for name, value in {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": f"1.2.9.{crc32(str(path).encode())}",
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.3",
        "SeriesNumber": 3,
        "PatientID": "P1",
        "PatientIdentityRemoved": "YES",
        "Modality": modality,
        **(pixel_tags(pixels) if pixels is not None else {}),
        **tags,
    }.items():
        if value is not None:
            setattr(content, name, value)
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    content.save_as(path, enforce_file_format=True)
    return path


def pixel_tags(pixels: np.ndarray) -> dict[str, Any]:
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    bits = 8 * pixels.itemsize
    frames = {"NumberOfFrames": len(pixels)} if pixels.ndim == 3 and not colour else {}
    rows, columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    return {
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
        **frames,
        **({"PlanarConfiguration": 0} if colour else {}),
    }


def place_tags(position: Sequence[float], orientation: Sequence[float] = AXIAL) -> dict[str, Any]:
    return {
        "ImagePositionPatient": [round(float(number), 6) for number in position],
        "ImageOrientationPatient": list(orientation),
        "PixelSpacing": list(SPACING),
        "SliceThickness": 2.5,
    }


def write_series(
    folder: Path, positions: Sequence[Sequence[float]] | None = None, volume: np.ndarray | None = None, **tags: Any
) -> np.ndarray:
    """Write CT slices, whose names do not follow their order; return the stored values [slices, rows, columns]."""
    if volume is None:
        volume = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    positions = positions or [(ORIGIN[0], ORIGIN[1], ORIGIN[2] + 2.5 * place) for place in range(len(volume))]
    orientation = tags.pop("ImageOrientationPatient", AXIAL)
    for place, (plane, position) in enumerate(zip(volume, positions, strict=True)):
        own = {"RescaleSlope": 2, "RescaleIntercept": -1024, **place_tags(position, orientation), **tags}
        write_file(folder / f"IM{FILE_NUMBERS.get(place, place + 1):03d}", "CT", plane, **own)
    return volume


def write_seg(
    path: Path,
    segments: Mapping[str, np.ndarray],
    series: str = "1.2.3",
    origin: Sequence[float] = ORIGIN,
    step_mm: float = 2.5,
    **tags: Any,
) -> Path:
    """Write a binary SEG of masks [slices, rows, columns] on the grid of `write_series`; empty slices are left out."""
    frames, groups = [], []
    for number, mask in enumerate(segments.values(), start=1):
        for place in np.flatnonzero(mask.any(axis=(1, 2))):
            frames.append(mask[place])
            groups.append(frame_group((*origin[:2], origin[2] + step_mm * place), number))
    stacked = np.array(frames, dtype=np.uint8)
    bits = np.packbits(stacked.ravel(), bitorder="little").tobytes()
    binary = {
        **pixel_tags(stacked),
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 0,
        "PixelData": bits + b"\0" * (len(bits) % 2),
        "SegmentationType": "BINARY",
    }
    return write_file(path, "SEG", None, **{**binary, **seg_tags(list(segments), groups, series), **tags})


def seg_tags(names: Sequence[str], groups: Sequence[Dataset], series: str = "1.2.3") -> dict[str, Any]:
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=list(SPACING), SliceThickness=2.5)],
    )
    return {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4",
        "SeriesInstanceUID": "1.2.66",
        "ReferencedSeriesSequence": [item(SeriesInstanceUID=series)],
        "SegmentSequence": [item(SegmentNumber=n, SegmentLabel=name) for n, name in enumerate(names, start=1)],
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": list(groups),
    }


def frame_group(position: Sequence[float], number: int) -> Dataset:
    return item(
        PlanePositionSequence=[item(ImagePositionPatient=[float(value) for value in position])],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
    )


def write_rtstruct(
    path: Path,
    regions: Mapping[str, Sequence[np.ndarray]],
    kind: str = "CLOSED_PLANAR",
    series: str = "1.2.3",
    **tags: Any,
) -> Path:
    """Write regions, each a list of contours [N, 3] in mm."""
    contours = [
        item(
            ReferencedROINumber=number,
            ContourSequence=[
                item(ContourGeometricType=kind, NumberOfContourPoints=len(points), ContourData=points.ravel().tolist())
                for points in lists
            ],
        )
        for number, lists in enumerate(regions.values(), start=1)
    ]
    study = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=series)])
    return write_file(
        path,
        "RTSTRUCT",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3",
        SeriesInstanceUID="1.2.77",
        **tags,
        ReferencedFrameOfReferenceSequence=[item(RTReferencedStudySequence=[study])],
        StructureSetROISequence=[item(ROINumber=n, ROIName=name) for n, name in enumerate(regions, start=1)],
        ROIContourSequence=contours,
    )


def item(**tags: Any) -> Dataset:
    content = Dataset()
    for name, value in tags.items():
        setattr(content, name, value)
    return content


def write_scan(folder: Path, image: Path, **tags: Any) -> tuple[float, float, float]:
    """Write a NIfTI volume in RAS order as a series; return the position of its first voxel."""
    volume = nib.load(image)
    spacing = [float(step) for step in volume.header.get_zooms()]
    x, y, z = (float(number) for number in (volume.affine @ (volume.shape[0] - 1, volume.shape[1] - 1, 0, 1))[:3])
    origin = (-x, -y, z)
    stored = as_slices(np.asanyarray(volume.dataobj)).astype(np.int16)
    places = [(*origin[:2], z + spacing[2] * place) for place in range(len(stored))]
    own = {"RescaleSlope": 1, "RescaleIntercept": 0, "SliceThickness": spacing[2], **tags}
    write_series(folder, places, stored, PixelSpacing=[spacing[1], spacing[0]], **own)
    return origin


def as_slices(volume: np.ndarray) -> np.ndarray:
    """Return a volume [X, Y, Z] in RAS order as slices [slices, rows, columns] in DICOM's directions."""
    return volume[::-1, ::-1].transpose(2, 1, 0)


def write_scan_masks(path: Path, mask: Path, names: Mapping[int, str], series: str, **tags: Any) -> Path:
    """Write a NIfTI mask in RAS order as a SEG for the series that `write_scan` made of its image."""
    volume = nib.load(mask)
    spacing = [float(step) for step in volume.header.get_zooms()]
    x, y, z = (float(number) for number in (volume.affine @ (volume.shape[0] - 1, volume.shape[1] - 1, 0, 1))[:3])
    slices = as_slices(np.asanyarray(volume.dataobj))
    segments = {name: slices == value for value, name in names.items()}
    place = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[spacing[1], spacing[0]], SliceThickness=spacing[2])],
    )
    more = {"SharedFunctionalGroupsSequence": [place], **tags}
    return write_seg(path, segments, series, (-x, -y, z), spacing[2], **more)


def write_scan_contours(path: Path, mask: Path, names: Mapping[int, str], series: str, **tags: Any) -> Path:
    """Write a NIfTI mask in RAS order as an RTSTRUCT: a rectangle around each run of voxels in a row."""
    volume = nib.load(mask)
    array = np.asanyarray(volume.dataobj)
    regions = {
        name: [_around(run, volume.affine) for run in _runs(array == value)]
        for value, name in names.items()
        if (array == value).any()
    }
    return write_rtstruct(path, regions, series=series, **tags)


def _runs(inside: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield first and last x, y and z of the voxels in each run along the first axis."""
    padded = np.pad(inside.astype(np.int8), ((1, 1), (0, 0), (0, 0)))
    for y, z in zip(*np.nonzero(inside.any(axis=0)), strict=True):
        turns = np.flatnonzero(np.diff(padded[:, y, z]))
        for first, behind in turns.reshape(-1, 2):
            yield first, behind - 1, y, z


def _around(run: tuple[int, int, int, int], affine: np.ndarray) -> np.ndarray:
    first, last, y, z = run
    corners = [(first - 0.4, y - 0.4), (last + 0.4, y - 0.4), (last + 0.4, y + 0.4), (first - 0.4, y + 0.4)]
    points = np.array([(*corner, z, 1) for corner in corners]) @ affine.T
    return points[:, :3] * (-1, -1, 1)
