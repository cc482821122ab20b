"""Write the split of the Hippocampus evidence: 20 train, 20 val and 20 test cases, the two sides of a person together.

Run by hand: `python benchmarks/hippocampus_20.py TASK04_FOLDER splits.csv`, then
`selfmae run TASK04_FOLDER --out DIR --seeds 3 --set data.splits=splits.csv`.
"""

import csv
import re
import sys
from pathlib import Path

from selfmae.seeds import generator

NUM_CASES = 20  # of each part


def person_of(case: str) -> int:
    """Return the person of a case: ids 2k - 1 and 2k look like the two hippocampi of person k."""
    return (int(re.search(r"(\d+)$", case)[1]) + 1) // 2  # type: ignore[index]


def draw_split(cases: list[str]) -> list[tuple[str, str, str]]:
    """Return (id, patient, split) of every case; who is in none of the three parts is "unused"."""
    people = sorted({person_of(case) for case in cases})
    count = {"train": 0, "val": 0, "test": 0}
    rows = []
    for place in generator(0, "hippocampus").permutation(len(people)):
        own = [case for case in cases if person_of(case) == people[place]]
        part = next((name for name in ("test", "val", "train") if count[name] + len(own) <= NUM_CASES), "unused")
        if part != "unused":
            count[part] += len(own)
        rows += [(case, f"person_{people[place]:03d}", part) for case in own]
    return sorted(rows)


if __name__ == "__main__":
    images = sorted(path.name.removesuffix(".nii.gz") for path in Path(sys.argv[1], "imagesTr").glob("*.nii.gz"))
    with Path(sys.argv[2]).open("w", newline="") as file:
        csv.writer(file).writerows([("id", "patient", "split"), *draw_split(images)])
