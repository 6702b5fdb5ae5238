"""DeviceRing: the newest steps of many sub-environments on the device of a world model, as a source of windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import Space

from robossl.core.errors import UsageError
from robossl.core.spaces import flatten_by_path, leaves, unflatten_by_path
from robossl.streams import Window

_OVERSAMPLING = 2  # proposals for a window: some begin where no transition begins


class DeviceRing:
    """The newest `rows` steps of sub-environments that start new episodes in the step after an end (NEXT_STEP).

    Sub-environments that a stream records are left out: the world model is tested on their held-out episodes.

    Args:
        observation_space: Of one sub-environment.
        action_space: Of one sub-environment.
        num_envs: Number of sub-environments n of the steps.
        skip: First sub-environments that are left out.
        rows: Steps of each sub-environment.
        device: Where they are kept.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        num_envs: int,
        skip: int,
        rows: int,
        device: torch.device,
    ) -> None:
        if rows < 2:
            raise UsageError(f"ring_steps: expected 2 or more, got {rows}")
        self._space, self._skip, self._rows, self._device = observation_space, skip, rows, device
        self._lanes = num_envs - skip
        self._observation = {
            path: self._empty(leaf.shape or (), leaf.dtype)
            for path, leaf in leaves(observation_space).items()
        }
        self._action = self._empty(action_space.shape or (), action_space.dtype)
        self._valid = torch.zeros((rows, self._lanes), dtype=torch.bool, device=device)
        self.steps = 0  # vector steps since the beginning
        self._ended = torch.zeros(self._lanes, dtype=torch.bool, device=device)

    def _empty(self, shape: tuple[int, ...], dtype: Any) -> torch.Tensor:
        kind = torch.from_numpy(np.zeros(0, dtype)).dtype
        return torch.zeros((self._rows, self._lanes, *shape), dtype=kind, device=self._device)

    @staticmethod
    def num_bytes(observation_space: Space, action_space: Space, lanes: int, rows: int) -> int:
        """Return the memory [bytes] of a ring."""
        spaces = [*leaves(observation_space).values(), action_space]
        each = sum(int(np.prod(s.shape or (1,))) * np.dtype(s.dtype).itemsize for s in spaces) + 1
        return each * lanes * rows

    # --- writing

    def begin(self, observation: Any) -> None:
        """Take the observation (n, ...) after a reset of all sub-environments."""
        self._valid[(self.steps - 1) % self._rows] = False  # the window may not go on into a new episode
        self._ended[:] = False
        self._write(observation)

    def append(self, action: Any, done: Any, observation: Any) -> None:
        """Take actions (n, *A), ends of episodes (n,) bool and the observations (n, ...) after a step."""
        row = self.steps % self._rows
        self._action[row] = self._own(action).to(self._action.dtype)
        self._valid[row] = ~self._ended
        self._ended = self._own(done) & ~self._ended
        self.steps += 1
        self._write(observation)

    def _write(self, observation: Any) -> None:
        """Write the observations of the row that the next step completes."""
        row = self.steps % self._rows
        self._valid[row] = False
        for path, value in flatten_by_path(self._space, observation).items():
            self._observation[path][row] = self._own(value)

    def _own(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(values)[self._skip :].to(self._device)

    # --- reading

    def windows(self, batch: int, length: int, rng: np.random.Generator) -> Window:
        """Sample `batch` windows of `length` actions with replacement; the result has tensors on the device.

        Raises:
            UsageError: The ring has fewer steps than a window.
        """
        full = min(self.steps, self._rows - 1)  # rows with an action, the oldest first
        if full < length:
            raise UsageError(f"expected {length} or more steps in the ring, got {full}")
        count = int(_OVERSAMPLING * batch) + 8
        oldest = self.steps - full
        start = oldest + rng.integers(0, full - length + 1, count)
        proposals = torch.from_numpy(np.stack([start, rng.integers(0, self._lanes, count)])).to(self._device)
        begins = self._valid[proposals[0] % self._rows, proposals[1]]
        chosen = proposals[:, torch.argsort((~begins).to(torch.int8), stable=True)[:batch]]
        first, lane = chosen[0][:, None], chosen[1][:, None]
        rows = (first + torch.arange(length + 1, device=self._device)) % self._rows  # (B, T+1)
        observation = {path: values[rows, lane] for path, values in self._observation.items()}
        valid: Any = self._valid[rows[:, :-1], lane]
        action: Any = self._action[rows[:, :-1], lane]
        nothing: Any = torch.zeros_like(valid)
        where: Any = (chosen[1] + self._skip, chosen[0])
        inner = unflatten_by_path(self._space, observation)
        return Window(inner, action, nothing.float(), nothing, nothing, valid, *where)

    # --- checkpoints

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the content as arrays."""
        return {
            "observation": {path: value.cpu().numpy() for path, value in self._observation.items()},
            "action": self._action.cpu().numpy(),
            "valid": self._valid.cpu().numpy(),
            "ended": self._ended.cpu().numpy(),
            "steps": self.steps,
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        for path, value in tree["observation"].items():
            self._observation[path].copy_(torch.from_numpy(np.array(value)))
        for target, name in ((self._action, "action"), (self._valid, "valid"), (self._ended, "ended")):
            target.copy_(torch.from_numpy(np.array(tree[name])))
        self.steps = int(tree["steps"])
