"""AUC and its companions against scikit-learn and counts by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from selfmae.metrics.classification import score_multilabel, summarise_multiclass, summarise_multilabel


def rows_of(names: list[str], truth: np.ndarray, probability: np.ndarray) -> list[dict]:
    """Return rows of which two at a time share a patient."""
    return [
        {"id": f"c{i}", "patient": f"p{i // 2}"} | score_multilabel(names, t, p)
        for i, (t, p) in enumerate(zip(truth, probability, strict=True))
    ]


def findings(num: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random((num, 2)) < 0.4).astype(float), rng.random((num, 2)).round(1)


def test_a_row_holds_truth_and_probability_of_each_finding() -> None:
    row = score_multilabel(["mass", "oedema"], [0, 1], np.array([0.25, 0.5], np.float32))
    assert row == {"truth_mass": 0, "truth_oedema": 1, "probability_mass": 0.25, "probability_oedema": 0.5}
    assert all(type(value) is float for value in row.values())


def test_findings_equal_scikit_learn() -> None:
    truth, probability = findings()
    metrics = summarise_multilabel(rows_of(["a", "b"], truth, probability), ["a", "b"])["metrics"]
    assert metrics["mean_auc"] == pytest.approx(roc_auc_score(truth, probability, average="macro"))
    assert metrics["mean_average_precision"] == pytest.approx(average_precision_score(truth, probability))
    assert metrics["brier"] == pytest.approx(((truth - probability) ** 2).mean())
    assert "accuracy_at_half" not in metrics


def test_a_finding_without_both_outcomes_is_listed_and_left_out() -> None:
    truth, probability = findings()
    truth[:, 1] = 1
    summary = summarise_multilabel(rows_of(["a", "b"], truth, probability), ["a", "b"])
    assert summary["undefined"] == ["b"]
    assert summary["labels"]["b"] == {"auc": None, "average_precision": None, "num_positive": 40, "num_negative": 0}
    assert summary["metrics"]["mean_auc"] == summary["labels"]["a"]["auc"]


def test_nothing_defined_is_none_not_zero() -> None:
    rows = rows_of(["a"], np.zeros((3, 1)), np.full((3, 1), 0.2))
    metrics = summarise_multilabel(rows, ["a"])["metrics"]
    assert (metrics["mean_auc"], metrics["sensitivity_at_half"]) == (None, None)
    assert metrics["specificity_at_half"] == 1.0


def test_a_single_finding_has_its_rates_at_half() -> None:
    truth, probability = np.array([[1.0], [1], [1], [0], [0]]), np.array([[0.5], [0.9], [0.1], [0.2], [0.6]])
    metrics = summarise_multilabel(rows_of(["a"], truth, probability), ["a"])["metrics"]
    rates = [metrics[f"{name}_at_half"] for name in ("accuracy", "sensitivity", "specificity")]
    assert rates == pytest.approx([3 / 5, 2 / 3, 1 / 2])


def test_cases_and_patients_are_counted() -> None:
    summary = summarise_multilabel(rows_of(["a", "b"], *findings(5)), ["a", "b"])
    assert (summary["num_cases"], summary["num_patients"]) == (5, 3)


def test_classes_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    true, probability = rng.integers(3, size=50), rng.dirichlet([1, 1, 1], 50)
    metrics = summarise_multiclass(rows_of(["a", "b", "c"], np.eye(3)[true], probability), ["a", "b", "c"])["metrics"]
    assert metrics["macro_auc"] == pytest.approx(roc_auc_score(true, probability, multi_class="ovr"))
    assert metrics["accuracy"] == pytest.approx((probability.argmax(1) == true).mean())
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, probability.argmax(1)))


def test_for_two_classes_the_macro_auc_is_the_auc() -> None:
    rng = np.random.default_rng(2)
    true, p = rng.integers(2, size=30), rng.random(30).round(1)
    rows = rows_of(["no", "yes"], np.eye(2)[true], np.stack([1 - p, p], 1))
    assert summarise_multiclass(rows, ["no", "yes"])["metrics"]["macro_auc"] == pytest.approx(roc_auc_score(true, p))


def test_a_class_that_no_case_has_is_undefined_and_not_in_the_balance() -> None:
    probability = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    summary = summarise_multiclass(rows_of(["a", "b", "c"], np.eye(3)[[0, 1, 1]], probability), ["a", "b", "c"])
    assert summary["undefined"] == ["c"]
    assert summary["metrics"]["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("summarise", [summarise_multilabel, summarise_multiclass])
def test_every_metric_has_its_convention_and_no_rows_give_none(summarise) -> None:
    summary = summarise([], ["a"])
    assert list(summary["conventions"]) == list(summary["metrics"])
    assert set(summary["metrics"].values()) == {None}
