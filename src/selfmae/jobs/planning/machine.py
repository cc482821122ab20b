"""What this machine has: memory and free space of its disks, and sizes as a reader sees them."""

import os
import shutil
import sys
from pathlib import Path

import torch

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def resident_bytes() -> int:
    """Return the memory that this process has now, 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def peak_bytes() -> int | None:
    """Return the most memory that this process ever had, in its CUDA device if it uses one; None if it is not known."""
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
        return torch.cuda.mem_get_info()[1]
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that a folder is on, or will be."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def size_text(size: float) -> str:
    """Return bytes in the unit that reads best, with two or three digits."""
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:.{1 if size < 10 * unit else 0}f} {name}"
    return f"{size:.0f} bytes"
