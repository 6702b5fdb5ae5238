"""Reading of small files from untrusted sources: regular files of limited size, and strict JSON and TOML.

A file is read only if it is a regular file, and never beyond a size limit, so that a FIFO, a device or a huge file
cannot stop or fill the process. JSON has no duplicate keys, no NaN or infinity, and limited nesting. A file written
with a checksum is refused if one bit of it differs.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import tomllib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from robossl.core.errors import CorruptedFileError, UsageError

MAX_BYTES = 16 << 20  # [bytes] of a JSON or TOML file
_MAX_DEPTH = 64  # nested lists and tables
_MAX_DIGITS = 40  # of an integer
_BLANK = b"00000000"  # placeholder of a checksum while it is computed
_CHECKSUM = re.compile(rb'\A\{\n  "crc32": "([0-9a-f]{8})"')
CHECKSUM_KEY = "crc32"


def as_path(value: object, expected: str) -> Path:
    """Return an argument that names a file or folder as a path.

    Args:
        value: Text or a path.
        expected: What the caller accepts, for the message.

    Raises:
        UsageError: The value is neither, or no file can have such a name.
    """
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        try:
            os.lstat(path)
        except ValueError:  # a null character
            raise UsageError(f"expected {expected}, got {str(path)!r:.100}") from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise UsageError(
                    f"expected {expected}, got a name that is too long: {path!s:.60}..."
                ) from None
        return path
    got = repr(value) if value is None or isinstance(value, (bool, int, float)) else type(value).__name__
    raise UsageError(f"expected {expected}, got {got}")


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading; links to one are followed, and nothing waits.

    Raises:
        UsageError: If there is no such file, it cannot be read, or it is a folder.
        CorruptedFileError: If it is a FIFO, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        if stat.S_ISREG(mode):
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            file = os.fdopen(os.open(path, flags), "rb")
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # still
                return file
            file.close()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"no file {path}; expected an existing file") from None
    except (OSError, ValueError) as error:  # a zero byte in the path
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    raise CorruptedFileError(f"{path} is not a regular file; expected no FIFO, socket or device")


def read_limited(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        UsageError: If there is no such file or it cannot be read.
        CorruptedFileError: If it is larger or not a regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = file.read(limit + 1) if size <= limit else b""
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if size > limit or len(data) > limit:
        raise CorruptedFileError(f"{path} is too large: expected at most {limit:,} bytes")
    return data


def read_text(path: str | Path, limit: int = MAX_BYTES) -> str:
    """Return the UTF-8 text of a regular file of at most `limit` bytes; raise CorruptedFileError if it is not text."""
    try:
        return read_limited(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptedFileError(f"{path} is not text: {error.reason}") from error


def read_json(path: str | Path, checksum: bool = False) -> Any:
    """Read a JSON file.

    Args:
        path: A regular file of at most `MAX_BYTES`.
        checksum: It must have a checksum, as `encode_json` adds it. One that is there must be correct in any case; the
            returned dict is without it.

    Raises:
        UsageError: If there is no such file.
        CorruptedFileError: If it is too large, not a regular file, not strict JSON, or its checksum differs.
    """
    data = read_limited(path)
    if checksum and not has_correct_checksum(data):
        raise CorruptedFileError(f"{path} is damaged: its checksum differs or is missing")
    value = parse_json(data, path)
    if isinstance(value, dict) and _has_checksum(value):
        if not has_correct_checksum(data):
            raise CorruptedFileError(f"{path} is damaged, or was changed by hand: its checksum differs")
        value.pop(CHECKSUM_KEY)
    return value


def read_result(path: str | Path) -> dict[str, Any]:
    """Read a file with a checksum that is computed again if it is missing; a damaged one has to be removed."""
    try:
        return read_json(path, checksum=True)
    except CorruptedFileError as error:
        raise CorruptedFileError(f"{error}; remove it, and the same command computes it again") from error


def _has_checksum(table: dict[str, Any]) -> bool:
    """Return whether the first entry of a table is a checksum, perhaps with one wrong character in its key."""
    key, text = next(iter(table.items()), ("", ""))
    wrong = sum(a != b for a, b in zip(key, CHECKSUM_KEY))
    return len(key) == len(CHECKSUM_KEY) and wrong <= 1 and re.fullmatch("[0-9a-f]{8}", str(text)) is not None


def encode_json(value: Any, checksum: bool = False) -> bytes:
    """Return a value as JSON text; with a checksum, a dict gets the key `crc32` first."""
    if not checksum:
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
    text = json.dumps({CHECKSUM_KEY: _BLANK.decode(), **value}, indent=2, allow_nan=False) + "\n"
    data = text.encode()
    return data.replace(_BLANK, f"{zlib.crc32(data):08x}".encode(), 1)


def has_correct_checksum(data: bytes | bytearray) -> bool:
    """Return whether JSON text from `encode_json` has its checksum, and is unchanged."""
    match = _CHECKSUM.match(data)
    if match is None:
        return False
    return zlib.crc32(data[: match.start(1)] + _BLANK + data[match.end(1) :]) == int(match[1], 16)


def parse_json(data: bytes | str, source: str | Path) -> Any:
    """Return the value of strict JSON text.

    Args:
        data: The text.
        source: Where it comes from, for messages.

    Raises:
        CorruptedFileError: If it is not UTF-8, not JSON, or has duplicate keys, NaN, infinities, surrogates, integers
            of more than 40 digits or more than 64 nested levels.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(
            text,
            object_pairs_hook=_table,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
        _check_tree(value)
        return value
    except UnicodeDecodeError as error:
        raise CorruptedFileError(f"{source} is not text: {error.reason}") from error
    except json.JSONDecodeError as error:
        message = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise CorruptedFileError(f"{source} is not JSON: {message}") from error
    except RecursionError as error:
        raise CorruptedFileError(f"{source} is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise CorruptedFileError(f"{source} is not valid JSON: {error}") from error


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file with the limits of `read_json`.

    Raises:
        UsageError: If there is no such file, or it is not TOML.
        CorruptedFileError: If it is too large, not a regular file, or nested too deeply.
    """
    text = read_text(path)
    if (
        start := re.search(rf"\[\s*(?:\[\s*){{{_MAX_DEPTH}}}|(?:[\w-]+\s*\.\s*){{{_MAX_DEPTH}}}", text)
    ) is not None:
        line = text.count("\n", 0, start.start()) + 1
        raise CorruptedFileError(f"{path} is nested too deeply at line {line}")
    try:
        value = tomllib.loads(text)
        _check_tree(value)
        return value
    except RecursionError as error:
        raise CorruptedFileError(f"{path} is nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError too
        raise UsageError(f"{path} is not TOML: {error}") from error


def checked(
    table: Any,
    key: str,
    kind: type | tuple[type, ...],
    source: str | Path,
    low: float = -math.inf,
    high: float = math.inf,
) -> Any:
    """Return an entry of a table from a file.

    Args:
        table: The table.
        key: Name of the entry.
        kind: Its type; `bool` is no `int`, `type(None)` allows null.
        source: Where the table comes from, for messages.
        low: Smallest number.
        high: Largest number.

    Raises:
        CorruptedFileError: If the entry is missing, or has another type or range.
    """
    if not isinstance(table, dict):
        raise CorruptedFileError(f"{source} is damaged: expected a table, got {table!r:.100}")
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
    if key not in table:
        raise CorruptedFileError(f"{source} is damaged: {key}: expected {names}, got no entry")
    value = table[key]
    if type(value) not in kinds:
        raise CorruptedFileError(f"{source} is damaged: {key}: expected {names}, got {value!r:.100}")
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise CorruptedFileError(f"{source} is damaged: {key}: expected {low} to {high}, got {value!r:.100}")
    return value


def checked_ints(
    table: Any, key: str, source: str | Path, length: int | None = None, high: int = 1 << 48
) -> list[int]:
    """Return a list of `length` integers from 0 to `high` from a table; raise CorruptedFileError otherwise."""
    values = checked(table, key, list, source)
    if length is not None and len(values) != length:
        raise CorruptedFileError(f"{source} is damaged: {key}: expected {length} numbers, got {len(values)}")
    for value in values:
        if type(value) is not int or not 0 <= value <= high:
            raise CorruptedFileError(f"{source} is damaged: {key}: expected 0 to {high}, got {value!r:.100}")
    return values


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r:.100} occurs twice")
    return table


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is not a finite number")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer has {len(text):,} digits")
    return int(text)


def _check_tree(value: Any) -> None:
    """Raise ValueError if a tree is nested too deeply or a text in it cannot be encoded."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH + 1):
        below: list[Any] = []
        for node in level:
            if isinstance(node, str):
                _check_text(node)
            elif isinstance(node, dict):
                _check_texts(node)
                below += node.values()
            elif isinstance(node, list):
                below += node
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")


def _check_texts(texts: Iterable[Any]) -> None:
    for text in texts:
        _check_text(text)


def _check_text(text: str) -> None:
    if not text.isascii():
        text.encode()  # UnicodeEncodeError, a ValueError: a lone surrogate
