"""Gymnasium's autoreset modes from text."""

from __future__ import annotations

from gymnasium.vector import AutoresetMode

from robossl.core.errors import UsageError


def parse_autoreset_mode(value: AutoresetMode | str) -> AutoresetMode:
    """Return an autoreset mode; raise UsageError if Gymnasium has none of this value."""
    try:
        return AutoresetMode(value)
    except ValueError:
        known = ", ".join(mode.value for mode in AutoresetMode)
        raise UsageError(f"unknown autoreset_mode {value!r}; available: {known}") from None
