"""Capabilities that a test needs from the machine: a missing one fails on CI and skips elsewhere."""

from __future__ import annotations

import os

import pytest


def require(available: bool, reason: str) -> None:
    """Skip the running test if a capability is not available, or fail it where CI is set.

    Args:
        available: The machine has the capability.
        reason: What is missing, for the message.
    """
    if available:
        return
    if os.environ.get("CI"):
        pytest.fail(f"missing on CI: {reason}", pytrace=False)
    pytest.skip(reason)
