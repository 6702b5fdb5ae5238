"""Metric sink `tensorboard`: event files in the folder `tensorboard` of the run."""

from __future__ import annotations

from collections.abc import Mapping

from robossl.logging.sinks.base import RunInfo


class TensorBoardSink:
    """Writes scalars for `tensorboard --logdir RUN`.

    Event files cannot be truncated: after a resume, TensorBoard hides the old records from the step of the
    checkpoint on (`purge_step`).
    """

    packages = ("tensorboard",)

    def __init__(self, run: RunInfo) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.first_step or None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one event for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


SINKS = {"tensorboard": TensorBoardSink}
