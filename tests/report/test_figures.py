import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from selfmae.report.figures import curve_plots, difference_plot, differences, roc_plots
from selfmae.report.pictures import contour_png, gray_png, predictions, reconstructions, window
from selfmae.report.results import read_results

Make = Callable[..., Path]


def pixels(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return matplotlib.image.imread(BytesIO(base64.b64decode(data)))


def test_case_differences_are_averaged_over_seeds(make_run: Make) -> None:
    results = read_results(make_run())
    found = differences(results.cells_of("scratch"), results.cells_of("mae"))
    dice = [[[float(r["dice"]) for r in c.rows] for c in results.cells_of(s)] for s in ("scratch", "mae")]
    assert found == pytest.approx(list(np.mean(dice[1], axis=0) - np.mean(dice[0], axis=0)))


def test_differences_of_findings_leave_out_the_undefined(make_run: Make) -> None:
    results = read_results(make_run("findings", num_seeds=1))
    scratch, mae = (results.cells_of(start)[0].summary["labels"] for start in ("scratch", "mae"))
    expected = [mae[name]["auc"] - scratch[name]["auc"] for name in mae if mae[name]["auc"] is not None]
    assert len(expected) == 2
    assert differences(results.cells_of("scratch"), results.cells_of("mae")) == pytest.approx(expected)


def test_only_equal_seeds_are_paired(make_run: Make) -> None:
    results = read_results(make_run(num_seeds=2))
    first, second = results.cells_of("scratch")[:1], results.cells_of("mae")[1:]
    assert differences(first, second) == []


def test_the_difference_plot_survives_an_undefined_interval(make_run: Make) -> None:
    results = read_results(make_run())
    results.verdict["pairs"][0].update(ci95=None, difference=None)
    assert difference_plot(results) is not None


def test_learning_curves_survive_an_undefined_score(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    with (folder / "mae" / "fold0" / "seed0" / "steps.jsonl").open("a") as file:
        file.write('{"step": 400, "score": -Infinity}\n{"step": 41')
    assert [title for title, _ in curve_plots(read_results(folder))] == [
        "Pre-training loss (log scale)",
        "Fine-tuning loss",
        "Validation score",
    ]


def test_a_roc_plot_tells_the_mean_area_of_the_pooled_seeds(make_run: Make) -> None:
    results = read_results(make_run("findings", num_seeds=1))
    area = results.cells_of("mae")[0].metrics["mean_auc"]
    plots = dict(roc_plots(results))
    assert list(plots) == ["scratch", "mae"]
    assert f"area {area:.3f}" in plots["mae"]


def test_a_gray_picture_keeps_every_pixel() -> None:
    picture = np.linspace(0, 1, 12).reshape(3, 4)
    found = pixels(gray_png(picture))[..., 0]
    assert found == pytest.approx(picture, abs=1 / 255)


def test_contours_are_drawn_where_the_labels_end() -> None:
    image, labels = np.zeros((40, 40)), np.zeros((40, 40), dtype=int)
    labels[10:30, 10:30] = 1
    found = pixels(contour_png(image, None, labels))[..., :3]
    colored = np.argwhere(found.max(axis=-1) > 0.5) / found.shape[0] * 40
    assert colored.min() == pytest.approx(10, abs=0.5)
    assert colored.max() == pytest.approx(30, abs=0.5)


def test_an_empty_mask_has_no_contour() -> None:
    nothing = np.zeros((8, 8), dtype=int)
    assert contour_png(np.zeros((8, 8)), nothing, nothing) == contour_png(np.zeros((8, 8)), None, None)


def test_a_window_ignores_a_single_bright_pixel() -> None:
    image = np.tile(np.linspace(0, 100, 50), (50, 1))
    image[0, 0] = 1e6
    assert window(image)[1, 25] == pytest.approx(0.5, abs=0.05)


def test_a_reconstruction_is_shown_on_the_scale_of_its_original() -> None:
    original = np.tile(np.linspace(0.2, 0.4, 50), (50, 1))
    assert window(np.full((4, 4), 0.3), original) == pytest.approx(0.5, abs=0.01)


def test_a_constant_image_is_black() -> None:
    assert not window(np.full((4, 4), 7.0)).any()


def test_predictions_show_the_same_cases_for_every_start(make_run: Make) -> None:
    folder = make_run(num_seeds=1)
    path = folder / "mae" / "fold0" / "seed0" / "figures" / "predictions.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"ids": np.array(["case01", "other"])})
    gallery = predictions(read_results(folder))
    assert gallery is not None
    assert gallery.columns == ("Image", "scratch", "mae")
    assert [(title, [bool(tile) for tile in tiles]) for title, tiles in gallery.rows] == [
        ("case00", [True, True, False]),
        ("case01", [True, True, True]),
    ]


def test_reconstructions_know_the_share_of_hidden_patches(make_run: Make) -> None:
    gallery = reconstructions(read_results(make_run()))
    assert gallery is not None
    assert gallery.ratio == 0.75
    assert [title for title, _ in gallery.rows] == ["Original", "Masked", "Reconstructed"]
