"""The survey: one look at every image of a source, and at every mask if asked, for what a plan and a doctor need."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from selfmae.data.case import Case
from selfmae.data.doctor.facts import Facts, Problem, from_content, to_content
from selfmae.data.doctor.look import look
from selfmae.data.files.identity import identity
from selfmae.data.files.notebook import Notebook, key_of
from selfmae.data.room import NUM_THREADS, Room, float_bytes
from selfmae.errors import UserError

VERSION = "2"  # of what a look finds; a change makes older notes unknown
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
    room = Room()
    facts: list[Facts] = []
    problems: list[Problem] = []
    used: set[str] = set()

    def one(case: Case) -> tuple[str, Look]:
        key = _key(case, masks) if notebook else ""
        known = notebook.get(key) if notebook and key else None
        if known is not None:
            return key, (from_content(known["facts"]), [Problem(**problem) for problem in known["problems"]])
        with room.take(_most_bytes(case)):
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
    facts = _settle_pictures(facts)
    return facts, problems + _odd_ones(facts)


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


def _most_bytes(case: Case) -> int:
    """Return about how many bytes the image, or its mask, has as float32."""
    mask = float_bytes(case.target) if isinstance(case.target, Path) else 0
    return max(sum(map(float_bytes, case.images)), mask)


def _settle_pictures(facts: Sequence[Facts]) -> list[Facts]:
    """Return the facts with gray pictures that have as many channels as the others, one or three (`with_channels`).

    Where a picture has no spacing, none has one: pictures are compared by their pixels.
    """
    colours = Counter(fact.num_channels for fact in facts if not fact.is_gray)
    usual = colours.most_common(1)[0][0] if colours else 1
    lacks = any(len(fact.shape) == 2 and not fact.spacing_mm for fact in facts)
    return [_settle(fact, usual, lacks) if len(fact.shape) == 2 else fact for fact in facts]


def _settle(fact: Facts, num_channels: int, lacks_spacing: bool) -> Facts:
    gray = fact.is_gray or (fact.num_channels == 1 and num_channels == 3)
    if gray:
        fact = replace(fact, num_channels=num_channels, percentiles=fact.percentiles[:1] * num_channels)
    return replace(fact, spacing_mm=()) if lacks_spacing else fact


def _odd_ones(facts: Sequence[Facts]) -> list[Problem]:
    """Return a problem for each image that is of another kind than most: a run needs one kind."""
    kinds: dict[str, Callable[[Facts], str]] = {
        "channels_differ": lambda fact: f"{fact.num_channels} channels",
        "axes_differ": lambda fact: f"{len(fact.shape)} axes",
        "missing_spacing": lambda fact: "a spacing" if fact.spacing_mm else "no spacing",
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
