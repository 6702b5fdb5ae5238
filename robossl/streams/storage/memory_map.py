"""Memory-mapped arrays: read-only and without file descriptors, so that thousands of files can stay mapped."""

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

_RANDOM, _WILLNEED = 1, 3  # MADV_RANDOM and MADV_WILLNEED, the same on every Unix


def map_fields(path: Path, fields: Iterable[Field], rows: int) -> dict[str, np.ndarray]:
    """Return the arrays (rows, *shape) of a chunk file that `read_chunk` has checked."""
    data = _map(path)
    _advise(data, _RANDOM)
    length = struct.unpack("<Q", bytes(data[:8]))[0]
    header = json.loads(bytes(data[8 : 8 + length]))
    arrays = {}
    for field in fields:
        begin, end = header[field.name]["data_offsets"]
        array = data[8 + length + begin : 8 + length + end]
        arrays[field.name] = array.view(np.dtype(field.dtype)).reshape(rows, *field.shape)
    return arrays


def will_read(array: np.ndarray, begin: int, stop: int) -> None:
    """Advise the operating system to read rows [begin, stop) of a mapped array in the background.

    Read-ahead is off otherwise: it would read many times what a window needs.
    """
    _advise(array[begin:stop], _WILLNEED)


def _advise(array: np.ndarray, advice: int) -> None:
    """Advise the operating system how mapped memory will be read; the result does not depend on it."""
    address, size = array.__array_interface__["data"][0], array.nbytes
    begin = address - address % mmap.PAGESIZE
    _libc().madvise(begin, address + size - begin, advice)


@functools.cache
def _libc() -> ctypes.CDLL:
    """Return the C library."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _map(path: Path) -> np.ndarray:
    """Return the bytes (n,) uint8 of a file, memory-mapped."""
    with open(path, "rb") as file:
        if sys.version_info >= (3, 13):
            return np.frombuffer(
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False), np.uint8
            )
        return _map_by_libc(file.fileno())


def _map_by_libc(descriptor: int) -> np.ndarray:
    """Map a file with the C library: Python's mmap keeps a duplicate of the descriptor before 3.13."""
    libc = _libc()
    size = os.fstat(descriptor).st_size
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OperationError(f"cannot map {size} bytes: {os.strerror(ctypes.get_errno())}")
    memory = (ctypes.c_ubyte * size).from_address(address)
    finalizer = weakref.finalize(memory, libc.munmap, address, size)
    finalizer.atexit = False  # arrays may be freed after interpreter shutdown
    data = np.frombuffer(memoryview(memory), np.uint8)
    data.flags.writeable = False
    return data
