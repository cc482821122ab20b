"""What the Dice losses share: squared denominators and the smoothing of the code that Zhou et al. 2023 released."""

from typing import Any

SHARED: dict[str, Any] = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6}
