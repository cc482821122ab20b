"""Write a split of the Hippocampus evidence: some train cases, 20 val, all others test, by person (two sides each).

Run by hand: `python benchmarks/hippocampus.py TASK04_FOLDER splits.csv --train 20`, then
`selfmae run TASK04_FOLDER --out DIR --seeds 3 --set data.splits=splits.csv`. The first 40 test cases and the val cases
are the same for every number of train cases, and few train cases are part of many.
"""

import argparse
import csv
import re
from pathlib import Path

from selfmae.seeds import generator

NUM_TEST, NUM_VAL = 40, 20  # test cases at least


def person_of(case: str) -> int:
    """Return the person of a case: ids 2k - 1 and 2k look like the two hippocampi of person k."""
    return (int(re.search(r"(\d+)$", case)[1]) + 1) // 2  # type: ignore[index]


def draw_split(cases: list[str], num_train: int) -> list[tuple[str, str, str]]:
    """Return (id, patient, split) of every case."""
    people = sorted({person_of(case) for case in cases})
    wanted = {"test": NUM_TEST, "val": NUM_VAL, "train": num_train}
    count = dict.fromkeys(wanted, 0)
    rows = []
    for place in generator(0, "hippocampus").permutation(len(people)):
        own = [case for case in cases if person_of(case) == people[place]]
        part = next((name for name in wanted if count[name] + len(own) <= wanted[name]), "test")
        count[part] += len(own)
        rows += [(case, f"person_{people[place]:03d}", part) for case in own]
    return sorted(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task04", type=Path)
    parser.add_argument("splits", type=Path)
    parser.add_argument("--train", type=int, required=True)
    given = parser.parse_args()
    images = sorted(path.name.removesuffix(".nii.gz") for path in (given.task04 / "imagesTr").glob("*.nii.gz"))
    with given.splits.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "patient", "split"), *draw_split(images, given.train)])
