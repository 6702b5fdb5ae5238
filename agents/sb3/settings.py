"""Settings of SB3 agents: which ones an algorithm has, and which action spaces it supports."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.spaces import format_space

_SET_BY_ROBOSSL = {
    "self", "policy", "env", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model",
    "buffer_size", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage",  # the stream is the replay
}  # fmt: skip
_SET_BY_UPDATES_PER_STEP = {"train_freq", "gradient_steps"}  # of off-policy algorithms


def algorithm_settings(algorithm: type[BaseAlgorithm], off_policy: bool) -> set[str]:
    """Return the settings of an SB3 algorithm that a user may set."""
    known = set(inspect.signature(algorithm.__init__).parameters) - _SET_BY_ROBOSSL
    return known - _SET_BY_UPDATES_PER_STEP if off_policy else known


def check_json_settings(name: str, settings: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check names and values of settings; an agent is saved with them, so they must be JSON values.

    Raises:
        UsageError: For an unknown setting, or a value that JSON cannot hold.
    """
    for setting, value in settings.items():
        if setting not in known:
            raise unknown_name_error(f"{name} setting", setting, known)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{name} setting {setting}: expected numbers, strings, lists and dicts of them, "
                f"got {value!r} ({error})"
            ) from error


class ActionCheck:
    """The actions that an algorithm supports."""

    name: ClassVar[str]
    action_spaces: ClassVar[tuple[str, ...]] = ("Box",)

    @classmethod
    def check_spaces(cls, observations: gym.Space, actions: gym.Space, settings: Mapping[str, Any]) -> None:
        """Raise UsageError if the agent does not support the actions."""
        check_action_space(cls.name, cls.action_spaces, actions)


def check_action_space(name: str, supported: tuple[str, ...], space: gym.Space) -> None:
    """Check that an algorithm supports an action space.

    Raises:
        UsageError: If the algorithm needs another kind of actions, or floats with bounds on both sides.
    """
    if type(space).__name__ not in supported:
        raise UsageError(f"{name} needs {' or '.join(supported)} actions; this env has {format_space(space)}")
    if isinstance(space, gym.spaces.Box) and not (
        np.issubdtype(space.dtype, np.floating) and space.is_bounded("both")
    ):
        raise UsageError(
            f"{name} needs float actions with bounds on both sides; this env has {format_space(space)}"
        )
