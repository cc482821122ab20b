import subprocess
import sys

import numpy as np

from selfmae.seeds import derive, generator


def test_derived_seeds_are_the_same_for_ever() -> None:
    assert derive(0) == 6711488920161924273
    assert derive(3, "weights") == 2097788132057878729
    assert derive("a", 1, "b") == 3315432958117065265


def test_derived_seeds_do_not_depend_on_the_process() -> None:
    code = "from selfmae.seeds import derive; print(derive(3, 'weights'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == derive(3, "weights")


def test_parts_are_kept_apart() -> None:
    parts = [("a", 1), ("a1",), ("a", "1"), (1, "a"), ("a",), ("a", ""), (1,), ("1",), (11,), (1, 1), ("a", 1, 1)]
    assert len({derive(*part) for part in parts}) == len(parts)


def test_seeds_fit_into_63_bits_and_use_them() -> None:
    seeds = [derive(number) for number in range(2000)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63


def test_generators_of_equal_names_draw_the_same_and_of_others_do_not() -> None:
    one, same, other = (generator(5, name).random(8) for name in ("crop", "crop", "mask"))
    assert np.array_equal(one, same)
    assert not np.isin(one, other).any()
