"""The probe: what a pre-trained encoder is worth so far, to see when more steps stop paying.

Zhou et al. 2023 found 82.76 Dice after 10,000 epochs of pre-training and 81.09 after 40,000 (table 4): the loss of the
training images, which only falls, does not tell. Shapes: n samples, D features, T outputs, N patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from selfmae.augment.spatial import draw_corner, middle_corner
from selfmae.data.case import Case, Cases
from selfmae.data.folds import labelled_part
from selfmae.data.preparation.prepare import finish
from selfmae.data.preparation.store import Store
from selfmae.data.sampling import collate, draw_at, take_crop
from selfmae.errors import UserError
from selfmae.models.mae import MaskedAutoencoder, trivial_losses
from selfmae.models.vit import patchify
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.pretraining import Pretraining

MAX_HELD_OUT = 32  # images whose hidden patches are filled in each time
MAX_PROBED = 200  # labelled cases
NUM_FOLDS = 5
BATCH = 8


@dataclass(frozen=True)
class Probe:
    """Validates an autoencoder in training, on the same images, crops and masks each time.

    `held_out` are images that it does not train on. With `probe.kind` "labels", `labelled` are training cases: their
    labels choose among checkpoints, but no weight learns from them. Else no label file is opened.
    """

    recipe: Recipe
    held_out: Sequence[Case]
    labelled: Sequence[Case] = ()

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return "score" and what it is made of.

        "reconstruction" is the mean squared error of the hidden patches of held-out images, "mean_patch" and
        "neighbour_copy" that of guesses without a model; "probe" the mean AUC of a linear model of the frozen features,
        over `NUM_FOLDS` folds of training patients.
        """
        assert isinstance(model, MaskedAutoencoder)
        found = self._reconstruct(model) if self.held_out else {}
        if self.recipe.probe.kind == "labels":
            found["probe"] = cross_validated_auc(*read_features(self.recipe, self.read_out, model))
        return {"score": found["probe"] if "probe" in found else -found["reconstruction"], **found}

    @property
    def filled_in(self) -> Sequence[Case]:
        """Return the held-out cases whose hidden patches are filled in."""
        return self.held_out[:MAX_HELD_OUT]

    @property
    def read_out(self) -> list[Case]:
        """Return the labelled cases that are read out, the same each time."""
        picked = generator(0, "probe").permutation(len(self.labelled))[:MAX_PROBED]
        return [self.labelled[index] for index in sorted(picked)]

    def facts(self) -> dict[str, int]:
        """Return the numbers of cases and patients that the scores are of, for `environment.json`."""
        parts = {"held_out": self.filled_in, "labelled": self.read_out}
        counts = {f"num_{name}": len(cases) for name, cases in parts.items()}
        return counts | {f"num_{name}_patients": len({case.patient for case in cases}) for name, cases in parts.items()}

    def _reconstruct(self, model: MaskedAutoencoder) -> dict[str, float]:
        task, device = Pretraining(self.recipe, "mae"), next(model.parameters()).device
        sums: dict[str, float] = {}
        cases = self.filled_in
        for start in range(0, len(cases), BATCH):
            draws = [draw_at([case], 0, start + index) for index, case in enumerate(cases[start : start + BATCH])]
            batch = {key: value.to(device) for key, value in collate([task.sample(draw) for draw in draws]).items()}
            guesses = trivial_losses(model, batch["image"], batch["order"])
            losses = {"reconstruction": task.loss(model, batch), **guesses}
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(draws)
        return {name: total / len(cases) for name, total in sums.items()}


def make_probe(recipe: Recipe, cases: Cases) -> Probe | None:
    """Return the probe that a recipe asks for, None if it asks for none; raise `UserError` where its cases lack."""
    if not recipe.probe.every:
        return None
    val = cases.part("val")
    labelled = labelled_part(cases.part("train"), recipe.data.fraction, recipe.seed, recipe.data.labels)
    if recipe.probe.kind == "reconstruction" and not val:
        raise UserError("probe.kind reconstruction validates on val images, but the split has none: set probe.every=0.")
    if recipe.probe.kind == "labels" and not labelled:
        raise UserError(
            "probe.kind labels reads the labels of training cases, but the source has none: set "
            "probe.kind=reconstruction."
        )
    return Probe(recipe, val, labelled if recipe.probe.kind == "labels" else ())


def cross_validated_auc(features: np.ndarray, targets: np.ndarray, patients: np.ndarray) -> float:
    """Return the mean AUC of ridge regression from features [n, D] to targets [n, T], above 0 being positive.

    Each patient is predicted from others; outputs without both outcomes are left out, nan if none is left.
    """
    predicted = np.zeros(targets.shape)
    num_folds = min(NUM_FOLDS, len(set(patients.tolist())))
    if num_folds < 2:
        return float("nan")
    for fit, test in GroupKFold(num_folds).split(features, groups=patients):
        scale = StandardScaler().fit(features[fit])
        ridge = Ridge(alpha=features.shape[1]).fit(scale.transform(features[fit]), targets[fit])
        predicted[test] = ridge.predict(scale.transform(features[test])).reshape(len(test), -1)
    truth = targets > 0
    known = [index for index in range(truth.shape[1]) if 0 < truth[:, index].sum() < len(truth)]
    areas = [roc_auc_score(truth[:, index], predicted[:, index]) for index in known]
    return float(np.mean(areas)) if areas else float("nan")


def read_features(
    recipe: Recipe, cases: Sequence[Case], model: MaskedAutoencoder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frozen features [n, D], targets [n, T] and patients [n] of labelled cases.

    Of masks there is one row for each patch of a crop on a label, and a target is the share of it that the label fills.
    Of whole images there is one row: the class token (without one, the mean patch) of the middle.
    """
    store = Store(recipe.data, recipe.target.values)
    probed = [_take_probed(recipe, store, case) for case in cases]
    images, device = torch.from_numpy(np.stack([image for image, _ in probed])), next(model.parameters()).device
    tokens = np.concatenate(
        [model.encoder(batch.to(device)).tokens.float().cpu().numpy() for batch in images.split(BATCH)]
    )
    if recipe.target.kind == "mask":
        features = tokens[:, -model.encoder.num_patches :]
    else:
        features = tokens[:, :1] if recipe.model.class_token else tokens.mean(axis=1, keepdims=True)
    patients = np.repeat([case.patient for case in cases], features.shape[1])
    return features.reshape(-1, features.shape[2]), np.concatenate([target for _, target in probed]), patients


def _take_probed(recipe: Recipe, store: Store, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return a crop [C, *crop], the middle or, of masks, one on a label, and its targets [n, T]."""
    prepared, crop = store.image(case), recipe.data.crop
    if isinstance(case.target, tuple):
        corner, targets = middle_corner(prepared.shape[1:], crop), np.array([case.target], dtype=np.float64)
    else:
        labels = store.mask(case)
        corner = draw_corner(labels.shape, crop, generator(0, "probe", case.id), store.label_coordinates(case), 1.0)
        mask = torch.from_numpy(take_crop(labels, corner, crop).astype(np.int64))
        inside = patchify(mask[None, None], recipe.model.patch)[0]
        shares = [(inside == index).float().mean(1) for index in range(1, 1 + len(recipe.target.values))]
        targets = torch.stack(shares, dim=1).numpy()
    return finish(take_crop(prepared, corner, crop), recipe.data), targets
