"""Several comparisons at once: p values corrected for their number, and the verdict that respects it."""

from collections.abc import Sequence

LEVEL = 0.05  # of all comparisons together

Interval = tuple[float, float] | None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values corrected for their number (Holm 1979, Scand. J. Statist. 6:65); None stays None.

    The chance that any comparison without a difference falls below a level is at most that level, however the
    comparisons depend on each other: starts that are all compared with scratch share its trainings.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[place] = largest
    return corrected


def judge(ci95: Interval, p_holm: float | None, num_pairs: int) -> str:
    """Return "helps" or "hurts" where the 95 % interval leaves out 0 and, of several pairs, `p_holm` is below 0.05 too.

    For a single pair the interval alone decides: its p value says the same.
    """
    if ci95 is None or ci95[0] <= 0 <= ci95[1]:
        return "cannot tell"
    if num_pairs > 1 and (p_holm is None or p_holm >= LEVEL):
        return "cannot tell"
    return "helps" if ci95[0] > 0 else "hurts"
