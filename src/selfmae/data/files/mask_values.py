"""Which values masks hold, for sources that declare no labels; masks that did not change are not read again."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from selfmae.data.doctor.look import count_values
from selfmae.data.files.identity import identity
from selfmae.data.files.masks import read_mask
from selfmae.data.files.notebook import Notebook, default_cache, key_of
from selfmae.data.room import NUM_THREADS, Room, float_bytes
from selfmae.errors import UserError


def values_in(masks: Sequence[Path]) -> set[int]:
    """Return all values that these masks hold, 0 included; of a mask that cannot be read, none: the survey says so."""
    if not masks:
        return set()
    notebook = Notebook(default_cache() / "masks" / f"{key_of(str(masks[0].parent.absolute()))}.jsonl")
    room, keys = Room(), [_key(mask) for mask in masks]
    unknown = {key: mask for key, mask in zip(keys, masks, strict=True) if notebook.get(key) is None}
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for key, values in zip(unknown, pool.map(partial(_values_of, room), unknown.values()), strict=True):
            if key and values is not None:
                notebook.add(key, values)
    found: set[int] = set().union(*(notebook.get(key) or () for key in keys))
    notebook.save(frozenset(keys))
    return found


def _key(mask: Path) -> str:
    """Return a key that changes with the mask's file, "" where it is gone."""
    try:
        return key_of("values", identity(mask))
    except (UserError, OSError):
        return ""


def _values_of(room: Room, mask: Path) -> list[int] | None:
    try:
        with room.take(float_bytes(mask)):
            return [value for value, _ in count_values(read_mask(mask).array)]
    except UserError:
        return None
