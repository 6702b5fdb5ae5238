"""Interface of a metric sink, and the description of the run that a sink receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class RunInfo:
    """The run whose metrics a sink writes.

    Attributes:
        folder: Output folder of the run.
        config: Settings of the run, nested plain values.
        first_step: Records of this step and later ones will be written again, because the run was resumed
            from a checkpoint; 0 for a new run.
    """

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0


class MetricSink(Protocol):
    """Destination of the scalars of a run.

    A sink is registered by name in a table `SINKS = {"name": factory}`, by an entry point of the group
    `robossl.metric_sinks`, or by `robossl.registry.register("metric_sinks", name, factory)`. A factory is called
    as `factory(run: RunInfo)`. Its attribute `packages` (optional) lists the packages it imports: `--log NAME`
    raises UsageError before the run starts if one is missing.
    """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of one environment step."""

    def close(self) -> None:
        """Write what is buffered and release all resources."""
