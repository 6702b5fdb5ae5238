"""State of a run: everything in a checkpoint except the world model and the agents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

PHASES = ("explore", "pretrain", "heads", "goals", "act", "evaluate", "done")


@dataclass
class RunState:
    """How far a run is and what it measured.

    Attributes:
        phase: One of PHASES.
        iteration: Completed iterations of the phase `act`.
        seconds: Wall-clock time of each part of the run [s].
        sections: Sections of the report measured so far, by name.
        acting: Agent folder -> how far it is in the running iteration: its steps, the rows of a lane before them, the
            counts of the throughput, and whether it is logged.
        measured_at: Iterations after which the section "control" was measured.
        curves: Learning curves: row -> list of [steps, mean, low, high] of the return.
        continual: What `continual_phase` measured so far.
        missing: Report key -> reason why the report does not have it.
        stream_offsets: Stream name -> offset up to which the stream belongs to this checkpoint.
        metrics_offset: Size of metrics.jsonl [bytes] that belongs to this checkpoint.
        metrics_step: Last environment step in metrics.jsonl.
    """

    phase: str = PHASES[0]
    iteration: int = 0
    acting: dict[str, dict[str, Any]] = field(default_factory=dict)
    measured_at: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    continual: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    stream_offsets: dict[str, Any] = field(default_factory=dict)
    metrics_offset: int = 0
    metrics_step: int = 0

    @property
    def next_phase(self) -> str:
        """The phase after this one."""
        return PHASES[PHASES.index(self.phase) + 1]

    def to_tree(self) -> dict[str, Any]:
        """Return plain values for `core.io.save_tree`."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> RunState:
        """Return the inverse of `to_tree`."""
        return cls(**tree)
