"""Samples from the store against MONAI: `python benchmarks/store.py [--turns N] [--cases N] [--folder DIR]`.

CTs of 512x512x100 int16 (.nii.gz) are generated, prepared at 1.5x1.5x2 mm, and looked at in samples of 96^3, image and
mask, mirrored, turned, zoomed and shaded. The sides take turns (A, B, A, B...) and medians are compared. Both sides
come through one DataLoader with one worker.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai import transforms as mt
from monai.data import CacheDataset
from monai.data import Dataset as MonaiDataset
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from selfmae.augment import intensity, spatial
from selfmae.data.case import Case
from selfmae.data.preparation.store import Store
from selfmae.data.sampling import Sample, draw_at
from selfmae.options import DataOptions, ModelOptions, OptimOptions, Recipe, TargetOptions
from selfmae.tasks.segment import Segment
from selfmae.train.device import keep_freed_memory

SHAPE, SPACING_MM, WANTED_MM = (512, 512, 100), (0.7, 0.7, 2.5), (1.5, 1.5, 2.0)
CROP, LABELS, WINDOW = (96, 96, 96), 13, (-175.0, 250.0)
DEGREES, ZOOM, SHADE = 15.0, 0.15, 0.2
Call = Callable[[], Any]


def write_ct(folder: Path, number: int) -> Case:
    """Write a body with organs, noise and air around, and its mask."""
    paths = folder / f"ct{number}.nii.gz", folder / f"mask{number}.nii.gz"
    case = Case(f"ct{number}", f"p{number}", paths[:1], paths[1], "train")
    if all(path.exists() for path in paths):
        return case
    rng = np.random.default_rng(number)
    coarse = tuple(extent // 4 for extent in SHAPE)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, extent) for extent in coarse), indexing="ij"))
    volume = np.where((places[:2] ** 2).sum(0) < 0.6, 30.0, -1000.0) + 20 * ndimage.gaussian_filter(
        rng.normal(size=coarse), 2
    )
    mask = np.zeros(coarse, np.uint8)
    for label in range(1, LABELS + 1):
        centre, radii = rng.uniform(-0.45, 0.45, 3), rng.uniform(0.05, 0.25, 3)
        organ = (((places - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0) < 1
        mask[organ], volume[organ] = label, rng.uniform(-50, 200)
    grow = np.divide(SHAPE, coarse)
    whole = ndimage.zoom(volume, grow, order=1)[: SHAPE[0], : SHAPE[1], : SHAPE[2]] + rng.normal(0, 15, SHAPE)
    affine = np.diag([*SPACING_MM, 1])
    for path, array in zip(paths, (whole.astype(np.int16), ndimage.zoom(mask, grow, order=0)), strict=True):
        nib.save(nib.Nifti1Image(array, affine), path)
    return case


def make_task(cache: Path) -> Segment:
    """Return our task; `anisotropy` is off, since MONAI interpolates between slices however far apart."""
    data = DataOptions(
        source="",
        channels=("CT",),
        spacing_mm=WANTED_MM,
        intensity="window",
        window=WINDOW,
        anisotropy=0,
        crop=CROP,
        cache=str(cache),
    )
    view = spatial.Options((0, 1, 2), foreground=0.5, rotate_degrees=DEGREES, zoom=ZOOM)
    changes = {"spatial": view, "intensity": intensity.Options(contrast=SHADE)}
    optim = OptimOptions(1, 1, 1e-3, augment=changes)
    target = TargetOptions("mask", tuple(map(str, range(1, LABELS + 1))), tuple(range(1, LABELS + 1)))
    return Segment(Recipe(data, target, ModelOptions((16, 16, 16)), optim, optim))


class Ours(Dataset[Sample]):
    """Samples of the endless stream."""

    def __init__(self, task: Segment, cases: Sequence[Case]) -> None:
        self.task, self.cases = task, cases

    def __len__(self) -> int:
        """Return more than will be asked for."""
        return 10**6

    def __getitem__(self, place: int) -> Sample:
        """Return the sample at this place of the stream."""
        return self.task.sample(draw_at(self.cases, 0, place))


def monai_preparation() -> list[Any]:
    """Return MONAI's transforms up to what can be cached."""
    keys = ("image", "mask")
    return [
        mt.LoadImaged(keys, ensure_channel_first=True),
        mt.Orientationd(keys, "RAS", labels=None),
        mt.Spacingd(keys, WANTED_MM, mode=("bilinear", "nearest")),
        mt.ScaleIntensityRanged("image", *WINDOW, 0.0, 1.0, clip=True),
    ]


def monai_changes() -> list[Any]:
    """Return MONAI's random transforms that do as ours; the places of labels are prepared, as ours are."""
    keys, turn, scale = ("image", "mask"), np.deg2rad(DEGREES), (ZOOM, ZOOM, ZOOM)
    crop: Any = mt.RandCropByPosNegLabeld(
        keys, "mask", CROP, 1, 1, 1, fg_indices_key="mask_fg_indices", bg_indices_key="mask_bg_indices"
    )
    modes = ("bilinear", "nearest")
    return [
        crop,
        *(mt.RandFlipd(keys, 0.5, axis) for axis in range(3)),
        mt.RandAffined(keys, None, 1.0, (0, 0, turn), scale_range=scale, mode=modes, padding_mode="border"),
        mt.RandScaleIntensityd("image", SHADE, 1.0),
        mt.RandShiftIntensityd("image", SHADE, prob=1.0),
        mt.SelectItemsd(keys),
    ]


def endless(data: Dataset[Any], num_cases: int) -> Iterator[Any]:
    """Yield samples through a DataLoader with one worker; short sets begin again within the worker."""
    order = (place % num_cases if not isinstance(data, Ours) else place for place in count())
    return iter(DataLoader(data, batch_size=1, sampler=order, num_workers=1, prefetch_factor=1))


def take_turns(
    sides: Mapping[str, tuple[Call, int]], turns: int, clock: Callable[[], float] = perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of a call of each side in each turn, each called some times a turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, (call, times) in sides.items():
            for _ in range(2):  # what was made ahead while the others were timed
                call()
            begin = clock()
            for _ in range(times):
                call()
            if turn:
                seconds[name].append((clock() - begin) / times)
    return seconds


def show(title: str, seconds: Mapping[str, Sequence[float]], first: str) -> None:
    """Print median and least milliseconds of the turns, and the ratio of the first side's median to each."""
    print(f"\n{title}")
    for name, values in seconds.items():
        middle, least, ratio = median(values), min(values), median(seconds[first]) / median(values)
        print(
            f"  {name:<32} {1000 * middle:9.2f} ms (least {1000 * least:.2f}), {first} / this {ratio:.3f}", flush=True
        )


def compare_samples(task: Segment, cases: Sequence[Case], turns: int) -> None:
    """Time a sample of ours and of MONAI's, uncached and cached."""
    files = [{"image": str(case.images[0]), "mask": str(case.target)} for case in cases]
    prepared = [*monai_preparation(), mt.FgBgToIndicesd("mask", image_key="image")]
    cached = CacheDataset(files, mt.Compose([*prepared, *monai_changes()]), progress=False)
    changes = task.recipe.fit.augment
    unscaled = _with_changes(task, {**changes, "spatial": replace(changes["spatial"], zoom=0.0)})
    sides: dict[str, Dataset[Any]] = {
        "ours": Ours(task, cases),
        "ours, not zoomed": Ours(unscaled, cases),
        "MONAI CacheDataset": cached,
        "MONAI without a cache": MonaiDataset(files, mt.Compose([*prepared, *monai_changes()])),
    }
    loaders = {name: endless(data, len(cases)) for name, data in sides.items()}
    calls = {name: (partial(next, it), 2 if "without" in name else 30) for name, it in loaders.items()}
    show("a sample through a DataLoader with one worker", take_turns(calls, turns), "ours")
    crops = _with_changes(task, {"spatial": spatial.Options(foreground=0.5)})
    places = count()
    alone = {
        "ours": (lambda: task.sample(draw_at(cases, 0, next(places))), 30),
        "ours, not zoomed": (lambda: unscaled.sample(draw_at(cases, 0, next(places))), 30),
        "ours, a crop without changes": (lambda: crops.sample(draw_at(cases, 0, next(places))), 30),
        "MONAI CacheDataset": (lambda: cached[next(places) % len(cases)], 30),
    }
    # Seconds of the processor: on a busy machine, those of the clock say little of single milliseconds.
    show("the same in one process, processor time", take_turns(alone, turns, process_time), "ours")


def compare_preparation(task: Segment, cases: Sequence[Case], folder: Path, turns: int) -> None:
    """Time the preparation of one volume with its mask, one thread, and of all by threads and by processes."""
    chain = mt.Compose(monai_preparation())
    fresh = count()

    def ours() -> None:
        store = _store(task, folder / f"fresh{next(fresh)}")
        store.prepare(cases[:1], masks=True)

    files = {"image": str(cases[0].images[0]), "mask": str(cases[0].target)}
    sides: dict[str, tuple[Call, int]] = {
        "ours, written to disk": (ours, 1),
        "MONAI, kept in memory": (lambda: chain(files), 1),
    }
    show(
        "preparing a volume and its mask, processor time",
        take_turns(sides, turns, process_time),
        "ours, written to disk",
    )

    def threads() -> None:
        _store(task, folder / f"fresh{next(fresh)}").prepare(cases[:4], masks=True)

    pool = ProcessPoolExecutor(2)
    stores = (_store(task, folder / f"fresh{number}") for number in count(1000))
    processes: Call = lambda: list(pool.map(_prepare_one, [next(stores)] * 4, cases[:4]))  # noqa: E731
    show("preparing 4", take_turns({"threads": (threads, 1), "two processes": (processes, 1)}, turns), "threads")
    pool.shutdown()


def _with_changes(task: Segment, changes: Mapping[str, Any]) -> Segment:
    return Segment(replace(task.recipe, fit=replace(task.recipe.fit, augment=changes)))


def _store(task: Segment, folder: Path) -> Store:
    return Store(replace(task.recipe.data, cache=str(folder)), task.recipe.target.values)


def _prepare_one(store: Store, case: Case) -> None:
    torch.set_num_threads(1)
    store.image(case)
    store.mask(case)


def compare_formats(task: Segment, case: Case, folder: Path, turns: int) -> None:
    """Time a random crop of 96^3 to float32 from several number formats, and print their size on disk."""
    image = np.array(task.store.image(case))
    rng = np.random.default_rng(0)
    scaled = np.round(image.astype(np.float32) * 32767).astype(np.int16)
    calls: dict[str, tuple[Call, int]] = {}
    for name, array, factor in (
        ("float16", image, 1.0),
        ("int16 and a factor", scaled, 1 / 32767),
        ("float32", image.astype(np.float32), 1.0),
    ):
        path = folder / f"{name}.npy"
        np.save(path, array)
        print(f"{name}: {path.stat().st_size / 1e6:.1f} MB")
        calls[name] = (partial(_read, partial(np.load, path, mmap_mode="r"), rng, factor), 50)
    if find_spec("blosc2"):
        import blosc2

        for codec in ("LZ4", "ZSTD"):
            path = folder / f"{codec}.b2nd"
            how = {"codec": getattr(blosc2.Codec, codec), "clevel": 5}
            blosc2.asarray(
                scaled, urlpath=str(path), mode="w", cparams=how, chunks=(1, 64, 64, 64), blocks=(1, 32, 32, 32)
            )
            print(f"blosc2 {codec}: {path.stat().st_size / 1e6:.1f} MB")
            calls[f"blosc2 {codec}"] = (partial(_read, partial(blosc2.open, str(path)), rng, 1 / 32767), 20)
    show("reading a crop as float32, processor time", take_turns(calls, turns, process_time), "float16")


def _read(load: Callable[[], Any], rng: np.random.Generator, factor: float) -> torch.Tensor:
    array = load()
    corner = [int(rng.integers(have - want + 1)) for have, want in zip(array.shape[1:], CROP, strict=True)]
    window = [slice(None)] + [slice(low, low + want) for low, want in zip(corner, CROP, strict=True)]
    crop = torch.from_numpy(np.array(array[tuple(window)], order="C")).float()
    return crop if factor == 1 else crop.mul_(factor)


def show_memory(folder: Path) -> None:
    """Print the memory of its own that a process holds after 60 samples of 2 and of 8 cases."""
    for num in (2, 8):
        command = [sys.executable, __file__, "--memory", str(num), "--folder", str(folder)]
        print(f"memory with {num} cases: {subprocess.run(command, capture_output=True, text=True).stdout.strip()}")


def hold_samples(task: Segment, cases: Sequence[Case]) -> None:
    """Draw samples and print what this process keeps; memory maps are the system's cache and not counted."""
    for place in range(60):
        task.sample(draw_at(cases, 0, place))
    status = Path("/proc/self/status").read_text().split("RssAnon:")[1].split("kB")[0]
    print(f"{int(status) / 1024:.0f} MB of its own")


def main() -> None:
    """Run every comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="timed turns of each side")
    parser.add_argument("--cases", type=int, default=8, help="generated CTs")
    parser.add_argument("--folder", type=Path, help="keep the generated CTs here")
    parser.add_argument("--memory", type=int, default=0, help="only hold samples of so many cases")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    cases = [write_ct(folder, number) for number in range(arguments.memory or arguments.cases)]
    task = make_task(folder / "cache")
    task.store.prepare(cases, masks=True, coordinates=True)
    if arguments.memory:
        hold_samples(task, cases)
        return
    for name, files in (("files", folder.glob("*.nii.gz")), ("prepared", (folder / "cache").rglob("*.npy"))):
        print(f"{len(cases)} CTs, {name}: {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")
    compare_samples(task, cases, arguments.turns)
    compare_preparation(task, cases, folder / "fresh", arguments.turns)
    compare_formats(task, cases[0], folder, arguments.turns)
    show_memory(folder)
    if not arguments.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
