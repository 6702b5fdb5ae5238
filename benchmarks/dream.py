"""An agent that learned in the dream, judged in reality: `python -m benchmarks.dream --env robossl/CartPoleSwingUp-v0`.

`--rows` real steps of coloured noise teach a world model and, afterwards, a reward. SAC then lives `--dreamt` steps in
the model alone. Beside it: the same SAC after as many real steps as the model has seen, learning from them itself, a
random policy and doing nothing; all of them on the same held-out episodes of the real env. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

import robossl
from robossl.core.contracts import Silent
from robossl.evaluation.held import hold_out
from robossl.evaluation.prediction import forward_skill, valid_prediction_time
from robossl.lab import measure, plugins
from robossl.lab.actor import Actor
from robossl.streams import Recorder, Stream
from robossl.world import WorldModel
from robossl.world.reward import LearnedReward


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", default="robossl/CartPoleSwingUp-v0", metavar="ID", help="one without goals")
    parser.add_argument("--rows", type=int, default=20_000, metavar="N", help="real steps (20000)")
    parser.add_argument("--updates", type=int, default=1_500, metavar="N", help="of the world model (1500)")
    parser.add_argument("--dreamt", type=int, default=20_000, metavar="N", help="imagined steps (20000)")
    parser.add_argument("--horizon", type=int, default=50, metavar="N", help="[steps] of one dream (50)")
    parser.add_argument("--episodes", type=int, default=20, metavar="N", help="held-out episodes (20)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    runs = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(compared(given, seed, Path(folder)))
    print(
        json.dumps(
            {
                "env": given.env,
                "settings": {k: v for k, v in vars(given).items() if k != "env"},
                "runs": runs,
            },
            indent=2,
        )
    )


def compared(given: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """One seed: the figures of the model, and the returns of every row."""
    stream = robossl.collect(given.env, "pink", given.rows, folder / "stream", seed, num_envs=16)
    model = robossl.pretrain(stream, given.updates, out=folder / "model", seed=seed, threads=given.threads)
    reward = LearnedReward(model, stream, seed=seed)
    seconds = measure.step_seconds(given.env)
    held = hold_out(model, stream, measure.EVALUATION_SEED + seed)
    actors = {
        "dreamt": dreamer(given, model, stream, reward, seed, folder),
        "real": waker(given, seed, folder),
    }
    took: dict[str, float] = {}
    for name, actor in actors.items():
        began = time.perf_counter()
        actor.learn(given.dreamt if name == "dreamt" else given.rows, Silent())
        took[name] = round(time.perf_counter() - began, 1)
    absent: dict[str, str] = {}
    rows = measure.table(
        given.env, {name: actor.agent for name, actor in actors.items()}, True, given.episodes,
        measure.EVALUATION_SEED + seed, given.threads or 1, absent,
    )  # fmt: skip
    return {
        "seed": seed,
        "reward_r2": reward.r2,
        "skill": {h: figure["mean"] for h, figure in forward_skill(model, held)["skill"].items()},
        "valid_prediction_time": valid_prediction_time(model, held, seconds),
        "steps_a_second": pace(given, model, stream, reward),
        "seconds": took,
        "returns": {name: row["return"] for name, row in rows.items()},
        "absent": absent,
    }


def dreamer(
    given: argparse.Namespace,
    model: WorldModel,
    stream: Stream,
    reward: LearnedReward,
    seed: int,
    folder: Path,
) -> Actor:
    """SAC whose world is the model; what it lives through is recorded as if it were real."""
    dream = model.as_env(stream, 16, given.horizon, reward, seed=seed, autoreset_mode=AutoresetMode.DISABLED)
    return Actor("sac", Recorder.create(dream, folder / "dream"), seed, None, mode="raw", device="cpu")


def waker(given: argparse.Namespace, seed: int, folder: Path) -> Actor:
    """SAC in the real env."""
    envs = plugins.make_envs(given.env, 16, threads=given.threads or 1, autoreset_mode=AutoresetMode.DISABLED)
    return Actor("sac", Recorder.create(envs, folder / "real"), seed, None, mode="raw", device="cpu")


def pace(
    given: argparse.Namespace, model: WorldModel, stream: Stream, reward: LearnedReward
) -> dict[str, float]:
    """Steps a second of 256 lanes of dream and of the real env, random actions."""
    lanes, steps = 256, 20
    found = {}
    for name, envs in (
        ("dream", model.as_env(stream, lanes, given.horizon, reward)),
        ("real", plugins.make_envs(given.env, lanes, threads=given.threads or 1)),
    ):
        envs.reset(seed=0)
        actions = [envs.action_space.sample() for _ in range(steps)]
        envs.step(actions[0])
        began = time.perf_counter()
        for action in actions:
            envs.step(action)
        found[name] = round(lanes * steps / (time.perf_counter() - began))
    return found


if __name__ == "__main__":
    main()
