"""Policies that learn from the stream that is being recorded, in `collect` and in `learn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resume_helpers import tiny

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Stream, validate_stream
from robossl.training.phases import learn

NAME = "follow_the_stream"


class FollowingPolicy:
    """Acts by the number of recorded transitions."""

    def __init__(self, action_space: Any, num_envs: int, seed: int = 0) -> None:
        self.space, self.num_envs, self.stream = action_space, num_envs, None
        self.num_steps, self.device = 0, ""

    def attach(self, stream: Any, num_steps: int, device: str = "auto", progress: Any = None) -> None:
        self.stream, self.num_steps, self.device = stream, num_steps, device

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        assert self.stream is not None
        value = np.sin(self.stream.transitions / 100)
        return np.full((self.num_envs, *self.space.shape), value, self.space.dtype)


class RefusingPolicy(FollowingPolicy):
    """Refuses every stream."""

    def attach(self, stream: Any, num_steps: int, device: str = "auto", progress: Any = None) -> None:
        raise UsageError("expected numbers, got poems")


class InterruptingProgress(NullProgress):
    """Interrupts after some env steps, or at the start of a phase."""

    def __init__(self, steps: int = -1, phase: str = "never") -> None:
        self.steps, self.phase = steps, phase

    def start(self, phase: str, total: int, unit: str) -> None:
        if phase.startswith(self.phase):
            raise KeyboardInterrupt

    def update(self, count: int, **metrics: float) -> None:
        self.steps -= count
        if -count <= self.steps < 0:
            raise KeyboardInterrupt


def actions(folder: Path) -> np.ndarray:
    return Stream.open(folder).windows(500, 1, np.random.default_rng(0), split=None).action


def test_collect_attaches_the_stream_before_the_first_step(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", 4)
    policy = FollowingPolicy(envs.single_action_space, 4)
    stream = robossl.collect(envs, policy, 200, tmp_path / "stream")
    envs.close()
    assert (policy.num_steps, stream.transitions) == (200, 200)
    assert len(np.unique(actions(tmp_path / "stream"))) > 40  # of 50 different ones


def test_policy_that_cannot_learn_from_the_env_is_refused_before_the_work(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", 4)
    with pytest.raises(UsageError, match="got poems"):
        robossl.collect(envs, RefusingPolicy(envs.single_action_space, 4), 200, tmp_path / "new" / "stream")
    envs.close()
    assert not (tmp_path / "new").exists()


def test_interrupted_collection_keeps_its_steps(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="the recorded steps are in"):
        robossl.collect(
            "robossl/Reacher-v0", "curious", 400, tmp_path / "stream", num_envs=4,
            progress=InterruptingProgress(steps=100),
        )  # fmt: skip
    assert 100 <= Stream.open(tmp_path / "stream").transitions < 120
    assert not validate_stream(tmp_path / "stream")["damaged"]


def test_interrupted_exploration_is_recorded_again_to_the_same_bytes(tmp_path):
    registry.register("policies", NAME, FollowingPolicy)
    config, after_exploration = tiny(explore__policy=NAME), InterruptingProgress(phase="train world model")
    with pytest.raises(KeyboardInterrupt):
        learn(config, tmp_path / "whole", progress=after_exploration)
    with pytest.raises(KeyboardInterrupt):
        learn(config, tmp_path / "run", progress=InterruptingProgress(steps=700))
    with pytest.raises(KeyboardInterrupt):
        learn(resume=tmp_path / "run", progress=after_exploration)
    whole, run = (tmp_path / name / "stream" for name in ("whole", "run"))
    np.testing.assert_array_equal(actions(run), actions(whole))
    chunks = [path.relative_to(whole) for path in whole.rglob("*") if path.suffix == ".safetensors"]
    assert chunks
    assert all((whole / chunk).read_bytes() == (run / chunk).read_bytes() for chunk in chunks)
