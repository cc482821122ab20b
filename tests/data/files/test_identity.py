"""A file is known by its place, size and time, or by its bytes; what a header points at counts too."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK

from selfmae.data.files import identity as identity_module
from selfmae.data.files.identity import Digests, identity
from selfmae.errors import UserError


def digest_of(source: Path, folder: Path) -> str:
    return Digests(folder / "digests.txt").content(source)


def test_equal_bytes_are_equal_wherever_they_lie_and_others_are_not(tmp_path: Path) -> None:
    for name, content in (("a.png", b"one"), ("b.png", b"one"), ("c.png", b"two")):
        (tmp_path / name).write_bytes(content)
    first, copy, other = (digest_of(tmp_path / f"{name}.png", tmp_path) for name in "abc")
    assert first == copy != other
    assert identity(tmp_path / "a.png") != identity(tmp_path / "b.png")


def test_members_of_an_archive_differ_and_follow_its_copy(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        (tmp_path / name).write_bytes(b"x")
    one, other = (digest_of(tmp_path / "one.npz" / "train" / number, tmp_path) for number in "01")
    assert one != other
    assert one == digest_of(tmp_path / "two.npz" / "train" / "0", tmp_path)


def test_an_unchanged_file_is_read_once_even_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    first = digest_of(tmp_path / "a.png", tmp_path)
    monkeypatch.setattr(identity_module, "_digest", lambda file: pytest.fail("read again"))
    assert digest_of(tmp_path / "a.png", tmp_path) == first


def test_a_changed_file_is_noticed_even_if_its_size_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    before, known = path.stat(), digest_of(path, tmp_path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert digest_of(path, tmp_path) != known


def test_a_torn_or_forged_line_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    known, index = digest_of(tmp_path / "a.png", tmp_path), tmp_path / "digests.txt"
    line = index.read_text()
    index.write_text(line[:20] + "\n" + line[:33] + "0" * 32 + line[65:] + line[:-30])
    assert digest_of(tmp_path / "a.png", tmp_path) == known
    assert index.read_text().endswith(line)


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "file").write_text("no folder")
    assert Digests(tmp_path / "file" / "digests.txt").content(tmp_path / "a.png") == digest_of(
        tmp_path / "a.png", tmp_path
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_the_data_file_behind_a_mhd_counts(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mhd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(path), compressed)
    data = tmp_path / f"a.{'zraw' if compressed else 'raw'}"
    state, known = identity(path), digest_of(path, tmp_path)
    data.write_bytes(data.read_bytes()[:-1] + b"\xfe")
    os.utime(data, ns=(0, 0))
    assert identity(path) != state
    assert digest_of(path, tmp_path) != known


@pytest.mark.parametrize("case", ["detached.nrrd", "analyze.hdr", "list.mhd"])
def test_data_files_of_other_headers_count(tmp_path: Path, case: str) -> None:
    headers = {
        "detached.nrrd": b"NRRD0004\ntype: short\ndata file: b.img\n\n",
        "analyze.hdr": b"\0" * 348,
        "list.mhd": b"ElementDataFile = LIST\nb.img\n",
    }
    data = tmp_path / ("analyze.img" if case == "analyze.hdr" else "b.img")
    (tmp_path / case).write_bytes(headers[case])
    data.write_bytes(b"one")
    known = digest_of(tmp_path / case, tmp_path / "memory")
    data.write_bytes(b"other")
    assert digest_of(tmp_path / case, tmp_path / "memory") != known


def test_all_slices_of_a_series_count_and_copies_are_equal(tmp_path: Path, dicom: SimpleNamespace) -> None:
    dicom.write_series(tmp_path / "one")
    known, state = digest_of(tmp_path / "one", tmp_path), identity(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert digest_of(tmp_path / "two", tmp_path) == known
    last = max((tmp_path / "two").iterdir())
    last.write_bytes(last.read_bytes() + b"\0\0")
    assert digest_of(tmp_path / "two", tmp_path) != known
    assert identity(tmp_path / "two") != state


def test_a_file_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    for look in (identity, Digests(tmp_path / "digests.txt").content):
        with pytest.raises(
            UserError, match=r"The image .*a\.png was there when its folder was read, but is gone: put it"
        ):
            look(tmp_path / "a.png")
