"""SB3 agents in their own recorded envs, small enough to live many lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from agent_toys import Line
from robossl.agents import Sb3Agent

from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder, Stream

QUICK: dict[str, Any] = {"device": "cpu", "policy_kwargs": {"net_arch": [16]}, "batch_size": 16}
SETTINGS = {
    "sac": {**QUICK, "learning_starts": 20},
    "td3": {**QUICK, "learning_starts": 20},
    "dqn": {
        **QUICK,
        "learning_starts": 20,
        "target_update_interval": 10,
        "exploration_initial_eps": 0.8,
        "exploration_final_eps": 0.8,
    },
    "ppo": {**QUICK, "n_steps": 8},
}
LANES = 2


class Life:
    """An agent in its own recorded envs, that can be ended and taken up as a run takes up its actors."""

    def __init__(self, path: Path, name: str, envs: Any, stream: Stream | None = None, **given: Any) -> None:
        self.envs = envs
        self.recorder = Recorder.create(envs, path) if stream is None else Recorder(envs, stream)
        self.agent = Sb3Agent(name, self.recorder, **{**SETTINGS[name], **given})

    def learn(self, steps: int) -> None:
        self.agent.learn(self.recorder, steps)

    def save(self, path: Path) -> None:
        assert self.recorder.stream is not None
        tree = {
            "agent": self.agent.get_checkpoint(),
            "recorder": self.recorder.get_checkpoint(),
            "envs": self.envs.unwrapped.get_checkpoint(),
            "mark": self.recorder.stream.mark(),
        }
        save_tree(path, tree)

    def set(self, path: Path) -> None:
        tree = load_tree(path)
        self.envs.unwrapped.set_checkpoint(tree["envs"])
        self.agent.set_checkpoint(tree["agent"])
        self.recorder.set_checkpoint(tree["recorder"])

    def lived(self) -> list[dict[str, np.ndarray]]:
        stream = self.recorder.stream
        assert stream is not None
        return [stream.read(lane, 0, int(stream.lengths[lane])) for lane in range(LANES)]


def line(name: str) -> Line:
    return Line(LANES, discrete=name == "dqn")
