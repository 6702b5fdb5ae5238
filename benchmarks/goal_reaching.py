"""Goal reaching without reward at several distances: `python -m benchmarks.goal_reaching --env robossl/Reacher-v0`.

For each seed `--steps` steps of colored noise train a world model (`--updates`) and its goal heads (`--head-updates`).
Then each row acts from the starts of the same held-out pairs of start and goal, `--horizons` steps apart, with twice as
many steps. `--env two-room` is the point in two rooms of `benchmarks/two_room.py`. `--runs` measures the models of runs
of `robossl learn` instead, the first as seed 0. JSON over all seeds is printed, and with `--markdown` a table. With
`--out` the JSON is also written into a file, and finished seeds, in FILE.parts, are not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

import robossl
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, folder_beside, result_of, run_parts
from benchmarks.two_room import TwoRoomEnvs
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Policy
from robossl.core.io import write_json
from robossl.core.statistics import proportion_ci
from robossl.evaluation.context import EVALUATION_SEED
from robossl.evaluation.goal_reaching import reach_goals
from robossl.evaluation.reward_free import missing_goals_reason
from robossl.streams import Stream
from robossl.world_model import WorldModel
from robossl.world_model.goal_heads import fit_goal_heads

_COLLECTORS = 64  # sub-environments that record
_EVALUATED = 50  # sub-environments that reach goals together
_TWO_ROOM = "two-room"
_MEASURE = "reached_any"
_TRAINING = (
    "steps",
    "updates",
    "head_updates",
    "max_steps",
)  # settings that runs of `robossl learn` have already
_AGENTS: dict[str, tuple[str, dict[str, Any]]] = {  # row -> agent and settings
    "planner (latent)": ("planner", {"cost": "latent"}),
    "planner (goal)": ("planner", {"cost": "goal"}),
    "planner (temporal)": ("planner", {"cost": "temporal"}),
    "inverse_policy": ("inverse-policy", {}),
}
Result = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add(
        "--env", default=_TWO_ROOM, metavar="ID", help=f"an env with goals and physics states, or {_TWO_ROOM}"
    )
    add("--steps", type=int, default=150_000, metavar="N", help="of colored noise (150000)")
    add("--updates", type=int, default=2000, metavar="N", help="of the world model (2000)")
    add("--head-updates", type=int, default=5000, metavar="N", help="of the goal heads (5000)")
    add(
        "--max-steps",
        type=int,
        default=100,
        metavar="N",
        help="[steps] longest distance in their training (100)",
    )
    add(
        "--horizons",
        type=int,
        nargs="+",
        default=[10, 25, 50, 100],
        metavar="N",
        help="[steps] (10 25 50 100)",
    )
    add("--trials", type=int, default=200, metavar="N", help="pairs at each distance (200)")
    add("--planner-trials", type=int, metavar="N", help="fewer pairs for the planners, which are slow (all)")
    add("--seeds", type=int, nargs="+", metavar="N", help="(0, or one for each run)")
    add(
        "--runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="runs of robossl learn on --env, one for each seed",
    )
    add("--rows", nargs="+", default=list(_AGENTS), choices=list(_AGENTS), metavar="ROW")
    add("--threads", type=int, default=1, metavar="N")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="JSON file; finished seeds, in FILE.parts, are not measured again",
    )
    add_engine_flags(parser)
    add("--markdown", action="store_true", help="print a table after the JSON")
    options = parser.parse_args()
    options.seeds = options.seeds or list(range(len(options.runs or [0])))
    skipped = {"out", "markdown", "seeds", "threads", "runs", "workers", "engine"}
    skipped |= {*_TRAINING} if options.runs else set()
    settings = {k: v for k, v in vars(options).items() if k not in skipped}
    options.runs = [str(run.resolve()) for run in options.runs or ()]
    if options.runs and not set(options.seeds) <= set(range(len(options.runs))):
        raise UsageError(
            f"--seeds: expected 0 to {len(options.runs) - 1}, one for each run, got {options.seeds}"
        )
    if options.env != _TWO_ROOM:
        with closing(registry.make_envs(options.env, 1)) as envs:
            if reason := missing_goals_reason(envs.single_observation_space):
                raise UsageError(f"--env {options.env}: {reason}")
    with folder_beside(options.out) as folder:
        options.folder = str(folder)
        parts = [Part("measure_seed", (seed,)) for seed in options.seeds]
        run_parts(
            "benchmarks.goal_reaching", parts, options, Path(folder), ("seeds", "runs", "folder"), options.threads
        )  # fmt: skip
        runs = [result_of(Path(folder), name_of(options, seed)) for seed in options.seeds]
    if options.out is not None:
        write_json(options.out, {"settings": settings, "runs": runs})
    print(json.dumps({"settings": settings, "runs": runs, "rows": pool(runs)}, indent=2))
    if options.markdown:
        print(table(runs))


def measure_seed(options: argparse.Namespace, seed: int) -> None:
    """Measure one seed, unless it was measured before."""

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, seed, Path(folder))
        print(table([found]), file=sys.stderr, flush=True)
        return found

    result_of(Path(options.folder), name_of(options, seed), run)


def name_of(options: argparse.Namespace, seed: int) -> str:
    """Return the name of the result of a seed; that of a run has a digest of its folder."""
    if not options.runs:
        return str(seed)
    return f"{seed}-{hashlib.sha256(options.runs[seed].encode()).hexdigest()[:8]}"


def measure(options: argparse.Namespace, seed: int, folder: Path) -> Result:
    """Return the results of one seed."""
    seconds: dict[str, float] = {}
    start = time.process_time()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = round(time.process_time() - start, 1), time.process_time()

    if options.runs:
        run = Path(options.runs[seed])
        stream, model = Stream.open(run / "stream"), WorldModel.load(run / "model", "cpu").frozen_copy()
        heads = model.goal_heads
        found, missing = reach(options, stream, model, seed)
        lap("reach_goals")
        metrics = {} if heads is None else heads.metrics
        return {"seed": seed, "heads": metrics, "cpu_seconds": seconds, "missing": missing, "rows": found}
    envs = make_envs(options.env, _COLLECTORS)
    stream = robossl.collect(envs, "colored_noise", options.steps, folder / "stream", seed)
    envs.close()
    lap("collect")
    model = robossl.pretrain(
        stream, options.updates, out=folder / "model", seed=seed, threads=options.threads, head_updates=0
    )
    lap("world_model")
    heads = fit_goal_heads(model, stream, options.head_updates, seed, max_steps=options.max_steps)
    lap("goal_heads")
    found, missing = reach(options, stream, model, seed)
    lap("reach_goals")
    return {"seed": seed, "heads": heads.metrics, "cpu_seconds": seconds, "missing": missing, "rows": found}


def reach(
    options: argparse.Namespace, stream: Stream, model: WorldModel, seed: int
) -> tuple[dict[str, Result], dict[str, str]]:
    """Return the rows of `reach_goals`, and the distances that could not be measured with the reason."""
    planners = [row for row in options.rows if _AGENTS[row][0] == "planner"]
    others = [row for row in options.rows if row not in planners]
    rows: dict[str, Result] = {}
    missing: dict[str, str] = {}
    for names, trials in ((planners, options.planner_trials or options.trials), (others, options.trials)):
        if names or names is others:  # the last ones are random and zero actions
            envs = make_envs(options.env, min(trials, _EVALUATED))
            try:
                policies = make_policies(envs, model, names, seed)
                found, reasons = reach_goals(
                    envs, stream, policies, options.horizons, trials, EVALUATION_SEED + seed
                )
            finally:
                envs.close()
            rows, missing = rows | found["rows"], missing | reasons
    baselines = ("random", "zero_action")
    return {name: rows[name] for name in sorted(rows, key=lambda name: name in baselines)}, missing


def make_envs(env: str, num_envs: int) -> VectorEnv:
    """Return the envs of an id, or the two rooms."""
    if env == _TWO_ROOM:
        return TwoRoomEnvs(num_envs)
    return registry.make_envs(env, num_envs, autoreset_mode=AutoresetMode.DISABLED)


def make_policies(envs: VectorEnv, model: WorldModel, rows: list[str], seed: int) -> dict[str, Policy]:
    """Return the agents of the rows, and random actions."""
    agents = {row: _AGENTS[row] for row in rows}
    return {
        **{row: registry.agent(name)(envs, model, seed, **given) for row, (name, given) in agents.items()},
        "random": registry.policy("random")(envs.single_action_space, envs.num_envs, seed=seed),
    }


def pool(runs: list[Result]) -> dict[str, Result]:
    """Return the success rates over all seeds, by row and distance."""
    rows: dict[str, Result] = {}
    for name in runs[0]["rows"]:
        rows[name] = {}
        for horizon in runs[0]["rows"][name]:
            found = [run["rows"][name][horizon] for run in runs if horizon in run["rows"][name]]
            count = sum(row[_MEASURE]["n"] for row in found)
            reached = round(sum(row[_MEASURE]["mean"] * row[_MEASURE]["n"] for row in found))
            rows[name][horizon] = {
                _MEASURE: proportion_ci(reached, count),
                "by_seed": [round(row[_MEASURE]["mean"], 3) for row in found],
                "ms_per_decision": round(sum(row["ms_per_decision"] for row in found) / len(found), 4),
            }
    return rows


def table(runs: list[Result]) -> str:
    """Return the success rates in percent as Markdown."""
    rows = pool(runs)
    horizons = list(next(iter(rows.values())))
    lines = [
        f"| | {' | '.join(f'{horizon} steps' for horizon in horizons)} | ms a decision |",
        f"| --- |{' --- |' * len(horizons)} --- |",
    ]
    for name, row in rows.items():
        cells = " | ".join(percent_cell(row[horizon][_MEASURE]) for horizon in horizons)
        milliseconds = max(row[horizon]["ms_per_decision"] for horizon in horizons)
        lines.append(f"| {name} | {cells} | {milliseconds:.2f} |")
    return "\n".join(lines)


def percent_cell(estimate: Mapping[str, Any]) -> str:
    """Return a rate with its interval in percent."""
    return f"{100 * estimate['mean']:.0f} [{100 * estimate['low']:.0f}, {100 * estimate['high']:.0f}]"


if __name__ == "__main__":
    run_main(main)
