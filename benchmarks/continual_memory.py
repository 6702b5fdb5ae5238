"""Whether learning may go on for ever: `python -m benchmarks.continual_memory --seconds 3600`.

Coloured noise lives in an env, its stream grows, and the world model keeps learning from all of it. Once a minute one
line: rows, updates, memory that belongs to the process alone, and memory with the files it maps. At the end, as JSON,
what began and what ended, all lines, and by how much memory grew over the second half of the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import robossl
from benchmarks.cli import answered
from robossl import registry
from robossl.core.interfaces import NullProgress
from robossl.rollout import collect_steps
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer

_LANES = 16
_ROWS, _UPDATES = 4_000, 20  # of one round
_FEWEST = 3  # lines that a slope is drawn through
Line = dict[str, float]


def main() -> None:
    """Learn for a while, and say what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, metavar="N", help="for how long (600)")
    parser.add_argument("--every", type=float, default=60, metavar="N", help="[s] between two lines (60)")
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--memory", type=int, default=64, metavar="MIB", help="of fields kept at hand (64)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the stream there; without, it is removed"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = (given.out or Path(passing)) / "stream"
        lines = live(folder, given.env, given.seconds, given.every, given.memory << 20)
    print(json.dumps(told(given.env, lines), indent=2))


def live(folder: Path, env: str, seconds: float, every: float, memory: int) -> list[Line]:
    """Rounds of living and learning; a line after the first, then one `every` so many seconds."""
    envs = robossl.make(env, _LANES)
    recorder = Recorder.create(envs, folder, policy="colored_noise", seed=0, cache_bytes=memory)
    policy = registry.policy("colored_noise")(envs.single_action_space, _LANES, seed=0)
    model = WorldModel(WorldModelConfig(), envs.single_observation_space, envs.single_action_space)
    learner: WorldModelTrainer | None = None
    lines: list[Line] = []
    began, number = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        collect_steps(recorder, policy, _ROWS, number, NullProgress())
        learner = learner or WorldModelTrainer(model, recorder.stream)
        loss = learner.update(_UPDATES)["loss"]
        number += 1
        if passed >= len(lines) * every:
            lines.append({"seconds": round(time.perf_counter() - began, 1), "rows": recorder.stream.rows,
                          "updates": learner.updates, "loss": round(loss, 4), **held()})  # fmt: skip
            print("  ".join(f"{name} {value:,}" for name, value in lines[-1].items()), flush=True)
    recorder.close()
    return lines


def held() -> Line:
    """Memory [MiB] of this process alone, and with the files it maps (Linux)."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return {
        name: round(int(status[key].split()[0]) / 1024, 1)
        for name, key in (("own_mib", "RssAnon"), ("resident_mib", "VmRSS"))
    }


def told(env: str, lines: list[Line]) -> dict[str, Any]:
    """What was lived: its beginning and end, every line, and how memory grew over the second half."""
    kept = ("seconds", "rows", "updates", "own_mib", "resident_mib")
    begin, end = ({name: line[name] for name in kept} for line in (lines[0], lines[-1]))
    return {"env": env, "begin": begin, "end": end, "lines": lines, "second_half": growth(lines)}


def growth(lines: list[Line]) -> dict[str, Any]:
    """Slopes over the second half by least squares: [MiB an hour], and of the own memory [MiB a million rows]."""
    late = lines[len(lines) // 2 :]
    if len(late) < _FEWEST:
        return {"why": f"{len(late)} lines in the second half, {_FEWEST} are needed; take more seconds"}

    def slope(over: str, of: str, unit: float) -> float:
        along = np.array([line[over] for line in late]) / unit
        return round(float(np.polyfit(along, [line[of] for line in late], 1)[0]), 2)

    return {
        "lines": len(late),
        "own_mib_per_hour": slope("seconds", "own_mib", 3600),
        "resident_mib_per_hour": slope("seconds", "resident_mib", 3600),
        "own_mib_per_million_rows": slope("rows", "own_mib", 1e6),
    }


if __name__ == "__main__":
    answered(main)
