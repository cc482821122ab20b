"""How much memory is used: a gate for threads that read images, the memory of process and machine, free disk space."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

NUM_THREADS = 4
LARGE = 2**23  # bytes as float32
PLAIN = (".nii", ".npy", ".gz")  # at most 4 float32 bytes for one of a file (of what is in a .gz), else 16 if packed
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class MemoryGate:
    """Lets `NUM_THREADS` threads read images at once; a large image goes alone, so that memory holds one."""

    def __init__(self) -> None:
        self.free = NUM_THREADS
        self.changed = threading.Condition()

    @contextmanager
    def take(self, num_bytes: int) -> Iterator[None]:
        """Wait for a slot, or for all of them where the image is large."""
        slots = NUM_THREADS if num_bytes > LARGE else 1
        with self.changed:
            self.changed.wait_for(lambda: self.free >= slots)
            self.free -= slots
        try:
            yield
        finally:
            with self.changed:
                self.free += slots
                self.changed.notify_all()


def float_bytes(file: Path) -> int:
    """Return about how many bytes an image has as float32; rather too many than too few."""
    if not file.is_file():  # a member of an archive is small; a DICOM series is as large as its files
        return sum(item.stat().st_size for item in file.iterdir()) * 2 if file.is_dir() else 0
    size, suffix = file.stat().st_size, file.suffix.lower()
    if suffix == ".gz" and size > 4:
        with file.open("rb") as content:
            content.seek(-4, 2)  # where gzip writes the length of what it packed
            size = int.from_bytes(content.read(4), "little")
    return size * (4 if suffix in PLAIN else 16)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def image_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield so many threads, within each of which torch uses no others; what was not begun at the end never is.

    NumPy and torch release Python's lock while they work: two threads are as fast as two processes
    (benchmarks/README.md), and need no second Python, no shared memory and no limit of open files.
    """
    import torch  # seconds that `inspect` need not wait for

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "selfmae-images", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def resident_bytes() -> int:
    """Return the memory that this process has now, 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def peak_bytes() -> int | None:
    """Return the most memory that this process ever had, in its CUDA device if it uses one; None if it is not known."""
    import torch  # seconds that `inspect` need not wait for

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def total_memory(accelerator: str) -> int | None:
    """Return the memory of this machine, or of its first CUDA device; None where it is not known."""
    if accelerator == "cuda":
        import torch

        return torch.cuda.mem_get_info()[1]
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that a folder is on, or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def size_text(size: float) -> str:
    """Return bytes in the unit that reads best, with two or three digits."""
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:.{1 if size < 10 * unit else 0}f} {name}"
    return f"{size:.0f} bytes"
