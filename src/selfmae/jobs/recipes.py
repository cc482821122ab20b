"""The recipes that come with SelfMAE: their list, their text, and in what two of them differ and why."""

from itertools import takewhile

from selfmae.jobs.display import Display
from selfmae.recipe import as_content, check_partial, find_recipe, flat, named_recipes, read_content, read_reasons

DEFAULT = "not in the recipe: the default, or what the plan chooses"


def list_recipes(display: Display) -> None:
    """Print the name of every recipe with its first sentence."""
    rows = [(name, path.read_text().splitlines()[0].strip("# ")) for name, path in named_recipes().items()]
    display.table(("recipe", "what it is"), rows)


def show_recipe(name: str, display: Display) -> None:
    """Print a recipe as it stands in its file."""
    display.say(find_recipe(name).read_text().rstrip())


def diff_recipes(one: str, other: str, display: Display) -> None:
    """Print every key in which two recipes differ, with both values and the reason of each."""
    rows = compare_recipes(one, other)
    for note in dict.fromkeys(note for name in (one, other) for note in notes_of(name)) if rows else ():
        display.say(note)
    for key, values, reasons in rows:
        display.say(key)
        for name, value, reason in zip((one, other), values, reasons, strict=True):
            display.say(f"    {name}: {value}  # {reason}")
    display.say(f"{len(rows)} keys differ." if rows else f"{one} and {other} have the same values.")


def notes_of(name: str) -> list[str]:
    """Return what the comments at the top of a recipe say beyond its title, such as what its reasons refer to."""
    lines = find_recipe(name).read_text().splitlines()[1:]
    return [line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]


def compare_recipes(one: str, other: str) -> list[tuple[str, tuple[object, object], tuple[str, str]]]:
    """Return each key in which two recipes differ, its two values, and the reasons that their files give."""
    (ours, why), (theirs, why_there) = _read(one), _read(other)
    return [
        (key, (ours.get(key), theirs.get(key)), (why.get(key, DEFAULT), why_there.get(key, DEFAULT)))
        for key in dict.fromkeys((*ours, *theirs))
        if ours.get(key) != theirs.get(key)
    ]


def _read(name: str) -> tuple[dict[str, object], dict[str, str]]:
    """Return all values of a recipe by dotted key, defaults too, and the comments of those that it sets."""
    path = find_recipe(name)
    return flat(as_content(check_partial(read_content(path), name))), read_reasons(path)
