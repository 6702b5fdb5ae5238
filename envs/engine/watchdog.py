"""A watchdog for what may hang where nothing can interrupt it, such as a graphics driver."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from robossl.core.errors import OperationError

Result = TypeVar("Result")
_say = logging.getLogger(__name__).warning


def run_with_timeout(
    work: Callable[[], Result], what: str, hint: str, patience: float, limit: float
) -> Result:
    """What `work` gives, done in a thread of its own.

    After `patience` [s] one line says that `what` is slow, and `hint`; after `limit` [s] it is left alone in
    its thread, with a WorkError. What `work` raises is raised here.
    """
    outcome: list[Result] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            errors.append(error)

    worker = threading.Thread(target=attempt, name=what, daemon=True)
    worker.start()
    worker.join(patience)
    if worker.is_alive():
        _say("%s takes longer than %g s; %s", what, patience, hint)
        worker.join(limit - patience)
    if worker.is_alive():
        raise OperationError(f"{what} hangs: it was not done in {limit:g} s; {hint}")
    if errors:
        raise errors[0]
    return outcome[0]


def warn_if_slow(work: Callable[[], Result], what: str, hint: str, patience: float) -> Result:
    """What `work` gives, done here, where it cannot be left alone: after `patience` [s] one line names it."""
    timer = threading.Timer(patience, _say, ["%s takes longer than %g s; %s", what, patience, hint])
    timer.daemon = True
    timer.start()
    try:
        return work()
    finally:
        timer.cancel()
