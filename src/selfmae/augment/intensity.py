"""Random changes of intensity, once per draw; pure functions of a NumPy generator, as the views of `views.py`."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from selfmae.options import AugmentOptions

BLUR = (0.1, 2.0)  # deviations in pixels of a picture with 224 (Chen et al. 2020)
BLURRED_SIDE = 224


def change_intensity(image: np.ndarray, options: AugmentOptions, rng: np.random.Generator) -> np.ndarray:
    """Return the image, changed in place: another contrast about its mean and a shift by its deviation, then gain and
    offset of all values, as MONAI's RandScaleIntensity and RandShiftIntensity; blurred at last."""
    if options.intensity:
        gain, shift = rng.uniform(-options.intensity, options.intensity, 2)
        flat = torch.from_numpy(image).view(-1)
        mean = float(flat.mean())
        spread = max(float(flat.dot(flat)) / len(flat) - mean**2, 0.0) ** 0.5
        torch.add(torch.tensor(shift * spread - gain * mean), flat, alpha=1 + gain, out=flat)
    if options.gain and rng.random() < options.shading:
        image *= np.float32(1 + rng.uniform(-options.gain, options.gain))
    if options.offset and rng.random() < options.shading:
        image += np.float32(rng.uniform(-options.offset, options.offset))
    if options.blur and rng.random() < options.blur:
        deviation = rng.uniform(*BLUR) * max(image.shape[1:]) / BLURRED_SIDE
        gaussian_filter(image, deviation, output=image, axes=tuple(range(1, image.ndim)))
    return image
