"""BIDS: patients are subjects, cases are sessions."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from selfmae.data.sources import read_source
from selfmae.errors import UserError


def write(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), value, np.uint8), np.eye(4)), path)  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for session in ("sub-01/ses-a", "sub-01/ses-b"):
        name = session.replace("/", "_")
        write(tmp_path / session / "anat" / f"{name}_T1w.nii.gz")
        write(tmp_path / session / "anat" / f"{name}_FLAIR.nii.gz")
    write(tmp_path / "sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w.nii.gz")
    write(tmp_path / "derivatives/lesions/sub-01/ses-a/anat/sub-01_ses-a_space-T1w_dseg.nii.gz", 3)
    return tmp_path


def test_sessions_are_cases_of_one_patient(folder: Path) -> None:
    cases = read_source(str(folder))
    assert cases.layout == "bids"
    assert [(case.id, case.patient) for case in cases.cases] == [
        ("sub-01_ses-a", "sub-01"),
        ("sub-01_ses-b", "sub-01"),
        ("sub-02_ses-a", "sub-02"),
    ]


def test_channels_are_what_every_session_has(folder: Path) -> None:
    cases = read_source(str(folder))
    assert cases.channels == ("T1w",)
    assert "Not every session has FLAIR: left out." in cases.notes


def test_masks_come_from_derivatives_and_others_are_unlabelled(folder: Path) -> None:
    cases = read_source(str(folder))
    assert [case.target is not None for case in cases.cases] == [True, False, False]
    assert (cases.labels.names, cases.labels.values) == (("label_3",), (3,))


def test_two_masks_of_a_session_are_an_error(folder: Path) -> None:
    write(folder / "derivatives/other/sub-01/ses-a/anat/sub-01_ses-a_mask.nii.gz")
    with pytest.raises(UserError, match=r"has several masks of one session .* nothing says which one is meant"):
        read_source(str(folder))


def test_sessions_without_a_common_kind_are_an_error(folder: Path) -> None:
    write(folder / "sub-03/anat/sub-03_T2w.nii.gz")
    with pytest.raises(UserError, match=r"no kind of image that all of its 4 sessions have \(found: FLAIR, T1w, T2w\)"):
        read_source(str(folder))


def test_empty_folders_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    with pytest.raises(UserError, match="has folders anat, but no image in them"):
        read_source(str(tmp_path))


def write_runs(folder: Path, mask: str) -> str:
    """Write two scans of each of two subjects, the first with this mask."""
    for subject in ("sub-a", "sub-b"):
        for run in (1, 2):
            write(folder / subject / "anat" / f"{subject}_run-{run}_T1w.nii.gz")
    write(folder / "derivatives/x/sub-a/anat" / mask)
    return str(folder)


def test_a_mask_belongs_to_the_run_it_names_and_the_first_is_taken_without_one(tmp_path: Path) -> None:
    cases = read_source(write_runs(tmp_path, "sub-a_run-2_dseg.nii.gz"))
    assert [case.images[0].name for case in cases.cases] == ["sub-a_run-2_T1w.nii.gz", "sub-b_run-1_T1w.nii.gz"]
    assert "1 sessions without a mask have several scans of one kind (sub-b): the first is taken." in cases.notes


@pytest.mark.parametrize("mask", ["sub-a_dseg.nii.gz", "sub-a_run-3_dseg.nii.gz", "sub-a_acq-x_dseg.nii.gz"])
def test_a_mask_that_belongs_to_no_one_run_is_an_error(tmp_path: Path, mask: str) -> None:
    with pytest.raises(UserError, match=rf"{mask} must belong to one scan of each kind by its acq, .*: name the mask"):
        read_source(write_runs(tmp_path, mask))


def test_a_mask_of_another_run_than_the_only_image_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "sub-a/anat/sub-a_run-1_T1w.nii.gz")
    write(tmp_path / "derivatives/x/sub-a/anat/sub-a_run-2_dseg.nii.gz")
    with pytest.raises(UserError, match=r"its session has sub-a_run-1_T1w.nii.gz: name the mask"):
        read_source(str(tmp_path))
