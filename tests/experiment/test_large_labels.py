"""Mask values far apart, as 3 and 200, go through training, scoring and prediction."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def test_labels_of_large_values_are_predicted_with_these_values(
    tmp_path: Path, call: Callable[..., int], small_pictures: list[str]
) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for place in range(6):
        labels = np.kron(rng.choice([3, 200], (4, 4)), np.ones((8, 8))).astype(np.uint8)
        Image.fromarray(labels + rng.integers(0, 20, labels.shape, dtype=np.uint8)).save(
            tmp_path / "set" / "images" / f"{place}.png"
        )
        Image.fromarray(labels).save(tmp_path / "set" / "labels" / f"{place}.png")
    words = (*small_pictures, "--set", "model.network=unetr", "--set", "fit.lr=0.01")
    assert call("run", tmp_path / "set", "--out", tmp_path / "run", "--init", "scratch", *words) == 0
    model = tmp_path / "run" / "scratch" / "fold0" / "seed0"
    assert call("predict", model, tmp_path / "set" / "images", "--out", tmp_path / "out") == 0
    found = {int(v) for path in (tmp_path / "out").iterdir() for v in np.unique(np.asarray(Image.open(path)))}
    assert found <= {0, 3, 200}
    assert found & {3, 200}
