"""What a plan must know of a source: sizes, spacings, channels and numbers, from the survey of its images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfmae.data.case import Cases
from selfmae.data.doctor.facts import Facts
from selfmae.errors import UserError


@dataclass(frozen=True)
class Fingerprint:
    """Medians and ranges over the images of the training part; shapes in voxels, spacings in mm."""

    num_train: int
    num_channels: int
    median_shape: tuple[int, ...]
    min_shape: tuple[int, ...]
    max_shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]  # median; () where the files have none
    spacing_varies: bool  # by more than 1 %
    looks_like_ct: bool  # one channel that reaches from air far below 0 to bone: Hounsfield units


def take_fingerprint(cases: Cases, facts: Sequence[Facts]) -> Fingerprint:
    """Return the fingerprint of the train part; val and test images have no say in the plan."""
    train = {case.id for case in cases.part("train")}
    facts = [fact for fact in facts if fact.id in train]
    if not facts and {case.split for case in cases.cases} <= {"unlabelled", "unused"}:
        raise UserError(
            f"{cases.source} has no labelled case, but a plan needs some: add masks or labels; the notes of `selfmae "
            "inspect` say what was taken for one, and what was not."
        )
    if not facts:
        raise UserError(
            "There is no training case to plan from: all are copies of val or test images, or left out; see what "
            "`selfmae inspect SOURCE` says of duplicates."
        )
    shapes = np.array([fact.shape for fact in facts])
    spacings = np.array([fact.spacing_mm for fact in facts])
    lows = np.array([fact.percentiles[0][0] for fact in facts])
    return Fingerprint(
        num_train=len(facts),
        num_channels=len(cases.channels),
        median_shape=tuple(int(extent) for extent in np.median(shapes, axis=0)),
        min_shape=tuple(int(extent) for extent in shapes.min(axis=0)),
        max_shape=tuple(int(extent) for extent in shapes.max(axis=0)),
        spacing_mm=tuple(round(float(step), 4) for step in np.median(spacings, axis=0)),
        spacing_varies=bool(spacings.size and (np.ptp(spacings, axis=0) > 0.01 * spacings.mean(axis=0)).any()),
        looks_like_ct=len(cases.channels) == 1 and float(np.median(lows)) < -500,
    )
