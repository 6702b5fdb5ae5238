"""Errors of third-party envs: what their code raises becomes one line with the env, the call and the line."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium

from robossl.core.call_watch import HungCallError
from robossl.core.errors import OperationError, UsageError, one_line
from robossl.core.traceback_utils import innermost_env_frame

_logger = logging.getLogger(__name__)
_ADAPTERS = tuple(  # files that are no code of an env
    str(Path(__file__).with_name(f"{name}.py"))
    for name in (
        "gymnasium_envs",
        "env_errors",
        "standard_env",
        "batched_envs",
        "vector_entry",
        "action_conversion",
    )
)


@contextmanager
def translate_render_errors(env_name: str) -> Iterator[None]:
    """Translate errors as `translate_errors`, and a missing package into a UsageError."""
    with translate_errors(env_name, "render"):
        try:
            yield
        except gymnasium.error.DependencyNotInstalled as error:
            raise UsageError(f"cannot render {env_name}: {one_line(error)}") from error


@contextmanager
def translate_errors(env_name: str, call: str) -> Iterator[None]:
    """Raise errors of a third-party env as one line: env, call, error, and the line in its code."""
    try:
        yield
    except (UsageError, HungCallError, KeyboardInterrupt, GeneratorExit):
        raise
    except OperationError as error:
        raise OperationError(f"{env_name}: {error}; run robossl check {env_name}") from error
    except BaseException as error:
        message = f"{env_name} raised {describe_error(error, f' in {call}')}"
        raise OperationError(f"{message}; run robossl check {env_name}") from error


def describe_error(error: BaseException, where: str = "") -> str:
    """Return type, message and line in the env's code of an exception, also if it has no message."""
    message = one_line(error)
    return f"{type(error).__name__}{where}{f': {message}' if message else ''}{_location(error)}"


def _location(error: BaseException) -> str:
    """Return the innermost line of the env's own code, such as ` (my_env.py:31)`; empty if there is none."""
    frame = innermost_env_frame(traceback.extract_tb(error.__traceback__), excluded=_ADAPTERS)
    return "" if frame is None else f" ({os.path.basename(frame.filename)}:{frame.lineno})"


def close_tolerantly(env_name: str, close: Callable[[], Any]) -> None:
    """Close an env; an error of its `close` is logged, since the work is done."""
    try:
        close()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - third-party code may raise anything
        _logger.warning("%s raised %s", env_name, describe_error(error, " in close"))
