"""NumPy files: `.npy`, `.npz` with one array, and members of a MedMNIST archive (`file.npz/train_images/12`)."""

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np

from selfmae.errors import first_of

ENDINGS = (".npy", ".npz")

_archive_lock = threading.Lock()


def load_array(path: Path) -> tuple[np.ndarray, int]:
    """Return an image, channels last if there are any, and the number of its spatial axes.

    Files hold [H, W], [D, H, W] or [C, D, H, W]; a member of an archive may be a colour image [H, W, 3].
    """
    archive = next((parent for parent in path.parents if parent.suffix == ".npz"), None)
    if archive is not None:
        item = _load_member(archive, path)
        return item, 2 if item.ndim == 3 and item.shape[-1] == 3 else item.ndim
    content = np.load(path, allow_pickle=False)
    array = content if isinstance(content, np.ndarray) else _only_array(content)
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"it has {array.ndim} axes, not [H, W], [D, H, W] or [C, D, H, W]")
    return np.moveaxis(array, 0, -1) if array.ndim == 4 else array, min(array.ndim, 3)


def _only_array(archive: np.lib.npyio.NpzFile) -> np.ndarray:
    with archive:
        if len(archive.files) != 1:
            names = first_of(archive.files)
            raise ValueError(f"it holds {len(archive.files)} arrays ({names}), but an image is an archive of one")
        array: np.ndarray = archive[archive.files[0]]
    return array


def _load_member(archive: Path, path: Path) -> np.ndarray:
    """Return item `path.name` of the array named by the path's parent."""
    with _archive_lock:
        items = _load_items(archive, archive.stat().st_mtime_ns, path.parent.name)
    item: np.ndarray = items[int(path.name)]
    return item


@lru_cache(maxsize=3)
def _load_items(archive: Path, changed_ns: int, key: str) -> np.ndarray:
    """Return one array of an archive, kept in memory since it can only be unpacked whole."""
    with np.load(archive, allow_pickle=False) as content:
        array: np.ndarray = content[key]
    return array
