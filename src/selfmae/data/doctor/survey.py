"""The survey: reads every image of a source once, and every mask if asked, for the plan and the data doctor."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mode

import numpy as np

from selfmae.data.case import Case
from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.dicom.series import check_series
from selfmae.data.doctor.checks import check_pair
from selfmae.data.doctor.duplicates import thumbnail
from selfmae.data.doctor.findings import REMEDIES, Facts, Finding, finding_of, from_content, make_finding, to_content
from selfmae.data.files.file_cache import FileCache, key_of_files
from selfmae.data.files.images import has_equal_channels, read_image
from selfmae.data.files.masks import count_values, read_mask
from selfmae.data.memory import NUM_THREADS, MemoryGate, float_bytes
from selfmae.errors import UserError

VERSION = "3"  # of what is found out about a case; a change makes older entries unknown
SAVED_EVERY = 500  # cases that are read again if the survey is interrupted

Examined = tuple[Facts | None, list[Finding]]
Progress = Callable[[int, int], None]

MAX_VOXELS = 1_000_000  # of one channel that percentiles are taken from; evenly spread over larger images
PERCENTILES = (0.5, 50, 99.5)
MAX_LABELS = 20  # different values that an image of which one thinks that it is a mask may have
MIN_BACKGROUND = 0.5  # part of such an image that is 0


def survey(
    cases: Sequence[Case], masks: bool, progress: Progress | None = None, cache: Path | None = None
) -> tuple[list[Facts], list[Finding]]:
    """Read every image (and every mask, if `masks`) and return facts and findings in the order of the cases.

    A case whose image cannot be read has a finding but no facts. `progress(done, total)` is called after each.
    Results are kept in the file `cache`, if given, and files that did not change since are not read again.
    """
    file_cache = FileCache(cache) if cache else None
    memory_gate = MemoryGate()
    facts: list[Facts] = []
    findings: list[Finding] = []
    used: set[str] = set()

    def one(case: Case) -> tuple[str, Examined]:
        files = [*case.images, *([case.target] if masks and isinstance(case.target, Path) else [])]
        key = key_of_files(files, VERSION, case.id) if file_cache else ""
        known = file_cache.get(key) if file_cache and key else None
        if known is not None:
            return key, (from_content(known["facts"]), [make_finding(*finding) for finding in known["findings"]])
        mask = float_bytes(case.target) if isinstance(case.target, Path) else 0
        with memory_gate.take(max(sum(map(float_bytes, case.images)), mask)):
            return key, examine_case(case, masks)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for done, (key, (fact, found)) in enumerate(pool.map(one, cases), start=1):
            facts += [fact] if fact else []
            findings += found
            if file_cache and key:
                used.add(key)
                _remember(file_cache, key, fact, found)
                if len(file_cache.added) >= SAVED_EVERY:
                    file_cache.save()
            if progress:
                progress(done, len(cases))
    if file_cache:
        file_cache.save(frozenset(used))
    facts = _settle_pictures(facts)
    return facts, [*findings, *_odd_ones(facts)]


def _remember(file_cache: FileCache, key: str, facts: Facts | None, findings: Sequence[Finding]) -> None:
    """Cache what was found, unless something could not be read: it may be readable next time."""
    unread = any(finding.code.startswith("unreadable") for finding in findings)
    if facts and not unread and file_cache.get(key) is None:
        # Without the fix where it is the code's own: its words may change.
        fixes = ["" if item.fix == REMEDIES[item.code][1] else item.fix for item in findings]
        entries = [(item.code, item.cases, item.cause, fix) for item, fix in zip(findings, fixes, strict=True)]
        file_cache.add(key, {"facts": to_content(facts), "findings": entries})


def _settle_pictures(facts: Sequence[Facts]) -> list[Facts]:
    """Return the facts, gray pictures with as many channels as the others, and no spacings where a picture has none."""
    colours = [fact.num_channels for fact in facts if not fact.is_gray]
    usual = mode(colours) if colours else 1
    lacks = any(len(fact.shape) == 2 and not fact.spacing_mm for fact in facts)
    settled = []
    for fact in facts:
        if len(fact.shape) == 2 and (fact.is_gray or (fact.num_channels == 1 and usual == 3)):
            fact = replace(fact, num_channels=usual, percentiles=fact.percentiles[:1] * usual)
        settled.append(replace(fact, spacing_mm=()) if len(fact.shape) == 2 and lacks else fact)
    return settled


def _odd_ones(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Yield a finding for each image that is of another kind than most: a run needs one kind."""
    kinds: dict[str, Callable[[Facts], str]] = {
        "channels_differ": lambda fact: f"{fact.num_channels} channels",
        "axes_differ": lambda fact: f"{len(fact.shape)} axes",
        "missing_spacing": lambda fact: "a spacing" if fact.spacing_mm else "no spacing",
    }
    for code, kind in kinds.items() if facts else ():
        usual = mode(map(kind, facts))
        for fact in facts:
            if kind(fact) != usual:
                yield make_finding(code, [fact.id], f"the image of {fact.id} has {kind(fact)}, most have {usual}")


def examine_case(case: Case, masks: bool) -> Examined:
    """Return facts, None where the image cannot be read, and findings; the mask is read only with `masks`."""
    findings: list[Finding] = []
    try:
        for path in filter(is_dicom, case.images):
            findings += [make_finding(code, [case.id], cause) for code, cause in check_series(path)]
        if any(finding.severity == "error" for finding in findings):
            return None, findings
        facts, affine, found = _examine_image(case)  # the image itself is not kept while the mask is read
    except UserError as error:
        return None, [*findings, finding_of(error.code or "unreadable_image", str(error), [case.id])]
    findings += found
    if masks and isinstance(case.target, Path):
        try:
            mask = read_mask(case.target)
            facts = replace(facts, mask_counts=count_values(mask.array), mask_hash=hash_voxels(mask.array[None]))
            findings += check_pair(case.id, facts.shape, affine, mask, str(case.target))
        except UserError as error:
            findings.append(finding_of(error.code or "unreadable_mask", str(error), [case.id]))
    return facts, findings


def hash_voxels(array: np.ndarray) -> str:
    """Return 16 bytes (hex) that tell whether two images [C, *S] have the same shape and float32 voxels."""
    digest = hashlib.blake2b(repr(tuple(array.shape)).encode(), digest_size=16)
    for channel in array:
        for plane in channel:  # so that no copy of the whole is made
            digest.update(np.ascontiguousarray(plane, dtype="<f4").data)
    return digest.hexdigest()


def _examine_image(case: Case) -> tuple[Facts, np.ndarray | None, list[Finding]]:
    image = read_image(case.images)
    array, is_gray = image.array, has_equal_channels(image)
    shown = array[:1] if is_gray else array
    facts = Facts(
        id=case.id,
        shape=array.shape[1:],
        num_channels=len(array),
        spacing_mm=image.spacing_mm,
        percentiles=tuple(_percentiles(channel) for channel in array),
        pixel_hash=hash_voxels(shown),
        mask_counts=(),
        looks_like_mask=_looks_like_mask(shown),
        is_gray=is_gray,
        thumbnail=thumbnail(array),
    )
    return facts, image.affine, list(_check_voxels(case, array))


def _check_voxels(case: Case, array: np.ndarray) -> Iterator[Finding]:
    lows, highs = (np.array([edge(channel) for channel in array]) for edge in (np.min, np.max))
    if not np.isfinite([lows, highs]).all():
        num_bad = sum(int(plane.size - np.isfinite(plane).sum()) for channel in array for plane in channel)
        text = f"the image {case.images[0]} has {num_bad} voxels that are not finite (NaN or infinite)"
        yield make_finding("not_finite", [case.id], text)
    elif (lows == highs).any():
        text = f"the image {case.images[0]} has the same value everywhere in a channel"
        yield make_finding("constant_image", [case.id], text)


def _spread(channel: np.ndarray) -> np.ndarray:
    """Return up to about a million voxels of a channel, evenly spread."""
    return channel.ravel()[:: max(1, channel.size // MAX_VOXELS)]


def _percentiles(channel: np.ndarray) -> tuple[float, float, float]:
    values = _spread(channel)
    values = values[np.isfinite(values)]
    low, middle, high = np.percentile(values, PERCENTILES) if values.size else (0.0, 0.0, 0.0)
    return float(low), float(middle), float(high)


def _looks_like_mask(array: np.ndarray) -> bool:
    """Return whether an image of one channel has few whole values and is mostly 0, as masks are and images are not."""
    if len(array) != 1:
        return False
    values = _spread(array[0])
    if np.count_nonzero(values == 0) < MIN_BACKGROUND * values.size:
        return False
    different = np.unique(values)
    return 2 <= different.size <= MAX_LABELS and bool((different == np.round(different)).all())
