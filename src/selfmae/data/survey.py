"""The survey: one look at every image of a source, and at every mask if asked, for what a plan and a doctor need."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from selfmae.data.case import Case
from selfmae.data.facts import Facts, Problem, from_content, to_content
from selfmae.data.identity import identity
from selfmae.data.look import look
from selfmae.data.notebook import Notebook, key_of
from selfmae.errors import UserError

VERSION = "1"  # of what a look finds; a change makes older notes unknown
NUM_THREADS = 4
LARGE = 2**23  # bytes as float32: larger images are looked at one at a time, so that memory holds one of them
EXPANDED = {".nii": 4, ".npy": 4, ".gz": 4}  # float32 bytes for one of a file, at most; of what is in a .gz
PACKED = 16  # the same for formats that compress
SAVED_EVERY = 500  # cases that are read again if the survey is interrupted

Look = tuple[Facts | None, list[Problem]]
Progress = Callable[[int, int], None]


def survey(
    cases: Sequence[Case], masks: bool, progress: Progress | None = None, notes: Path | None = None
) -> tuple[list[Facts], list[Problem]]:
    """Read every image (and every mask, if `masks`) and return facts and problems in the order of the cases.

    A case whose image cannot be read has a problem but no facts. `progress` is told how many of how many are done.
    With `notes`, a file, what was found is noted there, and files that did not change since are not read again.
    """
    notebook = Notebook(notes) if notes else None
    room = _Room(NUM_THREADS)
    facts: list[Facts] = []
    problems: list[Problem] = []
    used: set[str] = set()

    def one(case: Case) -> tuple[str, Look]:
        key = _key(case, masks) if notebook else ""
        known = notebook.get(key) if notebook and key else None
        if known is not None:
            return key, (from_content(known["facts"]), [Problem(**problem) for problem in known["problems"]])
        with room.take(NUM_THREADS if _float_bytes(case) > LARGE else 1):
            return key, look(case, masks)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for done, (key, (fact, found)) in enumerate(pool.map(one, cases), start=1):
            facts += [fact] if fact else []
            problems += found
            if notebook and key:
                used.add(key)
                _note(notebook, key, fact, found)
                if len(notebook.added) >= SAVED_EVERY:
                    notebook.save()
            if progress:
                progress(done, len(cases))
    if notebook:
        notebook.save(frozenset(used))
    return facts, problems + _odd_ones(facts)


class _Room:
    """Places for threads; a large image takes all of them."""

    def __init__(self, places: int) -> None:
        self.free = places
        self.changed = threading.Condition()

    @contextmanager
    def take(self, places: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: self.free >= places)
            self.free -= places
        try:
            yield
        finally:
            with self.changed:
                self.free += places
                self.changed.notify_all()


def _key(case: Case, masks: bool) -> str:
    """Return a key that changes with each file of a case, "" where one is gone."""
    files = [*case.images, *([case.target] if masks and isinstance(case.target, Path) else [])]
    try:
        return key_of(VERSION, case.id, *map(identity, files))
    except (UserError, OSError):
        return ""


def _note(notebook: Notebook, key: str, facts: Facts | None, problems: Sequence[Problem]) -> None:
    """Note a look, unless something could not be read: the disk or the rights may be better next time."""
    unread = facts is None or any(problem.code.startswith("unreadable") for problem in problems)
    if facts and not unread and notebook.get(key) is None:
        notebook.add(key, {"facts": to_content(facts), "problems": [asdict(problem) for problem in problems]})


def _float_bytes(case: Case) -> int:
    """Return about how many bytes the image, or its mask, has as float32; rather too many than too few."""
    files = [*case.images, *([case.target] if isinstance(case.target, Path) else [])]
    return max(sum(map(_expanded, case.images)), *map(_expanded, files))


def _expanded(file: Path) -> int:
    if not file.is_file():  # a member of an archive is small; a DICOM series is as large as its files
        return sum(item.stat().st_size for item in file.iterdir()) * 2 if file.is_dir() else 0
    size, suffix = file.stat().st_size, file.suffix.lower()
    if suffix == ".gz" and size > 4:
        with file.open("rb") as content:
            content.seek(-4, 2)  # where gzip writes the length of what it packed
            size = int.from_bytes(content.read(4), "little")
    return size * EXPANDED.get(suffix, PACKED)


def _odd_ones(facts: Sequence[Facts]) -> list[Problem]:
    """Return a problem for each image that is of another kind than most: a run needs one kind."""
    kinds: dict[str, Callable[[Facts], str]] = {
        "channels_differ": lambda fact: f"{fact.num_channels} channels",
        "axes_differ": lambda fact: f"{len(fact.shape)} axes",
        "spacing_lacks": lambda fact: "a spacing" if fact.spacing_mm else "no spacing",
    }
    problems = []
    for code, kind in kinds.items():
        usual = Counter(kind(fact) for fact in facts).most_common(1)
        problems += [
            Problem(code, fact.id, f"the image of {fact.id} has {kind(fact)}, most have {usual[0][0]}")
            for fact in facts
            if kind(fact) != usual[0][0]
        ]
    return problems
