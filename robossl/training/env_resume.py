"""Resuming environments: from their own checkpoint, or by replaying the recorded actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import VectorEnv

from robossl.core import spaces
from robossl.core.interfaces import Checkpointable
from robossl.rollout import reset_done
from robossl.streams import Recorder

TimeSteps = dict[str, np.ndarray]  # the recorded time steps of one lane, by field


def save_env_state(envs: VectorEnv) -> Any:
    """Return the checkpoint of the envs for `restore_env_state`; None if they have none."""
    inner = envs.unwrapped
    return inner.get_checkpoint() if isinstance(inner, Checkpointable) else None


def recorded_steps(recorder: Recorder) -> list[TimeSteps]:
    """Return the recorded time steps of each sub-environment of a recorder."""
    stream = recorder.stream
    assert stream is not None
    return [stream.read(int(lane), 0, int(stream.lengths[lane])) for lane in recorder.lanes]


def restore_env_state(
    envs: VectorEnv, saved: Any, seed: int, read_recorded: Callable[[], list[TimeSteps]]
) -> str | None:
    """Bring the envs to the state in which they were saved.

    Envs without a checkpoint are reset with the same seed, and the recorded actions are replayed. Every observation
    must be the recorded one, bit for bit; an env that is not deterministic cannot be restored.

    Args:
        envs: Envs with autoreset disabled, not wrapped by a recorder.
        saved: Result of `save_env_state`.
        seed: Seed of the first reset.
        read_recorded: Returns the recorded time steps of each sub-environment; called only if they are replayed.

    Returns:
        Why the state could not be restored; None if it was.
    """
    inner = envs.unwrapped
    if saved is not None and isinstance(inner, Checkpointable):
        inner.set_checkpoint(saved)
        return None
    recorded = read_recorded()
    observation, _ = envs.reset(seed=seed)
    lengths = np.array([len(steps["is_last"]) for steps in recorded])  # (n,)
    position = np.zeros(envs.num_envs, np.int64)  # (n,) time step of each sub-environment
    while (position < lengths).any():
        if (position >= lengths).any():
            return "its sub-environments have recorded different numbers of steps"
        if not _equals_recorded(envs.single_observation_space, observation, recorded, position):
            return "the env is not deterministic: replaying the recorded actions gave a different observation"
        actions = np.stack([steps["action"][t] for steps, t in zip(recorded, position)])
        observation, _, terminated, truncated, _ = envs.step(actions)
        position += 1
        done = np.logical_or(terminated, truncated)
        if not done.any():
            continue
        if not all(
            position[index] < lengths[index] and recorded[index]["is_last"][position[index]]
            for index in np.flatnonzero(done)
        ):
            return "the env is not deterministic: an episode ended at a different step"
        observation, _ = reset_done(envs, done)
        position[done] += 1
    return None


def _equals_recorded(space: Space, observation: Any, recorded: list[TimeSteps], position: np.ndarray) -> bool:
    """Return whether all observations equal the recorded ones at `position` (n,)."""
    for path, values in spaces.flatten_by_path(space, observation).items():
        field = f"observation.{path}" if path else "observation"
        expected = np.stack([steps[field][t] for steps, t in zip(recorded, position)])
        if not np.array_equal(np.asarray(values), expected):
            return False
    return True
