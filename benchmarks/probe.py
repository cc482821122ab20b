"""Does the probe of pre-training choose a good checkpoint? Autoencoders that overfit a few generated images.

Run by hand: `python benchmarks/probe.py --out DIR [--seeds 10] [--kind labels]`, minutes on one core; the same command
continues. Each seed has a data set of its own: pictures of 32 pixels that are mostly noise, in which a disc, the label,
is a little brighter; a few patients to train on and many for the test. A tiny masked autoencoder is pre-trained far too
long: first it learns to look at the patches around, then it learns the noise by heart. At every look of the probe the
encoder is measured too, which the probe does not see:

    worth: 100 times the AUC of a linear model of the frozen features of single patches, fitted to the labels of the
    training patients and tested on the test patients.

Counted is in how many seeds the worth of the step that the probe kept lies within 0.5 of the best of the run.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from selfmae.data.case import Case
from selfmae.display import Display
from selfmae.experiment.plan import resolve
from selfmae.files import read_log, write_json
from selfmae.models.mae import MaskedAutoencoder
from selfmae.results.run_folder import RunFolder
from selfmae.seeds import generator
from selfmae.tasks.pretraining import Pretraining
from selfmae.tasks.probe import Probe, make_probe, read_features
from selfmae.train.loop import Training, fit

SIZE, NUM_IMAGES = 32, 232  # of which about 24 train, 8 are held out and 200 test
CONTRAST, NOISE = 0.8, 2.0  # of the disc, and a pixel's deviation: a single patch tells little, its neighbours more
WITHIN = 0.5  # points of worth
SMALL = (
    "data.crop=[32, 32]",
    "data.test_fraction=0.862",
    "data.val_fraction=0.035",
    "model.patch=[4, 4]",
    "model.width=32",
    "model.depth=2",
    "model.heads=2",
    "mae.ratio=0.6",
    "mae.target=raw",
    "mae.decoder_width=32",
    "mae.decoder_depth=1",
    "mae.decoder_heads=2",
    "pretrain.lr=0.003",
    "pretrain.batch=8",
    "pretrain.augment.spatial.rotate_degrees=0",
    "pretrain.augment.spatial.zoom=0",
    "pretrain.augment.intensity.contrast=0",
    "device.accelerator=cpu",
)
QUIET = Display(quiet=True)


def write_pictures(folder: Path, seed: int) -> None:
    """Write pictures and, as masks, the discs in them."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(NUM_IMAGES):
        picture, disc = draw_picture(generator(seed, "picture", number))
        Image.fromarray(picture).save(folder / "images" / f"p{number:03d}.png")
        Image.fromarray(disc).save(folder / "masks" / f"p{number:03d}.png")


def draw_picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture and its disc, both uint8 [SIZE, SIZE]."""
    y, x = np.mgrid[:SIZE, :SIZE]
    row, column = rng.uniform(8, SIZE - 8, 2)
    disc = (y - row) ** 2 + (x - column) ** 2 < rng.uniform(8, 13) ** 2
    picture = CONTRAST * disc + NOISE * rng.normal(size=disc.shape)
    return np.clip(128 + 20 * picture, 0, 255).astype(np.uint8), disc.astype(np.uint8)


@dataclass(frozen=True)
class Measured:
    """The probe, and beside it the worth of the encoder, which chooses nothing."""

    probe: Probe
    train: list[Case]
    test: list[Case]

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return what the probe found, and "worth"."""
        assert isinstance(model, MaskedAutoencoder)
        return {**self.probe(model), "worth": self.worth(model)}

    def worth(self, model: MaskedAutoencoder) -> float:
        """Return 100 times the AUC on test patients of a linear model fitted to the training patients."""
        (seen, known, _), (new, truth, _) = (
            read_features(self.probe.recipe, cases, model) for cases in (self.train, self.test)
        )
        scale = StandardScaler().fit(seen)
        ridge = Ridge(alpha=seen.shape[1]).fit(scale.transform(seen), known[:, 0])
        return 100 * float(roc_auc_score(truth[:, 0] > 0, ridge.predict(scale.transform(new))))


def pretrain(out: Path, seed: int, sets: tuple[str, ...]) -> dict[str, list[float]]:
    """Pre-train with one seed unless it was done, and return step, worth and all criteria of every look."""
    data, folder = out / f"data{seed}", out / "runs" / "pretrain-mae" / "fold0" / f"seed{seed}"
    if not (data / "masks" / f"p{NUM_IMAGES - 1:03d}.png").exists():
        write_pictures(data, seed)
    recipe, _, source = resolve(str(data), "", (*SMALL, *sets), QUIET)
    recipe = replace(recipe, seed=seed)
    probe = make_probe(recipe, source.cases)
    assert probe is not None
    train, test = source.cases.part("train"), source.cases.part("test")
    folder.mkdir(parents=True, exist_ok=True)
    options = replace(recipe.pretrain, validate_every=recipe.probe.every)
    task, measured = Pretraining(recipe, "mae"), Measured(probe, train, test)
    fit(Training("", task, options, folder, train, {}, None, measured), QUIET)
    looks = [line for line in read_log(folder / "steps.jsonl") if "score" in line]
    return {name: [look[name] for look in looks] for name in looks[0]}


def main() -> None:
    """Pre-train, count, print, and write `probe.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kind", choices=("labels", "reconstruction"), default="labels")
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    out = given.out.absolute()
    sets = (f"pretrain.steps={given.steps}", f"probe.every={given.steps // 12}", f"probe.kind={given.kind}")
    found, lost = {}, []
    for seed in range(given.seeds):
        curves = found[seed] = pretrain(out, seed, sets)
        worth = np.array(curves["worth"])
        kept = next(run.kept_step for run in RunFolder.read(out / "runs").pretrainings if run.seed == seed)
        lost.append(worth.max() - worth[curves["step"].index(kept)])
        print(
            f"seed {seed}: best {worth.max():.1f} at step {curves['step'][worth.argmax()]}, kept step {kept} "
            f"({lost[-1]:.1f} less), last {worth.max() - worth[-1]:.1f} less; best reconstruction "
            f"{worth.max() - worth[np.argmin(curves['reconstruction'])]:.1f} less",
            flush=True,
        )
        write_json(out / "probe.json", {"within": WITHIN, "lost": lost, "looks": found})
    print(f"within {WITHIN} points of the best: {sum(loss <= WITHIN for loss in lost)} of {len(lost)} seeds")


if __name__ == "__main__":
    main()
