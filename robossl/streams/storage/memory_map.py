"""Files as arrays: mapped, read-only, holding no file descriptor, so that thousands can stay mapped."""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import struct
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from robossl.core.errors import OperationError
from robossl.streams.schema import Field

_RANDOM, _SOON = 1, 3  # MADV_RANDOM and MADV_WILLNEED, the same on every Unix


def map_fields(path: Path, fields: Iterable[Field], rows: int) -> dict[str, np.ndarray]:
    """The arrays (rows, *shape) of a chunk file that `read_chunk` has found in order."""
    data = _map(path)
    _advise(data, _RANDOM)
    length = struct.unpack("<Q", bytes(data[:8]))[0]
    header = json.loads(bytes(data[8 : 8 + length]))
    found = {}
    for field in fields:
        begin, end = header[field.name]["data_offsets"]
        array = data[8 + length + begin : 8 + length + end]
        found[field.name] = array.view(np.dtype(field.dtype)).reshape(rows, *field.shape)
    return found


def will_read(array: np.ndarray, begin: int, stop: int) -> None:
    """Rows [begin, stop) of a mapped array are about to be read: the disk may fetch them meanwhile.

    Nothing is fetched around what is read otherwise: it would be many times what a window needs.
    """
    _advise(array[begin:stop], _SOON)


def _advise(array: np.ndarray, advice: int) -> None:
    """Tell the operating system how mapped memory will be read. It may not listen; nothing depends on it."""
    address, size = array.__array_interface__["data"][0], array.nbytes
    begin = address - address % mmap.PAGESIZE
    _library().madvise(begin, address + size - begin, advice)


@functools.cache
def _library() -> ctypes.CDLL:
    """The C library."""
    library = ctypes.CDLL(None, use_errno=True)
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def _map(path: Path) -> np.ndarray:
    """The bytes (n,) uint8 of a file, mapped."""
    with open(path, "rb") as file:
        if sys.version_info >= (3, 13):
            return np.frombuffer(
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False), np.uint8
            )
        return _map_by_libc(file.fileno())


def _map_by_libc(descriptor: int) -> np.ndarray:
    """Python's own mmap keeps a copy of the descriptor before 3.13; the C library's does not."""
    library = _library()
    size = os.fstat(descriptor).st_size
    address = library.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OperationError(f"cannot map {size} bytes: {os.strerror(ctypes.get_errno())}")
    memory = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(
        memory, library.munmap, address, size
    ).atexit = False  # arrays may outlive the interpreter
    data = np.frombuffer(memoryview(memory), np.uint8)
    data.flags.writeable = False
    return data
