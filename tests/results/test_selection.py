"""Which training runs a verdict compares: seeds that finished every fold, or folds that all initializations have."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from selfmae.errors import UserError
from selfmae.results.selection import keep_complete
from selfmae.results.training_run import TrainingRun


def runs_of(*ended: tuple[str, int, int]) -> list[TrainingRun]:
    return [TrainingRun(init, fold, seed, Path(f"{init}/fold{fold}/seed{seed}")) for init, fold, seed in ended]


def kept(runs: Sequence[TrainingRun]) -> list[tuple[str, int, int]]:
    return [(run.init, run.fold, run.seed) for run in keep_complete(runs, ())]


def test_a_seed_that_lacks_a_fold_is_left_out() -> None:
    whole = [("scratch", 0, 0), ("scratch", 1, 0), ("mae", 0, 0), ("mae", 1, 0)]
    assert kept(runs_of(*whole, ("mae", 0, 1))) == whole


def test_a_fold_that_an_initialization_lacks_is_left_out_for_all() -> None:
    assert kept(runs_of(("scratch", 0, 0), ("scratch", 1, 0), ("mae", 0, 0))) == [("scratch", 0, 0), ("mae", 0, 0)]


def test_an_initialization_without_a_common_fold_is_told() -> None:
    with pytest.raises(UserError, match="has no seed that finished the folds which the others finished"):
        kept(runs_of(("scratch", 0, 0), ("scratch", 1, 0), ("mae", 0, 0), ("mae", 1, 1)))
