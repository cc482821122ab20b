"""`UserError`: the one exception for everything that a user can cause and fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A problem the user can mend: the command line prints its one sentence and exits with code 2.

    The text says what was expected, what came and what to do, and names the file and key as typed. `code` names the
    kind of problem where the data doctor knows it (`data/doctor/findings.py`): `inspect` shows it as a finding then.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return " Did you mean 'x'?" for a near miss, otherwise the list of what there is; `prefix` goes before x."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f" Did you mean {prefix + near[0]!r}?" if near else f" Known: {', '.join(names)}."


def first_of(items: Iterable[object], limit: int = 3, separator: str = ", ") -> str:
    """Return the first few items and how many more there are: "a, b, c and 4 more"."""
    texts = [str(item) for item in items]
    rest = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return separator.join(texts[:limit]) + rest
