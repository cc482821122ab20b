"""Scores of all test cases together, as functions of the weight of each case, so that cases can be resampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """A score of all cases together: case weights [R, n] of R resamples -> scores [R], larger is better.

    A resample that defines none gives nan. `deciding` [n] marks the cases whose number limits how well the score is
    known: those that have a value, or for AUC those with the rarer outcome.
    """

    of: Callable[[np.ndarray], np.ndarray]
    deciding: np.ndarray

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the score of each resample."""
        return self.of(weights)


def mean_score(values: np.ndarray) -> Score:
    """Return the score that is the weighted mean of one value a case [n], leaving out nan."""
    defined = np.isfinite(values).astype(float)
    filled = np.where(defined, values, 0)
    return Score(lambda weights: _ratio(weights @ filled, weights @ defined), defined > 0)


def mean_auc_score(truth: np.ndarray, probability: np.ndarray, models: Sequence[int] | None = None) -> Score:
    """Return the score that is the weighted AUC of `truth` [n, F], averaged over findings with both outcomes.

    `models` [n] tells which model scored a case (the folds of a cross-validation). AUC is then the share of pairs among
    those scored by one model: the mean of the folds' AUCs, weighted by their pairs. Probabilities of different models
    are on different scales, and pooling them biases AUC, most where each case is left out alone (Airola et al. 2011,
    Comput. Stat. Data Anal. 55:1828). A finding of which no model scored both outcomes has pooled pairs all the same.
    """
    folds = np.zeros(len(truth), dtype=int) if models is None else np.asarray(models)
    findings = zip(truth.T > 0.5, probability.T, strict=True)
    items = [(positive, scores, _comparable(positive, folds)) for positive, scores in findings]
    rarer = [_rarer(positive, np.concatenate(groups)) for positive, _, groups in items]
    return Score(
        lambda weights: _mean_of_defined([_weighted_auc(*item, weights) for item in items]), np.any(rarer, axis=0)
    )


def mean_of_scores(scores: Sequence[Score]) -> Score:
    """Return the score that is the mean of several on the same cases (the repeats of a cross-validation)."""
    deciding = np.any([score.deciding for score in scores], axis=0)
    return Score(lambda weights: _mean_of_defined([score(weights) for score in scores]), deciding)


def _mean_of_defined(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean [R] of several scores [R], leaving out nan."""
    table = np.stack(scores)
    defined = np.isfinite(table)
    return _ratio(np.where(defined, table, 0).sum(axis=0), defined.sum(axis=0))


def _rarer(positive: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return which cases [n] have the outcome that fewer of those at `indices` have, none if all have the same."""
    compared = np.isin(np.arange(len(positive)), indices)
    return min((compared & positive, compared & ~positive), key=np.count_nonzero)


def _comparable(positive: np.ndarray, folds: np.ndarray) -> list[np.ndarray]:
    """Return the indices of each fold that has both outcomes, or of all cases together if none has."""
    indices = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    both = [items for items in indices if 0 < positive[items].sum() < len(items)]
    return both or [np.arange(len(folds))]


def _weighted_auc(
    truth: np.ndarray, probability: np.ndarray, groups: Sequence[np.ndarray], weights: np.ndarray
) -> np.ndarray:
    """Return the AUC [R] of one finding [n] for each row of weights [R, n], nan without weight on both outcomes.

    It is the share of pairs within the groups, by weight, in which the positive case has the larger probability.
    """
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for indices in groups:
        more = _won_pairs(truth[indices], probability[indices], weights[:, indices])
        won, pairs = won + more[0], pairs + more[1]
    return _ratio(won, pairs)


def _won_pairs(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight [R] of pairs whose positive case has the larger probability, ties by half, and of all pairs."""
    negatives = np.flatnonzero(~truth)
    negatives = negatives[np.argsort(probability[negatives])]
    below = np.zeros((len(weights), len(negatives) + 1))
    np.cumsum(weights[:, negatives], axis=1, out=below[:, 1:])
    positive_weights = weights[:, truth]
    won = np.zeros(len(weights))
    for side in ("left", "right"):
        indices = np.searchsorted(probability[negatives], probability[truth], side=side)
        won += (positive_weights * below[:, indices]).sum(axis=1) / 2
    return won, positive_weights.sum(axis=1) * below[:, -1]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return above / below, nan where below is 0."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
