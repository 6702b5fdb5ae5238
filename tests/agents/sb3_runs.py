"""Small SB3 agents in recorded envs that can be saved and resumed as in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from agent_toys import Line
from gymnasium.vector import VectorEnv
from robossl.agents import Sb3Agent

from robossl import registry
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder, Stream

QUICK: dict[str, Any] = {"policy_kwargs": {"net_arch": [16]}, "batch_size": 16}
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
OFF_POLICY = {**QUICK, "learning_starts": 20}  # settings of other algorithms
NUM_ENVS = 2


def make_agent(name: str, envs: VectorEnv, representation: Any = None, **settings: Any) -> Sb3Agent:
    """Return an SB3 agent on the CPU."""
    agent = registry.agent(name)(envs, representation, **{"device": "cpu", **settings})
    assert isinstance(agent, Sb3Agent)
    return agent


class AgentRun:
    """An agent in its own recorded envs that can be saved and resumed."""

    def __init__(
        self,
        path: Path,
        name: str,
        envs: Any,
        stream: Stream | None = None,
        old: Stream | None = None,
        **settings: Any,
    ) -> None:
        """Create the agent; `old` has time steps that were recorded before it."""
        if old is not None:
            settings = {"stream": old, **settings}
        self.envs = envs
        self.recorder = Recorder.create(envs, path) if stream is None else Recorder(envs, stream)
        self.agent = make_agent(name, self.recorder, **{**SETTINGS.get(name, OFF_POLICY), **settings})

    def learn(self, steps: int) -> None:
        self.agent.learn(self.recorder, steps)

    def save(self, path: Path) -> None:
        assert self.recorder.stream is not None
        tree = {
            "agent": self.agent.get_checkpoint(),
            "recorder": self.recorder.get_checkpoint(),
            "envs": self.envs.unwrapped.get_checkpoint(),
            "stream": self.recorder.stream.offset(),
        }
        save_tree(path, tree)

    def restore(self, path: Path) -> None:
        tree = load_tree(path)
        self.envs.unwrapped.set_checkpoint(tree["envs"])
        self.agent.set_checkpoint(tree["agent"])
        self.recorder.set_checkpoint(tree["recorder"])

    def recorded(self) -> list[dict[str, np.ndarray]]:
        """Return all fields of each lane of the stream."""
        stream = self.recorder.stream
        assert stream is not None
        return [stream.read(lane, 0, int(stream.lengths[lane])) for lane in range(NUM_ENVS)]


def make_line(name: str) -> Line:
    """Return envs with the actions that an algorithm needs."""
    return Line(NUM_ENVS, discrete=name == "dqn")


def random_stream(path: Path, envs: VectorEnv, steps: int = 40) -> Stream:
    """Return a stream of random play in envs without autoreset."""
    recorder = Recorder.create(envs, path)
    envs.action_space.seed(9)
    recorder.reset(seed=9)
    for _ in range(steps):
        _, _, terminated, truncated, _ = recorder.step(envs.action_space.sample())
        if (done := terminated | truncated).any():
            recorder.reset(options={"reset_mask": done})
    recorder.finish()
    return Stream.open(path)
