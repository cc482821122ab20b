"""Places for threads that read images side by side; a large image takes all of them, so that memory holds one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NUM_THREADS = 4
LARGE = 2**23  # bytes as float32
EXPANDED = {".nii": 4, ".npy": 4, ".gz": 4}  # float32 bytes for one of a file, at most; of what is in a .gz
PACKED = 16  # the same for formats that compress


class Room:
    """Places for `NUM_THREADS` threads."""

    def __init__(self) -> None:
        self.free = NUM_THREADS
        self.changed = threading.Condition()

    @contextmanager
    def take(self, num_bytes: int) -> Iterator[None]:
        """Wait for a place, or for all of them where the image is large."""
        places = NUM_THREADS if num_bytes > LARGE else 1
        with self.changed:
            self.changed.wait_for(lambda: self.free >= places)
            self.free -= places
        try:
            yield
        finally:
            with self.changed:
                self.free += places
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
    return size * EXPANDED.get(suffix, PACKED)
