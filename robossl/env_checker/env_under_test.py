"""Calls into the env under test: each is timed, and what it raises is caught with the line of the env."""

from __future__ import annotations

import copy
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.core.traceback_utils import format_location


class EnvCallError(Exception):
    """A call into an env raised: which call, what it raised, and at which line of which file."""

    def __init__(self, call: str, error: BaseException) -> None:
        self.error_type = type(error).__name__
        self.from_robossl = isinstance(error, (UsageError, OperationError))  # its message contains the fix
        text = _first_line(error)
        self.message = text if self.from_robossl else f"{self.error_type}: {text}".rstrip(": ")
        self.location = (
            "" if self.from_robossl else format_location(traceback.extract_tb(error.__traceback__))
        )
        missing = self.error_type in ("DependencyNotInstalled", "ModuleNotFoundError")
        commands = re.findall(r"pip install [^`]+", self.message) if missing else []
        self.install = " && ".join(commands)  # the installation that the message suggests
        at = f" at {self.location}" if self.location else ""
        super().__init__(f"{call} {'was refused:' if self.from_robossl else 'raised'} {self.message}{at}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


@dataclass(frozen=True)
class Call:
    """A running call into an env."""

    name: str
    start: float  # [s]
    seconds: float  # [s] time limit

    @property
    def overdue(self) -> bool:
        """Whether it has run for longer than its time limit."""
        return time.monotonic() - self.start > self.seconds


class CallMonitor:
    """Times the calls into an env; another thread polls `overdue`."""

    def __init__(
        self, seconds: float, on_call: Callable[[str, float], None] = lambda name, seconds: None
    ) -> None:
        """`seconds` [s] limits one call; `on_call(name, limit)` is called where a different call begins."""
        self.seconds = seconds
        self._on_call = on_call
        self._last = ""
        self._current: Call | None = None
        self.abandoned = False  # set by another thread: this one ends when the call returns

    @contextmanager
    def call(self, name: str, time_factor: float = 1.0) -> Iterator[None]:
        """Time a call, with `time_factor` times the limit; what it raises becomes an `EnvCallError`."""
        if name != self._last:
            self._on_call(name, self.seconds * time_factor)
            self._last = name
        self._current = Call(name, time.monotonic(), self.seconds * time_factor)
        try:
            yield
        except (Exception, SystemExit) as error:  # third-party code may raise anything
            raise EnvCallError(name, error) from error
        finally:
            self._current = None
            if self.abandoned:
                sys.exit()

    def overdue(self) -> Call | None:
        """Return the running call if it has exceeded its time limit."""
        call = self._current
        return call if call is not None and call.overdue else None


def current_location(thread: int) -> str:
    """Return the innermost line of the env that a thread executes now."""
    frame: FrameType | None = sys._current_frames().get(thread)
    return format_location(traceback.extract_stack(frame)) if frame is not None else ""


class EnvUnderTest:
    """An env id with its settings, constructed and called the way robossl does, under a monitor."""

    def __init__(
        self, spec: EnvSpec, settings: dict[str, Any], monitor: CallMonitor, env_name: str | None = None
    ) -> None:
        self.spec = spec
        self.env_name = env_name or spec.id  # with arguments, wrappers and options
        self.settings = settings
        self.monitor = monitor
        self._was_reset = False

    def make(self, **more: Any) -> gym.Env:
        """Return a new env with its time limit, without Gymnasium's passive checker."""
        with self.monitor.call("construction", time_factor=6):  # it may import and compile
            if registry.is_native_batch(self.env_name):
                settings = {**copy.deepcopy(self.settings), **more}
                return gym.make(copy.deepcopy(self.spec), disable_env_checker=True, **settings)
            return registry.make_env(self.env_name, **{**copy.deepcopy(self.settings), **more})

    def reset(self, env: gym.Env, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Call `env.reset(seed=seed)`."""
        factor = 2 if self._was_reset else 6  # the first one may load and compile
        self._was_reset = True
        with self.monitor.call(f"reset(seed={seed})", time_factor=factor):
            return env.reset(seed=seed)

    def step(self, env: gym.Env, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Call `env.step(action)`."""
        with self.monitor.call("step(action)"):
            return env.step(action)

    def close(self, env: gym.Env) -> EnvCallError | None:
        """Call `env.close()`; return what it raised, which ends no command: the work is done."""
        try:
            with self.monitor.call("close()"):
                env.close()
        except EnvCallError as error:
            return error
        return None
