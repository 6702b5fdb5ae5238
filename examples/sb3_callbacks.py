"""Callbacks of Stable-Baselines3 in `robossl.train`: periodic evaluation and checkpoints.

Run it with `python examples/sb3_callbacks.py`; it takes some seconds on a CPU. A callback that needs the agent, for
example to wrap evaluation envs with the agent's observations, is a function of the agent.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from robossl.agents import Sb3Agent
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback

import robossl

ENV = "robossl/Reacher-v0"
SETTINGS = {"learning_starts": 100, "batch_size": 64, "policy_kwargs": {"net_arch": [64, 64]}}


def main() -> None:
    """Train SAC with two callbacks of SB3 and print what they recorded."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        evaluations: list[EvalCallback] = []

        def evaluate(agent: Sb3Agent) -> EvalCallback:
            envs = agent.wrap_envs(robossl.make(ENV, num_envs=4, threads=1))
            evaluations.append(EvalCallback(envs, n_eval_episodes=4, eval_freq=100, verbose=0))
            return evaluations[-1]

        checkpoints = CheckpointCallback(save_freq=100, save_path=str(folder / "zips"))
        robossl.train(
            ENV, "sac", steps=800, num_envs=4, threads=1, out=folder / "agent", device="cpu", settings=SETTINGS,
            callbacks=[evaluate, checkpoints],
        )  # fmt: skip
        for zip_file in sorted((folder / "zips").iterdir()):
            print(f"{zip_file.name}: {SAC.load(zip_file, device='cpu').num_timesteps} steps")
        print(f"mean return of the last evaluation: {evaluations[0].last_mean_reward:.1f}")
        evaluations[0].eval_env.close()


if __name__ == "__main__":
    main()
