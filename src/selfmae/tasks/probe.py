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
from torch import Tensor, nn

from selfmae.data.case import Case
from selfmae.data.prepare import finish
from selfmae.data.store import Store
from selfmae.data.stream import collate, draw_at
from selfmae.data.transforms import draw_corner, middle_corner, take_crop
from selfmae.models.mae import MaskedAutoencoder, trivial_losses
from selfmae.models.patches import patchify
from selfmae.options import Recipe
from selfmae.seeds import generator
from selfmae.tasks.reconstruct import Reconstruct

MOST_HELD_OUT = 32  # images whose hidden patches are filled in at each look
MOST_PROBED = 200  # labelled cases
NUM_FOLDS = 5
BATCH = 8


@dataclass(frozen=True)
class Probe:
    """A look at an autoencoder in training; the same images, crops and masks at every look.

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
            found["probe"] = self._read_out(model)
        return {"score": found["probe"] if "probe" in found else -found["reconstruction"], **found}

    def _reconstruct(self, model: MaskedAutoencoder) -> dict[str, float]:
        task, device = Reconstruct(self.recipe), next(model.parameters()).device
        sums: dict[str, float] = {}
        cases = self.held_out[:MOST_HELD_OUT]
        for start in range(0, len(cases), BATCH):
            draws = [draw_at([case], 0, start + place) for place, case in enumerate(cases[start : start + BATCH])]
            batch = {key: value.to(device) for key, value in collate([task.sample(draw) for draw in draws]).items()}
            losses = {
                "reconstruction": task.loss(model, batch),
                **trivial_losses(model, batch["image"], batch["order"]),
            }
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(draws)
        return {name: total / len(cases) for name, total in sums.items()}

    def _read_out(self, model: MaskedAutoencoder) -> float:
        picked = generator(0, "probe").permutation(len(self.labelled))[:MOST_PROBED]
        cases = [self.labelled[place] for place in sorted(picked)]
        view = _patches if self.recipe.target.kind == "mask" else _whole
        looks = [view(self.recipe, case, model) for case in cases]
        features, targets = (np.concatenate(items) for items in zip(*looks, strict=True))
        patients = np.repeat([case.patient for case in cases], [len(look[0]) for look in looks])
        return cross_validated_auc(features, targets, patients)


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
    known = [place for place in range(truth.shape[1]) if 0 < truth[:, place].sum() < len(truth)]
    areas = [roc_auc_score(truth[:, place], predicted[:, place]) for place in known]
    return float(np.mean(areas)) if areas else float("nan")


Look = tuple[np.ndarray, np.ndarray]  # features [n, D], targets [n, T]


def _whole(recipe: Recipe, case: Case, model: MaskedAutoencoder) -> Look:
    """Return the class token (without one, the mean patch) of the middle of an image, and the case's findings."""
    assert isinstance(case.target, tuple)
    prepared = Store(recipe.data).image(case)
    crop = take_crop(prepared, middle_corner(prepared.shape[1:], recipe.data.crop), recipe.data.crop)
    tokens = _tokens(model, finish(crop, recipe.data))
    feature = tokens[0] if recipe.model.class_token else tokens.mean(axis=0)
    return feature[None], np.array([case.target], dtype=np.float64)


def _patches(recipe: Recipe, case: Case, model: MaskedAutoencoder) -> Look:
    """Return the tokens of the patches of a crop on a label, and which share of each patch each label fills."""
    store, crop = Store(recipe.data, recipe.target.values), recipe.data.crop
    prepared, labels = store.image(case), store.mask(case)
    rng = generator(0, "probe", case.id)
    corner = draw_corner(labels.shape, crop, rng, store.label_places(case), 1.0)
    tokens = _tokens(model, finish(take_crop(prepared, corner, crop), recipe.data))
    mask = torch.from_numpy(take_crop(labels, corner, crop).astype(np.int64))
    inside = patchify(mask[None, None], model.encoder.patch)[0]
    shares = [(inside == place).float().mean(1) for place in range(1, 1 + len(recipe.target.values))]
    return tokens[-len(inside) :], torch.stack(shares, dim=1).numpy()


def _tokens(model: MaskedAutoencoder, image: np.ndarray) -> np.ndarray:
    """Return the tokens [(1 +) N, D] of a crop [C, *S] of which nothing is hidden."""
    images: Tensor = torch.from_numpy(image)[None].to(next(model.parameters()).device)
    return model.encoder(images).tokens[0].float().cpu().numpy()
