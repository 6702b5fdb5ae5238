"""An agent that learned in the dream, judged in reality: `python -m benchmarks.imagination --env robossl/Reacher-v0`.

`--rows` real steps of coloured noise, without reward, teach a world model; `--labelled` further ones teach its reward.
SAC then lives `--dreamt` steps in the model alone. Beside it: the same SAC in reality, after as many real steps as had
a reward and after as many as were lived in all, a random policy and doing nothing; all on the same held-out episodes
of the real env, from seeds of their own. Each seed's figures come as it ends; then JSON, `--markdown` a table.
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
import torch
from gymnasium.vector import AutoresetMode

import robossl
from benchmarks.cli import run_main
from robossl import registry
from robossl.core.interfaces import NullProgress, Policy
from robossl.core.seeding import derive
from robossl.core.statistics import mean_ci, proportion_ci
from robossl.evaluation.context import EVALUATION_SEED, step_seconds
from robossl.evaluation.control import Episodes, evaluate_returns
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.metrics.prediction import prediction_skill, valid_prediction_time
from robossl.streams import Recorder, Stream
from robossl.training.agent_runner import AgentRunner
from robossl.world_model.env import WorldModelEnv
from robossl.world_model.reward_model import RewardModel

_LANES = 16  # that an agent learns in
_LATE = 200  # [rows] of each lane are the end of a dreamt life
_OURS = "in the dream"
Run = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--env", default="robossl/Reacher-v0", metavar="ID")
    add("--rows", type=int, default=16_000, metavar="N", help="real steps without reward (16000)")
    add("--labelled", type=int, default=8_000, metavar="N", help="real steps with reward (8000)")
    add("--updates", type=int, default=800, metavar="N", help="of the world model (800)")
    add("--dreamt", type=int, default=24_000, metavar="N", help="imagined steps (24000)")
    add("--horizon", type=int, default=50, metavar="N", help="[steps] of one dream (50)")
    add("--episodes", type=int, default=20, metavar="N", help="held-out episodes (20)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N")
    add("--threads", type=int, default=1, metavar="N")
    add("--markdown", action="store_true", help="a table after the JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    runs, lived = [], []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            run, episodes = compared(given, seed, Path(folder))
        print(json.dumps(run), file=sys.stderr, flush=True)
        runs.append(run)
        lived.append(episodes)
    rows = pooled(lived)
    print(json.dumps({"settings": vars(given), "runs": runs, "rows": rows}, indent=2))
    if given.markdown:
        print(table(rows))


def compared(given: argparse.Namespace, seed: int, folder: Path) -> tuple[Run, dict[str, Episodes]]:
    """One seed: the figures of the model and the dream, and the held-out episodes of every row."""
    clock = Clock()
    other = derive(seed, "labelled") % 2**31
    free = robossl.collect(given.env, "colored_noise", given.rows, folder / "free", seed, num_envs=_LANES)
    labelled = robossl.collect(
        given.env, "colored_noise", given.labelled, folder / "labelled", other, num_envs=_LANES
    )
    clock.lap("collect")
    model = robossl.pretrain(free, given.updates, out=folder / "model", seed=seed, threads=given.threads)
    clock.lap("world model")
    reward = RewardModel(model, labelled, seed=seed)
    clock.lap("reward")
    dream = WorldModelEnv(
        model, free, _LANES, given.horizon, reward, seed=seed, autoreset_mode=AutoresetMode.DISABLED
    )
    real = registry.make_envs(given.env, _LANES, autoreset_mode=AutoresetMode.DISABLED)
    dreamer = AgentRunner("sac", Recorder.create(dream, folder / "dream"), seed, mode="raw", device="cpu")
    dreamer.learn(given.dreamt, NullProgress())
    clock.lap("learning in the dream")
    waker = AgentRunner("sac", Recorder.create(real, folder / "real"), seed, mode="raw", device="cpu")
    waker.learn(given.labelled, NullProgress())
    found = judged(given, seed, {"in reality, labelled steps": waker.agent})
    waker.learn(given.rows, NullProgress())
    clock.lap("learning in reality")
    found = judged(given, seed, {_OURS: dreamer.agent}) | found
    found |= judged(given, seed, {"in reality, all steps": waker.agent, **ignorant(given.env, seed)})
    held = load_heldout(model, free, EVALUATION_SEED + seed)
    return {
        "seed": seed,
        "reward_r2": reward.r2,
        "skill": {h: figure["mean"] for h, figure in prediction_skill(model, held)["skill"].items()},
        "valid_prediction_time": valid_prediction_time(model, held, step_seconds(given.env)),
        "dream": dreamt(dreamer.recorder.stream, given.horizon),
        "cpu_seconds": clock.laps,
        "returns": {name: mean_ci(episodes.returns) for name, episodes in found.items()},
        "episodes": {name: told(episodes) for name, episodes in found.items()},
    }, found  # fmt: skip


def told(episodes: Episodes) -> dict[str, list[Any] | None]:
    """Every episode: its return, whether it ended in success, whether it ever was one."""
    flags = {"success": episodes.successes, "reached": episodes.reached}
    return {
        "return": episodes.returns.round(3).tolist(),
        **{name: None if values is None else values.tolist() for name, values in flags.items()},
    }


class Clock:
    """Seconds of the processor from lap to lap: what else the machine does does not count."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        """What ended just now is called `name`."""
        now = time.process_time()
        self.laps[name], self._last = round(now - self._last, 1), now


def ignorant(env: str, seed: int) -> dict[str, Policy]:
    """The policies that know nothing."""
    space = robossl.make(env, 1).single_action_space
    return {row: registry.policy(name)(space, _LANES, seed=seed) for row, name in
            {"random": "random", "do nothing": "zero"}.items()}  # fmt: skip


def judged(given: argparse.Namespace, seed: int, policies: dict[str, Policy]) -> dict[str, Episodes]:
    """Each policy in the real env, from the same held-out seeds."""
    envs = registry.make_envs(given.env, _LANES, threads=given.threads)
    return {
        name: evaluate_returns(envs, policy, given.episodes, EVALUATION_SEED + seed)
        for name, policy in policies.items()
    }


def dreamt(stream: Stream, horizon: int) -> dict[str, float]:
    """How long dreams lasted, how many were stopped by doubt, and the reward of a step at their end."""
    lengths = np.array([e.stop - e.start - 1 for e in stream.episodes() if e.ended])  # [steps]
    late = [
        stream.read(lane, max(0, int(rows) - _LATE), int(rows), ["reward", "valid"])
        for lane, rows in enumerate(stream.lengths)
    ]
    reward = np.concatenate([rows["reward"][rows["valid"]] for rows in late])
    return {
        "episodes": len(lengths),
        "mean_steps": round(float(lengths.mean()), 1),
        "stopped_by_doubt": round(float((lengths < horizon).mean()), 3),
        "late_reward_of_a_step": round(float(reward.mean()), 3),
    }


def pooled(lived: list[dict[str, Episodes]]) -> dict[str, Run]:
    """The rows over all seeds; intervals by drawing whole seeds where there are several."""
    rows = {}
    for name in lived[0]:
        found = [episodes[name] for episodes in lived]
        clusters = np.repeat(np.arange(len(found)), [len(e.returns) for e in found])
        returns, drawn = np.concatenate([e.returns for e in found]), clusters if len(found) > 1 else None
        ahead = np.concatenate([episodes[_OURS].returns for episodes in lived]) - returns
        rows[name] = {
            "return": mean_ci(returns, drawn),
            "dream_ahead_by": mean_ci(ahead, drawn),  # over the same episodes
            "by_seed": [round(float(e.returns.mean()), 1) for e in found],
        }
        for key, values in (
            ("success", [e.successes for e in found]),
            ("reached", [e.reached for e in found]),
        ):
            if all(v is not None for v in values):
                together = np.concatenate(values)  # type: ignore[arg-type]
                rows[name][key] = proportion_ci(int(together.sum()), len(together))
    return rows


def table(rows: dict[str, Run]) -> str:
    """The rows as Markdown."""
    lines = [
        "| SAC learned | return | by seed | the dream is ahead by | success at the end | at any time | n |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        success, reached = (percent(row.get(key)) for key in ("success", "reached"))
        ahead = "-" if name == _OURS else number(row["dream_ahead_by"])
        lines.append(
            f"| {name} | {number(row['return'])} | {', '.join(str(v) for v in row['by_seed'])} | {ahead} "
            f"| {success} | {reached} | {row['return']['n']} |"
        )
    return "\n".join(lines)


def number(figure: Any) -> str:
    """A score in words of the table."""
    return f"{figure['mean']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"


def percent(figure: Any) -> str:
    """A rate in words of the table."""
    if figure is None:
        return "-"
    return f"{100 * figure['mean']:.0f} % [{100 * figure['low']:.0f}, {100 * figure['high']:.0f}]"


if __name__ == "__main__":
    run_main(main)
