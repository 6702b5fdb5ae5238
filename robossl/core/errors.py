"""The two ways things go wrong: the request was wrong, or the work failed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """The request was wrong. One line: what was given, what was expected, what there is. Exit code 2.

    Not a `ValueError`: parsers catch those and put their own words in place of ours.
    """


class OperationError(RuntimeError):
    """The request was right and the work failed. One line. Exit code 1."""


class CorruptedFileError(OperationError):
    """A file of ours is cut short, altered or not what its name says."""


def unknown_name_error(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The answer to a name that does not exist, with the near ones first.

    >>> str(unknown("env", "reecher", ["pusher", "reacher"]))
    "no 'reecher' among the envs; did you mean 'reacher'? there are: pusher, reacher"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    kinds = f"{kind[:-1]}ies" if kind[-1:] == "y" and kind[-2:-1] not in "aeiou" else f"{kind}s"
    return UsageError(f"no {name!r} among the {kinds};{hint} there are: {', '.join(names) or 'none'}")
