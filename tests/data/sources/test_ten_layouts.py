"""The same scans written in ten layouts are the same cases, with the same split, plan and prepared bytes."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from selfmae.data.case import Case, Cases, complete_splits
from selfmae.data.doctor.survey import survey
from selfmae.data.files.images import read_image
from selfmae.data.files.masks import read_mask
from selfmae.data.generated.sets import write_volumes
from selfmae.data.preparation.store import Store
from selfmae.data.source import Source
from selfmae.data.sources import btcv, layouts, read_source
from selfmae.options import DataOptions, DeviceOptions
from selfmae.planning.planner import make_plan

NUM_CASES = 8
NAMES = [f"phantom_{index:03d}" for index in range(NUM_CASES)]
OPTIONS = DataOptions("", spacing_mm=(2.0, 2.0, 2.0), intensity="window", window=(-175.0, 250.0))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return scans as the Decathlon has them; the last 22 only fill up BTCV's thirty."""
    folder = tmp_path_factory.mktemp("scans")
    write_volumes(folder, 30, 0, (16, 16, 16))
    return folder


def put(scans: Path, name: str, image: Path, mask: Path) -> None:
    """Copy image and mask of one scan; SimpleITK turns them into other formats than NIfTI."""
    for kind, place in (("imagesTr", image), ("labelsTr", mask)):
        place.parent.mkdir(parents=True, exist_ok=True)
        file = scans / kind / f"{name}.nii.gz"
        if place.name.endswith(".nii.gz"):
            shutil.copyfile(file, place)
        else:
            scan = SimpleITK.ReadImage(str(file))
            for key in scan.GetMetaDataKeys():  # NIfTI's own, which other writers warn of
                scan.EraseMetaData(key)
            SimpleITK.WriteImage(scan, str(place))


def write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))


def write_msd(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"imagesTr/{name}.nii.gz", out / f"labelsTr/{name}.nii.gz")
    content = json.loads((scans / "dataset.json").read_text())
    write_json(out / "dataset.json", content | {"training": content["training"][:NUM_CASES]})
    return "msd"


def write_nnunet(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"imagesTr/{name}_0000.nii.gz", out / f"labelsTr/{name}.nii.gz")
    organs = json.loads((scans / "dataset.json").read_text())["labels"]
    labels = {organ: int(value) for value, organ in organs.items()}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": NUM_CASES, "file_ending": ".nii.gz"}
    write_json(out / "dataset.json", content)
    return "nnunet"


def write_datalist(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"imagesTr/{name}.nii.gz", out / f"labelsTr/{name}.nii.gz")
    listed = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in NAMES]
    write_json(out / "datalist.json", {"training": listed})
    return "datalist"


def write_bids(scans: Path, out: Path) -> str:
    for name in NAMES:
        subject = f"sub-{name.replace('_', '')}"
        mask = out / f"derivatives/organs/{subject}/anat/{subject}_desc-organs_dseg.nii.gz"
        put(scans, name, out / f"{subject}/anat/{subject}_T1w.nii.gz", mask)
    (out / "participants.tsv").write_text("participant_id\tage\n")
    return "bids"


def write_two_folders(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"images/{name}.nii.gz", out / f"labels/{name}.nii.gz")
    return "paired"


def write_marked(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"{name}.nrrd", out / f"{name}_seg.nrrd")
    return "paired"


def write_case_folders(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"{name}/{name}_t1.mha", out / f"{name}/{name}_seg.mha")
    return "paired"


def write_table(out: Path, name: str, mark: str, rows: list[dict[str, str]]) -> str:
    with (out / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=mark)
        writer.writeheader()
        writer.writerows(rows)
    return "table"


def write_csv(scans: Path, out: Path) -> str:
    for name in NAMES:
        put(scans, name, out / f"{name}.nii.gz", out / f"masks/{name}.nii.gz")
    rows = [{"image": f"{name}.nii.gz", "mask": f"masks/{name}.nii.gz", "age": "50"} for name in NAMES]
    return write_table(out, "list.csv", ",", rows)


def write_tsv(scans: Path, out: Path) -> str:
    for place, name in enumerate(NAMES):
        put(scans, name, out / f"files/{place}.mhd", out / f"files/{place}m.nrrd")
    rows = [{"id": name, "ct": f"files/{i}.mhd", "segmentation": f"files/{i}m.nrrd"} for i, name in enumerate(NAMES)]
    return write_table(out, "list.tsv", "\t", rows)


def write_btcv(scans: Path, out: Path) -> str:
    for place, number in enumerate(sorted((*btcv.TRAIN, *btcv.TEST))):
        files = (out / f"imagesTr/img{number}.nii.gz", out / f"labelsTr/label{number}.nii.gz")
        put(scans, f"phantom_{place:03d}", *files)
    return "btcv"


def write_dicom(dicom: ModuleType, scans: Path, out: Path) -> str:
    organs = json.loads((scans / "dataset.json").read_text())["labels"]
    names = {int(value): f"{value} {organ}" for value, organ in organs.items() if value != "0"}
    for place, name in enumerate(NAMES):
        uid = f"1.2.3.{place}"
        tags = {"PatientID": f"P{place}", "StudyInstanceUID": f"1.2.4.{place}"}
        dicom.write_scan(out / name, scans / f"imagesTr/{name}.nii.gz", SeriesInstanceUID=uid, **tags)
        dicom.write_scan_masks(out / name / "seg.dcm", scans / f"labelsTr/{name}.nii.gz", names, uid)
    return "dicom"


Writer = Callable[[Path, Path], str]
WRITERS: dict[str, Writer] = {
    "msd": write_msd,
    "nnunet": write_nnunet,
    "datalist": write_datalist,
    "bids": write_bids,
    "images and labels": write_two_folders,
    "name and name_seg": write_marked,
    "one folder per case": write_case_folders,
    "csv": write_csv,
    "tsv": write_tsv,
    "btcv": write_btcv,
}
KINDS = (*WRITERS, "dicom")


@pytest.fixture(scope="session")
def writers(dicom: ModuleType) -> dict[str, Writer]:
    return WRITERS | {"dicom": partial(write_dicom, dicom)}


def prepared(store: Store, case: Case) -> bytes:
    return store.image(case).tobytes() + store.mask(case).tobytes()


def load(file: Path) -> np.ndarray:
    image = nib.load(file)  # type: ignore[attr-defined]
    return np.asanyarray(image.dataobj)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def reference(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cases, list[bytes]]:
    """Return the Decathlon's cases and their prepared bytes."""
    folder = tmp_path_factory.mktemp("msd")
    write_msd(scans, folder)
    cases = read_source(str(folder))
    store = Store(OPTIONS, cases.labels.values)
    return cases, [prepared(store, case) for case in cases.cases]


@pytest.fixture(params=KINDS)
def layout(
    request: pytest.FixtureRequest, writers: dict[str, Writer], scans: Path, tmp_path: Path
) -> tuple[str, Cases]:
    """Return the name of the layout that was written, and what was read without telling it."""
    name = writers[request.param](scans, tmp_path)
    return name, read_source(str(tmp_path))


def test_ten_layouts_are_one_set(layout: tuple[str, Cases], reference: tuple[Cases, list[bytes]], scans: Path) -> None:
    name, cases = layout
    wanted, wanted_bytes = reference
    assert cases.layout == name
    assert len(cases.cases) == (30 if name == "btcv" else NUM_CASES)
    assert cases.labels.values[:6] == wanted.labels.values == (1, 2, 3, 4, 5, 6)
    store = Store(OPTIONS, cases.labels.values)
    for case, phantom, content in zip(cases.cases, NAMES, wanted_bytes, strict=False):
        assert isinstance(case.target, Path)
        assert np.array_equal(read_image(case.images).array[0], load(scans / f"imagesTr/{phantom}.nii.gz"))
        assert np.array_equal(read_mask(case.target).array, load(scans / f"labelsTr/{phantom}.nii.gz"))
        assert prepared(store, case) == content


def planned(cases: Cases) -> dict[str, object]:
    """Return the plan on a CPU, without what tells the layouts apart: places and names."""
    drawn = replace(cases, cases=tuple(complete_splits(cases.cases, 3)[0]))
    source = Source(drawn, tuple(survey(drawn.cases, True)[0]), ())
    plan = make_plan(source, DeviceOptions("cpu"), {})
    own = ("data.source", "data.layout", "data.channels", "target.names")
    return {key: value for key, value in plan.values.items() if key not in own}


def test_ten_layouts_have_one_split_and_one_plan(
    layout: tuple[str, Cases], reference: tuple[Cases, list[bytes]]
) -> None:
    name, cases = layout
    ours, theirs = (complete_splits(found.cases, 3)[0] for found in (cases, reference[0]))
    if name == "btcv":  # has more cases and a split of its own
        assert sum(case.split == "test" for case in ours) == 12
        return
    if name != "bids":  # where names hold no underscores; the draw goes by order all the same
        assert [(case.id, case.patient) for case in ours] == [(case.id, case.patient) for case in theirs]
    assert [case.split for case in ours] == [case.split for case in theirs]
    assert planned(cases) == planned(reference[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_is_recognised_as_itself_only(
    kind: str, writers: dict[str, Writer], scans: Path, tmp_path: Path
) -> None:
    """`paired` and `classfolders` also claim folders of images that others know better, for `--as` to read them."""
    name = writers[kind](scans, tmp_path)
    claims = {other for other, module in layouts().items() if module.recognises(tmp_path)}
    assert claims - {"paired", "classfolders"} == {name} - {"paired"}
    assert name in claims
