"""Names of labels in a file labels.json beside a table."""

from pathlib import Path

import pytest
from PIL import Image

from selfmae.data.sources import SourceError, read_source


def table(folder: Path, names: str) -> Path:
    for kind in ("image", "mask"):
        Image.new("L", (8, 8), 1).save(folder / f"{kind}.png")
    (folder / "t.csv").write_text("file,mask\nimage.png,mask.png\n")
    (folder / "labels.json").write_text(names)
    return folder / "t.csv"


def test_labels_have_the_names_and_values_of_the_file(tmp_path: Path) -> None:
    labels = read_source(str(table(tmp_path, '{"spleen": 7, "background": 0, "liver": 1}'))).labels
    assert (labels.kind, labels.names, labels.values) == ("mask", ("liver", "spleen"), (1, 7))


@pytest.mark.parametrize("text", ['["liver"]', '{"liver": "one"}', '{"liver": 1'])
def test_a_file_that_names_no_labels_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match=r'labels.json must name labels as \{"liver": 1\}, but does not') as error:
        read_source(str(table(tmp_path, text)))
    assert (error.value.code, error.value.layout) == ("damaged_list", "table")
