"""Exceptions: UsageError for a wrong request, OperationError for a failed operation."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable

_MAX_ERROR = 300  # [characters] of an error that is stored or sent


def printable(text: str) -> str:
    """Return the text in one line, with control characters escaped: text from a file must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shell_path(path: object) -> str:
    """Return a path as it is pasted into a command line: quoted if it has spaces or other special characters."""
    return shlex.quote(str(path))


class UsageError(Exception):
    """A wrong request: one line with what was expected, what was given and what is available. Exit code 2.

    Not a `ValueError`: argument parsers catch those and replace the message.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class OperationError(RuntimeError):
    """A correct request that failed. One line. Exit code 1."""

    def __str__(self) -> str:
        return printable(super().__str__())


class WindowClosedError(OperationError):
    """The user closed the window that the work is shown in, which is the usual way to end it."""


class CorruptedFileError(OperationError):
    """A robossl file that is truncated, altered or not what its name states."""


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line; "" if it has none, or cannot be converted to text."""
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - third-party exceptions may raise in `__str__`
        return ""


def error_line(error: BaseException) -> str:
    """Return an error in one line, with its class if it is none of robossl."""
    text = one_line(error)[:_MAX_ERROR]
    return text if isinstance(error, (UsageError, OperationError)) else f"{type(error).__name__}: {text}"


def unknown_name_error(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that does not exist; close matches are listed first.

    Args:
        kind: Singular noun for the names, such as "env" or "config key".
        name: The unknown name.
        known: Names that exist.

    >>> str(unknown_name_error("env", "reecher", ["pusher", "reacher"]))
    "no 'reecher' among the envs; did you mean 'reacher'? available: pusher, reacher"
    """
    names = sorted(known)
    matches = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f" did you mean {' or '.join(repr(n) for n in matches)}?" if matches else ""
    kinds = f"{kind[:-1]}ies" if kind[-1:] == "y" and kind[-2:-1] not in "aeiou" else f"{kind}s"
    return UsageError(f"no {name!r} among the {kinds};{hint} available: {', '.join(names) or 'none'}")
