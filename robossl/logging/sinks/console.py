"""Metric sink `console`: one line for each record on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from robossl.logging.progress import format_number
from robossl.logging.sinks.base import RunInfo


class ConsoleSink:
    """Prints `step 4,000: world_model/forward 0.12, world_model/inverse 0.034`."""

    packages = ()

    def __init__(self, run: RunInfo) -> None:
        pass

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Print one line."""
        text = ", ".join(f"{name} {format_number(value)}" for name, value in values.items())
        print(f"step {step:,}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """No effect: stderr stays open."""


SINKS = {"console": ConsoleSink}
