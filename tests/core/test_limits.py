"""Sizes that the machine cannot hold are refused in one line, before any work."""

from __future__ import annotations

import numpy as np
import pytest

from robossl.core import limits
from robossl.core.errors import UsageError
from robossl.core.limits import (
    LARGEST_COUNT,
    MemoryGuard,
    check_batch_memory,
    check_count,
    check_disk,
    check_memory,
    check_seeds,
    format_bytes,
)


@pytest.mark.parametrize("value", [-1, LARGEST_COUNT + 1, 10**30, float("inf"), float("nan")])
def test_counts_are_64_bit_numbers(value) -> None:
    check_count("seed", LARGEST_COUNT, 0)
    with pytest.raises(UsageError, match=r"^seed: expected 0 .*, got "):
        check_count("seed", value, 0)


def test_what_is_no_number_is_no_count() -> None:
    with pytest.raises(UsageError, match="num_envs: expected a number, got '4'"):
        check_count("num_envs", "4")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"workers: expected a whole number, got 1\.5"):
        check_count("workers", 1.5)
    with pytest.raises(UsageError, match="seeds: expected a list of whole numbers, got 3"):
        check_seeds(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [[0, 0], [-1], [True], [2**63], [0, 1.5]])
def test_seeds_are_different_64_bit_numbers(seeds) -> None:
    assert check_seeds((3, LARGEST_COUNT)) == [3, LARGEST_COUNT]
    assert [type(seed) for seed in check_seeds(np.arange(2))] == [int, int]  # for JSON
    with pytest.raises(UsageError, match="seeds: expected different whole numbers from 0 to 9,223"):
        check_seeds(seeds)
    with pytest.raises(UsageError, match="seeds: expected one or more, got none"):
        check_seeds([])


@pytest.mark.parametrize(("size", "text"), [(33, "33 bytes"), (4100, "4.1 kB"), (5.4e10, "54 GB")])
def test_sizes_are_written_with_their_unit(size, text) -> None:
    assert format_bytes(size) == text


def test_number_of_envs_is_bounded_by_the_free_memory(monkeypatch) -> None:
    monkeypatch.setattr(limits, "free_memory", lambda: 10_000_000)
    check_memory("num_envs", 2000)
    with pytest.raises(
        UsageError, match=r"at most about 100, .* 100 kB of memory each and 10 MB are free, got 101"
    ):
        check_memory("num_envs", 101, 1e5)
    with pytest.raises(UsageError, match=r"got 1,000,000,000"):
        check_memory("num_envs", 10**9)
    monkeypatch.setattr(limits, "free_memory", lambda: None)
    check_memory("num_envs", 10**9)  # nothing is known


def test_envs_are_made_only_as_long_as_all_of_them_will_fit(monkeypatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(limits, "resident_memory", lambda: 1_000_000 * len(made))
    monkeypatch.setattr(limits, "free_memory", lambda: 100_000_000 - 1_000_000 * len(made))

    def fill(count: int) -> None:
        made.clear()
        guard = MemoryGuard(lambda: made.append(None), count)
        for _ in range(count):
            guard()

    fill(90)
    with pytest.raises(UsageError, match="1 MB of memory each"):
        fill(1000)
    assert len(made) == 16


def test_memory_of_a_large_batch_is_estimated_with_two_small_ones(monkeypatch) -> None:
    class Batch:
        def close(self) -> None: ...

    sizes: list[int] = []

    def make(count: int) -> Batch:
        sizes.append(count)
        return Batch()

    monkeypatch.setattr(limits, "resident_memory", lambda: 10_000 * sum(sizes))
    monkeypatch.setattr(limits, "free_memory", lambda: 10**9)
    check_batch_memory(make, 64)
    assert not sizes, "a small batch is made at once"
    check_batch_memory(make, 20_000)
    assert sizes == [16, 272]
    with pytest.raises(UsageError, match=r"num_envs: expected at most about 100,000, .* 10 kB of memory"):
        check_batch_memory(make, 200_000)


def test_steps_are_bounded_by_the_free_disk(tmp_path) -> None:
    check_disk(tmp_path / "not" / "there", 1000, 40)
    with pytest.raises(UsageError, match=r"steps: expected at most about .* a step takes 40 bytes .*PB\)"):
        check_disk(tmp_path / "not", 10**19, 40)


def test_cache_of_files_in_a_control_group_counts_as_free(monkeypatch) -> None:
    files = {
        "max": ["1000"],
        "current": ["990"],
        "stat": ["anon 200", "inactive_file 500", "active_file 200"],
    }
    monkeypatch.setattr(limits, "_lines", lambda path: files.get(path.rpartition("memory.")[2], []))
    assert limits.free_memory() == 710
    files["max"] = ["max"]  # no limit
    assert limits.free_memory() is None


def test_free_memory_respects_the_limit_of_the_process() -> None:
    free = limits.free_memory()
    assert free is None or free > 0
    assert (limits.resident_memory() or 10**9) > 10**6
