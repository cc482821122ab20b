"""MONAI datalists: masks, findings and classes, lists and folds."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfmae.data.sources import read_source
from selfmae.errors import UserError


def write_picture(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 3).save(path)


def write(folder: Path, **content: object) -> Path:
    for name in ("a", "b", "c", "mask"):
        write_picture(folder / f"{name}.png")
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


def test_masks_and_lists(tmp_path: Path) -> None:
    training = [{"image": ["a.png", "b.png"], "label": "mask.png"}, {"image": ["b.png", "c.png"]}]
    path = write(tmp_path, training=training, test=[{"image": ["c.png", "a.png"], "label": "mask.png"}])
    cases = read_source(str(path))
    assert (cases.layout, cases.labels.values) == ("datalist", (1, 2))
    assert [(case.id, len(case.images), case.split) for case in cases.cases] == [
        ("a", 2, ""),
        ("b", 2, ""),
        ("c", 2, "test"),
    ]
    assert [case.target and case.target.name for case in cases.cases] == ["mask.png", None, "mask.png"]  # type: ignore[union-attr]


def test_fold_0_is_val_where_no_list_is(tmp_path: Path) -> None:
    training = [{"image": f"{name}.png", "label": [1, 0], "fold": fold} for fold, name in enumerate("abc")]
    cases = read_source(str(write(tmp_path, training=training)))
    assert [case.split for case in cases.cases] == ["val", "train", "train"]
    assert "Fold 0 of the list is the val part; data.splits can say otherwise." in cases.notes
    assert cases.labels.kind == "multilabel"
    assert cases.cases[0].target == (1.0, 0.0)


def test_numbers_are_classes(tmp_path: Path) -> None:
    training = [{"image": "a.png", "label": 7}, {"image": "b.png", "label": 2}]
    cases = read_source(str(write(tmp_path, training=training, validation=[{"image": "c.png", "label": 2}])))
    assert (cases.labels.kind, cases.labels.names) == ("multiclass", ("2", "7"))
    assert [(case.target, case.split) for case in cases.cases] == [
        ((0.0, 1.0), "train"),
        ((1.0, 0.0), "train"),
        ((1.0, 0.0), "val"),
    ]


def test_deleted_masks_leave_unlabelled_cases(tmp_path: Path) -> None:
    path = write(tmp_path, training=[{"image": "a.png", "label": "gone.png"}])
    assert [case.target for case in read_source(str(path)).cases] == [None]


@pytest.mark.parametrize(
    ("training", "text"),
    [
        ([{"image": "x.png"}], r"lists 1 files that are not there \(.*x.png\)"),
        ([{"picture": "a.png"}], r'must list cases as \{"image": path, "label": path\}, but has'),
        ([], 'must hold a list of images under "training"'),
        (
            [{"image": "a.png", "label": 1}, {"image": "b.png", "label": "mask.png"}],
            "must be all paths, all numbers.* write all in one way",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, training: list[object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        read_source(str(write(tmp_path, training=training)))


def test_a_damaged_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"training": ')
    with pytest.raises(UserError, match="is not valid JSON"):
        read_source(str(tmp_path / "list.json"))


def test_a_folder_with_one_list_is_a_source(tmp_path: Path) -> None:
    write(tmp_path, training=[{"image": "a.png", "label": 0}, {"image": "b.png", "label": 1}])
    (tmp_path / "other.json").write_text("{}")
    assert read_source(str(tmp_path)).layout == "datalist"


def test_a_dataset_list_with_folds_is_no_decathlon(tmp_path: Path) -> None:
    write(tmp_path, training=[{"image": "a.png", "label": "mask.png", "fold": 0}], modality={"0": "X"}, labels={})
    (tmp_path / "list.json").rename(tmp_path / "dataset.json")
    assert read_source(str(tmp_path)).layout == "datalist"


def test_several_images_are_named_by_what_they_share(tmp_path: Path) -> None:
    for name in ("p_t1", "p_t2"):
        write_picture(tmp_path / f"{name}.png")
    path = write(tmp_path, training=[{"image": ["p_t1.png", "p_t2.png"]}])
    assert [case.id for case in read_source(str(path)).cases] == ["p"]


def test_paths_elsewhere_are_read(tmp_path: Path) -> None:
    write_picture(tmp_path / "far" / "x.png")
    (tmp_path / "near").mkdir()
    path = write(tmp_path / "near", training=[{"image": str(tmp_path / "far" / "x.png")}, {"image": "../far/x.png"}])
    first, second = read_source(str(path)).cases
    assert first.images[0].samefile(second.images[0])
    assert first.id != second.id
