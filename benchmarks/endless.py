"""Whether learning may go on for ever: `python -m benchmarks.endless --minutes 10`.

Coloured noise lives in an env, its stream grows, and the world model keeps learning from all of it. Every few seconds
one line: rows, updates, memory that belongs to the process alone, and memory with the files it maps. At the end, as
JSON, by how much the first grew in the second half of the time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import robossl
from robossl.core.contracts import Silent
from robossl.lab import plugins
from robossl.lab.gather import gather
from robossl.streams import Recorder
from robossl.world import WorldConfig, WorldLearner, WorldModel

_LANES = 16
_ROWS, _UPDATES = 4_000, 20  # of one round
_SAY = 10.0  # [s] between two lines
Line = dict[str, float]


def main() -> None:
    """Learn for a while, and say what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="for how long (10)")
    parser.add_argument("--env", default="robossl/Reacher-v0", metavar="ID")
    parser.add_argument("--memory", type=int, default=64, metavar="MIB", help="of fields kept at hand (64)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the stream there; without, it is removed"
    )
    given = parser.parse_args()
    folder = given.out or Path(tempfile.mkdtemp())
    lines = live(folder / "stream", given.env, given.minutes * 60, given.memory << 20)
    if given.out is None:
        shutil.rmtree(folder)
    print(json.dumps({"lines": lines, **growth(lines)}, indent=2))


def live(folder: Path, env: str, seconds: float, memory: int) -> list[Line]:
    """Rounds of living and learning; a line every ten seconds."""
    envs = robossl.make(env, _LANES)
    recorder = Recorder.create(envs, folder, policy="pink", seed=0, memory=memory)
    policy = plugins.policy("pink")(envs.single_action_space, _LANES, seed=0)
    model = WorldModel(WorldConfig(), envs.single_observation_space, envs.single_action_space)
    stream, learner = recorder.stream, None
    lines: list[Line] = []
    began = said = time.perf_counter()
    number = 0
    while time.perf_counter() - began < seconds:
        gather(recorder, policy, _ROWS, number, Silent())
        learner = learner or WorldLearner(model, stream)
        loss = learner.update(_UPDATES)["loss"]
        number += 1
        if time.perf_counter() - said > _SAY:
            said = time.perf_counter()
            lines.append({"seconds": round(said - began, 1), "rows": stream.rows, "updates": learner.updates,
                          "loss": round(loss, 4), **held()})  # fmt: skip
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
        for name, key in (("own", "RssAnon"), ("all", "VmRSS"))
    }


def growth(lines: list[Line]) -> dict[str, Any]:
    """Slope of the process's own memory over the second half [MiB a million rows], by least squares."""
    late = lines[len(lines) // 2 :]
    if len(late) < 3:
        return {"growth": None, "why": "fewer than three lines in the second half; take more minutes"}
    rows = np.array([line["rows"] for line in late]) / 1e6
    slope = np.polyfit(rows, [line["own"] for line in late], 1)[0]
    return {
        "growth_mib_per_million_rows": round(float(slope), 2),
        "rows": late[-1]["rows"],
        "own_mib": late[-1]["own"],
    }


if __name__ == "__main__":
    main()
