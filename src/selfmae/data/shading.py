"""Random changes of intensity, once per draw; pure functions of a NumPy generator, as the views of `transforms`."""

import numpy as np
import torch

from selfmae.options import AugmentOptions


def change_intensity(image: np.ndarray, options: AugmentOptions, rng: np.random.Generator) -> np.ndarray:
    """Return the image, changed in place: another contrast about its mean and a shift by its deviation, then gain and
    offset of all values, as MONAI's RandScaleIntensity and RandShiftIntensity."""
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
    return image
