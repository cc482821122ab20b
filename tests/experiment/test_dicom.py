"""DICOM from end to end: what a folder of series gives, and that nothing that names a patient comes out of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from selfmae.data.files.images import read_image
from selfmae.data.files.masks import read_mask
from selfmae.data.generated.sets import write_volumes
from selfmae.data.sources import read_source

Call = Callable[..., int]
NAMES = {1: "liver", 3: "right kidney"}
SECRETS = ("SECRETID", "SECRETNAME", "GIVENNAME", "19590317", "SECRETACC", "SECRETDOC", "SECRETINST", "9.87654321")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder of scans; what is made of them has a cache of its own beside it."""
    folder = tmp_path_factory.mktemp("dicom") / "scans"
    write_volumes(folder, 7, 0, (16, 16, 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        yield folder


def write_set(dicom: ModuleType, scans: Path, out: Path, contours: bool) -> Path:
    """Write a folder for each case, full of tags that tell who it is, with a mask for each but the last."""
    for place, image in enumerate(sorted((scans / "imagesTr").iterdir())):
        tags = {
            "PatientIdentityRemoved": None,
            "PatientID": f"SECRETID{place}",
            "PatientName": f"SECRETNAME{place}^GIVENNAME",
            "PatientBirthDate": "19590317",
            "StudyDate": "19590317",
            "AccessionNumber": f"SECRETACC{place}",
            "ReferringPhysicianName": "SECRETDOC",
            "InstitutionName": "SECRETINST",
            "StudyInstanceUID": f"1.9.87654321.1.{place}",
        }
        series = f"1.9.87654321.2.{place}"
        folder = out / f"case{place}"
        dicom.write_scan(folder / "ct", image, SeriesInstanceUID=series, **tags)
        for number, file in enumerate((folder / "ct").iterdir()):
            content = pydicom.dcmread(file)
            content.SOPInstanceUID = f"1.9.87654321.3.{place}.{number}"
            content.save_as(file)
        if place < 6:
            write = dicom.write_scan_contours if contours else dicom.write_scan_masks
            write(folder / "mask.dcm", scans / "labelsTr" / image.name, NAMES, series, **tags)
    return out


@pytest.fixture(scope="module")
def segs(dicom: ModuleType, scans: Path) -> Path:
    return write_set(dicom, scans, scans.parent / "segs", contours=False)


@pytest.fixture(scope="module")
def contours(dicom: ModuleType, scans: Path) -> Path:
    return write_set(dicom, scans, scans.parent / "contours", contours=True)


@pytest.fixture(scope="module")
def finished(segs: Path, call: Call, small_volumes: list[str]) -> Path:
    assert call("run", segs, "--out", segs.parent / "run", *small_volumes) == 0
    return segs.parent / "run"


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.mark.parametrize("kind", ["segs", "contours"])
def test_masks_are_those_that_were_marked(request: pytest.FixtureRequest, scans: Path, kind: str) -> None:
    cases = read_source(str(request.getfixturevalue(kind)))
    assert cases.labels.names == tuple(NAMES.values())
    for case, file in zip(cases.cases[:6], sorted((scans / "labelsTr").iterdir()), strict=False):
        assert isinstance(case.target, Path)
        truth = np.asanyarray(load(file).dataobj)
        assert np.array_equal(read_mask(case.target).array, np.select([truth == 1, truth == 3], [1, 2]))


def test_inspect_tells_cases_and_findings(segs: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", segs, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert [case["id"] for case in content["cases"]] == [f"case{place}_ct" for place in range(7)]
    assert [case["patient"] for case in content["cases"]] == [f"case{place}_ct" for place in range(7)]
    severities = {finding["code"]: finding["severity"] for finding in content["findings"]}
    assert severities["identifying_tags"] == "note"
    assert "error" not in severities.values()


def test_a_broken_slice_is_one_finding_and_stops_a_run(
    dicom: ModuleType, scans: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(dicom, scans, tmp_path / "set", contours=False)
    file = next((tmp_path / "set" / "case2" / "ct").iterdir())
    file.write_bytes(file.read_bytes()[:300])
    assert call("inspect", tmp_path / "set", "--json") == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["cases"] for finding in findings if finding["severity"] == "error"] == [["case2_ct"]]
    assert call("run", tmp_path / "set", "--out", tmp_path / "run") == 2
    assert f"{file} ends within its DICOM header: copy it again or remove it" in capsys.readouterr().err


def test_a_run_on_contours_gives_a_verdict(
    contours: Path, call: Call, small_volumes: list[str], tmp_path: Path
) -> None:
    words = ("--out", tmp_path / "run", "--init", "scratch", *small_volumes)
    assert call("run", contours, *words) == 0
    assert (tmp_path / "run" / "scratch/fold0/seed0/rows-test.csv").is_file()


def test_a_folder_of_slices_is_predicted_on_its_own_grid(
    finished: Path, segs: Path, call: Call, tmp_path: Path
) -> None:
    folder = segs / "case0" / "ct"
    assert call("predict", finished / "mae/fold0/seed0", folder, "--out", tmp_path / "out") == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["ct.nii.gz"]
    mask, image = load(tmp_path / "out" / "ct.nii.gz"), read_image([folder])
    assert nib.aff2axcodes(mask.affine) == ("L", "P", "S")
    back = nib.as_closest_canonical(mask)
    assert np.allclose(back.affine, image.affine, atol=1e-4)
    assert back.shape == image.array.shape[1:]


def test_nothing_that_names_a_patient_comes_out(
    finished: Path,
    segs: Path,
    call: Call,
    tmp_path: Path,
    bytes_of: Callable[..., dict[str, bytes]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In no byte of a run, a prediction, the cache of prepared images, or what is printed."""
    assert b"SECRETID0" in next((segs / "case0" / "ct").iterdir()).read_bytes()
    call("inspect", segs)
    call("inspect", segs, "--json")
    call("predict", finished / "mae/fold0/seed0", segs / "case0" / "ct", "--out", tmp_path / "out")
    call("report", finished)
    printed = capfd.readouterr()
    found = {
        **bytes_of(finished),
        **bytes_of(tmp_path / "out"),
        **bytes_of(segs.parent / "cache"),
        "printed": (printed.out + printed.err).encode(),
    }
    assert any(name.endswith("report.html") for name in found)
    assert any(name.endswith(".safetensors") for name in found)
    assert any(name.endswith(".npy") for name in found)
    for name, content in found.items():
        for secret in SECRETS:
            assert secret.encode() not in content, f"{secret} in {name}"
            assert secret not in name
