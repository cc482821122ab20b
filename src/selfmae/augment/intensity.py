"""Random changes of intensity: contrast and brightness, gain and offset of all values, Gaussian blur."""

from dataclasses import dataclass

import numpy as np

from selfmae.options import DataOptions, Section, number

BLUR = (0.1, 2.0)  # deviations in pixels of a picture with 224 (Chen et al. 2020)
BLURRED_SIDE = 224
WHEN = "normalised"


@dataclass(frozen=True)
class Options(Section):
    """How far intensities are changed."""

    contrast: float = number(0.0, at_least=0, below=1)  # largest relative change, and shift of brightness in deviations
    gain: float = number(0.0, at_least=0, below=1)  # largest relative change of all values, with `probability`
    offset: float = number(0.0, at_least=0)  # largest shift of all values, with `probability`
    probability: float = number(1.0, at_least=0, at_most=1)  # of gain and of offset
    blur: float = number(0.0, at_least=0, at_most=1)  # probability; 0.1 to 2 pixels in 224 (Chen et al. 2020)


def apply(image: np.ndarray, options: Options, data: DataOptions, rng: np.random.Generator) -> np.ndarray:
    """Return an image [C, *crop] float32, changed in place: contrast and brightness, gain, offset (MONAI's
    RandScaleIntensity and RandShiftIntensity), blur."""
    if options.contrast:
        import torch  # faster than NumPy on large crops; seconds that recipes need not wait for

        gain, shift = rng.uniform(-options.contrast, options.contrast, 2)
        flat = torch.from_numpy(image).view(-1)
        mean = float(flat.mean())
        spread = max(float(flat.dot(flat)) / len(flat) - mean**2, 0.0) ** 0.5
        torch.add(torch.tensor(shift * spread - gain * mean), flat, alpha=1 + gain, out=flat)
    if options.gain and rng.random() < options.probability:
        image *= np.float32(1 + rng.uniform(-options.gain, options.gain))
    if options.offset and rng.random() < options.probability:
        image += np.float32(rng.uniform(-options.offset, options.offset))
    if options.blur and rng.random() < options.blur:
        from scipy.ndimage import gaussian_filter

        deviation = rng.uniform(*BLUR) * max(image.shape[1:]) / BLURRED_SIDE
        gaussian_filter(image, deviation, output=image, axes=tuple(range(1, image.ndim)))
    return image
