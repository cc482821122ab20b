"""What the data doctor can find: each code with its severity and what to do."""

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from selfmae.data.dicom import series
from selfmae.errors import UserError, first_of

# code: severity, what to do
REMEDIES = {
    "unreadable_image": ("error", "replace the file or remove the case"),
    "not_finite": ("error", "replace these values, for example by 0; `selfmae inspect --fix DIR` does it in a copy"),
    "constant_image": ("warning", "check the file; it may be empty"),
    "channels_differ": ("error", "convert the image or remove the case"),
    "axes_differ": ("error", "convert the image or remove the case"),
    "missing_spacing": ("error", "give all images in one file format"),
    "channels_undeclared": ("error", "correct the names of the channels (modality in dataset.json)"),
    "mask_as_image": ("warning", "replace the mask by the image, or remove the case"),
    "spacing_outlier": ("warning", "check the header; a wrong unit or a lost slice distance looks like this"),
    "size_outlier": ("warning", "check the image; another part of the body or a scout looks like this"),
    "intensity_units_differ": (
        "warning",
        "rescale these images to the unit of the others, or leave them out; data.intensity=window would clip them",
    ),
    # of masks
    "unreadable_mask": ("error", "replace the file or remove the case"),
    "fractional_label": ("error", "resample the mask again with nearest neighbour, or round its values"),
    "size_differs": (
        "error",
        "resample the mask onto the image, or draw it anew; `selfmae inspect --fix DIR` resamples in a copy",
    ),
    "place_differs": (
        "error",
        "correct the header that is wrong, or resample the mask onto the image; `selfmae inspect --fix DIR` resamples "
        "in a copy",
    ),
    "place_shifted": ("warning", "copy the header of the image to the mask if they were drawn on the same grid"),
    "undeclared_label": ("error", "declare the value as a label, or set it to 0 in the mask"),
    "absent_label": ("warning", "remove the label, or check the value it has in the masks"),
    "empty_mask": ("warning", "check that nothing is there to mark"),
    "label_values_mapped": ("note", "nothing: predicted masks have the values of your masks again"),
    "left_right_labels": (
        "note",
        "nothing: where training mirrors an image from left to right, it swaps these labels (augment.laterality.swap)",
    ),
    # of the set as a whole
    "same_patient_across_parts": ("error", "give each patient one split"),
    "too_few_patients": ("error", "label at least 3 patients, one for each part"),
    "duplicate_across_parts": ("warning", "nothing: the copy that training or model choice would see is left out"),
    "duplicate_image": ("warning", "remove one of them"),
    "near_duplicate_across_parts": ("warning", "nothing: the copy that training or model choice would see is left out"),
    "near_duplicate_image": ("warning", "compare them, and remove one if they show the same image"),
    "near_duplicate_ids": ("warning", "compare the files: if they are one case, remove one; if not, rename one"),
    "rare_finding": ("warning", "its score will be undefined or mean little: collect more, or leave it out"),
    # of readers, whose own sentences say what to do
    "unusable_source": ("error", "correct what the sentence names"),
    "damaged_list": ("error", "mend the file"),
    "missing_file": ("error", "put the files there or take them off the list"),
    "unpaired": ("error", "add the files that are missing, or rename them"),
    "unknown_label": ("error", "correct the label"),
    "unknown_split": ("error", "correct the split"),
    "empty_value": ("error", "fill the empty values"),
    "duplicate_row": ("error", "list each image once"),
    "duplicate_id": ("error", "remove the repeats or rename the files"),
    **series.REMEDIES,
}


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know: first of one case, then of all cases of a code (`join_alike`)."""

    code: str
    severity: str  # "error", "warning" or "note"
    cases: tuple[str, ...]  # ids
    cause: str
    fix: str


@dataclass(frozen=True)
class Facts:
    """What one image holds, and its mask where that was read."""

    id: str
    shape: tuple[int, ...]  # spatial
    num_channels: int
    spacing_mm: tuple[float, ...]  # () where the file has none
    percentiles: tuple[tuple[float, float, float], ...]  # of each channel: 0.5, 50 and 99.5 %
    pixel_hash: str  # equal for equal voxels in whatever file
    mask_counts: tuple[tuple[int, int], ...]  # value and number of its voxels; () where no mask was read
    mask_hash: str = ""  # as `pixel_hash`, of the mask's voxels
    looks_like_mask: bool = False  # few whole values, mostly 0
    is_gray: bool = False  # a picture of three equal channels, which is a gray one as well
    thumbnail: bytes = b""  # of `duplicates.thumbnail`; b"" where the image is too small or constant


def make_finding(code: str, cases: Iterable[str], cause: str, fix: str = "") -> Finding:
    """Return a finding with the severity of its code, and the code's remedy where there is no other."""
    severity, usual = REMEDIES[code]
    return Finding(code, severity, tuple(cases), cause, fix or usual)


def finding_of(code: str, sentence: str, cases: Iterable[str] = ()) -> Finding:
    """Return a finding of an error's sentence, "cause: what to do."; the fix is the code's where it says none."""
    cause, colon, fix = sentence.removesuffix(".").rpartition(": ")
    return make_finding(code, cases, cause, fix) if colon else make_finding(code, cases, fix)


def join_alike(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each code and fix, with all cases; the first causes are named, the others counted."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.code, finding.fix].append(finding)
    return [
        make_finding(
            code, [case for item in group for case in item.cases], first_of(dict.fromkeys(f.cause for f in group)), fix
        )
        for (code, fix), group in groups.items()
    ]


def raise_on_errors(findings: Iterable[Finding]) -> None:
    """Raise one `UserError` with every error finding: cause and what mends it."""
    errors = [f"{finding.cause}: {finding.fix}" for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError(f"The data cannot be used as it is: {'; '.join(errors)}.")


def to_content(facts: Facts) -> dict[str, Any]:
    """Return facts as JSON can hold them."""
    return {**asdict(facts), "thumbnail": base64.b64encode(facts.thumbnail).decode()}


def from_content(content: Mapping[str, Any]) -> Facts:
    """Return the facts that `to_content` wrote down."""
    fields = {name: _as_tuple(value) for name, value in content.items()}
    return Facts(**fields | {"thumbnail": base64.b64decode(content["thumbnail"])})


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
