"""The chests: findings go together and can be seen where they are said to be."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from selfmae.data.generated import radiographs
from selfmae.data.generated.radiographs import FINDINGS, LARGE_HEART, Chest, draw_radiograph
from selfmae.seeds import generator


@cache
def findings(num_patients: int = 400) -> np.ndarray:
    """Return the findings of one image of each patient, [patients, findings]."""
    chests = (Chest.draw(generator(0, "chest", index)) for index in range(num_patients))
    return np.array([draw_radiograph(generator(1, index), chest, (16, 16))[1] for index, chest in enumerate(chests)])


def association(one: str, other: str) -> float:
    return float(np.corrcoef(findings()[:, FINDINGS.index(one)], findings()[:, FINDINGS.index(other)])[0, 1])


def change(monkeypatch: pytest.MonkeyPatch, finding: str, clarity: float = 1.0) -> np.ndarray:
    """Return the mean change of brightness that a finding makes in 20 images, all else equal."""
    chest = Chest.draw(generator(0))
    means = []
    for chosen in ((finding,), ()):
        present = tuple(int(name in chosen) for name in FINDINGS)
        monkeypatch.setattr(radiographs, "_draw_findings", lambda rng, chest, present=present: present)
        means.append(
            np.mean([draw_radiograph(generator(index), chest, (64, 64), clarity)[0] for index in range(20)], axis=0)
        )
    return means[0] - means[1]


def heart_ratios(heart_ratio: float, width: float) -> Iterator[float]:
    """Yield the width of the heart relative to the thorax as measured in single images."""
    chest = replace(Chest.draw(generator(0)), heart_ratio=heart_ratio, width=width)
    for index in range(20):
        image = draw_radiograph(generator(index), chest, (64, 64))[0].astype(float)
        band = image[36:41].mean(axis=0)
        inside = np.flatnonzero(band < (band[32] + band.min()) / 2)
        inside = inside[np.abs((inside + 0.5) / 32 - 1) < 1.06 * width]
        yield float(np.diff(inside).max() / (inside[-1] - inside[0]))


@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding_is_common_enough_to_learn_and_rare_enough_to_be_one(name: str) -> None:
    assert 0.15 < findings()[:, FINDINGS.index(name)].mean() < 0.45


def test_findings_with_one_cause_go_together() -> None:
    assert association("effusion", "cardiomegaly") > 0.15
    assert association("effusion", "consolidation") > 0.08


def test_findings_without_a_common_cause_do_not() -> None:
    assert abs(association("nodule", "cardiomegaly")) < 0.12


def test_several_findings_and_none_occur() -> None:
    assert {0, 1, 2, 3} <= set(findings().sum(axis=1))


def test_cardiomegaly_is_a_heart_wider_than_half_the_thorax() -> None:
    chest = Chest.draw(generator(0))
    for ratio in (LARGE_HEART - 0.001, LARGE_HEART + 0.001):
        _, present = draw_radiograph(generator(1), replace(chest, heart_ratio=ratio), (16, 16))
        assert present[0] == (ratio > LARGE_HEART)


@pytest.mark.parametrize("ratio", [0.42, 0.5, 0.58])
def test_the_heart_is_seen_as_wide_as_its_ratio_says_in_a_narrow_and_a_wide_thorax(ratio: float) -> None:
    for width in (0.62, 0.7, 0.8):
        assert np.median(list(heart_ratios(ratio, width))) == pytest.approx(ratio, abs=0.07)


@pytest.mark.parametrize(("name", "sign"), [("effusion", 1), ("consolidation", 1), ("nodule", 1), ("pneumothorax", -1)])
def test_a_finding_changes_the_brightness_of_the_lungs(name: str, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = sign * change(monkeypatch, name)
    assert difference[14:50, 10:54].mean() > 0.2


@pytest.mark.parametrize("name", FINDINGS[1:])
def test_a_clearer_finding_changes_the_brightness_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subtle, clear = (np.abs(change(monkeypatch, name, clarity)[14:50, 10:54]).mean() for clarity in (1.0, 3.0))
    assert clear > 1.5 * subtle


def test_clarity_changes_neither_findings_nor_images_without_any() -> None:
    healthy = 0
    for index in range(20):
        chest = Chest.draw(generator(0, "chest", index))
        (image, found), (clear, same) = (draw_radiograph(generator(index), chest, (16, 16), c) for c in (1.0, 4.0))
        assert found == same
        if not any(found[1:]):
            healthy += 1
            assert np.array_equal(image, clear)
    assert healthy >= 3


def test_a_finding_changes_nothing_outside_the_lungs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FINDINGS[1:]:
        difference = np.abs(change(monkeypatch, name))
        assert max(difference[:, 31:33].max(), difference[60:].max()) < 0.5 * difference.max()


def test_effusion_lies_low_and_pneumothorax_high(monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = (
        np.average(np.arange(64), weights=np.abs(change(monkeypatch, name)).mean(axis=1))
        for name in ("effusion", "pneumothorax")
    )
    assert low > high + 10


def test_images_of_one_patient_look_more_alike_than_those_of_others() -> None:
    def image(patient: int, visit: int) -> np.ndarray:
        chest = Chest.draw(generator(0, "chest", patient))
        return draw_radiograph(generator(1, patient, visit), chest, (32, 32))[0].ravel()

    same = [np.corrcoef(image(p, 0), image(p, 1))[0, 1] for p in range(30)]
    other = [np.corrcoef(image(p, 0), image(p + 1, 0))[0, 1] for p in range(30)]
    assert np.median(same) > np.median(other) + 0.01
