"""Limits of sizes, checked before any work: counts, seeds, sub-environments (memory) and time steps (disk)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Generic, TypeVar

from robossl.core.errors import UsageError
from robossl.core.small_files import as_path

LARGEST_COUNT = 2**63 - 1  # of a count or a seed: files and arrays store them as 64-bit integers
LARGEST_EPISODES = 1_000_000  # of one evaluation: their returns are in memory, and the report has every one
LARGEST_THREADS = 4096
MAX_PROCESSES = 256  # sub-environments in processes of their own
_SMALLEST_ENV = 4096  # [bytes] of memory that any sub-environment takes
_PROBED = (16, 272)  # sub-environments of two vector envs whose memory is compared
_WARM = 2  # sub-environments that are made before memory is measured
_FEW = 1024  # sub-environments up to which the memory of a native batch is not measured beforehand
_T = TypeVar("_T")


def check_count(name: str, value: float, minimum: int = 1, maximum: int = LARGEST_COUNT) -> None:
    """Raise UsageError unless a count is a whole number from `minimum` to `maximum`."""
    if not isinstance(value, Real):
        raise UsageError(f"{name}: expected a number, got {value!r}")
    if not minimum <= value <= maximum:
        most = f" to {maximum:,}" if value > maximum else " or more"
        raise UsageError(f"{name}: expected {minimum}{most}, got {value}")
    if value != int(value):
        raise UsageError(f"{name}: expected a whole number, got {value}")


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """Return the seeds; raise UsageError unless they are different whole numbers from 0 to `LARGEST_COUNT`."""
    if isinstance(seeds, (str, int)):
        raise UsageError(f"seeds: expected a list of whole numbers, got {seeds!r}")
    chosen = list(seeds)
    if not chosen:
        raise UsageError("seeds: expected one or more, got none")
    valid = all(
        isinstance(s, Integral) and not isinstance(s, bool) and 0 <= s <= LARGEST_COUNT for s in chosen
    )
    if not valid or len(set(chosen)) < len(chosen):
        raise UsageError(f"seeds: expected different whole numbers from 0 to {LARGEST_COUNT:,}, got {chosen}")
    return [int(seed) for seed in chosen]


def format_bytes(size: float) -> str:
    """Return a number of bytes in words, such as `1.5 GB`."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size:.3g} PB"


def free_memory() -> int | None:
    """Return the memory that this process can still take [bytes]; None if the system does not report it.

    It is the least of the available memory of the machine, of the control group, and of the limit of the process.
    """
    sizes = [
        *(1024 * int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")),
        *_of_control_group(),
        *_of_process_limit(),
    ]
    return max(min(sizes), 0) if sizes else None


def resident_memory() -> int | None:
    """Return the memory that this process takes [bytes]; None if the system does not report it."""
    for line in _lines("/proc/self/statm"):
        return int(line.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def check_memory(name: str, count: int, each: float = _SMALLEST_ENV, taken: float = 0) -> None:
    """Raise UsageError if `count` sub-environments take more memory than there is.

    Args:
        name: Of the count, for the message.
        count: Number of sub-environments.
        each: Memory of one [bytes].
        taken: Memory that those made so far have taken [bytes].
    """
    check_count(name, count)
    free = free_memory()
    each = max(each, _SMALLEST_ENV)
    if free is not None and count * each > free + taken:
        raise UsageError(
            f"{name}: expected at most about {max(int((free + taken) / each), 1):,}, as sub-environments take about "
            f"{format_bytes(each)} of memory each and {format_bytes(free)} are free, got {count:,}"
        )


class MemoryGuard(Generic[_T]):
    """A function that makes one sub-environment at a time, and stops before their memory is more than there is.

    Args:
        make: Makes a sub-environment.
        count: Number of sub-environments that will be made.
    """

    def __init__(self, make: Callable[[], _T], count: int) -> None:
        self._make, self._count, self._made = make, count, 0
        self._before: int | None = None  # [bytes] after the first ones, which may have loaded packages

        self._next_check = 16

    def __call__(self) -> _T:
        """Return a new sub-environment; raise UsageError if all of them would not fit."""
        if self._made == _WARM:
            self._before = resident_memory()
        elif self._made == self._next_check:
            self._next_check *= 4
            if self._before is not None:
                taken = max((resident_memory() or self._before) - self._before, 0)
                check_memory("num_envs", self._count, taken / (self._made - _WARM), taken)
        self._made += 1
        return self._make()


def guarded(make: Callable[[], _T], count: int) -> list[Callable[[], _T]]:
    """Return a list of `count` functions that each make a sub-environment, within the memory."""
    return [MemoryGuard(make, count)] * count


def check_batch_memory(make: Callable[[int], Any], num_envs: int) -> None:
    """Raise UsageError if a batch of `num_envs` sub-environments takes more memory than there is.

    Args:
        make: Makes a vector env of n sub-environments; called with two small numbers if `num_envs` is large.
        num_envs: Number of sub-environments.
    """
    if num_envs <= _FEW or resident_memory() is None:
        return
    few, many = _PROBED
    made, sizes = [], []
    for count in (few, many):
        before = resident_memory() or 0
        made.append(make(count))
        sizes.append((resident_memory() or 0) - before)
    for envs in made:
        envs.close()
    check_memory("num_envs", num_envs, (sizes[1] - sizes[0]) / (many - few))


def check_disk(folder: str | Path, steps: float, row_bytes: int) -> None:
    """Raise UsageError if the time steps of a stream need more disk space than there is.

    Args:
        folder: Of the stream; it may not exist yet.
        steps: Number of time steps.
        row_bytes: Size of one [bytes].
    """
    place = as_path(folder, "a folder to write").absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    needed, free = steps * row_bytes, shutil.disk_usage(place).free
    if needed > free and os.access(place, os.W_OK):  # else the folder is refused with another message
        raise UsageError(
            f"steps: expected at most about {free // max(row_bytes, 1):,}, as a step takes {format_bytes(row_bytes)} "
            f"and {format_bytes(free)} are free in {place}, got {steps:,} ({format_bytes(needed)})"
        )


def _lines(path: str) -> list[str]:
    """Return the lines of a file of the system; none if it cannot be read."""
    try:
        return Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _of_control_group() -> list[int]:
    """Return the memory that the control group of this process may still take [bytes], if it has a limit.

    The cache of files counts as free: it is given up before an allocation fails.
    """
    limit, used, parts = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current", "stat"))
    if not (limit and used and limit[0].isdecimal()):
        return []
    sizes = dict(line.split() for line in parts)
    cached = sum(int(sizes.get(name, 0)) for name in ("active_file", "inactive_file"))
    return [int(limit[0]) - int(used[0]) + cached]


def _of_process_limit() -> list[int]:
    """Return the address space that this process may still take [bytes], if it has a limit (`ulimit -v`)."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = next((int(line.split()[0]) for line in _lines("/proc/self/statm")), None)
    if limit == resource.RLIM_INFINITY or pages is None:
        return []
    return [limit - pages * os.sysconf("SC_PAGE_SIZE")]
