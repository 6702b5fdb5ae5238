"""Taking up the life of an environment again: from its own checkpoint, or by living its recorded actions anew."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core import spaces
from robossl.core.interfaces import Checkpointable
from robossl.rollout import reset_done
from robossl.streams import Recorder

Rows = dict[str, np.ndarray]


def save_env_state(envs: gym.vector.VectorEnv) -> Any:
    """What `resume_life` needs: the env's own checkpoint where it has one, else None."""
    inner = envs.unwrapped
    return inner.get_checkpoint() if isinstance(inner, Checkpointable) else None


def recorded_steps(recorder: Recorder) -> list[Rows]:
    """The rows that a recorder's lanes have in its stream, by field."""
    stream = recorder.stream
    assert stream is not None
    return [stream.read(int(lane), 0, int(stream.lengths[lane])) for lane in recorder.lanes]


def restore_env_state(envs: gym.vector.VectorEnv, saved: Any, seed: int, lanes: list[Rows]) -> str | None:
    """Bring `envs` (autoreset disabled, under a recorder) to where it was; returns why it could not, or None.

    An env without a checkpoint of its own lives its recorded life again: reset with the same seed, then the
    same actions in every lane. `lanes` are the recorded rows of each lane, by field. Every observation must
    come out bit for bit; an env whose seed and actions do not decide its life cannot be taken up.
    """
    inner = envs.unwrapped
    if saved is not None and isinstance(inner, Checkpointable):
        inner.set_checkpoint(saved)
        return None
    observation, _ = envs.reset(seed=seed)
    ends = np.array([len(rows["is_last"]) for rows in lanes])  # (n,) recorded rows of each lane
    row = np.zeros(envs.num_envs, np.int64)  # (n,) the row each lane stands at
    while (row < ends).any():
        if (row >= ends).any():
            return "its lanes have not lived equally long"
        if not _same(envs.single_observation_space, observation, lanes, row):
            return (
                "its seed and actions do not decide its life: a recorded observation did not come out again"
            )
        actions = np.stack([rows["action"][r] for rows, r in zip(lanes, row)])
        observation, _, terminated, truncated, _ = envs.step(actions)
        row += 1
        done = np.logical_or(terminated, truncated)
        if not done.any():
            continue
        if not all(
            r < e and rows["is_last"][r] for rows, r, e in zip(_of(lanes, done), row[done], ends[done])
        ):
            return "its seed and actions do not decide its life: an episode ended at another step"
        observation, _ = reset_done(envs, done)
        row[done] += 1
    return None


def _of(lanes: list[Rows], chosen: np.ndarray) -> list[Rows]:
    return [lanes[lane] for lane in np.flatnonzero(chosen)]


def _same(space: gym.Space, observation: Any, lanes: list[Rows], row: np.ndarray) -> bool:
    for path, values in spaces.flatten_by_path(space, observation).items():
        field = f"observation.{path}" if path else "observation"
        recorded = np.stack([rows[field][r] for rows, r in zip(lanes, row)])
        if not np.array_equal(np.asarray(values), recorded):
            return False
    return True
