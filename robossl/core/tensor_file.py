"""The header of a safetensors file: names, dtypes, shapes and places of its arrays, and their checksums."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError

_LIMIT = 100 * 1024 * 1024  # [bytes] what the format allows a header
_BLANK = b"0" * 8  # stands for the header's checksum while that is computed
_CHECKSUM = re.compile(rb'"header_crc32":"([0-9a-f]{8})"')
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


class TensorEntry(NamedTuple):
    """Where an array lies, and what it is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int  # [bytes] from the start of the file


class Header(NamedTuple):
    """What a safetensors file says about itself, once that has been checked."""

    places: dict[str, TensorEntry]
    metadata: dict[str, str]
    signed: bool  # it carried a checksum of its own, and that was right


def to_storable(array: np.ndarray, what: str) -> np.ndarray:
    """The array in row order and little-endian; `RequestError` where a file cannot hold its dtype."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise UsageError(f"{what} has dtype {array.dtype}; a file can hold {', '.join(_DTYPES)}")
    return np.asarray(array, dtype, order="C")


def write_header(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes before the arrays, which follow in the order given; signed with a checksum of their own.

    The checksum is taken with its own eight digits as zeros.
    """
    # it stands first, so that nothing before it can be taken for it
    blank = {"header_crc32": _BLANK.decode()}
    header: dict[str, Any] = {"__metadata__": blank | dict(metadata) | blank}
    if not all(isinstance(word, str) for pair in metadata.items() for word in pair):
        raise TypeError(f"the metadata of a file are words by words; got {dict(metadata)!r:.200}")
    offset = 0
    for name, array in arrays.items():
        if name == "__metadata__":
            raise UsageError("no array can be called '__metadata__', the format keeps that name")
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)  # the arrays start at a cache line
    text = text.replace(_BLANK, f"{zlib.crc32(text):08x}".encode(), 1)
    return struct.pack("<Q", len(text)) + text


def read_header(path: str | Path, file: BinaryIO) -> Header:
    """The checked header of an open file, which then stands at its first array.

    `DamagedFile` unless the arrays it promises fill the file exactly, without gap or overlap.
    """
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else -1
    if not 0 <= length <= min(size - 8, _LIMIT):
        raise CorruptedFileError(f"{path} is damaged: no safetensors header in its {size} bytes")
    text = file.read(length)
    signed = _CHECKSUM.search(text)
    if signed:
        blank = text[: signed.start(1)] + _BLANK + text[signed.end(1) :]
        if zlib.crc32(blank) != int(signed[1], 16):
            raise CorruptedFileError(f"{path} is damaged: its header does not have its checksum")
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata are not words")
        places, end = {}, 8 + length
        for name in sorted(header, key=lambda n: header[n]["data_offsets"]):
            places[name], end = _place(name, header[name], 8 + length, end)
    except UsageError as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptedFileError(f"{path} is damaged: its header is not readable ({error})") from error
    if end != size:
        raise CorruptedFileError(f"{path} is damaged: {size} bytes long, its header promises {end}")
    return Header(places, metadata, signed is not None)


def _place(name: str, entry: dict[str, Any], start: int, expected: int) -> tuple[TensorEntry, int]:
    """Where an array lies and where it ends, in bytes of the file; it has to begin where expected."""
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"{name!r} has sizes that are not counts")
    if entry["dtype"] not in _DTYPES:
        raise UsageError(f"{name!r} has dtype {entry['dtype']}; readable are {', '.join(_DTYPES)}")
    dtype = _DTYPES[entry["dtype"]]
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} of shape {tuple(shape)} does not fill its {end - begin} bytes")
    if start + begin != expected:
        raise ValueError(f"{name!r} begins at byte {start + begin}, expected at {expected}")
    return TensorEntry(dtype, tuple(shape), start + begin), start + end
