"""Bodies with a fault each, as native batches; `register_bodies()` gives them the ids bodies/Silent-v0, ..."""

from __future__ import annotations

import numpy as np
import robossl.envs
from robossl.envs.cartpole import CartPoleBalance


class _Silent(CartPoleBalance.body):
    """A number that cannot be worked out once the pole leans."""

    def observation(self):
        seen = np.array(super().observation())
        with np.errstate(invalid="ignore"):
            seen[:, 0] += 0 * np.sqrt(0.01 - np.abs(self.qpos[:, 1]))
        return seen


class _Crowd(CartPoleBalance.body):
    """Every lane sees itself beside the others."""

    def observation(self):
        seen = super().observation()
        return seen - seen.mean(axis=0)


class Silent(CartPoleBalance):
    body = _Silent


class Crowd(CartPoleBalance):
    body = _Crowd


def register_bodies() -> None:
    robossl.envs.register_tasks({"Silent": Silent, "Crowd": Crowd}, namespace="bodies")
