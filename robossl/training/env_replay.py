"""Replay of recorded actions: it brings envs that have no checkpoint to the state in which they were left."""

from __future__ import annotations

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl.core import spaces
from robossl.rollout import autoreset_mode, reset_done

TimeSteps = dict[str, np.ndarray]  # the recorded time steps of one sub-environment, by field
_DIFFERENT_STEPS = "its sub-environments have recorded different numbers of steps"
_DIFFERENT_OBSERVATION = (
    "the env is not deterministic: replaying the recorded actions gave a different observation"
)
_DIFFERENT_END = "the env is not deterministic: an episode ended at a different step"


def replay(
    envs: VectorEnv, seed: int, recorded: list[TimeSteps], running: np.ndarray | None = None
) -> str | None:
    """Reset envs and take the recorded actions again; every observation must be the recorded one, bit for bit.

    Args:
        envs: Envs in any autoreset mode, not wrapped by a recorder.
        seed: Seed of the first reset.
        recorded: Rows of each sub-environment since that reset.
        running: (n,) bool, where an episode was running at the end; elsewhere it had ended and NEXT_STEP had not reset
            it yet. None: in all.

    Returns:
        Why the envs are not in the recorded state; None if they are.
    """
    mode = autoreset_mode(envs)
    lengths = np.array([len(steps["is_last"]) for steps in recorded])  # (n,)
    running = np.ones(envs.num_envs, bool) if running is None else running
    position = np.zeros(envs.num_envs, np.int64)  # (n,) row of the current observation
    ended = np.zeros(envs.num_envs, bool)  # (n,) the next step only resets, as NEXT_STEP does
    own_row = np.zeros(
        envs.num_envs, bool
    )  # (n,) the episode ended in the row of its last action: it was unusable
    observation, _ = envs.reset(seed=seed)
    while True:
        rows = position + (ended & ~own_row)  # that a recorder has written so far
        reached = (rows == lengths) & (ended == ~running)
        if reached.all():
            return None
        if reached.any() or (rows > lengths).any():
            return _DIFFERENT_STEPS
        if not _equals_recorded(
            envs.single_observation_space, observation, recorded, position, ended & own_row
        ):
            return _DIFFERENT_OBSERVATION
        actions = np.stack(
            [steps["action"][min(int(t), len(steps["action"]) - 1)] for steps, t in zip(recorded, position)]
        )
        observation, _, terminated, truncated, _ = envs.step(actions)
        position += ~(ended & own_row)
        done = np.logical_or(terminated, truncated) & ~ended
        own_row = _flags(recorded, position - 1) & ~ended
        if (own_row & ~done).any() or (done & ~own_row & ~_flags(recorded, position)).any():
            return _DIFFERENT_END
        ended = done
        if mode is not AutoresetMode.NEXT_STEP and done.any():
            if mode is AutoresetMode.DISABLED:
                observation, _ = reset_done(envs, done)
            position += done & ~own_row
            ended = np.zeros_like(done)


def _flags(recorded: list[TimeSteps], position: np.ndarray) -> np.ndarray:
    """Return `is_last` of the rows at `position` (n,), (n,) bool; false after the last row."""
    return np.array([t < len(s["is_last"]) and bool(s["is_last"][t]) for s, t in zip(recorded, position)])


def _equals_recorded(
    space: Space, observation: object, recorded: list[TimeSteps], position: np.ndarray, skipped: np.ndarray
) -> bool:
    """Return whether all observations equal the recorded ones at `position` (n,), but for those `skipped` (n,)."""
    for path, values in spaces.flatten_by_path(space, observation).items():
        field = f"observation.{path}" if path else "observation"
        for index in np.flatnonzero(~skipped):
            if not np.array_equal(np.asarray(values[index]), recorded[index][field][position[index]]):
                return False
    return True
