"""Labeled steps: recorded time steps whose reward may be used, as inputs of a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import flatten_by_path, is_goal_space, unflatten_by_path
from robossl.streams import Stream, Window
from robossl.streams.relabel import RewardFunction
from robossl.streams.sampling import Sampler
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED
from robossl.world_model.model import WorldModel

MIN_LABELED_STEPS = 100
MIN_REWARD_STD = 1e-8  # of rewards that vary
_MAX_LABELED_STEPS = 65_536  # read where no number is given
_MAX_REDRAWS = 32  # draws of as many rows as needed, with replacement, until all are different
_BATCH = 8_192  # rows that are encoded together


class LabeledSteps(NamedTuple):
    """N transitions with reward."""

    z: Tensor  # (N, Z) before the action
    action: Tensor  # (N, A) encoded
    reward: Tensor  # (N,)
    achieved: np.ndarray | None  # (N, *G) after the action; None if the env has no goals
    desired: np.ndarray | None  # (N, *G)
    terminated: Tensor  # (N,) 1 where the step ended the episode, else 0

    @classmethod
    def join(cls, parts: Sequence[LabeledSteps]) -> LabeledSteps:
        """Return the steps of all parts."""
        return cls(
            torch.cat([part.z for part in parts]),
            torch.cat([part.action for part in parts]),
            torch.cat([part.reward for part in parts]),
            _concatenate([part.achieved for part in parts]),
            _concatenate([part.desired for part in parts]),
            torch.cat([part.terminated for part in parts]),
        )

    def check(self) -> None:
        """Raise UsageError if there are too few steps, or if the reward is not finite or does not vary.

        Without goals it may be equal everywhere, but not 0, if some of the steps end an episode: time counts then.
        """
        count = len(self.reward)
        if count < MIN_LABELED_STEPS:
            raise UsageError(f"expected at least {MIN_LABELED_STEPS} labeled steps, got {count}; record more")
        if not torch.isfinite(self.reward).all():
            raise UsageError("expected finite rewards, got nan or infinity in the labeled steps")
        rate = float(self.terminated.mean())
        counts_time = self.achieved is None and float(self.reward[0]) != 0 and 0 < rate < 1
        if float(self.reward.std()) < MIN_REWARD_STD and not counts_time:
            raise UsageError(
                f"expected rewards that vary, got {float(self.reward[0]):g} in all {count} labeled steps; record a "
                "task with reward, or label more steps"
            )


def window_rewards(
    model: WorldModel, window: Window, first: int, reward: RewardFunction | None
) -> np.ndarray:
    """Return the rewards (B,) of step `first` of windows: the recorded ones, or those that `reward` computes."""
    if reward is None:
        return np.asarray(window.reward)[:, first]
    space = model.observation_space
    leaves = flatten_by_path(space, window.observation)
    before, after = (
        unflatten_by_path(space, {path: values[:, first + t] for path, values in leaves.items()})
        for t in (0, 1)
    )
    return np.asarray(reward(before, window.action[:, first], after), np.float64)


def _concatenate(goals: Sequence[np.ndarray | None]) -> np.ndarray | None:
    arrays = [goal for goal in goals if goal is not None]
    return np.concatenate(arrays) if arrays else None


def read_labeled_steps(
    model: WorldModel,
    stream: Stream,
    count: int | None = None,
    seed: int = 0,
    split: str | None = "train",
    sampler: Sampler | None = None,
    reward: RewardFunction | None = None,
) -> LabeledSteps:
    """Return `count` different transitions of a stream, drawn uniformly.

    Args:
        model: Encodes the observations.
        stream: Recorded time steps with rewards.
        count: Number of labeled steps; None: all, at most 65,536 draws.
        seed: Seed of the draw.
        split: Split of the stream; None for all.
        sampler: Proposes rows; uniform by default.
        reward: Computes the rewards in place of the recorded ones.

    Raises:
        UsageError: The stream has fewer transitions, or too few for a reward model.
    """
    if count is not None and count < MIN_LABELED_STEPS:
        raise UsageError(f"labeled_steps: expected at least {MIN_LABELED_STEPS}, got {count}")
    first = int(bool(model.observation_processor.images))  # the step before it provides the previous images
    random = generator(seed, "world", "reward", "labeled steps")
    number = min(int(stream.transitions), _MAX_LABELED_STEPS) if count is None else count
    batch = min(max(number, MIN_LABELED_STEPS), _BATCH)
    draws = -(-number // batch) * (1 if count is None else _MAX_REDRAWS)
    proposals: dict[str, Any] = {} if sampler is None else {"sampler": sampler}
    parts: list[LabeledSteps] = []
    seen: set[tuple[int, int]] = set()
    for _ in range(draws):
        window = stream.windows(batch, 1 + first, random, split=split, **proposals)
        rows = zip(np.asarray(window.lane).tolist(), np.asarray(window.start).tolist())
        new = {row: i for i, row in enumerate(rows) if row not in seen and window.valid[i, first]}
        index = np.array(list(new.values()), np.int64)[: number - len(seen)]
        seen.update(list(new)[: len(index)])
        if len(index):
            parts.append(_encode(model, window, index, first, reward))
        if len(seen) == number:
            break
    if count is not None and len(seen) < count:
        raise UsageError(
            f"labeled_steps: expected at most {len(seen)}, the transitions of the stream, got {count}"
        )
    if not parts:
        raise UsageError(f"expected at least {MIN_LABELED_STEPS} labeled steps, got 0; record more")
    return LabeledSteps.join(parts)


@torch.no_grad()
def _encode(
    model: WorldModel, window: Window, index: np.ndarray, first: int, known: RewardFunction | None
) -> LabeledSteps:
    """Return the transitions `index` (n,) of windows; of image windows those of the second action."""
    batch = encode_windows(model, window, torch.Generator())
    chosen = torch.from_numpy(index).to(batch.z.device)
    values = window_rewards(model, window, first, known)[index]
    reward = torch.as_tensor(values, dtype=torch.float32, device=batch.z.device)
    achieved = desired = None
    if is_goal_space(model.observation_space):
        achieved, desired = (
            np.asarray(window.observation[goal])[index, first + after]
            for goal, after in ((ACHIEVED, 1), (DESIRED, 0))
        )
    ended = torch.as_tensor(np.asarray(window.terminated)[index, first], dtype=torch.float32).to(
        reward.device
    )
    return LabeledSteps(batch.z[chosen, 0], batch.action[chosen, 0], reward, achieved, desired, ended)
