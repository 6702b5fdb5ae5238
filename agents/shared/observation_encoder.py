"""Encoding of observations by a world model in calls of one size, with the previous images of each sub-environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor

from robossl.core.interfaces import Observation
from robossl.core.spaces import flatten_by_path, is_goal_space, unflatten_by_path

_ENCODED_PER_CALL = 16  # observations; each call of the encoder gets equally many


class ObservationEncoder:
    """Encoder of n sub-environments; a latent does not depend on n, because all calls have the same size."""

    def __init__(self, model: Any, observation_space: Space, num_envs: int) -> None:
        """Create an encoder.

        Args:
            model: A world model; only `encode` is used.
            observation_space: Of one sub-environment.
            num_envs: Number n of sub-environments.
        """
        self.model, self.num_envs = model, num_envs
        goal_env = is_goal_space(observation_space) and isinstance(observation_space, spaces.Dict)
        self.space = observation_space["observation"] if goal_env else observation_space  # type: ignore[index]
        self._goal_env = goal_env
        self._previous: Any = None  # (n, ...) the last observations, if they have images
        self._first = np.ones(num_envs, bool)  # (n,) whether there is no previous image

    def inputs(self, observation: Observation) -> Any:
        """Return what the model reads: of a goal env the value of `observation`."""
        if self._goal_env and isinstance(observation, dict) and "desired_goal" in observation:
            observation = observation["observation"]
        return _map(self.space, lambda values: values, observation)

    def step(self, observation: Observation) -> tuple[Any, Any]:
        """Return the inputs (n, ...) of a time step, and those one step earlier, in new episodes the same.

        Without images there are no previous inputs.
        """
        inputs = self.inputs(observation)
        if all(values.ndim < 4 for values in flatten_by_path(self.space, inputs).values()):
            return inputs, None

        def earlier(now: np.ndarray, before: np.ndarray) -> np.ndarray:
            return np.where(self._first.reshape(-1, *[1] * (now.ndim - 1)), now, before)

        previous = inputs if self._previous is None else _map(self.space, earlier, inputs, self._previous)
        self._previous = _map(self.space, np.copy, inputs)
        self._first = np.zeros_like(self._first)
        return inputs, previous

    def encode(self, inputs: Any, previous: Any = None, env_ids: np.ndarray | None = None) -> Tensor:
        """Return z (m, Z) of inputs (n, ...) and previous inputs at `env_ids` (m,), or at all of them."""
        arrays = [inputs] if previous is None else [inputs, previous]
        count = batch_size(inputs)
        index = np.arange(count) if env_ids is None else np.asarray(env_ids)
        latents = []
        with torch.inference_mode():
            for start in range(0, len(index), _ENCODED_PER_CALL):
                chosen = index[start : start + _ENCODED_PER_CALL]
                padding = np.repeat(chosen[:1], _ENCODED_PER_CALL - len(chosen))
                padded = np.concatenate([chosen, padding])
                chunk = [_map(self.space, lambda values: values[padded], array) for array in arrays]  # noqa: B023
                latents.append(torch.as_tensor(self.model.encode(*chunk))[: len(chosen)])
        return torch.cat(latents)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool, or in all."""
        self._first[slice(None) if mask is None else np.asarray(mask, bool)] = True

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the previous images."""
        previous = None if self._previous is None else flatten_by_path(self.space, self._previous)
        return {
            "previous": None if previous is None else {path: np.copy(v) for path, v in previous.items()},
            "first": self._first.copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        previous = tree["previous"]
        if previous is not None:
            previous = unflatten_by_path(self.space, {path: np.array(v) for path, v in previous.items()})
        self._previous, self._first = previous, np.array(tree["first"], bool)


def batch_size(observation: Observation) -> int:
    """Return n, the number of observations in a batch (n, ...)."""
    while isinstance(observation, (dict, tuple)):
        observation = next(iter(observation.values() if isinstance(observation, dict) else observation))
    return len(observation)


def _map(space: Space, function: Callable[..., np.ndarray], *values: Any) -> Any:
    """Return values of `space` with a function applied to their arrays, leaf by leaf."""
    parts = [flatten_by_path(space, value) for value in values]
    return unflatten_by_path(space, {path: function(*(part[path] for part in parts)) for path in parts[0]})
