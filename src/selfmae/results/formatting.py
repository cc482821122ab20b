"""Words and numbers as a reader sees them: names of metrics and inits, digits, units, a dash for the undefined."""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from selfmae import plugins
from selfmae.methods import EQUAL, is_method

MINUS, DASH = "\u2212", "\u2013"

METRICS = {
    "dice_absent_counts": "Dice, absent labels count",
    "brier": "Brier score",
    "num_present": "present in",
    "num_missed": "missed in",
    "num_false": "false positives in",
    "num_positive": "positive",
    "num_negative": "negative",
}
ABBREVIATIONS = {"dice": "Dice", "auc": "AUC", "hd95": "HD95", "mm": "(mm)", "voxels": "(voxels)"}
SPOKEN = {"dice_per_case": "mean Dice", "mean_auc": "mean AUC", "macro_auc": "mean AUC over the classes"}
INITS = {  # how sentences name an initialization: as their subject, and as the origin of a result
    "imagenet": ("initialization with ImageNet weights", "from ImageNet weights"),
    "scratch": ("training from scratch", "from scratch"),
    EQUAL: ("training from scratch with equal compute", "from scratch with equal compute"),
}


def metric_title(name: str) -> str:
    """Return the words for a metric, "HD95 per case (mm)" for "hd95_mm_per_case"."""
    if name in METRICS:
        return METRICS[name]
    words = [ABBREVIATIONS.get(word, word) for word in name.split("_")]
    return " ".join(sorted(words, key=lambda word: word.startswith("(")))  # the unit stands last


def spoken(metric: str) -> str:
    """Return how a sentence names the deciding metric."""
    return SPOKEN.get(metric, metric_title(metric))


def subject(init: str) -> str:
    """Return an initialization as the subject of a sentence: "self pre-training"."""
    return _named(init)[0]


def origin(init: str) -> str:
    """Return an initialization as the origin of a result: "with self pre-training"."""
    return _named(init)[1]


def _named(init: str) -> tuple[str, str]:
    if is_method(init):
        method = plugins.load("methods", init)
        return method.SUBJECT, method.ORIGIN
    return INITS.get(init, (f"initialization from {init}", f"from {init}"))


def digits_of(metric: str) -> int:
    """Return how many decimals a metric deserves: distances one, counts none, shares three."""
    if metric.startswith("num_"):
        return 0
    return 1 if metric.startswith("hd95") else 3


def difference_digits(pair: Mapping[str, Any]) -> int:
    """Return two decimals, or as many (at most four) as keep a difference and its bounds from rounding to zero."""
    smallest = min((abs(value) for value in (pair.get("difference"), *(pair.get("ci95") or ())) if value), default=1.0)
    return 2 if smallest >= 0.01 else 3 if smallest >= 0.001 else 4


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Return a number with a true minus sign, with a plus where `sign` asks for it; a dash if undefined."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.strip("+-")  # no "-0.00"
    return text.replace("-", MINUS)


def interval(bounds: Sequence[float] | None, digits: int = 3, sign: bool = False) -> str:
    """Return "0.01 to 0.05", a dash if undefined."""
    if bounds is None:
        return DASH
    return f"{number(bounds[0], digits, sign)} to {number(bounds[1], digits, sign)}"


def with_spread(values: Sequence[Any], digits: int = 3) -> str:
    """Return "0.812 ± 0.004": mean and standard deviation (divisor n - 1) of what is defined; one value has no ±."""
    known = defined(values)
    return number(mean_of(known), digits) + (f" ± {number(stdev(known), digits)}" if len(known) > 1 else "")


def mean_of(values: Sequence[Any]) -> float | None:
    """Return the mean of what is defined, None if nothing is."""
    known = defined(values)
    return mean(known) if known else None


def defined(values: Sequence[Any]) -> list[float]:
    """Return the finite numbers among numbers, texts and None; an empty text is undefined."""
    numbers = [float(value) for value in values if value not in (None, "")]
    return [number for number in numbers if math.isfinite(number)]


def duration(seconds: float | None) -> str:
    """Return seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(num_bytes: float | None) -> str:
    """Return bytes as megabytes or gigabytes (powers of ten)."""
    if num_bytes is None:
        return "not measured"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"


def p_value(p: float | None) -> str:
    """Return p with three decimals, "< 0.001" below."""
    return "< 0.001" if p is not None and p < 0.001 else number(p)


def span(counts: Collection[int]) -> str:
    """Return "400", or "61 to 73" where counts differ; a dash without any."""
    ends = dict.fromkeys((min(counts), max(counts))) if counts else ()
    return " to ".join(f"{end:,}" for end in ends) or DASH


def plural(count: int, word: str) -> str:
    """Return "1 seed", "3 seeds", "12,000 cases"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def spanned(counts: Sequence[int], word: str) -> str:
    """Return "1 step" or "120 to 400 steps"."""
    return plural(counts[0], word) if len({*counts}) == 1 else f"{span(counts)} {word}s"


def about(count: int, words: str) -> str:
    """Return "25 more patients" or "1,300 more patients" for an estimate: rounded up to two digits."""
    step = 10 ** max(0, len(str(count)) - 2)
    return plural(-(-count // step) * step, words)


def sizes(values: Sequence[float]) -> str:
    """Return "96 × 96 × 64"."""
    return " \u00d7 ".join(f"{value:g}" for value in values)


def relation(p: float | None) -> str:
    """Return how a p value stands in a sentence: "= 0.012", "< 0.001" or "undefined"."""
    if p is None:
        return "undefined"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def capital(text: str) -> str:
    """Return the text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


_OF_TEMPLATES = (
    *(about, capital, difference_digits, duration, interval, listed, metric_title, number, origin, p_value),
    *(plural, relation, sizes, spanned, spoken, subject),
)
FILTERS = {function.__name__: function for function in _OF_TEMPLATES}
