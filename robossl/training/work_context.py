"""Ctrl-C and thread count during long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use `threads` CPU threads inside the block; 0: all cores, at most 8."""
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
