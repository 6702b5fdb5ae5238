"""Resuming environments: from their own checkpoint, or by replaying the recorded actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.interfaces import Checkpointable
from robossl.streams import Recorder
from robossl.training.env_replay import TimeSteps, replay


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
    envs: VectorEnv,
    saved: Any,
    seed: int,
    read_recorded: Callable[[], list[TimeSteps]],
    running: np.ndarray | None = None,
) -> str | None:
    """Bring the envs to the state in which they were saved.

    Envs without a checkpoint are reset with the same seed, and the recorded actions are replayed. Every observation
    must be the recorded one, bit for bit; an env that is not deterministic cannot be restored.

    Args:
        envs: Envs that are not wrapped by a recorder.
        saved: Result of `save_env_state`.
        seed: Seed of the first reset.
        read_recorded: Returns the recorded time steps of each sub-environment; called only if they are replayed.
        running: (n,) bool, where an episode was running; None: in all.

    Returns:
        Why the state could not be restored; None if it was.
    """
    inner = envs.unwrapped
    if saved is not None and isinstance(inner, Checkpointable):
        inner.set_checkpoint(saved)
        return None
    return replay(envs, seed, read_recorded(), running)
