"""Contracts of every layout, and what is said when none fits."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from selfmae.data.sources import btcv, layouts, read_source
from selfmae.errors import UserError


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(path)


def write_nih(folder: Path) -> None:
    write_picture(folder / "images" / "1_000.png")
    (folder / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels,Patient ID\n1_000.png,Mass,1\n")
    (folder / "train_val_list.txt").write_text("1_000.png\n")
    (folder / "test_list.txt").touch()


def write_nnunet(folder: Path) -> None:
    write_picture(folder / "imagesTr" / "a_0000.png")
    write_picture(folder / "labelsTr" / "a.png")
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(content))


def write_btcv(folder: Path) -> None:
    for number in (*btcv.TRAIN, *btcv.TEST):
        for place, name in (("imagesTr", "img"), ("labelsTr", "label")):
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / f"{name}{number}.nii.gz").touch()


def write_bids(folder: Path) -> None:
    (folder / "sub-1" / "anat").mkdir(parents=True)
    (folder / "sub-1" / "anat" / "sub-1_T1w.nii.gz").touch()


@pytest.fixture
def every_layout(tmp_path: Path, dicom: ModuleType) -> dict[str, Path]:
    """Write a tiny source of each layout; the test over all layouts fails for a new one until it is added here."""
    for place in ("msd/a", "table/b", "paired/images/c", "classfolders/x/d", "classfolders/y/e"):
        file = tmp_path / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(file)
    (tmp_path / "msd/dataset.json").write_text(
        json.dumps({"labels": {"0": "background"}, "modality": {"0": "X"}, "training": [], "test": ["a.png"]})
    )
    (tmp_path / "table/list.csv").write_text("image,Mass\nb.png,1\n")
    arrays = {"train_images": np.zeros((2, 4, 4), np.uint8), "train_labels": np.array([[0], [1]])}
    np.savez(tmp_path / "medmnist.npz", **arrays)
    write_nih(tmp_path / "chestxray14")
    write_nnunet(tmp_path / "nnunet")
    write_btcv(tmp_path / "btcv")
    write_bids(tmp_path / "bids")
    dicom.write_series(tmp_path / "dicom")
    write_picture(tmp_path / "datalist" / "a.png")
    (tmp_path / "datalist" / "list.json").write_text('{"training": [{"image": "a.png", "label": 1}]}')
    places = {name: tmp_path / name for name in layouts() if name != "medmnist"}
    places["datalist"] /= "list.json"
    return places | {"medmnist": tmp_path / "medmnist.npz"}


def test_every_layout_is_recognised_and_read_by_itself(every_layout: dict[str, Path]) -> None:
    assert set(every_layout) == set(layouts())
    for name, path in every_layout.items():
        cases = read_source(str(path))
        assert cases.layout == name
        assert cases.source == path
        assert cases.cases


def test_layouts_look_in_one_stated_order() -> None:
    orders = [module.ORDER for module in layouts().values()]
    assert orders == sorted(set(orders))


def test_every_layout_says_what_it_expects_and_refuses_an_empty_folder(tmp_path: Path) -> None:
    for module in layouts().values():
        assert module.EXPECTS
        assert not module.recognises(tmp_path)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone was expected, but there is no such file or folder"):
        read_source(str(tmp_path / "gone"))


def test_an_empty_folder_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is empty, but was expected to hold a data set: check"):
        read_source(str(tmp_path))


def test_an_unknown_folder_shows_what_was_looked_for_and_found(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError, match=r"holds a.txt, b.txt, more/ and is in none of .* medmnist, .*: put images and"):
        read_source(str(tmp_path))


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"The file .*a.txt is in none of the layouts"):
        read_source(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scan.nii.gz", "is one image, but was expected to be a data set: give the folder that holds it."),
        ("r.yaml", "is a YAML file, but was expected to be a data set: give the folder of the images, and a recipe"),
    ],
)
def test_a_file_that_is_part_of_something_says_what_to_give(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=re.escape(text)):
        read_source(str(tmp_path / name))


def test_a_misspelt_layout_is_corrected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no layout 'tabel'.* Did you mean 'table'\?"):
        read_source(str(tmp_path), "tabel")


def test_a_layout_asked_for_must_fit(every_layout: dict[str, Path]) -> None:
    with pytest.raises(
        UserError, match=r"asked for .* \(msd: a folder with a dataset.json .*, it holds .*: give such a source"
    ):
        read_source(str(every_layout["paired"]), "msd")


def test_a_layout_asked_for_goes_before_the_others(every_layout: dict[str, Path]) -> None:
    (every_layout["paired"] / "list.csv").write_text("image,Mass\nc.png,1\n")
    assert read_source(str(every_layout["paired"])).layout == "table"
    assert read_source(str(every_layout["paired"]), "paired").layout == "paired"


def test_a_name_listed_twice_is_an_error(every_layout: dict[str, Path]) -> None:
    (every_layout["table"] / "list.csv").write_text("image,Mass\nb.png,1\nb.png,1\n")
    with pytest.raises(UserError, match=r"has 1 more than once \(b\): remove the repeats"):
        read_source(str(every_layout["table"]))


def test_a_list_without_images_is_an_error(every_layout: dict[str, Path]) -> None:
    file = every_layout["msd"] / "dataset.json"
    file.write_text(json.dumps({"labels": {}, "modality": {"0": "X"}, "training": []}))
    with pytest.raises(UserError, match="was read as msd, but lists no image"):
        read_source(str(file))


def test_sources_do_not_load_torch() -> None:
    code = "import sys; from selfmae.data.sources import layouts; layouts(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
