"""What a machine has, and sizes in words."""

import shutil
from mmap import mmap
from pathlib import Path

import pytest

from selfmae.data.memory import free_bytes, peak_bytes, resident_bytes, size_text, total_memory


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (41_234_567, "41 MB"),
        (1.25e9, "1.2 GB"),
        (3e12, "3000 GB"),
    ],
)
def test_sizes_have_the_unit_that_reads_best(size: float, text: str) -> None:
    assert size_text(size) == text


def test_free_space_is_that_of_the_disk_a_folder_will_be_on(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "yet")
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells the memory of a process")
def test_the_memory_of_this_process_follows_what_it_holds() -> None:
    before = resident_bytes()
    held = mmap(-1, 50_000_000)  # pages of its own: a heap may have room from before
    held.write(b"x" * len(held))
    assert 40_000_000 < resident_bytes() - before < 120_000_000
    assert len(held) < (total_memory("cpu") or 0)


def test_the_peak_of_this_process_stays_after_memory_is_given_back() -> None:
    pytest.importorskip("resource")
    before = peak_bytes() or 0
    content = bytearray(before + 2**27)
    content[::4096] = b"x" * len(content[::4096])
    del content
    after = peak_bytes() or 0
    assert after >= before + 2**27
