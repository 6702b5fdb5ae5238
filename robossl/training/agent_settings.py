"""Settings of an agent: which ones its factory gets."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core.agent_observation import TRAINED_ENCODERS
from robossl.core.errors import UsageError


def check_settings(name: str, settings: Mapping[str, Any], encoder: str = "none") -> None:
    """Check the settings of an agent before any work.

    A factory without `**settings` is checked by its signature; another one by its `check_settings(settings)`.

    Raises:
        UsageError: If the agent has no such setting, or cannot train an encoder.
    """
    factory = registry.agent(name)
    registry.check_settings(factory, settings, name)
    has_modes = "encoder" in inspect.signature(factory).parameters
    if hasattr(factory, "check_settings"):
        factory.check_settings({**({"encoder": encoder} if has_modes else {}), **settings})
    if encoder in TRAINED_ENCODERS and not has_modes:
        raise UsageError(
            f"{name} cannot train an encoder; expected encoder none, random or frozen, got {encoder}"
        )


def check_spaces(name: str, observations: gym.Space, actions: gym.Space, settings: Mapping[str, Any]) -> None:
    """Raise UsageError if the `check_spaces` of an agent, where it has one, refuses the spaces of an env."""
    if (check := getattr(registry.agent(name), "check_spaces", None)) is not None:
        check(observations, actions, settings)


def accepted_settings(name: str, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` over those of the `defaults` that the factory of an agent has as parameters."""
    known = inspect.signature(registry.agent(name)).parameters
    return {**{key: value for key, value in defaults.items() if key in known}, **settings}
