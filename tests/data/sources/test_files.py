"""What names of files tell of patients and studies."""

from pathlib import Path

import pytest

from selfmae.data.sources._files import patients_of, study_of


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["sub-01_ses-a_T1w", "sub-01_ses-b_T1w"], ["sub-01", "sub-01"]),
        (["patient_007_2", "scan-patient_008"], ["patient_007", "patient_008"]),
        (["patient0001_2CH_ED", "patient0001_4CH_ED"], ["patient0001", "patient0001"]),
        (["BraTS20_Training_001", "BraTS20_Training_002"], ["BraTS20_Training_001", "BraTS20_Training_002"]),
        (["BraTS-GLI-00005-000", "BraTS-GLI-00005-001"], ["BraTS-GLI-00005", "BraTS-GLI-00005"]),
        (["ADNI_002_S_0413_MR", "ADNI_002_S_0413_MR_2"], ["002_S_0413", "002_S_0413"]),
        (["TCGA-CS-4942_1", "TCGA-CS-4942_2"], ["TCGA-CS-4942", "TCGA-CS-4942"]),
    ],
)
def test_unmistakable_names_tell_the_patient(names: list[str], patients: list[str]) -> None:
    found, said = patients_of(names)
    assert found == patients
    assert said == f"Patients are taken from the names (as {patients[0]}): {len(set(patients))} in 2 images."


@pytest.mark.parametrize(
    "names",
    [
        ["case_001", "case_002"],
        ["sub-01_T1w", "other"],
        ["sub-01", "patient_2"],
        ["inpatient_1", "inpatient_2"],
        ["12002_S_0413", "x002_S_04139"],
        [],
    ],
)
def test_all_other_names_are_patients_of_their_own(names: list[str]) -> None:
    said = "File names do not identify patients: without data.splits, each image counts as a patient of its own."
    assert patients_of(names) == (names, said)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["x_t1.nii.gz"], "x_t1.nii.gz"),
        (["x_t1.nii.gz", "x_t1ce.nii.gz"], "x.nii.gz"),
        (["x_1_0000.png", "x_1_0001.png"], "x_1.png"),
        (["BraTS-GLI-00005-000-t1n.nii.gz", "BraTS-GLI-00005-000-t1c.nii.gz"], "BraTS-GLI-00005-000.nii.gz"),
        (["flair.nii", "t1.nii"], "flair.nii"),
    ],
)
def test_a_study_is_named_by_what_its_files_share(files: list[str], name: str) -> None:
    assert study_of([Path("a") / file for file in files]) == Path("a") / name
