"""File input and output: JSON and safetensors, written atomically and read without running code."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import mmap
import os
import re
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from robossl.core.errors import CorruptedFileError, OperationError, UsageError
from robossl.core.pytree import flatten, unflatten
from robossl.core.small_files import encode_json, open_regular, read_json
from robossl.core.tensor_file import read_header, to_storable, write_header

__all__ = [
    "check_tensors", "check_writable", "load_tree", "map_tensors", "new_folder", "read_json", "remove_leftovers",
    "resolve_within", "save_tree", "sync_folder", "write_bytes_atomic", "write_json", "write_tensors",
]  # fmt: skip


def resolve_within(root: str | Path, relative: str | Path) -> Path:
    """Return `root / relative` as an absolute path.

    Raises:
        UsageError: If the path lies outside `root`, symbolic links included, or is not a valid path.
    """
    try:
        root = Path(root).resolve()
        path = (root / relative).resolve()
        has_link_cycle = path.is_symlink()  # still a link after resolve(): Python < 3.13 raises instead
    except (OSError, RuntimeError, ValueError) as error:  # a cycle of links, a zero byte
        raise UsageError(f"{str(relative)!r} is not a path inside {root}: {error}") from error
    if has_link_cycle:
        raise UsageError(f"{str(relative)!r} is not a path inside {root}: its links form a cycle")
    if not path.is_relative_to(root):
        raise UsageError(f"{str(relative)!r} leads out of {root}; expected a path inside it")
    return path


def check_writable(path: str | Path) -> Path:
    """Return the path of a file to be written later.

    Raises:
        UsageError: If the file cannot be created there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"expected an existing folder to write {path.name} to, got {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"no permission to write to {path.parent}"
        raise UsageError(f"cannot write {path}: {reason}")
    return path


def write_bytes_atomic(path: str | Path, data: bytes | Iterable[Any]) -> None:
    """Write a file atomically: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: File to create or replace.
        data: Bytes, or chunks of bytes.

    Raises:
        OperationError: If the file cannot be written; an existing file is then unchanged.
    """
    path = Path(path)
    is_single = isinstance(data, (bytes, bytearray, memoryview))
    parts: Iterable[Any] = [data] if is_single else data
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
    finally:  # remove the temporary file after any error, KeyboardInterrupt included
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power failure."""
    if os.name != "posix":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files in a folder, and below it, whose processes have died."""
    for path in Path(folder).rglob(".*.tmp"):
        match = re.fullmatch(r"\..+\.(\d{1,10})\.[0-9a-f]{8}\.tmp", path.name)
        if match is not None and not _is_running(int(match[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Return whether there is a process with this id on this machine."""
    if process == os.getpid() or os.name != "posix":  # on Windows `os.kill` ends the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


@contextlib.contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """Yield a folder beside `out` that is renamed to `out` on success and removed on failure.

    Raises:
        UsageError: If `out` is not empty, or cannot be created.
        OperationError: If a file cannot be written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not empty; choose a new folder, or remove it first")
    if os.path.ismount(out):
        raise UsageError(f"{out} is a mount point, which cannot be replaced; choose a new folder in it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead_folders(out)
        parent = out.parent.absolute()  # Minari computes the dataset size correctly only for absolute paths
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=parent))
    except OSError as error:
        raise UsageError(f"cannot create a folder in {out.parent}: {error.strerror}") from error
    folder = temporary / out.name
    descriptor = _lock_folder(temporary)  # until the process ends
    try:
        folder.mkdir()
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        raise OperationError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _remove_dead_folders(out: Path) -> None:
    """Remove the folders that `new_folder(out)` left when its process died."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*.part"):
        descriptor = _lock_folder(path)
        if descriptor is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)


def _lock_folder(path: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed; None if it is locked or the system has no such locks."""
    if fcntl is None:
        return None
    with contextlib.suppress(OSError):  # it is removed at this moment
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            os.close(descriptor)
    return None


def write_json(path: str | Path, value: Any, checksum: bool = False) -> None:
    """Write a value as JSON atomically; numbers must be finite, keys keep their order.

    Args:
        path: File to create or replace.
        value: JSON values; a dict, if there is a checksum.
        checksum: Add one, which `read_json` checks.
    """
    write_bytes_atomic(path, encode_json(value, checksum))


def write_tensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as one safetensors file.

    Args:
        path: File to create or replace.
        arrays: Arrays by name.
        metadata: Text by key. Two checksums are added: `crc32` of the arrays' bytes, `header_crc32` of the header.
    """
    arrays_by_size = {name: to_storable(np.asarray(array), repr(name)) for name, array in arrays.items()}
    # sort by element size, largest first: every array is then aligned to its element size
    arrays_by_size = dict(sorted(arrays_by_size.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    parts = [array.reshape(-1).view(np.uint8).data for array in arrays_by_size.values()]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    header = write_header(arrays_by_size, {**(metadata or {}), "crc32": f"{checksum:08x}"})
    write_bytes_atomic(path, [header, *parts])


def map_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a safetensors file and its metadata.

    The arrays are read-only views of the memory-mapped file; nothing is copied.
    """
    with open_regular(path) as file:
        header = read_header(path, file)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name, (dtype, shape, begin) in header.entries.items():
        try:
            arrays[name] = np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape)
        except (ValueError, OverflowError) as error:  # (0, 2**70) has no bytes, but numpy cannot represent it
            raise CorruptedFileError(f"{path} is damaged: {name!r} of shape {shape}: {error}") from error
    return arrays, header.metadata


def check_tensors(path: str | Path) -> None:
    """Check the checksums of a file that `write_tensors` wrote.

    Raises:
        CorruptedFileError: If a checksum is missing or differs.
    """
    with open_regular(path) as file:
        header = read_header(path, file)
        checksum = 0
        try:
            while block := file.read(1 << 22):
                checksum = zlib.crc32(block, checksum)
        except OSError as error:
            raise OperationError(f"cannot read {path}: {error.strerror or error}") from error
    expected = header.metadata.get("crc32")
    if not header.has_checksum or expected is None:
        raise CorruptedFileError(f"{path} has no checksum; it was not written by robossl")
    if expected != f"{checksum:08x}":
        raise CorruptedFileError(f"{path} is damaged: expected checksum {expected}, got {checksum:08x}")


def save_tree(path: str | Path, tree: Any) -> None:
    """Write nested dicts and lists of numbers, strings, arrays and tensors as one safetensors file.

    Keys are strings or integers. Tuples are read back as lists, tensors as arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    structure = flatten(tree, arrays, "tree")
    write_tensors(path, arrays, {"tree": json.dumps(structure)})


def load_tree(path: str | Path) -> Any:
    """Read a tree that `save_tree` wrote, after checking its checksums; tensors are read back as arrays."""
    check_tensors(path)
    arrays, metadata = map_tensors(path)
    if "tree" not in metadata:
        raise CorruptedFileError(f"{path} has no tree, only arrays; expected a file written by save_tree")
    try:
        return unflatten(json.loads(metadata["tree"]), arrays)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptedFileError(f"{path} is damaged: its tree is not readable ({error!r})") from error
