"""How well each body is learned from reward-free rows: `python -m benchmarks.world_model --env robossl/Reacher-v0`.

For every env and seed: coloured noise for `--rows` steps, `--updates` gradient steps, then the model is judged on
held-out episodes of the same stream, and its inverse on a stream of its own whose actions are drawn anew at every
step (coloured ones can be guessed from where the robot is). Prints JSON, and with `--markdown` the rows of the table in
docs/world-model.md. What `--out` already holds for the same settings is not measured again. Flags it does not know,
`--world_model.latent_dim 128`, go to the model.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import robossl
from benchmarks.cli import run_main, model_settings
from robossl.core.statistics import effective_rank
from robossl.evaluation.context import EVALUATION_SEED, step_seconds
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.calibration import calibration
from robossl.evaluation.metrics.inverse_dynamics import inverse_excess_r2, inverse_r2
from robossl.evaluation.metrics.prediction import prediction_skill, valid_prediction_time
from robossl.evaluation.metrics.readout import fit_readout
from robossl.logging.progress import make_progress
from robossl.streams import Stream
from robossl.training import config_io
from robossl.training.config import LearnConfig
from robossl.training.config_io import to_dict
from robossl.training.output_dirs import slug
from robossl.world_model import WorldModel, WorldModelConfig

FREE = ("Reacher", "CartPoleSwingUp", "PointMaze")  # one task of each body that touches nothing, but a wall
CONTACT = (  # and of those whose motion is decided by contacts
    "PushT", "CheetahRun", "HopperHop", "WalkerRun", "ArmPush", "HandTurn", "QuadrupedWalk", "HumanoidWalk",
)  # fmt: skip
HORIZONS = (1, 2, 3, 4, 5, 10, 25)  # [steps]
EXCESS, EXCESS_CONTACT, TRUE_DOUBT = 0.9, 0.6, 0.5  # what is asked of inverse excess and of calibration
_RANDOM_ROWS = 100_000  # of the stream that the inverse is judged on
_COLUMNS = (
    "| body | skill 1 | 5 | 10 | 25 steps | linear 1, 25 | shuffled 1, 25 | lead 5-25 | inverse excess R2 | valid [s] "
    "| censored | doubt | heads | rank | seeds |"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--env", nargs="+", default=[f"robossl/{name}-v0" for name in FREE + CONTACT], metavar="ID"
    )
    parser.add_argument("--rows", type=int, default=200_000, metavar="N", help="steps of the stream (200000)")
    parser.add_argument("--updates", type=int, default=4_000, metavar="N", help="gradient steps (4000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 for all cores")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/world_model"), metavar="DIR")
    parser.add_argument("--markdown", action="store_true", help="the table instead of JSON")
    options, rest = parser.parse_known_args()
    given = model_settings(rest)
    world: WorldModelConfig = config_io.parse(LearnConfig, ("command line", given)).world_model
    runs = [measured(env, seed, world, options) for env in options.env for seed in options.seeds]
    machine = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    print(table(runs) if options.markdown else json.dumps({"runs": runs, "machine": machine}, indent=2))


def measured(env: str, seed: int, world: WorldModelConfig, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one model; from the file where they have been measured before."""
    settings = {
        "env": env,
        "seed": seed,
        "rows": options.rows,
        "random_rows": _RANDOM_ROWS,
        "updates": options.updates,
        "world": to_dict(world),
    }
    settings = json.loads(json.dumps(settings))
    results = options.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    for path in sorted(results.glob(f"{slug(env)}-{seed}-*.json")):
        if (known := json.loads(path.read_text()))["settings"] == settings:
            return known
    began = time.perf_counter()
    stream = lived(
        options.out / "streams" / f"{slug(env)}-{seed}-{options.rows}",
        env,
        "colored_noise",
        options.rows,
        seed,
    )
    folder = options.out / "streams" / f"{slug(env)}-{seed}-random-{_RANDOM_ROWS}"
    random = lived(folder, env, "random", _RANDOM_ROWS, seed + 1)
    number = len(list(results.glob(f"{slug(env)}-{seed}-*.json")))
    taught = time.perf_counter()
    model = robossl.pretrain(
        stream, options.updates, world, options.out / "models" / f"{slug(env)}-{seed}-{number}", seed,
        options.device, options.threads, make_progress(),
    )  # fmt: skip
    judged = time.perf_counter()
    found = {
        "settings": settings,
        **figures(model, stream, random, env, seed),
        "words": model.metadata["messages"],
    }
    found["seconds"] = {
        "collect": round(taught - began, 1),
        "pretrain": round(judged - taught, 1),
        "judge": round(time.perf_counter() - judged, 1),
    }
    (results / f"{slug(env)}-{seed}-{number}.json").write_text(json.dumps(found, indent=2))
    print(table([found]), file=sys.stderr)
    return found


def lived(folder: Path, env: str, policy: str, rows: int, seed: int) -> Stream:
    """A stream of so many steps; the one in `folder` where there is one."""
    if (folder / "stream.json").is_file():
        return Stream.open(folder)
    return robossl.collect(env, policy, rows, folder, seed, num_envs=64)


def figures(model: WorldModel, stream: Stream, random: Stream, env: str, seed: int) -> dict[str, Any]:
    """What is asked of a world model, each figure beside its floor."""
    held = load_heldout(model, stream, EVALUATION_SEED + seed)
    readout = fit_readout(model, held)
    found = prediction_skill(model, held, HORIZONS, readout)
    lead = least_lead(found.pop("curve"))
    unguessed = load_heldout(model, random, EVALUATION_SEED + seed)
    return {
        **found,
        "least_lead": lead,
        "inverse_r2": inverse_r2(model, unguessed),
        "inverse_excess_r2": inverse_excess_r2(model, unguessed),
        "inverse_r2_coloured": inverse_r2(model, held),
        "valid_prediction_time": valid_prediction_time(model, held, step_seconds(env), readout),
        "calibration": calibration(model, held),
        "calibration_disagreement": calibration(model, held, "disagreement"),
        "effective_rank": effective_rank(held.test_z),
    }


def least_lead(curve: dict[str, list[float]]) -> float:
    """From 5 steps ahead to 25: by how much skill the model is ahead of the best of its floors, where it is least."""
    floors = zip(curve["linear"], curve["shuffled"])
    leads = [skill - max(0.0, *floor) for skill, floor in zip(curve["model"], floors)]
    return min(leads[4:25])


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown rows: one a body, the median of its seeds; a figure below its bar is in bold."""
    lines = [_COLUMNS, "| --- " * (_COLUMNS.count("|") - 1) + "|"]
    for env in dict.fromkeys(run["settings"]["env"] for run in runs):
        same = [run for run in runs if run["settings"]["env"] == env]
        lines.append(f"| {' | '.join(_cells(env, same))} |")
    return "\n".join(lines)


def _cells(env: str, runs: list[dict[str, Any]]) -> list[str]:
    def each(*keys: str) -> list[float]:
        found = []
        for run in runs:
            value: Any = run
            for key in keys:
                value = value.get(key, float("nan")) if isinstance(value, dict) else value
            found.append(value["mean"] if isinstance(value, dict) else value)
        return found

    def median(*keys: str) -> float:
        return statistics.median(each(*keys))

    name = env.partition("/")[2].partition("-")[0] or env
    time_ = runs[0]["valid_prediction_time"]
    low, high = min(each("valid_prediction_time", "low")), max(each("valid_prediction_time", "high"))
    return [
        name,
        *(f"{median('skill', h):.3f}" for h in ("1", "5", "10", "25")),
        *(f"{median(row, '1'):z.2f}, {median(row, '25'):z.2f}" for row in ("linear", "shuffled")),
        _barred(each("least_lead"), 0.0),
        _barred(each("inverse_excess_r2"), EXCESS_CONTACT if name in CONTACT else EXCESS),
        f"{median('valid_prediction_time', 'median'):.2f} [{low:.2f}, {high:.2f}]",
        f"{100 * median('valid_prediction_time', 'censored'):.0f} % at {time_['horizon']:.1f} {time_['unit']}",
        _barred(each("calibration"), TRUE_DOUBT),
        f"{median('calibration_disagreement'):.2f}",
        f"{median('effective_rank'):.0f}",
        str(len(runs)),
    ]


def _barred(values: list[float], bar: float) -> str:
    """The median, bold where it is below the bar, and in brackets the seeds' extremes where they differ."""
    middle, ends = f"{statistics.median(values):z.2f}", [f"{end:z.2f}" for end in (min(values), max(values))]
    shown = middle if statistics.median(values) >= bar else f"**{middle}**"
    return shown if ends == [middle, middle] else f"{shown} [{', '.join(ends)}]"


if __name__ == "__main__":
    run_main(main)
