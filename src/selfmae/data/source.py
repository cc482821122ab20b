"""The source of a recipe: its cases with every part of the split, the content of each image, what is wrong with it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from selfmae.data.case import SPLITS, Case, Cases, complete_splits, leave_out_copies, patient_finder, patients_of
from selfmae.data.doctor.checks import examine
from selfmae.data.doctor.duplicates import copy_keys
from selfmae.data.doctor.findings import Facts, Finding, raise_on_errors
from selfmae.data.doctor.survey import survey
from selfmae.data.files.file_cache import default_cache, key_of
from selfmae.data.folds import Folding, make_fold, split_like_monai
from selfmae.data.sources import read_source
from selfmae.data.unlabelled import Further, check_further, check_patients, join_patients, names_tell, read_further
from selfmae.display import Display
from selfmae.errors import UserError
from selfmae.files import read_table, write_table
from selfmae.networks import crop_steps, has_vit, network_name
from selfmae.options import DataOptions, Recipe


@dataclass(frozen=True)
class Source:
    """Cases whose files were read and checked."""

    cases: Cases
    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    copies: Mapping[str, str] = field(default_factory=dict)  # a key by case id, equal for copies of one image
    transductive: bool = False  # weights that saw val or test cases are let in; results are stamped

    @property
    def hashes(self) -> dict[str, str]:
        """Content hash of each case's image, equal for equal voxels in whatever file."""
        return {fact.id: fact.pixel_hash for fact in self.facts}


def load_cases(options: DataOptions, splits: Path | None = None) -> Cases:
    """Read a source and the further unlabelled images, apply the split table if there is one, draw the missing parts.

    Raises `UserError` where these images show patients of the val or test part. They have no say in what is drawn.
    """
    found = read_cases(options, splits)
    cases, drawn = complete_splits(found.cases, options.split_seed, options.test_fraction, options.val_fraction)
    check_patients(cases, [case for case in found.cases if case.id in found.origins], found.origins)
    return replace(found, cases=tuple(cases), notes=(*found.notes, *drawn))


def read_cases(options: DataOptions, splits: Path | None = None) -> Cases:
    """Return all cases of a source and of `data.unlabelled`, with the parts that the source or a split table gives."""
    found = read_source(options.source, options.layout)
    further = read_further(options.unlabelled, found, options.patient_pattern) if options.unlabelled else None
    return assign_parts(found, options, splits, further)


def assign_parts(
    found: Cases, options: DataOptions, splits: Path | None = None, further: Further | None = None
) -> Cases:
    """Return the cases with patients named by the pattern and parts given by the split table, if there are such.

    Those of `further` join them; the split table may list them, and need not.
    """
    notes, cases = list(found.notes), list(found.cases)
    if options.patient_pattern:
        cases = name_patients(cases, options.patient_pattern)
        notes.append(f"Patients are named by data.patient_pattern: {len(patients_of(cases))} of {len(cases)} cases.")
    table = splits or (Path(options.splits) if options.splits else None)
    if options.split == "monai" and not table:
        cases = split_like_monai(cases)
        notes.append("Train and test are those of MONAI's CrossValidation (5 folds, seed 12345, fold 0).")
    if further:
        found = replace(found, origins=further.origins, findings=(*found.findings, *further.findings))
        cases, notes = [*cases, *further.cases], [*notes, *further.notes]
    if table:
        cases, unlisted = apply_splits(cases, table, found.origins)
        if unlisted:
            notes.append(f"{unlisted} cases are not listed in {table.name} and are left out (unused).")
    if further:
        cases = join_patients(cases, further, bool(options.patient_pattern or table) or names_tell(found))
    return replace(found, cases=tuple(cases), notes=tuple(notes))


def name_patients(cases: Sequence[Case], pattern: str) -> list[Case]:
    """Return the cases with the patient that the pattern finds in each id; raise where it finds none."""
    patients = list(map(patient_finder(pattern), (case.id for case in cases)))
    missed = [case.id for case, patient in zip(cases, patients, strict=True) if not patient]
    if missed:
        raise UserError(
            f"data.patient_pattern '{pattern}' must find a patient in every id, but finds none in {len(missed)} of "
            f"{len(cases)} (first: {missed[0]!r}): correct it; `selfmae inspect SOURCE --json` lists the ids."
        )
    return [replace(case, patient=patient) for case, patient in zip(cases, patients, strict=True)]


def examine_source(cases: Cases, masks: bool, display: Display) -> Source:
    """Read every image that takes part (and every mask, if asked) and return what is wrong among the findings."""
    taking_part = cases.part("train", "val", "test", "unlabelled")
    cache = default_cache() / "survey" / f"{key_of(str(cases.source.absolute()))}.jsonl"
    with display.stage("reading the images", len(taking_part)) as stage:
        facts, found = survey(taking_part, masks, lambda done, total: stage.update(done), cache)
    check_further(cases, facts)
    findings = examine(cases, facts, found)
    copies = copy_keys(facts)
    kept = leave_out_copies(cases.cases, copies)
    return Source(replace(cases, cases=tuple(kept)), tuple(facts), tuple(findings), copies)


def checked_source(cases: Cases, masks: bool, display: Display) -> Source:
    """Return the examined source; raise one `UserError` with all that is wrong."""
    source = examine_source(cases, masks, display)
    raise_on_errors(source.findings)
    return source


def check_fits(recipe: Recipe, cases: Cases) -> None:
    """Raise if the recipe was made for other labels or channels than the source has."""
    target, labels = recipe.target, cases.labels
    if (target.kind, target.names) != (labels.kind, labels.names):
        made, found = f"{target.kind} {list(target.names)}", f"{labels.kind} {list(labels.names)}"
    elif target.values != labels.values:
        made, found = f"the mask values {list(target.values)}", f"the mask values {list(labels.values)}"
    elif recipe.data.channels != cases.channels:
        made, found = f"the channels {list(recipe.data.channels)}", f"{list(cases.channels)}"
    else:
        return
    raise UserError(
        f"The recipe was made for {made}, but {recipe.data.source} has {found}: make a recipe for this source with "
        "`selfmae plan`."
    )


def check_crop(recipe: Recipe, source: Source) -> None:
    """Raise if the crop is more than a patch larger than every training image: samples would be mostly padding."""
    from selfmae.data.preparation.prepare import prepared_shape  # loads torch, seconds that `inspect` need not wait for

    data, training = recipe.data, {case.id for case in source.cases.part("train", "unlabelled")}
    shapes = [prepared_shape(fact.shape, fact.spacing_mm, data) for fact in source.facts if fact.id in training]
    largest, network = [max(extents) for extents in zip(*shapes, strict=True)], network_name(recipe)
    steps = crop_steps(network, recipe.model.patch)
    if any(crop > extent + step for crop, step, extent in zip(data.crop, steps, largest, strict=False)):
        remedy = "" if has_vit(recipe) else f", or choose another network where {network} takes no smaller one"
        raise UserError(
            f"data.crop {list(data.crop)} is more than a patch larger than the largest training image {largest} "
            f"(voxels after preparation): make data.crop smaller{remedy}."
        )


def apply_splits(cases: Sequence[Case], table: Path, origins: Collection[str] = ()) -> tuple[list[Case], int]:
    """Give each case the patient and split that a table (columns id, patient, split) lists; count those it does not.

    These are "unused" but for further unlabelled images (ids `origins`), which stay as they are and do not count.
    """
    if not table.is_file():
        raise UserError(f"data.splits names {table}, but there is no such file: check the path.")
    rows = {row.get("id", ""): row for row in read_table(table)}
    wrong = sorted({row.get("split", "") or "" for row in rows.values()} - set(SPLITS))
    full = bool(rows) and all("patient" in row and "split" in row for row in rows.values())
    if wrong or not full:
        problem = f"has the split {wrong[0]!r}" if wrong else "lacks a column" if rows else "holds no row"
        raise UserError(
            f"{table} must have the columns id, patient, split with the splits {', '.join(SPLITS[:-1])}, "
            f"but {problem}: correct the table."
        )
    unknown = sorted(set(rows) - {case.id for case in cases})
    if unknown:
        raise UserError(
            f"{table} lists {len(unknown)} cases that the source does not have (first: {unknown[0]!r}): "
            "correct the ids; `selfmae inspect SOURCE --json` lists them."
        )
    unlisted = {case.id for case in cases} - rows.keys() - set(origins)
    listed = [case if case.id not in rows else _as_listed(case, rows[case.id]) for case in cases]
    return [replace(case, split="unused") if case.id in unlisted else case for case in listed], len(unlisted)


def _as_listed(case: Case, row: Mapping[str, str]) -> Case:
    return replace(case, patient=row["patient"], split=row["split"])


def fold_of(source: Source, fold: int, folding: Folding, options: DataOptions) -> Source:
    """Return the source with the split of one fold; a single fold is the split that the source has."""
    if folding.num_folds == 1:
        return source
    present = {fact.id: [value for value, _ in fact.mask_counts if value] for fact in source.facts}
    cases = make_fold(source.cases.cases, fold, folding, options.split_seed, options.val_fraction, present)
    return replace(source, cases=replace(source.cases, cases=tuple(leave_out_copies(cases, source.copies))))


def write_cases(path: Path, source: Source, fold: int = 0) -> None:
    """Save who is in which part: id, patient, split, fold and content hash; raise if the file there says otherwise."""
    if path.exists():
        check_cases(path, source, fold)
    else:
        write_table(path, case_rows(source, fold))


def check_cases(path: Path, source: Source, fold: int) -> None:
    """Raise if the cases that a folder was begun with, or their parts, are not those of the source."""
    ours, theirs = ({tuple(row.items()) for row in table} for table in (case_rows(source, fold), read_table(path)))
    changed = sorted(dict(row)["id"] for row in ours ^ theirs)
    if changed:
        raise UserError(
            f"{path.parent} was begun with other images, another split or another --folds (first difference: case "
            f"{changed[0]!r}, see {path.name}): choose another --out, or restore what was changed."
        )


def case_rows(source: Source, fold: int = 0) -> list[dict[str, str]]:
    """Return the rows of `cases.csv`."""
    found, cases = source.hashes, source.cases.cases
    return [
        {"id": case.id, "patient": case.patient, "split": case.split, "fold": str(fold), "hash": found.get(case.id, "")}
        for case in cases
    ]


def count_splits(cases: Cases) -> dict[str, dict[str, int]]:
    """Return cases and patients of each part of the split."""
    parts = {split: cases.part(split) for split in SPLITS}
    return {split: {"cases": len(part), "patients": len(patients_of(part))} for split, part in parts.items() if part}
