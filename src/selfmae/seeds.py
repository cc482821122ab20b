"""Random numbers without global state, derived from the names of what they are for."""

import hashlib

import numpy as np


def derive(*parts: int | str) -> int:
    """Return a 63-bit seed that is a pure function of `parts`, equal on every machine and Python."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a fresh NumPy generator for `derive(*parts)`."""
    return np.random.default_rng(derive(*parts))
