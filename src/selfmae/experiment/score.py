"""Scores of masks that any tool made, with the metrics and file formats of our own models."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from selfmae.data.files import is_image, stem_of
from selfmae.data.files.masks import Mask, read_mask
from selfmae.display import Display
from selfmae.errors import UserError, first_of
from selfmae.experiment.evaluate import show_summary
from selfmae.files import write_json, write_table
from selfmae.metrics.segmentation import score_masks, summarise_masks
from selfmae.recipe import read_content

Labels = Mapping[str, tuple[int, ...]]
NUM_NAMED = 50  # files that a sentence names
MAX_SHIFT = 0.1  # of a voxel, between the corners of two grids that count as one


def score(pred: Path, truth: Path, labels_file: Path | None, out: Path | None, display: Display) -> dict[str, Any]:
    """Score the masks of `pred` against those of `truth` that have the same names; return the summary.

    Without `labels_file` the labels are the values found in `truth`. `out` gets rows-test.csv, summary-test.json and
    environment.json, as a fine-tuned model has them; its name is that of the initialization in a comparison.
    """
    if out is not None and (out.is_file() or (out.exists() and any(out.iterdir()))):
        problem = "is a file" if out.is_file() else "holds files already"
        raise UserError(f"--out {out} {problem}, and scores overwrite nothing: choose a new folder.")
    pairs = pair_masks(pred, truth)
    labels = read_labels(labels_file) if labels_file else find_labels([true for _, true in pairs.values()])
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    values: set[int] = set()
    with display.stage("scoring", len(pairs)) as stage:
        for done, (name, (guess, true)) in enumerate(pairs.items(), start=1):
            predicted, known = read_mask(guess), read_mask(true)
            values |= {int(value) for value in np.unique(known.array)} - {0}
            problem = grid_problem(predicted, known)
            if problem:
                problems.append(f"{name}: {problem}")
            else:
                scores = score_masks(predicted.array, known.array, labels, known.spacing_mm)
                rows.append({"id": name, "patient": name} | scores)
            stage.update(done)
    if problems:
        raise UserError(
            f"{len(problems)} of {len(pairs)} predictions do not lie on the grid of their truth "
            f"({first_of(problems, NUM_NAMED, '; ')}): resample them onto it with nearest neighbours."
        )
    _check_values(labels, values, display)
    summary = {"split": "test"} | summarise_masks(rows, list(labels))
    if out is not None:
        write_table(out / "rows-test.csv", rows)
        write_json(out / "summary-test.json", summary)
        init = {"kind": "score", "name": out.resolve().name}
        values_of = {name: list(values) for name, values in labels.items()}
        facts = {"init": init, "labels": values_of, "versions": {"selfmae": version("selfmae")}}
        write_json(out / "environment.json", facts)
    show_summary(summary, display)
    return summary


def pair_masks(pred: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Return prediction and truth of each case by its name; raise one error with all that lack or are too many."""
    guesses, truths = _masks_in(pred, "--pred"), _masks_in(truth, "--truth")
    missing, extra = sorted(truths.keys() - guesses.keys()), sorted(guesses.keys() - truths.keys())
    lonely = ((missing, f"masks of {truth} have no prediction"), (extra, f"predictions have no mask in {truth}"))
    problems = [f"{len(names)} {said} ({first_of(names, NUM_NAMED)})" for names, said in lonely if names]
    if problems:
        raise UserError(f"--pred {pred}: {', and '.join(problems)}: give each prediction the name of its truth.")
    return {name: (guesses[name], truths[name]) for name in sorted(truths)}


def read_labels(path: Path) -> Labels:
    """Return name and mask values of each label or region of a YAML or JSON file; "labels" of dataset.json will do."""
    if not path.is_file():
        raise UserError(f"--labels {path}: there is no such file: check the path.")
    content = read_content(path, "file of labels")
    content = content["labels"] if isinstance(content.get("labels"), dict) else content
    if any(isinstance(value, str) for value in content.values()):  # Medical Segmentation Decathlon: value: name
        content = {str(name): int(value) if str(value).isdigit() else value for value, name in content.items()}
    labels = {
        str(name): tuple(value) if isinstance(value, list) else (value,)
        for name, value in content.items()
        if value not in (0, [0])
    }
    wrong = [name for name, values in labels.items() if not values or not all(map(_is_mask_value, values))]
    if wrong or not labels:
        raise UserError(
            f"--labels {path} must give each name a mask value above 0 or a list of them, as in `tumour: [1, 2]`, but "
            f"{first_of(wrong, NUM_NAMED) if wrong else 'nothing'} is there: correct the file."
        )
    return labels


def _is_mask_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_values(labels: Labels, found: set[int], display: Display) -> None:
    """Say what of the labels and of the true masks has no counterpart in the other; raise if nothing has."""
    named = {value for values in labels.values() for value in values}
    if not named & found:
        raise UserError(
            f"--labels names the mask values {first_of(sorted(named), NUM_NAMED)}, but the true masks hold "
            f"{first_of(sorted(found), NUM_NAMED) or 'none'}: give the values of the masks."
        )
    for values, where in ((named - found, "in no true mask"), (found - named, "in true masks, but not in --labels")):
        if values:
            display.say(f"Note: mask values {where}: {first_of(sorted(values), NUM_NAMED)}.")


def find_labels(paths: Sequence[Path]) -> Labels:
    """Return the values above 0 in these masks, named as those of a source that names none."""
    found = sorted({int(value) for path in paths for value in np.unique(read_mask(path).array) if value > 0})
    if not found:
        raise UserError(f"The {len(paths)} masks of --truth hold no value above 0: check the path.")
    return {f"label_{value}": (value,) for value in found}


def grid_problem(prediction: Mask, truth: Mask) -> str:
    """Return how the grid of a prediction differs from that of its truth, "" if it does not; both in RAS order."""
    if prediction.array.shape != truth.array.shape:
        return f"its size is {list(prediction.array.shape)}, that of the truth {list(truth.array.shape)}"
    if prediction.affine is None or truth.affine is None:
        return ""
    steps = [np.linalg.norm(mask.affine[:3, :3], axis=0) for mask in (prediction, truth)]  # type: ignore[index]
    if not np.allclose(steps[0], steps[1], rtol=1e-3):
        theirs, ours = ([round(float(step), 4) for step in axes] for axes in steps)
        return f"its spacing is {theirs} mm, that of the truth {ours} mm"
    corners = np.array([[0, 0, 0, 1], [*(extent - 1 for extent in truth.array.shape), 1]]).T
    shift = np.abs(prediction.affine @ corners - truth.affine @ corners).max()
    if shift > MAX_SHIFT * steps[1].min():
        return f"it lies {shift:.3g} mm beside the truth"
    return ""


def _masks_in(folder: Path, flag: str) -> dict[str, Path]:
    """Return the masks of a folder by their names without ending."""
    if not folder.is_dir():
        raise UserError(f"{flag} {folder} must be a folder of masks, but there is none: check the path.")
    masks: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and is_image(path)):
        other = masks.setdefault(stem_of(path), path)
        if other != path:
            raise UserError(f"{flag} {folder} holds {other.name} and {path.name}, but a case has one mask: remove one.")
    if not masks:
        raise UserError(f"{flag} {folder} holds no masks (NIfTI, NRRD, MHA, PNG, TIFF, .npy): check the path.")
    return masks
