"""Stream speed compared with plain memory copies: `python -m benchmarks.streams --json`.

Each value is a ratio of two operations that alternate in one run. Windows of state rows are compared with a numpy
gather of the same arrays in memory. Windows of images are compared with one numpy copy of as many bytes, from memory
into memory that was used before (the fastest possible with one thread), and with stable-worldmodel's Lance loader
(which decodes JPEG) if `make lance-loader` has installed it. The images of the stream are in the page cache. Large
streams are simulated: their chunk files are sparse, so they use no disk space, but reading them is reading a file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from benchmarks.cli import run_main
from robossl.core.tensor_file import write_header
from robossl.streams import Schema, Stream
from robossl.streams.storage.chunk_file import chunk_name, write_head

_LANCE_PYTHON = Path("build/stable-worldmodel/bin/python")
_IMAGE_SHAPE = (224, 224, 3)
_WINDOW_FRAMES, _NUM_WINDOWS = 4, 64  # frames in a window, windows in a batch
_LIMITS = {
    "state_windows_to_gather": 0.7,
    "image_windows_to_copy": 0.5,
    "image_windows_to_lance": 3.0,
    "appended_rows_per_second": 200_000,
    "anonymous_gib_of_ten_million_images": 2.0,
    "cost_of_ten_million_rows_to_hundred_thousand": 1.5,
}  # lower limits; the last two are upper limits


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--only", metavar="TEXT", default="", help="only sections whose name has this in it")
    parser.add_argument("--rounds", type=int, default=25, metavar="N", help="rounds (25)")
    options = parser.parse_args()
    sections: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "state_windows": state_windows,
        "image_windows": image_windows,
        "append": append,
        "ten_million_images": ten_million_images,
        "flat_cost": flat_cost,
    }
    report: dict[str, Any] = {"limits": _LIMITS}
    for name, section in sections.items():
        if options.only in name:
            with tempfile.TemporaryDirectory() as folder:
                report[name] = section(Path(folder), options.rounds)
            print(f"{name}: {report[name]}", file=sys.stderr)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    report["machine"] = machine | {"load": os.getloadavg()[0], "rounds": options.rounds}
    if options.json:
        print(json.dumps(report, indent=2))


# --- the measurements


def state_windows(folder: Path, rounds: int) -> dict[str, Any]:
    """Compare 256 windows of 6 rows (17 observed numbers, 6 of action) from a million rows with a gather."""
    rows = {name: value[0] for name, value in _states(1, 1_000_000, 17, 6).items()}
    stream = _stream(folder / "s", Schema.from_spaces(_box(17), _box(6)), rows, 50_000)
    names = ("observation", "action", "reward", "terminated", "truncated", "valid")
    short = {name: int(name != "observation") for name in names}
    random = np.random.default_rng(0)

    def ours() -> None:
        for _ in range(50):
            stream.windows(256, 5, random, split=None)

    def gather() -> None:
        for _ in range(50):
            index = random.integers(len(rows["reward"]) - 5, size=256)[:, None] + np.arange(6)
            for name in names:
                rows[name].take(index[:, : 6 - short[name]], axis=0)

    return _compare(ours, gather, rounds, 50 * 256, "windows", "gather")


def image_windows(folder: Path, rounds: int) -> dict[str, Any]:
    """Compare 64 windows of 4 frames of 224x224x3 with a copy of 38.5 MB and with the Lance loader."""
    images = np.random.default_rng(0).integers(0, 255, (20, 100, *_IMAGE_SHAPE), dtype=np.uint8)
    rows = {**_flags(2000, 100), "observation": images.reshape(-1, *_IMAGE_SHAPE)}
    rows |= {"action": np.zeros((2000, 2), np.float32), "reward": np.zeros(2000, np.float32)}
    schema = Schema.from_spaces(Box(0, 255, _IMAGE_SHAPE, np.uint8), _box(2))
    stream, random = _stream(folder / "s", schema, rows, 100), np.random.default_rng(0)
    block = np.ascontiguousarray(rows["observation"][: _WINDOW_FRAMES * _NUM_WINDOWS])
    target = np.ones_like(block)

    def ours() -> None:
        assert (
            stream.windows(_NUM_WINDOWS, _WINDOW_FRAMES - 1, random, split=None).observation.nbytes
            == block.nbytes
        )

    copy = _compare(ours, lambda: np.copyto(target, block), rounds, _NUM_WINDOWS, "windows", "copy")
    result = {"to_copy": copy}
    if not _LANCE_PYTHON.is_file():
        return result | {"to_lance": f"not installed: no {_LANCE_PYTHON}"}
    np.save(folder / "frames.npy", _smooth_images(images.shape))
    with _lance(folder) as batch:
        for _ in range(3):  # warm-up
            batch()
        theirs: list[float] = []
        ours_seconds = []
        for _ in range(max(3, rounds // 3)):
            start = time.perf_counter()
            ours()
            ours_seconds.append(time.perf_counter() - start)
            theirs.append(batch())
    ratio = statistics.median(t / m for t, m in zip(theirs, ours_seconds))
    rates = {
        "windows": _NUM_WINDOWS / statistics.median(ours_seconds),
        "lance": _NUM_WINDOWS / statistics.median(theirs),
    }
    return result | {"to_lance": {"ratio": round(ratio, 2), **{k: round(v, 1) for k, v in rates.items()}}}


def append(folder: Path, rounds: int) -> dict[str, Any]:
    """Measure appended state rows per second from 64 lanes, chunks and their fsync included."""
    lanes, steps = 64, 5000
    rows = _states(lanes, steps, 17, 6)
    batches = [
        {name: np.ascontiguousarray(value[:, t]) for name, value in rows.items()} for t in range(steps)
    ]
    rates = []
    for turn in range(max(3, rounds // 8)):
        stream = Stream.create(folder / f"s{turn}", Schema.from_spaces(_box(17), _box(6)), lanes)
        start = time.perf_counter()
        for batch in batches:  # one time step of all lanes
            stream.append(batch)
        stream.close()
        rates.append(lanes * steps / (time.perf_counter() - start))
    return {"rows_per_second": round(statistics.median(rates)), "n": len(rates), "lanes": lanes}


def ten_million_images(folder: Path, rounds: int) -> dict[str, Any]:
    """Measure the anonymous memory while sampling 200 batches of 64 x 4 from 10 million rows of 64x64x3."""
    path = _sparse(
        folder / "s", Schema.from_spaces(Box(0, 255, (64, 64, 3), np.uint8), _box(2)), 10_000_000, 40
    )
    code = (
        "import sys, re, numpy as np\nfrom robossl.streams import Stream\n"
        "def anonymous(): return int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = anonymous(); stream = Stream.open(sys.argv[1]); random = np.random.default_rng(0); most = 0\n"
        "for _ in range(200):\n"
        "    stream.windows(64, 3, random, split=None); most = max(most, anonymous())\n"
        "print(stream.rows, before, most)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    rows, before, maximum = map(int, completed.stdout.split())
    gib = {
        "anonymous_gib": round(maximum / 2**20, 3),
        "anonymous_gib_before_opening": round(before / 2**20, 3),
    }
    return {"rows": rows, **gib, "nominal_size_gib": round(rows * 64 * 64 * 3 / 2**30)}


def flat_cost(folder: Path, rounds: int) -> dict[str, Any]:
    """Measure milliseconds per batch from streams of 1e5, 1e6 and 1e7 rows; images are read cold from their file."""
    result: dict[str, Any] = {}
    kinds = {"state": (_box(8), 256, 5), "image": (Box(0, 255, (64, 64, 3), np.uint8), 64, 3)}
    for kind, (space, batch, length) in kinds.items():
        sizes = (100_000, 1_000_000, 10_000_000)
        schema, random = Schema.from_spaces(space, _box(2)), np.random.default_rng(0)
        paths = [_sparse(folder / f"{kind}{size}", schema, size, max(size // 250_000, 4)) for size in sizes]
        streams = [Stream.open(path) for path in paths]
        times: list[list[float]] = [[] for _ in sizes]
        for turn in range(rounds + 1):
            for stream, milliseconds in zip(streams, times):
                start = time.perf_counter()
                stream.windows(batch, length, random, split=None)
                if turn:
                    milliseconds.append(1000 * (time.perf_counter() - start))
        medians = [statistics.median(milliseconds) for milliseconds in times]
        result[kind] = {f"{size:.0e}": round(ms, 3) for size, ms in zip(sizes, medians)}
        result[kind]["ratio"] = round(medians[-1] / medians[0], 2)
    return result


# --- helpers


def _compare(
    ours: Callable[[], None], theirs: Callable[[], None], rounds: int, count: int, name: str, other: str
) -> dict[str, float]:
    """Return the median rates of both operations, and the median of their ratio in each round.

    Args:
        ours: The operation of robossl.
        theirs: The operation to compare with.
        rounds: How often both are measured.
        count: Units of one call.
        name: Name of the unit, for the result of `ours`.
        other: Name of `theirs` in the result.
    """
    ours(), theirs()
    rates: dict[str, list[float]] = {name: [], other: []}
    for _ in range(rounds):
        for side, run in ((name, ours), (other, theirs)):
            start = time.perf_counter()
            run()
            rates[side].append(count / (time.perf_counter() - start))
    ratio = statistics.median(a / b for a, b in zip(rates[name], rates[other]))
    return {
        "ratio": round(ratio, 3),
        **{side: round(statistics.median(result), 1) for side, result in rates.items()},
    }


def _box(size: int) -> Box:
    return Box(-10, 10, (size,), np.float32)


def _flags(rows: int, length: int) -> dict[str, np.ndarray]:
    """Return the flags of episodes of `length` rows."""
    step = np.arange(rows) % length
    none = np.zeros(rows, bool)
    ends = {"is_first": step == 0, "is_last": step == length - 1, "valid": step < length - 1}
    return {**ends, "terminated": none, "truncated": none}


def _states(lanes: int, rows: int, observed: int, acted: int) -> dict[str, np.ndarray]:
    """Return rows of numbers (lanes, rows, ...)."""
    random = np.random.default_rng(0)
    numbers = {
        name: random.standard_normal((lanes, rows, *shape), np.float32)
        for name, shape in (("observation", (observed,)), ("action", (acted,)), ("reward", ()))
    }
    return numbers | {n: np.tile(value, (lanes, 1)) for n, value in _flags(rows, 1000).items()}


def _stream(path: Path, schema: Schema, rows: dict[str, np.ndarray], piece: int) -> Stream:
    """Return a closed stream of one lane."""
    with Stream.create(path, schema, 1) as stream:
        for begin in range(0, len(rows["reward"]), piece):
            stream.extend({name: value[begin : begin + piece] for name, value in rows.items()}, 0)
    return Stream.open(path)


def _sparse(path: Path, schema: Schema, rows: int, chunks: int) -> Path:
    """Write a stream of one lane whose chunk files contain flags and, as holes of a sparse file, zeros."""
    stream = Stream.create(path, schema, 1)
    stream.close()
    each = rows // chunks
    flags = _flags(each, 1000)
    for number in range(chunks):
        arrays = {f.name: np.zeros((each, *f.shape), f.dtype) for f in schema.fields if f.name not in flags}
        counts = {"start": number * each, "rows": each, "episodes": number * each // 1000}
        arrays |= {f"lanes.{name}": np.array([count]) for name, count in counts.items()} | flags
        arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
        header = write_header(arrays, {"stream": stream.id, "chunk": str(number), "crc32": "0" * 8})
        with open(path / chunk_name(number), "wb") as file:
            file.write(header)
            for name, array in arrays.items():
                if name.startswith("lanes.") or name in flags:
                    file.write(array.tobytes())
                else:
                    file.seek(array.nbytes, os.SEEK_CUR)
            file.truncate()
    write_head(path, chunks, np.array([rows]))
    return path


def _smooth_images(shape: tuple[int, ...]) -> np.ndarray:
    """Return smooth images, like those of simulations: JPEG decodes them faster than noise."""
    episodes, steps, height, width, _ = shape
    wave = np.sin(np.arange(height)[:, None] / 30) * np.cos(np.arange(width) / 40)
    shade = (wave[..., None] + np.arange(3) / 3 + 1) * 60
    shifted = shade[None, None] + 20 * np.random.default_rng(0).random((episodes, steps, 1, 1, 1))
    return shifted.astype(np.uint8)


@contextlib.contextmanager
def _lance(folder: Path) -> Iterator[Callable[[], float]]:
    """Yield a function that loads one batch with the Lance loader and returns the seconds it took."""
    command_line = [str(_LANCE_PYTHON), "benchmarks/lance_loader.py", str(folder / "frames.npy"), str(folder)]
    command_line += [str(_NUM_WINDOWS), str(_WINDOW_FRAMES)]
    with subprocess.Popen(
        command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(
                "the Lance loader did not start; run benchmarks/lance_loader.py by hand to see why"
            )

        def batch() -> float:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return float(process.stdout.readline())  # type: ignore[union-attr]

        yield batch
        process.stdin.close()


if __name__ == "__main__":
    run_main(main)
