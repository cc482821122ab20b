"""AUC and its companions: one wide row a case, and the summary of several findings or of exclusive classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

CONVENTIONS = {
    "mean_auc": "Area under the ROC curve, averaged over the findings that have both outcomes; the others are listed "
    "as undefined, never counted as 0.",
    "macro_auc": "Area under the ROC curve of each class against the rest, averaged over the classes that have both "
    "outcomes; for two classes this is the AUC.",
    "mean_average_precision": "Average precision (area under the precision-recall steps), averaged over the findings "
    "that have both outcomes.",
    "brier": "Squared difference of probability and truth, averaged over cases and findings; 0 is best.",
    "accuracy_at_half": "Share of cases that the threshold 0.5 decides rightly; 0.5 itself counts as positive.",
    "sensitivity_at_half": "Share of positive cases with a probability of at least 0.5.",
    "specificity_at_half": "Share of negative cases with a probability below 0.5.",
    "accuracy": "Share of cases whose most probable class is the true one.",
    "balanced_accuracy": "Share of each true class's cases that are recognised, averaged over the classes that occur.",
}


def score_multilabel(names: Sequence[str], truth: Sequence[float], probability: Sequence[float]) -> dict[str, float]:
    """Return the row of one case: the truth (0 or 1) and the probability of every finding or class."""
    truths = {f"truth_{name}": float(value) for name, value in zip(names, truth, strict=True)}
    return truths | {f"probability_{name}": float(value) for name, value in zip(names, probability, strict=True)}


def summarise_multilabel(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of findings that may occur together; a single finding also has its rates at 0.5."""
    truth, probability = _tables(rows, names)
    labels = _score_labels(truth, probability, names)
    metrics = {
        "mean_auc": _mean_over(labels, "auc"),
        "mean_average_precision": _mean_over(labels, "average_precision"),
        "brier": float(np.mean((probability - truth) ** 2)) if truth.size else None,
    }
    if len(names) == 1:
        right = (probability >= 0.5) == truth
        metrics["accuracy_at_half"] = _share(right)
        metrics["sensitivity_at_half"] = _share(right[truth])
        metrics["specificity_at_half"] = _share(right[~truth])
    return _summary(rows, labels, metrics)


def summarise_multiclass(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of classes of which each case has exactly one."""
    truth, probability = _tables(rows, names)
    labels = _score_labels(truth, probability, names)
    true, predicted = truth.argmax(axis=1), probability.argmax(axis=1)
    # Recall over the classes that occur is the balanced accuracy, without its warning about the others.
    recall = recall_score(true, predicted, labels=np.unique(true), average="macro") if len(rows) else None
    metrics = {
        "macro_auc": _mean_over(labels, "auc"),
        "accuracy": _share(true == predicted),
        "balanced_accuracy": None if recall is None else float(recall),
    }
    return _summary(rows, labels, metrics)


def _tables(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return truth (bool) and probability, both [cases, names]."""
    truth = np.array([[row[f"truth_{name}"] for name in names] for row in rows]).reshape(len(rows), len(names))
    probability = np.array([[row[f"probability_{name}"] for name in names] for row in rows])
    return truth > 0.5, probability.reshape(truth.shape)


def _score_labels(truth: np.ndarray, probability: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return AUC and average precision of each name, None without both outcomes, and the number of each outcome."""
    labels = {}
    for column, name in enumerate(names):
        true, scores = truth[:, column], probability[:, column]
        num_positive = int(true.sum())
        defined = 0 < num_positive < len(true)
        labels[name] = {
            "auc": float(roc_auc_score(true, scores)) if defined else None,
            "average_precision": float(average_precision_score(true, scores)) if defined else None,
            "num_positive": num_positive,
            "num_negative": len(true) - num_positive,
        }
    return labels


def _summary(
    rows: Sequence[dict[str, Any]], labels: dict[str, dict[str, Any]], metrics: dict[str, float | None]
) -> dict[str, Any]:
    return {
        "num_cases": len(rows),
        "num_patients": len({row["patient"] for row in rows}),
        "metrics": metrics,
        "labels": labels,
        "undefined": [name for name, label in labels.items() if label["auc"] is None],
        "conventions": {name: CONVENTIONS[name] for name in metrics},
    }


def _mean_over(labels: dict[str, dict[str, Any]], measure: str) -> float | None:
    """Return the mean over the names that define a measure, None if none does."""
    defined = [label[measure] for label in labels.values() if label[measure] is not None]
    return float(np.mean(defined)) if defined else None


def _share(right: np.ndarray) -> float | None:
    return float(right.mean()) if right.size else None
