"""An agent trained in imagined rollouts, evaluated in the real env: `python -m benchmarks.imagination`.

`--steps` real steps of colored noise, without reward, train a world model; `--labeled` further steps train its reward
model. SAC is then trained for `--imagined` steps in the world model alone. It is compared with the same SAC in the
real env, after `--labeled` and after `--labeled` + `--steps` steps, with a random policy and with zero actions. All
are evaluated on the same held-out episodes. The results of each seed are printed when it ends; then JSON, and with
`--markdown` a table. With `--out` the results are also written into a file, and finished seeds, in FILE.parts, are not
measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

import robossl
from benchmarks.cli import run_main
from benchmarks.parts import Part, add_engine_flags, folder_beside, result_of, run_parts
from robossl import registry
from robossl.core.interfaces import Policy
from robossl.core.io import write_json
from robossl.core.seeding import derive
from robossl.core.statistics import mean_ci, proportion_ci
from robossl.evaluation.context import EVALUATION_SEED, step_seconds
from robossl.evaluation.control import Episodes, evaluate_returns
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.prediction import prediction_skill, valid_prediction_time
from robossl.streams import Recorder, Stream
from robossl.training.agent_runner import AgentRunner
from robossl.world_model import RewardModel, WorldModelEnv

_NUM_ENVS = 16
_LATE = 200  # time steps of each sub-environment at the end of imagined training
_IMAGINED = "imagined"
Run = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--env", default="robossl/Reacher-v0", metavar="ID")
    add("--steps", type=int, default=16_000, metavar="N", help="real steps without reward (16000)")
    add("--labeled", type=int, default=8_000, metavar="N", help="real steps with reward (8000)")
    add("--updates", type=int, default=800, metavar="N", help="of the world model (800)")
    add("--imagined", type=int, default=24_000, metavar="N", help="imagined steps (24000)")
    add("--horizon", type=int, default=50, metavar="N", help="[steps] of an imagined episode (50)")
    add("--episodes", type=int, default=20, metavar="N", help="held-out episodes (20)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N")
    add("--threads", type=int, default=1, metavar="N")
    add("--markdown", action="store_true", help="print a table after the JSON")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="JSON file; finished seeds, in FILE.parts, are not measured again",
    )
    add_engine_flags(parser)
    options = parser.parse_args()
    settings = {k: v for k, v in vars(options).items() if k not in ("out", "workers", "engine")}
    with folder_beside(options.out) as folder:
        options.folder = str(folder)
        parts = [Part("measure_seed", (seed,)) for seed in options.seeds]
        run_parts(
            "benchmarks.imagination", parts, options, Path(folder), ("seeds", "folder"), options.threads
        )
        cells = [result_of(Path(folder), str(seed)) for seed in options.seeds]
    rows = pool([{name: episodes_of(lists) for name, lists in cell["exact"].items()} for cell in cells])
    report = {"settings": settings, "runs": [cell["run"] for cell in cells], "rows": rows}
    if options.out is not None:
        write_json(options.out, report)
    print(json.dumps(report, indent=2))
    if options.markdown:
        print(table(rows))


def measure_seed(options: argparse.Namespace, seed: int) -> None:
    """Measure one seed, unless it was measured before."""

    def run() -> Run:
        with tempfile.TemporaryDirectory() as folder:
            found, episodes = measure(options, seed, Path(folder))
        print(json.dumps(found), file=sys.stderr, flush=True)
        return {"run": found, "exact": {name: episode_lists(e, exact=True) for name, e in episodes.items()}}

    result_of(Path(options.folder), str(seed), run)


def measure(options: argparse.Namespace, seed: int, folder: Path) -> tuple[Run, dict[str, Episodes]]:
    """Return the metrics of one seed, and the held-out episodes of every row."""
    timer = CpuTimer()
    labeled_seed = derive(seed, "labelled") % 2**31
    streams = (("unlabeled", options.steps, seed), ("labeled", options.labeled, labeled_seed))
    unlabeled, labeled = (
        robossl.collect(options.env, "colored_noise", steps, folder / name, stream_seed, num_envs=_NUM_ENVS)
        for name, steps, stream_seed in streams
    )
    timer.lap("collect")
    model = robossl.pretrain(
        unlabeled, options.updates, out=folder / "model", seed=seed, threads=options.threads
    )
    timer.lap("world_model")
    reward = RewardModel(model, labeled, seed=seed)
    timer.lap("reward_model")
    imagined = WorldModelEnv(
        model, unlabeled, _NUM_ENVS, options.horizon, reward, seed=seed, autoreset_mode=AutoresetMode.DISABLED
    )
    real = registry.make_envs(options.env, _NUM_ENVS, autoreset_mode=AutoresetMode.DISABLED)
    in_imagination = AgentRunner("sac", Recorder.create(imagined, folder / "imagined"), seed, device="cpu")
    in_imagination.learn(options.imagined)
    timer.lap("agent_imagined")
    in_reality = AgentRunner("sac", Recorder.create(real, folder / "real"), seed, device="cpu")
    in_reality.learn(options.labeled)
    episodes = {_IMAGINED: in_imagination.agent, "real, labeled steps": in_reality.agent}
    results = evaluate(options, seed, episodes)
    in_reality.learn(options.steps)
    timer.lap("agent_real")
    results |= evaluate(options, seed, {"real, all steps": in_reality.agent, **baselines(options.env, seed)})
    heldout = load_heldout(model, unlabeled, EVALUATION_SEED + seed)
    return {
        "seed": seed,
        "reward_r2": reward.r2,
        "skill": {h: estimate["mean"] for h, estimate in prediction_skill(model, heldout)["skill"].items()},
        "valid_prediction_time": valid_prediction_time(model, heldout, step_seconds(options.env)),
        "imagined": imagined_statistics(in_imagination.recorder.stream, options.horizon),
        "cpu_seconds": timer.laps,
        "returns": {name: mean_ci(episodes.returns) for name, episodes in results.items()},
        "episodes": {name: episode_lists(episodes) for name, episodes in results.items()},
    }, results


def episode_lists(episodes: Episodes, exact: bool = False) -> dict[str, list[Any] | None]:
    """Return the return, final success and success at any step of every episode."""
    flags = {"success": episodes.successes, "success_any": episodes.any_success}
    returns = episodes.returns if exact else episodes.returns.round(3)
    return {
        "return": returns.tolist(),
        **{name: None if values is None else values.tolist() for name, values in flags.items()},
    }


def episodes_of(lists: dict[str, list[Any] | None]) -> Episodes:
    """Return the episodes of `episode_lists`, without their lengths."""
    flags = (None if lists[name] is None else np.array(lists[name]) for name in ("success", "success_any"))
    return Episodes(np.array(lists["return"]), np.empty(0, int), *flags)


class CpuTimer:
    """CPU seconds of this process by phase; other processes are not counted."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        """End the phase `name`."""
        now = time.process_time()
        self.laps[name], self._last = round(now - self._last, 1), now


def baselines(env: str, seed: int) -> dict[str, Policy]:
    """Return the policies without training."""
    space = robossl.make(env, 1).single_action_space
    names = {"random": "random", "zero action": "zero"}
    return {row: registry.policy(name)(space, _NUM_ENVS, seed=seed) for row, name in names.items()}


def evaluate(options: argparse.Namespace, seed: int, policies: dict[str, Policy]) -> dict[str, Episodes]:
    """Run each policy in the real env on the same held-out episodes."""
    envs = registry.make_envs(options.env, _NUM_ENVS, threads=options.threads)
    return {
        name: evaluate_returns(envs, policy, options.episodes, EVALUATION_SEED + seed)
        for name, policy in policies.items()
    }


def imagined_statistics(stream: Stream, horizon: int) -> dict[str, float]:
    """Return the length of imagined episodes, how many the uncertainty ended, and the late reward of a step."""
    lengths = np.array([e.stop - e.start - 1 for e in stream.episodes() if e.ended])  # [steps]
    late = [
        stream.read(env_index, max(0, int(steps) - _LATE), int(steps), ["reward", "valid"])
        for env_index, steps in enumerate(stream.lengths)
    ]
    reward = np.concatenate([steps["reward"][steps["valid"]] for steps in late])
    return {
        "episodes": len(lengths),
        "mean_steps": round(float(lengths.mean()), 1),
        "truncated_by_uncertainty": round(float((lengths < horizon).mean()), 3),
        "late_reward_of_a_step": round(float(reward.mean()), 3),
    }


def pool(episodes_by_seed: list[dict[str, Episodes]]) -> dict[str, Run]:
    """Return the rows over all seeds; with several seeds the intervals resample whole seeds."""
    rows = {}
    for name in episodes_by_seed[0]:
        episodes = [by_name[name] for by_name in episodes_by_seed]
        clusters = np.repeat(np.arange(len(episodes)), [len(e.returns) for e in episodes])
        resampled = clusters if len(episodes) > 1 else None
        returns = np.concatenate([e.returns for e in episodes])
        lead = np.concatenate([by_name[_IMAGINED].returns for by_name in episodes_by_seed]) - returns
        rows[name] = {
            "return": mean_ci(returns, resampled),
            "lead_of_imagined": mean_ci(lead, resampled),  # over the same episodes
            "by_seed": [round(float(e.returns.mean()), 1) for e in episodes],
        }
        for key, values in (
            ("success", [e.successes for e in episodes]),
            ("success_any", [e.any_success for e in episodes]),
        ):
            if all(v is not None for v in values):
                flags = np.concatenate(values)  # type: ignore[arg-type]
                rows[name][key] = proportion_ci(int(flags.sum()), len(flags))
    return rows


def table(rows: dict[str, Run]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| SAC trained in | return | by seed | lead of imagined | success at the end | at any step | n |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        success, success_any = (percent_cell(row.get(key)) for key in ("success", "success_any"))
        lead = "-" if name == _IMAGINED else number_cell(row["lead_of_imagined"])
        lines.append(
            f"| {name} | {number_cell(row['return'])} | {', '.join(str(v) for v in row['by_seed'])} | {lead} "
            f"| {success} | {success_any} | {row['return']['n']} |"
        )
    return "\n".join(lines)


def number_cell(estimate: Any) -> str:
    """Return an estimate with its interval."""
    return f"{estimate['mean']:.1f} [{estimate['low']:.1f}, {estimate['high']:.1f}]"


def percent_cell(estimate: Any) -> str:
    """Return a rate with its interval in percent."""
    if estimate is None:
        return "-"
    return f"{100 * estimate['mean']:.0f} % [{100 * estimate['low']:.0f}, {100 * estimate['high']:.0f}]"


if __name__ == "__main__":
    run_main(main)
