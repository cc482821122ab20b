"""Inspection of 1,000 radiographs, a second time from the notebook, and memory: `python benchmarks/inspection.py`.

Times are those of the command `selfmae inspect`, its initialization included. Memory is the most that looking at one
large CT with its mask adds to the process, as a multiple of the CT as float32. (A script inspect.py would hide
Python's own.)
"""

import argparse
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import nibabel as nib
import numpy as np

from selfmae.data.case import Case
from selfmae.data.doctor.survey import survey
from selfmae.data.generated.sets import write_radiographs


def main() -> None:
    """Print both times and the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_radiographs(folder / "set", given.images, 0, (256, 256))
        for turn in range(given.turns):
            environment = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache{turn}")}
            first, second = (inspect(folder / "set", environment) for _ in range(2))
            print(f"{given.images} radiographs of 256 pixels: {first:.1f} s, unchanged files again: {second:.1f} s")
        print(f"memory of a CT of 512 x 512 x 200: {memory(folder):.2f} times its float32 voxels")


def inspect(source: Path, environment: Mapping[str, str]) -> float:
    """Return the seconds that the command takes."""
    begin = perf_counter()
    command = [sys.executable, "-m", "selfmae", "inspect", str(source), "--json"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return perf_counter() - begin


def memory(folder: Path) -> float:
    """Return the peak of looking at a large scan twice, in its float32 size."""
    shape = (512, 512, 200)
    voxels = np.random.default_rng(0).integers(-1000, 1000, shape[:2]).astype(np.int16)
    voxels = np.broadcast_to(voxels[..., None], shape)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "ct.nii.gz")
    nib.save(nib.Nifti1Image((voxels > 900).astype(np.uint8), np.eye(4)), folder / "mask.nii.gz")
    tracemalloc.start()
    survey([Case("ct", "ct", (folder / "ct.nii.gz",), folder / "mask.nii.gz", "train")] * 2, masks=True)
    return tracemalloc.get_traced_memory()[1] / (4 * voxels.size)


if __name__ == "__main__":
    main()
