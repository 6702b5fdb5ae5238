"""How fast streams are, beside the bare copies they stand on: `python -m benchmarks.streams --json`.

Every figure is a ratio of two things done in turn in one run: windows of state rows beside a numpy gather of the
same arrays in memory; windows of pictures beside one numpy copy of as many bytes, from memory into memory that
was used before, which is the fastest that one thread can do, and beside stable-worldmodel's Lance loader (which
decodes JPEG) where `make rival-loader` has installed it. The pictures of the stream are in the page cache. Large
streams are simulated: their chunk files are sparse, so they take no disk, and reading them is reading a file.
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

from benchmarks.cli import answered
from robossl.core.tensor_file import write_header
from robossl.streams import Schema, Stream
from robossl.streams.storage.chunk_file import chunk_name, write_head

_RIVAL = Path("build/stable-worldmodel/bin/python")
_SIZE = (224, 224, 3)
_FRAMES, _PICTURES = 4, 64  # frames in a window, windows in a batch
_LIMITS = {
    "state_windows_to_gather": 0.7,
    "picture_windows_to_copy": 0.5,
    "picture_windows_to_lance": 3.0,
    "appended_rows_per_second": 200_000,
    "anonymous_gib_of_ten_million_pictures": 2.0,
    "cost_of_ten_million_rows_to_hundred_thousand": 1.5,
}  # what we promise; the last two from above


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--only", metavar="TEXT", default="", help="only sections whose name has this in it")
    parser.add_argument("--rounds", type=int, default=25, metavar="N", help="rounds (25)")
    given = parser.parse_args()
    sections: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "state_windows": state_windows,
        "picture_windows": picture_windows,
        "append": append,
        "ten_million_pictures": ten_million_pictures,
        "flat_cost": flat_cost,
    }
    report: dict[str, Any] = {"limits": _LIMITS}
    for name, section in sections.items():
        if given.only in name:
            with tempfile.TemporaryDirectory() as folder:
                report[name] = section(Path(folder), given.rounds)
            print(f"{name}: {report[name]}", file=sys.stderr)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    report["machine"] = machine | {"load": os.getloadavg()[0], "rounds": given.rounds}
    if given.json:
        print(json.dumps(report, indent=2))


# --- the measurements


def state_windows(folder: Path, rounds: int) -> dict[str, Any]:
    """256 windows of 6 rows (17 numbers observed, 6 of action) from a million rows, and the bare gather."""
    rows = {name: value[0] for name, value in _states(1, 1_000_000, 17, 6).items()}
    stream = _stream(folder / "s", Schema.of(_box(17), _box(6)), rows, 50_000)
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

    return _race(ours, gather, rounds, 50 * 256, "windows", "gather")


def picture_windows(folder: Path, rounds: int) -> dict[str, Any]:
    """64 windows of 4 frames of 224x224x3, beside a copy of 38.5 MB and the Lance loader."""
    pictures = np.random.default_rng(0).integers(0, 255, (20, 100, *_SIZE), dtype=np.uint8)
    rows = {**_flags(2000, 100), "observation": pictures.reshape(-1, *_SIZE)}
    rows |= {"action": np.zeros((2000, 2), np.float32), "reward": np.zeros(2000, np.float32)}
    schema = Schema.of(Box(0, 255, _SIZE, np.uint8), _box(2))
    stream, random = _stream(folder / "s", schema, rows, 100), np.random.default_rng(0)
    block = np.ascontiguousarray(rows["observation"][: _FRAMES * _PICTURES])
    target = np.ones_like(block)

    def ours() -> None:
        assert stream.windows(_PICTURES, _FRAMES - 1, random, split=None).observation.nbytes == block.nbytes

    copy = _race(ours, lambda: np.copyto(target, block), rounds, _PICTURES, "windows", "copy")
    found = {"to_copy": copy}
    if not _RIVAL.is_file():
        return found | {"to_lance": f"not installed: no {_RIVAL}"}
    np.save(folder / "frames.npy", _smooth(pictures.shape))
    with _lance(folder) as batch:
        theirs = [batch() for _ in range(3)][0:0]
        mine = []
        for _ in range(max(3, rounds // 3)):
            began = time.perf_counter()
            ours()
            mine.append(time.perf_counter() - began)
            theirs.append(batch())
    ratio = statistics.median(t / m for t, m in zip(theirs, mine))
    rates = {
        "windows": _PICTURES / statistics.median(mine),
        "lance": _PICTURES / statistics.median(theirs),
    }
    return found | {"to_lance": {"ratio": round(ratio, 2), **{k: round(v, 1) for k, v in rates.items()}}}


def append(folder: Path, rounds: int) -> dict[str, Any]:
    """State rows a second from 64 lanes, chunks and their fsync included; and of whole episodes."""
    lanes, steps = 64, 5000
    rows = _states(lanes, steps, 17, 6)
    ticks = [{name: np.ascontiguousarray(value[:, t]) for name, value in rows.items()} for t in range(steps)]
    rates = []
    for turn in range(max(3, rounds // 8)):
        stream = Stream.create(folder / f"s{turn}", Schema.of(_box(17), _box(6)), lanes)
        began = time.perf_counter()
        for tick in ticks:
            stream.append(tick)
        stream.close()
        rates.append(lanes * steps / (time.perf_counter() - began))
    return {"rows_per_second": round(statistics.median(rates)), "n": len(rates), "lanes": lanes}


def ten_million_pictures(folder: Path, rounds: int) -> dict[str, Any]:
    """10 million rows of 64x64x3: the anonymous memory of a process that samples 200 batches of 64 x 4."""
    path = _sparse(folder / "s", Schema.of(Box(0, 255, (64, 64, 3), np.uint8), _box(2)), 10_000_000, 40)
    code = (
        "import sys, re, numpy as np\nfrom robossl.streams import Stream\n"
        "def anonymous(): return int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = anonymous(); stream = Stream.open(sys.argv[1]); random = np.random.default_rng(0); most = 0\n"
        "for _ in range(200):\n"
        "    stream.windows(64, 3, random, split=None); most = max(most, anonymous())\n"
        "print(stream.rows, before, most)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    rows, before, most = map(int, told.stdout.split())
    gib = {"anonymous_gib": round(most / 2**20, 3), "of_it_before_opening": round(before / 2**20, 3)}
    return {"rows": rows, **gib, "said_size_gib": round(rows * 64 * 64 * 3 / 2**30)}


def flat_cost(folder: Path, rounds: int) -> dict[str, Any]:
    """A batch from streams of 1e5, 1e6 and 1e7 rows, in turn: milliseconds, pictures cold in their file."""
    found: dict[str, Any] = {}
    kinds = {"state": (_box(8), 256, 5), "picture": (Box(0, 255, (64, 64, 3), np.uint8), 64, 3)}
    for kind, (space, batch, length) in kinds.items():
        sizes = (100_000, 1_000_000, 10_000_000)
        schema, random = Schema.of(space, _box(2)), np.random.default_rng(0)
        paths = [_sparse(folder / f"{kind}{size}", schema, size, max(size // 250_000, 4)) for size in sizes]
        streams = [Stream.open(path) for path in paths]
        times: list[list[float]] = [[] for _ in sizes]
        for turn in range(rounds + 1):
            for stream, spent in zip(streams, times):
                began = time.perf_counter()
                stream.windows(batch, length, random, split=None)
                if turn:
                    spent.append(1000 * (time.perf_counter() - began))
        medians = [statistics.median(spent) for spent in times]
        found[kind] = {f"{size:.0e}": round(ms, 3) for size, ms in zip(sizes, medians)}
        found[kind]["ratio"] = round(medians[-1] / medians[0], 2)
    return found


# --- what they are made of


def _race(
    ours: Callable[[], None], theirs: Callable[[], None], rounds: int, count: int, name: str, other: str
) -> dict[str, float]:
    """Medians over rounds of `count` each way, and of the ratio within a round."""
    ours(), theirs()
    rates: dict[str, list[float]] = {name: [], other: []}
    for _ in range(rounds):
        for who, run in ((name, ours), (other, theirs)):
            began = time.perf_counter()
            run()
            rates[who].append(count / (time.perf_counter() - began))
    ratio = statistics.median(a / b for a, b in zip(rates[name], rates[other]))
    return {
        "ratio": round(ratio, 3),
        **{who: round(statistics.median(found), 1) for who, found in rates.items()},
    }


def _box(size: int) -> Box:
    return Box(-10, 10, (size,), np.float32)


def _flags(rows: int, length: int) -> dict[str, np.ndarray]:
    """Episodes of `length` rows."""
    step = np.arange(rows) % length
    none = np.zeros(rows, bool)
    ends = {"is_first": step == 0, "is_last": step == length - 1, "valid": step < length - 1}
    return {**ends, "terminated": none, "truncated": none}


def _states(lanes: int, rows: int, observed: int, acted: int) -> dict[str, np.ndarray]:
    """Rows of numbers (lanes, rows, ...)."""
    random = np.random.default_rng(0)
    numbers = {
        name: random.standard_normal((lanes, rows, *shape), np.float32)
        for name, shape in (("observation", (observed,)), ("action", (acted,)), ("reward", ()))
    }
    return numbers | {n: np.tile(value, (lanes, 1)) for n, value in _flags(rows, 1000).items()}


def _stream(path: Path, schema: Schema, rows: dict[str, np.ndarray], piece: int) -> Stream:
    """A closed stream of one lane."""
    with Stream.create(path, schema, 1) as stream:
        for begin in range(0, len(rows["reward"]), piece):
            stream.extend({name: value[begin : begin + piece] for name, value in rows.items()}, 0)
    return Stream.open(path)


def _sparse(path: Path, schema: Schema, rows: int, chunks: int) -> Path:
    """A stream of one lane whose chunk files hold flags and, where nothing was ever written, zeros."""
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
            file.truncate(file.tell())
    write_head(path, chunks, np.array([rows]))
    return path


def _smooth(shape: tuple[int, ...]) -> np.ndarray:
    """Pictures that JPEG likes, as those of simulations are: it is quicker with them than with noise."""
    episodes, steps, height, width, _ = shape
    wave = np.sin(np.arange(height)[:, None] / 30) * np.cos(np.arange(width) / 40)
    shade = (wave[..., None] + np.arange(3) / 3 + 1) * 60
    moved = shade[None, None] + 20 * np.random.default_rng(0).random((episodes, steps, 1, 1, 1))
    return moved.astype(np.uint8)


@contextlib.contextmanager
def _lance(folder: Path) -> Iterator[Callable[[], float]]:
    """A function that fetches one batch with the other loader, and tells the seconds that took."""
    words = [str(_RIVAL), "benchmarks/lance_loader.py", str(folder / "frames.npy"), str(folder)]
    words += [str(_PICTURES), str(_FRAMES)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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
    answered(main)
