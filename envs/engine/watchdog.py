"""Timeouts for calls that may hang and cannot be interrupted, such as the start of a graphics driver."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from robossl.core.errors import OperationError

Result = TypeVar("Result")
_logger = logging.getLogger(__name__)
_SLOW = "%s takes longer than %g s; %s"


def run_with_timeout(
    work: Callable[[], Result], what: str, hint: str, warn_after: float, timeout: float
) -> Result:
    """Run `work` in a separate thread and return its result.

    Args:
        work: The call.
        what: Name of the call for messages.
        hint: What the user can do.
        warn_after: Time [s] after which one warning is logged.
        timeout: Time [s] after which the thread is abandoned.

    Raises:
        OperationError: The call did not return in time. Errors of `work` are raised unchanged.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(warn_after)
    if thread.is_alive():
        _logger.warning(_SLOW, what, warn_after, hint)
        thread.join(timeout - warn_after)
    if thread.is_alive():
        raise OperationError(f"{what} hangs: it did not return in {timeout:g} s; {hint}")
    if errors:
        raise errors[0]
    return results[0]


def warn_if_slow(work: Callable[[], Result], what: str, hint: str, warn_after: float) -> Result:
    """Run `work` in this thread and return its result; log one warning after `warn_after` [s]."""
    timer = threading.Timer(warn_after, _logger.warning, [_SLOW, what, warn_after, hint])
    timer.daemon = True
    timer.start()
    try:
        return work()
    finally:
        timer.cancel()
