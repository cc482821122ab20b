"""How often is an answer wrong, and how often is it found? Whole comparisons, simulated with a known truth.

Run by hand: `python benchmarks/decisions.py [--repetitions 2000] [--seed 0]`, three CPU-minutes. The first
table is the worst case for looks at more and more seeds: no spread over patients, so that only the seeds count. The
second one goes through `compare_paired` and `judge`, as `selfmae run` does: with three seeds, or seed by seed from 3 to
10 until an answer is reached. A patient's difference is the true one, plus the patient's own, plus that of the seed.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import stdtr

from selfmae.metrics.decisions import FIRST_LOOK, MARGIN, judge, look_level
from selfmae.metrics.scores import Score, mean_score
from selfmae.metrics.statistics import LEVEL, compare_paired
from selfmae.seeds import generator

NUM_LOOKS = 8  # 3 to 10 seeds
NUM_RESAMPLES = 400
ANSWERS = ("helps", "hurts", "no difference", "cannot tell")


@dataclass(frozen=True)
class Scenario:
    """A truth: the difference, its standard deviations over patients and seeds, and a share of failing patients."""

    name: str
    difference: float
    num_patients: int
    patient_sd: float = 0.02
    seed_sd: float = 0.0075
    failures: float = 0.0  # share of patients with a difference of -0.3 instead
    share: float = 0.2  # of the repetitions

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return the difference of each patient at each seed [S, n]."""
        own = rng.normal(self.difference, self.patient_sd, self.num_patients)
        own[rng.random(self.num_patients) < self.failures] = -0.3
        return own + rng.normal(0, self.seed_sd, (FIRST_LOOK + NUM_LOOKS - 1, 1))


SCENARIOS = (
    *(Scenario("A against A", 0.0, num, share=share) for num, share in ((10, 0.5), (30, 1), (60, 0.5))),
    Scenario("A against A, seeds decide", 0.0, 30, 0.002, 0.03, share=1),
    *(Scenario("helper of 0.02", 0.02, num, seed_sd=sd) for num, sd in ((10, 0.0075), (30, 0.0075), (30, 0.01))),
    *(Scenario("the margin, 0.01", 0.01, num) for num in (30, 60)),
    Scenario("the margin, small spreads", 0.01, 60, 0.01, 0.005, share=0.5),
    Scenario("the margin, seeds decide", 0.01, 30, 0.002, 0.01, share=0.5),
    Scenario("none, small spreads", 0.0, 30, 0.01, 0.003),
    Scenario("none, small spreads", 0.0, 60, 0.01, 0.005),
    *(Scenario("1 in 20 fails: -0.015", 0.0, num, 0.005, 0.002, failures=0.05) for num in (10, 30)),
)


def answer(changes: np.ndarray, num_looks: int, seed: int) -> tuple[str, int]:
    """Return the answer of differences [S, n] at the first look that has one, or at the last, and its number."""
    patients = [str(number) for number in range(changes.shape[1])]
    zero = Score(lambda weights: np.zeros(len(weights)), np.ones(changes.shape[1], dtype=bool))
    b = [mean_score(values) for values in changes]
    for look in range(1, num_looks + 1):
        num_seeds, level = FIRST_LOOK + look - 1, look_level(look, num_looks)
        found = compare_paired([zero] * num_seeds, b[:num_seeds], patients, seed, NUM_RESAMPLES, level=level)
        told = judge(found.ci95, found.p, 1, MARGIN, level)
        if told != "cannot tell" or look == num_looks:
            return told, look
    raise AssertionError("the last look answers")


def simulate(scenario: Scenario, num_looks: int, num_repetitions: int, seed: int) -> tuple[dict[str, float], float]:
    """Return the share of each answer, and the mean number of looks."""
    counts, looks = Counter[str](), 0
    for number in range(num_repetitions):
        told, look = answer(scenario.draw(generator(seed, "decisions", number)), num_looks, number)
        counts[told] += 1
        looks += look
    return {name: counts[name] / num_repetitions for name in ANSWERS}, looks / num_repetitions


def worst_errors(num_inits: int, most_looks: int, num_repetitions: int, seed: int) -> list[float]:
    """Return for 1, 2, ... looks how often Holm's correction tells any of equal initializations apart, at any look.

    Scores have no spread over patients. Some pair is told as soon as the smallest p value passes Holm's first step.
    """
    rng = generator(seed, "worst case", num_inits)
    scores = rng.normal(size=(most_looks + FIRST_LOOK - 1, num_inits, num_repetitions))
    pairs = list(combinations(range(num_inits), 2))
    smallest = np.full((most_looks, num_repetitions), np.inf)
    for one, two in pairs:
        changes = scores[:, one] - scores[:, two]
        for look in range(1, most_looks + 1):
            known = changes[: look + FIRST_LOOK - 1]
            error = known.std(axis=0, ddof=1) / len(known) ** 0.5
            p = 2 * stdtr(len(known) - 1, -np.abs(known.mean(axis=0)) / error)
            smallest[look - 1] = np.minimum(smallest[look - 1], p)
    errors = []
    for num_looks in range(1, most_looks + 1):
        levels = np.array([[look_level(look, num_looks)] for look in range(1, num_looks + 1)])
        errors.append(float((smallest[:num_looks] * len(pairs) < levels).any(axis=0).mean()))
    return errors


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"| looks | last level | {' | '.join(f'wrong, {inits} initializations' for inits in (2, 3, 4))} |")
    print("|---|---|---|---|---|")
    errors = [worst_errors(inits, 18, 100 * given.repetitions, given.seed) for inits in (2, 3, 4)]
    for looks, row in enumerate(zip(*errors, strict=True), 1):
        print(f"| {looks} | {look_level(looks, looks):.4f} | {' | '.join(f'{value:.2%}' for value in row)} |")
    print(f"\nmargin {MARGIN}, level {LEVEL}, {NUM_RESAMPLES} resamples or more")
    print(f"| truth | patients | sd over patients, seeds | seeds | {' | '.join(ANSWERS)} | mean seeds | times |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for scenario in SCENARIOS:
        for num_looks in (1, NUM_LOOKS):
            times = round(scenario.share * given.repetitions)
            shares, looks = simulate(scenario, num_looks, times, given.seed)
            seeds = str(FIRST_LOOK) if num_looks == 1 else f"{FIRST_LOOK} to {FIRST_LOOK + NUM_LOOKS - 1}"
            cells = [scenario.name, scenario.num_patients, f"{scenario.patient_sd}, {scenario.seed_sd}", seeds]
            cells += [f"{shares[name]:.1%}" for name in ANSWERS]
            cells += [f"{looks + FIRST_LOOK - 1:.1f}", times]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
