"""The cache of what was found out about files, which are known by path, size and time, or by their bytes."""

import json
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK

from selfmae.data.files import file_cache as file_cache_module
from selfmae.data.files.file_cache import MAX_STALE, FileCache, content_of, identity, key_of, knows_content
from selfmae.errors import UserError


def write(path: Path, entries: dict[str, object]) -> None:
    file_cache = FileCache(path)
    for key, entry in entries.items():
        file_cache.add(key, entry)
    file_cache.save()


def write_many(path: Path, name: str) -> None:
    for place in range(50):
        write(path, {f"{name}{place}": "x" * 5000})


def test_what_was_saved_is_known_next_time(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "notes", {"a": [1, 2]})
    write(tmp_path / "sub" / "notes", {"b": {"c": None}})
    file_cache = FileCache(tmp_path / "sub" / "notes")
    assert (file_cache.get("a"), file_cache.get("b"), file_cache.get("c")) == ([1, 2], {"c": None}, None)


def test_a_torn_line_costs_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "notes", {"a": 1})
    with (tmp_path / "notes").open("ab") as file:
        file.write(b'["b", {"fac')
    write(tmp_path / "notes", {"c": 3})
    assert FileCache(tmp_path / "notes").entries == {"a": 1, "c": 3}


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path / "notes", name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(FileCache(tmp_path / "notes").entries) == 100


def test_a_cache_of_mostly_stale_entries_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path / "notes", {f"old{place}": 0 for place in range(MAX_STALE + 2)})
    file_cache = FileCache(tmp_path / "notes")
    file_cache.add("new", 1)
    file_cache.save(frozenset(["new"]))
    assert [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()] == [["new", 1]]


def test_entries_still_of_use_stay(tmp_path: Path) -> None:
    write(tmp_path / "notes", {"a": 1, "b": 2})
    FileCache(tmp_path / "notes").save(frozenset(["a"]))
    assert FileCache(tmp_path / "notes").entries == {"a": 1, "b": 2}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write(tmp_path / "file" / "notes", {"a": 1})
    assert FileCache(tmp_path / "file" / "notes").entries == {}


@pytest.mark.parametrize("other", [("a", "bc"), ("ab", "c", ""), ("abc",)])
def test_keys_tell_apart_where_texts_end(other: tuple[str, ...]) -> None:
    assert key_of("ab", "c") != key_of(*other)


def digest_of(source: Path, folder: Path) -> str:
    return content_of(source, FileCache(folder / "digests.jsonl"))


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
    monkeypatch.setattr(file_cache_module, "_read_digest", lambda file: pytest.fail("read again"))
    assert digest_of(tmp_path / "a.png", tmp_path) == first


def test_what_is_known_of_a_file_need_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    digests = FileCache(tmp_path / "digests.jsonl")
    assert not knows_content(tmp_path / "a.png", digests)
    content_of(tmp_path / "a.png", digests)
    assert knows_content(tmp_path / "a.png", FileCache(tmp_path / "digests.jsonl"))
    (tmp_path / "a.png").write_bytes(b"longer")
    assert not knows_content(tmp_path / "a.png", digests)


def test_threads_may_add_and_save_at_once(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache.jsonl")

    def one(number: int) -> None:
        cache.add(str(number), number)
        cache.save()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(300)))
    assert FileCache(cache.path).entries == {str(number): number for number in range(300)}


def test_a_changed_file_is_noticed_even_if_its_size_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    before, known = path.stat(), digest_of(path, tmp_path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert digest_of(path, tmp_path) != known


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "file").write_text("no folder")
    assert digest_of(tmp_path / "a.png", tmp_path / "file") == digest_of(tmp_path / "a.png", tmp_path)


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
    gone = r"The image .*a\.png was there when its folder was read, but is gone: put it"
    with pytest.raises(UserError, match=gone):
        identity(tmp_path / "a.png")
    with pytest.raises(UserError, match=gone):
        digest_of(tmp_path / "a.png", tmp_path)
