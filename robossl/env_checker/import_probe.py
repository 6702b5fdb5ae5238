"""Whether the package of an env can be imported at all, tried in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from robossl.core.errors import UsageError
from robossl.env_checker.subprocess_trial import python_path, signal_name

_IMPORT = "import importlib, sys; importlib.import_module(sys.argv[1])"


def comes_back(env_id: str, seconds: float) -> None:
    """`RequestError` where importing the package of `package:id` hangs or crashes.

    What it raises is told when it is imported here.
    """
    package, colon, _ = env_id.partition(":")
    if not colon or package in sys.modules:
        return
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _IMPORT, package],
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": python_path()},
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"importing package {package!r} for env {env_id} had not come back after {seconds:g} s; a module should "
            "only define things: what waits belongs into the env"
        ) from None
    if done.returncode < 0:
        raise UsageError(
            f"importing package {package!r} for env {env_id} ended its process by {signal_name(-done.returncode)}"
        )
