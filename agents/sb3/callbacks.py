"""Adapters between SB3 and robossl: progress of `learn`, metrics of SB3's logger, callbacks of the user."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter

from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, MetricLogger, ProgressReporter

Callback = BaseCallback | Callable[[Any], BaseCallback]  # a function receives the agent


def resolve_callbacks(callbacks: Iterable[Callback], agent: Agent) -> list[BaseCallback]:
    """Return SB3 callbacks; a function is called with the agent and returns one."""
    resolved = [c if isinstance(c, BaseCallback) else c(agent) for c in callbacks]
    for callback in resolved:
        if not isinstance(callback, BaseCallback):
            raise UsageError(
                f"expected SB3 callbacks, or functions of the agent that return one, got {type(callback).__name__}"
            )
    return resolved


class ProgressCallback(BaseCallback):
    """Reports every vector step and the mean return of the last episodes."""

    def __init__(self, progress: ProgressReporter) -> None:
        super().__init__()
        self._progress = progress
        self._episode_ended = True  # in the last step
        self._metrics: dict[str, float] = {}

    def _on_step(self) -> bool:
        if self._episode_ended and self.model.ep_info_buffer:  # SB3 fills it after this call
            self._metrics = {"return": float(np.mean([e["r"] for e in self.model.ep_info_buffer]))}
        self._episode_ended = bool(np.any(self.locals["dones"]))
        self._progress.update(self.training_env.num_envs, **self._metrics)
        return True


class MetricWriter(KVWriter):
    """Passes the metrics of SB3's logger on to a `MetricLogger`, as `agent/train/critic_loss`."""

    def __init__(self, logger: MetricLogger) -> None:
        self._logger = logger

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Write the finite numbers at environment step `step`."""
        numbers = {f"agent/{key}": _number(value) for key, value in key_values.items()}
        self._logger.scalars(step, {key: value for key, value in numbers.items() if math.isfinite(value)})

    def close(self) -> None:
        """Leave the logger open; its owner closes it."""


def _number(value: Any) -> float:
    """Return a number as a float, anything else as NaN."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
