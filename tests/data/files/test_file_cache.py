"""The notebook of what was found out about files."""

import json
import multiprocessing
from pathlib import Path

import pytest

from selfmae.data.files.file_cache import MAX_STALE, FileCache, key_of


def write(path: Path, entries: dict[str, object]) -> None:
    file_cache = FileCache(path)
    for key, entry in entries.items():
        file_cache.add(key, entry)
    file_cache.save()


def write_many(path: Path, name: str) -> None:
    for place in range(50):
        write(path, {f"{name}{place}": "x" * 5000})


def test_what_was_noted_is_known_next_time(tmp_path: Path) -> None:
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


def test_a_notebook_of_mostly_stale_notes_is_written_anew(tmp_path: Path) -> None:
    write(tmp_path / "notes", {f"old{place}": 0 for place in range(MAX_STALE + 2)})
    file_cache = FileCache(tmp_path / "notes")
    file_cache.add("new", 1)
    file_cache.save(frozenset(["new"]))
    assert [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()] == [["new", 1]]


def test_notes_still_of_use_stay(tmp_path: Path) -> None:
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
