"""Ctrl-C, other signals, and thread count during long work."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from robossl.training.config import thread_count


@contextmanager
def interrupt_message(text: str) -> Iterator[None]:
    """Append `text`, such as where the results are, to the message of a Ctrl-C inside the block."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {text}") from None


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], bool]]:
    """Delay the first Ctrl-C, SIGTERM or SIGHUP in a `with` block, so that no step is interrupted half done.

    A second one interrupts at once, in case a step hangs. A signal that ends the process stays as it is.

    Yields:
        A function that returns whether a signal has come; the block should then end.
    """
    process, received = os.getpid(), threading.Event()
    before: dict[int, Any] = {}

    def delay(number: int, frame: FrameType | None) -> None:
        if received.is_set() or os.getpid() != process:
            before[number](number, frame)
        received.set()

    names = ("SIGINT", "SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        if callable(handler := signal.getsignal(number)):
            before[number] = handler
            signal.signal(number, delay)
    try:
        yield received.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use `threads` CPU threads inside the block; 0: all cores, at most 8."""
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
