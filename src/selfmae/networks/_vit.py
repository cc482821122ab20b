"""What the networks on our Vision Transformer share: the crop is a multiple of the patch."""

from collections.abc import Iterator, Sequence

from selfmae.options import Recipe


def fit_crop(crop: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the crop as it is: it is planned in whole patches."""
    return tuple(crop)


def patch_problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with patch and crop together, and with width and heads."""
    data, model = recipe.data, recipe.model
    if len(model.patch) == len(data.crop) and any(
        step < 1 or extent % step for extent, step in zip(data.crop, model.patch, strict=True)
    ):
        yield f"data.crop {list(data.crop)} must be a multiple of model.patch {list(model.patch)} on every axis"
