"""Looks at images for self pre-training: a random crop, changed at random, and never a label."""

import numpy as np
import torch
from torch import Tensor

from selfmae.data.case import Case
from selfmae.data.preparation.prepare import finish
from selfmae.data.preparation.store import Store
from selfmae.data.sampling.samples import take_image
from selfmae.data.sampling.shading import change_intensity
from selfmae.data.sampling.views import draw_corner, draw_view
from selfmae.options import AugmentOptions


def take_look(store: Store, case: Case, options: AugmentOptions, rng: np.random.Generator) -> Tensor:
    """Return what one look at the image of a case shows, [C, *crop]; a pure function of the generator."""
    data, prepared = store.options, store.image(case)
    places = store.tissue_places(case) if options.foreground else None
    corner = draw_corner(prepared.shape[1:], data.crop, rng, places, options.foreground)
    view = draw_view(prepared.shape[1:], data.crop, corner, options, rng, data.spacing_mm)
    return torch.from_numpy(change_intensity(finish(take_image(prepared, view), data), options, rng))
