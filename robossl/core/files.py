"""Files that are whole or absent: JSON and safetensors, written atomically, read without running code."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import DamagedFile, RequestError, WorkError

_HEADER_LIMIT = 100 * 1024 * 1024  # [bytes] the limit the safetensors format sets for its JSON header
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def inside(root: str | Path, relative: str | Path) -> Path:
    """`root / relative`, refused where it leads out of `root`."""
    root = Path(root).resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise RequestError(f"{str(relative)!r} leads out of {root}; expected a path inside it")
    return path


def commit_bytes(path: str | Path, data: bytes | Iterable[Any]) -> None:
    """Write a file so that it is there whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for part in [data] if isinstance(data, bytes) else data:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise WorkError(f"cannot write {path}: {error.strerror or error}") from error


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
    commit_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read JSON; `RequestError` where there is no such file, `DamagedFile` where it is not JSON."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise RequestError(f"no file {path}") from None
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path} is not text: {error.reason}") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DamagedFile(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error


def write_tensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as one safetensors file, with a crc32 of their bytes in its metadata."""
    header: dict[str, Any] = {}
    offset, checksum = 0, 0
    parts = []
    # widest elements first, so that every array starts at a multiple of its element size
    for name in sorted(arrays, key=lambda n: (-np.asarray(arrays[n]).dtype.itemsize, n)):
        array = np.asarray(arrays[name], order="C")
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise RequestError(f"{name!r} has dtype {array.dtype}; a file can hold {', '.join(_DTYPES)}")
        data = memoryview(np.ascontiguousarray(array, dtype=dtype).reshape(-1)).cast("B")
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + data.nbytes],
        }
        offset += data.nbytes
        checksum = zlib.crc32(data, checksum)
        parts.append(data)
    header["__metadata__"] = {**(metadata or {}), "crc32": f"{checksum:08x}"}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)  # the data starts at a cache line
    commit_bytes(path, [struct.pack("<Q", len(text)), text, *parts])


def _header(path: Path, file: Any) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file and where its data starts; checks that the sizes agree."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
    if not 0 <= length <= min(size - 8, _HEADER_LIMIT):
        raise DamagedFile(f"{path} is damaged: no safetensors header in its {size} bytes")
    try:
        header = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for n, entry in header.items() if n != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedFile(f"{path} is damaged: its header is not readable ({error})") from error
    if 8 + length + end != size:
        raise DamagedFile(f"{path} is damaged: {size} bytes long, its header promises {8 + length + end}")
    return header, 8 + length


def map_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file as read-only views of the mapped file, and its metadata. Copies nothing."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            header, start = _header(path, file)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"no file {path}") from None
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        try:
            dtype = _DTYPES[entry["dtype"]]
            shape = tuple(int(n) for n in entry["shape"])
            begin, end = entry["data_offsets"]
            count = int(np.prod(shape, dtype=np.int64))
            if min((begin, *shape), default=0) < 0 or end - begin != count * dtype.itemsize:
                raise ValueError(f"{name!r} of shape {shape} does not fill its {end - begin} bytes")
            arrays[name] = np.frombuffer(data, dtype, count, start + begin).reshape(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFile(f"{path} is damaged: {error}") from error
    return arrays, metadata


def check_tensors(path: str | Path) -> None:
    """Compare a file written by `write_tensors` with its checksum; `DamagedFile` where it differs."""
    path = Path(path)
    with open(path, "rb") as file:
        header, start = _header(path, file)
        file.seek(start)
        checksum = 0
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    expected = header.get("__metadata__", {}).get("crc32")
    if expected is None:
        raise DamagedFile(f"{path} carries no checksum; it was not written by robossl")
    if expected != f"{checksum:08x}":
        raise DamagedFile(f"{path} is damaged: its checksum is {checksum:08x}, it was written as {expected}")


def save_tree(path: str | Path, tree: Any) -> None:
    """Write nested dicts and lists of numbers, words, arrays and tensors as one safetensors file."""
    arrays: dict[str, np.ndarray] = {}
    skeleton = _dismantle(tree, arrays, "tree")
    write_tensors(path, arrays, {"tree": json.dumps(skeleton)})


def load_tree(path: str | Path) -> Any:
    """Read what `save_tree` wrote, after checking its checksum; arrays and tensors come back as numpy arrays."""
    if not Path(path).is_file():
        raise RequestError(f"no file {path}")
    check_tensors(path)
    arrays, metadata = map_tensors(path)
    if "tree" not in metadata:
        raise DamagedFile(f"{path} holds arrays but no tree; it was not written by save_tree")
    return _assemble(json.loads(metadata["tree"]), arrays)


def _dismantle(value: Any, arrays: dict[str, np.ndarray], where: str) -> Any:
    """JSON with a reference in place of every array; the arrays are put aside."""
    if isinstance(value, Mapping):
        keys = [
            k if isinstance(k, str) else {"int": int(k)} for k in value
        ]  # optimisers number their parameters
        return {"dict": [[k, _dismantle(v, arrays, where)] for k, v in zip(keys, value.values())]}
    if isinstance(value, (list, tuple)):
        return {"list": [_dismantle(v, arrays, where) for v in value]}
    if value is None or isinstance(value, (bool, int, str)):
        return {"value": value}
    if isinstance(value, float):
        return {"float": value.hex()}  # exact, and infinities too
    if isinstance(value, np.generic):
        return _dismantle(value.item(), arrays, where)
    if isinstance(value, np.ndarray):
        array = value
    elif type(value).__module__.startswith("torch"):
        array = value.detach().cpu().numpy()
    else:
        raise TypeError(f"a tree holds numbers, words, arrays and tensors; got {type(value).__name__}")
    name = f"{len(arrays):06d}"
    arrays[name] = np.array(array)
    return {"array": name}


def _assemble(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    (kind, content), *_ = node.items()
    if kind == "dict":
        return {(k["int"] if isinstance(k, dict) else k): _assemble(v, arrays) for k, v in content}
    if kind == "list":
        return [_assemble(v, arrays) for v in content]
    if kind == "array":
        return np.array(arrays[content])
    return float.fromhex(content) if kind == "float" else content
