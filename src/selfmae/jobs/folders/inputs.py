"""Inputs of a prediction: the images that files, folders and sources stand for, each with the files of its channels."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfmae.data.dicom.pixels import is_dicom
from selfmae.data.dicom.series import headers_in, is_series, name_images, stem_of_image
from selfmae.data.files.images import read_image
from selfmae.data.files.names import is_image, stem_of
from selfmae.data.sources import SourceError, read_source
from selfmae.data.sources.nnunet import CHANNEL, group_channels
from selfmae.errors import UserError

KINDS = "NIfTI, NRRD, MHA, PNG, JPEG, TIFF, .npy, DICOM"
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Input:
    """One image to predict: its name without ending, and its files, in the order of the model's channels if several."""

    name: str
    files: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """Return what names the image in a table: its file, or where it has several, its name in their folder."""
        return self.files[0] if len(self.files) == 1 else self.files[0].with_name(self.name)


def list_inputs(typed: Sequence[Path], channels: Sequence[str]) -> list[Input]:
    """Return the images that files and folders stand for.

    Files of one channel are joined: X_0000, X_0001... as nnU-Net names them, or X_<channel> by the model's names. A
    folder stands for the images in it, or else for the cases of the source that it is.
    """
    found: list[Input] = []
    files: dict[Path, list[Path]] = defaultdict(list)
    for item in typed:
        if item.is_dir():
            inside = sorted(path for path in item.iterdir() if is_image(path)) or list(name_images(headers_in(item)))
            files[item] += inside
            found += [] if inside else _cases_in(item, channels)
        elif item.exists() or is_series(item) or any(parent.is_file() for parent in item.parents):
            files[item.parent].append(item)
        else:
            raise UserError(f"The image {item} was expected, but there is no such file: check the path.")
    return [*(image for group in files.values() if group for image in _join(group, channels)), *found]


def _join(files: Sequence[Path], channels: Sequence[str]) -> list[Input]:
    """Return the images of one folder's files."""
    numbers = [match[2] for path in files if (match := CHANNEL.fullmatch(stem_of(path)))]
    numbered = len(numbers) == len(files)
    if len(channels) == 1:
        apart = not numbered or set(numbers) != {"0000"}
    else:  # a gray picture has all channels of a colour model
        apart = tuple(channels) == COLOURS or len(read_image(files[:1]).array) > 1
    if apart:
        return [Input(_stem(path), (path,)) for path in files]
    endings = [f"{place:04d}" for place in range(len(channels))] if numbered else channels
    remedy = f"the model has the channels {', '.join(channels)}; give all files of an image, or rename them."
    return [Input(name, paths) for name, paths in group_channels(files, endings, remedy).items()]


def _stem(path: Path) -> str:
    return stem_of_image(path) if is_dicom(path) else stem_of(path)


def _cases_in(folder: Path, channels: Sequence[str]) -> list[Input]:
    """Return the images of a folder that is a source, their files in the order of the model's channels."""
    try:
        source = read_source(str(folder))
    except SourceError:
        raise
    except UserError as error:
        raise UserError(f"The folder {folder} holds no images ({KINDS}): check the path.") from error
    places = {name: place for place, name in enumerate(source.channels)}
    separate = any(len(case.images) > 1 for case in source.cases)
    if separate and not set(channels) <= set(places):
        raise UserError(
            f"{folder} was read as {source.layout} with the channels {', '.join(source.channels)}, but the model wants "
            f"{', '.join(channels)}: give files of these channels."
        )
    chosen = [places[name] for name in channels] if separate else [0]
    return [Input(case.id, tuple(case.images[place] for place in chosen)) for case in source.cases]
