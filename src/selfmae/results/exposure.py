"""What weights have seen: the images and patients trained on, those that chose the checkpoint, and what leaks of them.

Images are known by the hash of their voxels, patients and data sets by a digest of their name, so that a weight file
names nobody. Other data sets name patients 1, 2, 3 too: an equal name counts as the same patient only within a data
set, which is known again by the name of its folder or by an image in common.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfmae.data.case import Case
from selfmae.data.source import Source, case_rows
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.files import parse_metadata, read_table
from selfmae.results.formatting import plural
from selfmae.results.training_run import TrainingRun, by_init

STAMP = "TRANSDUCTIVE"
NUM_KEPT = 64  # hashes of images by which a data set is known again
SET_KEYS = ("images", "patients", "chosen_on_patients")
NUM_NAMED = 3  # cases that a sentence names
HINT = "train again with this split, or give --allow-transductive, which stamps every result TRANSDUCTIVE"
WAYS = {
    "image": "The weights of {origin} were trained on {images} of this split's val or test part ({named})",
    "patient": "The weights of {origin} were trained on images of the patients of {cases} of this split's val or "
    "test part ({named})",
    "choice": "The checkpoint of {origin} was chosen on {images} of this split's test part ({named})",
    "choice_patient": "The checkpoint of {origin} was chosen on images of the patients of {cases} of this "
    "split's test part ({named})",
}
NOTHING: frozenset[str] = frozenset()

Row = Mapping[str, str]
Leaks = dict[str, list[str]]  # way: ids


@dataclass(frozen=True)
class SetExposure:
    """What was seen of one data set: digests of patients, and the smallest hashes of images, to know the set again."""

    images: frozenset[str] = NOTHING
    patients: frozenset[str] = NOTHING
    choice_patients: frozenset[str] = NOTHING

    def __or__(self, other: "SetExposure") -> "SetExposure":
        """Return what both have seen of the set."""
        images = frozenset(sorted(self.images | other.images)[:NUM_KEPT])
        return SetExposure(images, self.patients | other.patients, self.choice_patients | other.choice_patients)


@dataclass(frozen=True)
class ExposureLog:
    """Hashes of the images trained on and of those that chose the checkpoint, and what is known of each data set.

    `unlisted` names the weight files that training began from and that do not list what they have seen.
    """

    images: frozenset[str] = NOTHING
    choice_images: frozenset[str] = NOTHING
    sets: Mapping[str, SetExposure] = field(default_factory=dict)
    unlisted: frozenset[str] = NOTHING

    def __or__(self, other: "ExposureLog") -> "ExposureLog":
        """Return what both have seen, as a model has seen what its initialization saw."""
        names = self.sets.keys() | other.sets.keys()
        sets = {name: self.sets.get(name, SetExposure()) | other.sets.get(name, SetExposure()) for name in names}
        choice_images = self.choice_images | other.choice_images
        return ExposureLog(self.images | other.images, choice_images, sets, self.unlisted | other.unlisted)

    def as_content(self) -> dict[str, Any]:
        """Return the keys of a metadata."""
        sets = {
            name: {key: sorted(value) for key, value in zip(SET_KEYS, vars(found).values(), strict=True)}
            for name, found in self.sets.items()
        }
        images = {"seen": sorted(self.images), "chosen_on": sorted(self.choice_images)}
        return images | {"seen_sets": sets, "unlisted": sorted(self.unlisted)}


def exposure_in(metadata: Mapping[str, Any]) -> ExposureLog:
    """Return what a metadata lists; files of other tools and of older versions list less, or nothing."""
    sets = {name: SetExposure(*_values_of(found, SET_KEYS)) for name, found in metadata.get("seen_sets", {}).items()}
    images, choice_images, unlisted = _values_of(metadata, ("seen", "chosen_on", "unlisted"))
    return ExposureLog(images, choice_images, sets, unlisted)


def _values_of(metadata: Mapping[str, Any], keys: Sequence[str]) -> list[frozenset[str]]:
    return [frozenset(metadata.get(key, ())) for key in keys]


def exposure_in_file(path: Path, metadata: Mapping[str, Any]) -> ExposureLog:
    """Return what the metadata of a file of weights lists, or that the file has none."""
    return exposure_in(metadata) if metadata else ExposureLog(unlisted=frozenset({path.name}))


def exposure_of(source: Source, trained: Iterable[Case], chosen: Iterable[Case]) -> ExposureLog:
    """Return what a training on some cases of a source, with its checkpoint chosen on others, has seen."""
    trained, chosen, hashes = list(trained), list(chosen), source.hashes
    images, choice_images = (frozenset(hashes[case.id] for case in cases) for cases in (trained, chosen))
    patients, choice_patients = (frozenset(digest(case.patient) for case in cases) for cases in (trained, chosen))
    found = SetExposure(frozenset(sorted(images)[:NUM_KEPT]), patients, choice_patients)
    return ExposureLog(images, choice_images, {digest(set_name(source.cases.source)): found})


def digest(name: str) -> str:
    """Return 16 hexadecimal digits for a name, of which the name cannot be read."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def set_name(source: Path) -> str:
    """Return the name of a data set: of its folder, but of an archive its own."""
    source = source.absolute()
    is_table = source.name.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".json"))
    return source.parent.name if is_table else source.stem


def find_leaks(seen: ExposureLog, rows: Sequence[Row], name: str) -> Leaks:
    """Return how weights know cases that are held out: the ids of these cases for each of `WAYS` that occurs.

    Nothing of val and test may have been trained on, and test cases may not have chosen the checkpoint either. `rows`
    are all cases of the data set called `name`, with id, patient, split and hash.
    """
    hashes = {row["hash"] for row in rows}
    related = [found for key, found in seen.sets.items() if key == digest(name) or found.images & hashes]
    patients = frozenset[str]().union(*(found.patients for found in related))
    choice_patients = frozenset[str]().union(*(found.choice_patients for found in related))
    found: Leaks = {}
    for row in (row for row in rows if row["split"] in ("val", "test")):
        is_test = row["split"] == "test"
        ways = {
            "image": row["hash"] in seen.images,
            "patient": digest(row["patient"]) in patients,
            "choice": is_test and row["hash"] in seen.choice_images,
            "choice_patient": is_test and digest(row["patient"]) in choice_patients,
        }
        first = next((way for way in WAYS if ways[way]), None)
        if first:
            found.setdefault(first, []).append(row["id"])
    return found


def tell_leaks(leaks: Leaks, origin: str) -> list[str]:
    """Return one sentence, without its full stop, for each way in which weights know cases that are held out."""
    sentences = []
    for way in (way for way in WAYS if way in leaks):
        ids = sorted(set(leaks[way]))
        named = ", ".join(ids[:NUM_NAMED]) + (", ..." if len(ids) > NUM_NAMED else "")
        counts = {"images": plural(len(ids), "image"), "cases": plural(len(ids), "case")}
        sentences.append(WAYS[way].format(origin=origin, named=named, **counts))
    return sentences


def check_unseen(source: Source, seen: ExposureLog, origin: str) -> list[str]:
    """Return how weights know cases of the source's val or test part; raise if they do and the source forbids it."""
    sentences = tell_leaks(find_leaks(seen, case_rows(source), set_name(source.cases.source)), origin)
    return allow(sentences, source.transductive)


def check_models(runs: Sequence[TrainingRun], allowed: bool) -> list[str]:
    """Return how the models of these training runs, by initialization, know the cases they are evaluated on; or raise.

    What a model's initialization had seen counts as seen by the model. Masks of another tool are no model: what it has
    seen is not known.
    """
    sentences: list[str] = []
    for init, models in by_init(run for run in runs if not run.is_scored).items():
        known: Leaks = {}
        for run in models:
            metadata = read_header(run.folder / "model.safetensors")
            source = Path(metadata.get("recipe", {}).get("data", {}).get("source", ""))
            leaks = find_leaks(exposure_in(metadata), read_table(run.folder / "cases.csv"), set_name(source))
            for way, ids in leaks.items():
                known.setdefault(way, []).extend(ids)
        sentences += tell_leaks(known, init)
    return allow(sentences, allowed)


def unlisted_in(runs: Sequence[TrainingRun]) -> dict[str, list[str]]:
    """Return the files that the models of each initialization began from and that do not list what they have seen."""
    found: dict[str, set[str]] = {}
    for run in (run for run in runs if not run.is_scored):
        seen = exposure_in(read_header(run.folder / "model.safetensors"))
        found.setdefault(run.init, set()).update(seen.unlisted)
    return {init: sorted(names) for init, names in found.items() if names}


def allow(sentences: Sequence[str], allowed: bool) -> list[str]:
    """Return the sentences with full stops if leaks are allowed; raise them as one error if not."""
    if sentences and not allowed:
        raise UserError(f"{'; '.join(sentences)}: the score would be too good; {HINT}.")
    return [f"{text}." for text in sentences]


def say_leakage(sentences: Sequence[str], display: Display) -> str:
    """Print how models know the cases they were evaluated on; return the stamp for the titles of tables, or ""."""
    for text in sentences:
        display.say(f"{STAMP}: {text}")
    return f"{STAMP}: " if sentences else ""


def read_header(path: Path) -> dict[str, Any]:
    """Return the metadata of a safetensors file without torch, which `report` need not wait for; {} if it has none."""
    if not path.is_file():
        raise UserError(f"Weights were expected in {path}, but there is no such file: check the path.")
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return parse_metadata(header.get("__metadata__", {}), path)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} could not be read as safetensors: the file is damaged; copy it again.") from error
