"""Capabilities that a test needs from the machine: a missing one fails on CI and skips elsewhere."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

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


def require_module(name: str) -> ModuleType:
    """Return an optional module; without it, skip the tests of the calling module, or fail them where CI is set."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    return pytest.importorskip(name)
