"""World models of each robot, trained without reward: `python -m benchmarks.world_model --env robossl/Reacher-v0`.

For every env and seed: `--steps` of colored-noise actions, `--updates` gradient steps, then the metrics on held-out
episodes of the same stream. Inverse dynamics is evaluated on another stream with white-noise actions, because
colored-noise actions can be inferred from the state. Prints JSON, with `--markdown` the rows of the table in
docs/world-model.md. Results for the same settings in `--out` are read, not measured again. Flags such as
`--world_model.latent_dim 128` set the world model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import robossl
from benchmarks.cli import model_settings, run_main
from benchmarks.parts import Part, add_engine_flags, make_once, run_parts
from robossl.core.io import write_json
from robossl.core.statistics import effective_rank
from robossl.evaluation.context import EVALUATION_SEED, step_seconds
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.calibration import calibration
from robossl.evaluation.metrics.inverse_dynamics import inverse_excess_r2, inverse_r2
from robossl.evaluation.metrics.prediction import prediction_skill, valid_prediction_time
from robossl.evaluation.metrics.readout import fit_readout
from robossl.logging.progress import make_progress
from robossl.streams import Stream
from robossl.training.config import LearnConfig, thread_count
from robossl.training.config_io import parse
from robossl.training.output_dirs import slug
from robossl.world_model import WorldModel, WorldModelConfig

FREE = ("Reacher", "CartPoleSwingUp", "PointMaze")  # one task of each robot without contacts, except walls
CONTACT = (  # and of those with contacts
    "PushT", "CheetahRun", "HopperHop", "WalkerRun", "ArmPush", "HandTurn", "QuadrupedWalk", "HumanoidWalk",
)  # fmt: skip
HORIZONS = (1, 2, 3, 4, 5, 10, 25)  # [steps]
INVERSE_TARGET, INVERSE_TARGET_CONTACT, CALIBRATION_TARGET = 0.9, 0.6, 0.5
_WHITE_NOISE_STEPS = 100_000  # of the stream for inverse dynamics
_HEADER = (
    "| robot | skill 1 | 5 | 10 | 25 steps | linear 1, 25 | shuffled 1, 25 | lead 5-25 | inverse excess R2 | valid [s] "
    "| censored | uncertainty | heads | rank | seeds |"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--env", nargs="+", default=[f"robossl/{name}-v0" for name in FREE + CONTACT], metavar="ID"
    )
    parser.add_argument("--steps", type=int, default=200_000, metavar="N", help="of the stream (200000)")
    parser.add_argument("--updates", type=int, default=4_000, metavar="N", help="gradient steps (4000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 for all cores")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/world_model"), metavar="DIR")
    add_engine_flags(parser)
    parser.add_argument("--markdown", action="store_true", help="print the table instead of JSON")
    options, rest = parser.parse_known_args()
    config: WorldModelConfig = parse(LearnConfig, ("command line", model_settings(rest))).world_model
    options.world_model = config.to_json()
    rows = [(env, seed) for env in options.env for seed in options.seeds]
    anything = tuple(vars(options))  # each result has its settings
    parts = [Part("measure", row) for row in rows]
    run_parts("benchmarks.world_model", parts, options, options.out, anything, thread_count(options.threads))
    runs = [measure(options, *row) for row in rows]
    machine = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.platform()}
    print(table(runs) if options.markdown else json.dumps({"runs": runs, "machine": machine}, indent=2))


def measure(options: argparse.Namespace, env: str, seed: int) -> dict[str, Any]:
    """Return the metrics of one model, from a file if they were measured before."""
    settings = {
        "env": env,
        "seed": seed,
        "steps": options.steps,
        "white_noise_steps": _WHITE_NOISE_STEPS,
        "updates": options.updates,
        "world_model": options.world_model,
    }
    settings = json.loads(json.dumps(settings))
    results = options.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    for path in sorted(results.glob(f"{slug(env)}-{seed}-*.json")):
        if (stored := json.loads(path.read_text()))["settings"] == settings:
            return stored
    start = time.perf_counter()
    streams = options.out / "streams"
    folder = streams / f"{slug(env)}-{seed}-{options.steps}"
    stream = collect_once(folder, env, "colored_noise", options.steps, seed)
    folder = streams / f"{slug(env)}-{seed}-random-{_WHITE_NOISE_STEPS}"
    white_noise = collect_once(folder, env, "random", _WHITE_NOISE_STEPS, seed + 1)
    number = next(i for i in itertools.count() if not (results / f"{slug(env)}-{seed}-{i}.json").exists())
    collected = time.perf_counter()
    folder = options.out / "models" / f"{slug(env)}-{seed}-{number}"
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted start
    config = WorldModelConfig.from_json(options.world_model)
    model = robossl.pretrain(
        stream, options.updates, config, folder, seed, options.device, options.threads, make_progress()
    )
    trained = time.perf_counter()
    run = {
        "settings": settings,
        **metrics_of(model, stream, white_noise, env, seed),
        "messages": model.metadata["messages"],
    }
    run["seconds"] = {
        "collect": round(collected - start, 1),
        "pretrain": round(trained - collected, 1),
        "evaluate": round(time.perf_counter() - trained, 1),
    }
    write_json(results / f"{slug(env)}-{seed}-{number}.json", run)
    print(table([run]), file=sys.stderr)
    return run


def collect_once(folder: Path, env: str, policy: str, steps: int, seed: int) -> Stream:
    """Return the stream in `folder`, which is recorded if it does not exist."""
    make_once(folder, lambda path: robossl.collect(env, policy, steps, path, seed, num_envs=64).close())
    return Stream.open(folder)


def metrics_of(model: WorldModel, stream: Stream, white_noise: Stream, env: str, seed: int) -> dict[str, Any]:
    """Return the metrics of a world model beside their baselines."""
    heldout = load_heldout(model, stream, EVALUATION_SEED + seed)
    readout = fit_readout(model, heldout)
    metrics = prediction_skill(model, heldout, HORIZONS, readout)
    lead = smallest_lead(metrics.pop("curve"))
    heldout_white = load_heldout(model, white_noise, EVALUATION_SEED + seed)
    return {
        **metrics,
        "smallest_lead": lead,
        "inverse_r2": inverse_r2(model, heldout_white),
        "inverse_excess_r2": inverse_excess_r2(model, heldout_white),
        "inverse_r2_colored_noise": inverse_r2(model, heldout),
        "valid_prediction_time": valid_prediction_time(model, heldout, step_seconds(env), readout),
        "calibration": calibration(model, heldout),
        "calibration_disagreement": calibration(model, heldout, "disagreement"),
        "effective_rank": effective_rank(heldout.test_z),
    }


def smallest_lead(curve: dict[str, list[float]]) -> float:
    """Return the smallest difference of the skill to the best baseline, over 5 to 25 steps."""
    baselines = zip(curve["linear"], curve["shuffled"])
    leads = [skill - max(0.0, *baseline) for skill, baseline in zip(curve["model"], baselines)]
    return min(leads[4:25])


def table(runs: list[dict[str, Any]]) -> str:
    """Return Markdown rows: one for each robot, with the median of its seeds; bold if below the target."""
    lines = [_HEADER, "| --- " * (_HEADER.count("|") - 1) + "|"]
    for env in dict.fromkeys(run["settings"]["env"] for run in runs):
        same = [run for run in runs if run["settings"]["env"] == env]
        lines.append(f"| {' | '.join(_cells(env, same))} |")
    return "\n".join(lines)


def _cells(env: str, runs: list[dict[str, Any]]) -> list[str]:
    def values_of(*keys: str) -> list[float]:
        values = []
        for run in runs:
            value: Any = run
            for key in keys:
                value = value.get(key, float("nan")) if isinstance(value, dict) else value
            values.append(value["mean"] if isinstance(value, dict) else value)
        return values

    def median(*keys: str) -> float:
        return statistics.median(values_of(*keys))

    name = env.partition("/")[2].partition("-")[0] or env
    valid = runs[0]["valid_prediction_time"]
    low, high = (end(values_of("valid_prediction_time", key)) for end, key in ((min, "low"), (max, "high")))
    return [
        name,
        *(f"{median('skill', h):.3f}" for h in ("1", "5", "10", "25")),
        *(f"{median(row, '1'):z.2f}, {median(row, '25'):z.2f}" for row in ("linear", "shuffled")),
        _with_target(values_of("smallest_lead"), 0.0),
        _with_target(
            values_of("inverse_excess_r2"), INVERSE_TARGET_CONTACT if name in CONTACT else INVERSE_TARGET
        ),
        f"{median('valid_prediction_time', 'median'):.2f} [{low:.2f}, {high:.2f}]",
        f"{100 * median('valid_prediction_time', 'censored'):.0f} % at {valid['horizon']:.1f} {valid['unit']}",
        _with_target(values_of("calibration"), CALIBRATION_TARGET),
        f"{median('calibration_disagreement'):.2f}",
        f"{median('effective_rank'):.0f}",
        str(len(runs)),
    ]


def _with_target(values: list[float], target: float) -> str:
    """Return the median, bold if below the target, and the range over seeds in brackets if it is not one number."""
    median = statistics.median(values)
    middle, ends = f"{median:z.2f}", [f"{end:z.2f}" for end in (min(values), max(values))]
    cell = middle if median >= target else f"**{middle}**"
    return cell if ends == [middle, middle] else f"{cell} [{', '.join(ends)}]"


if __name__ == "__main__":
    run_main(main)
