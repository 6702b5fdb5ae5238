"""Files that are whole or absent: JSON and safetensors, written atomically, read without running code."""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import secrets
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.core.pytree import flatten, unflatten
from robossl.core.tensor_file import read_header, to_storable, write_header


def resolve_within(root: str | Path, relative: str | Path) -> Path:
    """`root / relative`, refused where it leads out of `root`."""
    try:
        root = Path(root).resolve()
        path = (root / relative).resolve()
        circle = path.is_symlink()  # resolved, and still a link; before Python 3.13 an error
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a zero byte
        raise UsageError(f"{str(relative)!r} is no path inside {root}: {error}") from error
    if circle:
        raise UsageError(f"{str(relative)!r} is no path inside {root}: its links lead in a circle")
    if not path.is_relative_to(root):
        raise UsageError(f"{str(relative)!r} leads out of {root}; expected a path inside it")
    return path


def check_writable(path: str | Path) -> Path:
    """The path of a file that is to be written much later; `RequestError` now where there is no place for it."""
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"no folder {path.parent} to write {path.name} to")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        why = "a folder has that name" if path.is_dir() else f"{path.parent} may not be written to"
        raise UsageError(f"cannot write {path}: {why}")
    return path


def write_bytes_atomic(path: str | Path, data: bytes | Iterable[Any]) -> None:
    """Write a file so that it is there whole or not at all: temporary name, fsync, rename, fsync folder."""
    path = Path(path)
    whole = isinstance(data, (bytes, bytearray, memoryview))
    parts: Iterable[Any] = [data] if whole else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise OperationError(f"cannot write {path}: {error.strerror or error}") from error
    finally:  # whatever happened, an interrupt included, no half-written file stays
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    if os.name != "posix":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON (numbers finite, keys in the order given), whole or not at all."""
    write_bytes_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read JSON; `RequestError` where there is no such file, `DamagedFile` where it is not JSON."""
    with _open(path) as file:
        data = file.read()
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CorruptedFileError(f"{path} is not text: {error.reason}") from error
    except json.JSONDecodeError as error:
        raise CorruptedFileError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets 5000 deep
        raise CorruptedFileError(f"{path} is not JSON that we write: {error}") from error


def _open(path: str | Path) -> BinaryIO:
    """A file to read; `RequestError` where there is none or it may not be read."""
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"no file {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def write_tensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as one safetensors file.

    Its metadata carries two checksums, `crc32` of the arrays' bytes and `header_crc32` of the
    header, so that no altered byte goes unnoticed.
    """
    kept = {name: to_storable(np.asarray(array), repr(name)) for name, array in arrays.items()}
    # widest elements first, so that every array starts at a multiple of its element size
    kept = dict(sorted(kept.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    parts = [array.reshape(-1).view(np.uint8).data for array in kept.values()]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    header = write_header(kept, {**(metadata or {}), "crc32": f"{checksum:08x}"})
    write_bytes_atomic(path, [header, *parts])


def map_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file as read-only views of the mapped file (no copy), and its metadata."""
    with _open(path) as file:
        header = read_header(path, file)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name, (dtype, shape, begin) in header.places.items():
        try:
            arrays[name] = np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape)
        except (ValueError, OverflowError) as error:  # (0, 2**70) fills its no bytes, and is no shape
            raise CorruptedFileError(f"{path} is damaged: {name!r} of shape {shape}: {error}") from error
    return arrays, header.metadata


def check_tensors(path: str | Path) -> None:
    """Compare a file written by `write_tensors` with its checksums; `DamagedFile` where it differs."""
    with _open(path) as file:
        header = read_header(path, file)
        checksum = 0
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    expected = header.metadata.get("crc32")
    if not header.signed or expected is None:
        raise CorruptedFileError(f"{path} carries no checksum; it was not written by robossl")
    if expected != f"{checksum:08x}":
        raise CorruptedFileError(
            f"{path} is damaged: its checksum is {checksum:08x}, it was written as {expected}"
        )


def save_tree(path: str | Path, tree: Any) -> None:
    """Write nested dicts and lists of numbers, words, arrays and tensors as one safetensors file.

    Keys are words or whole numbers; tuples come back as lists, tensors as arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    skeleton = flatten(tree, arrays, "tree")
    write_tensors(path, arrays, {"tree": json.dumps(skeleton)})


def load_tree(path: str | Path) -> Any:
    """Read what `save_tree` wrote, after checking its checksums; arrays and tensors come back as arrays."""
    check_tensors(path)
    arrays, metadata = map_tensors(path)
    if "tree" not in metadata:
        raise CorruptedFileError(f"{path} holds arrays but no tree; it was not written by save_tree")
    try:
        return unflatten(json.loads(metadata["tree"]), arrays)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptedFileError(f"{path} is damaged: its tree is not readable ({error!r})") from error
