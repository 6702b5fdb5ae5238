"""Metric sink `wandb`: a Weights & Biases run; WANDB_MODE=offline writes it to the folder only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from robossl.core.io import write_bytes_atomic
from robossl.core.small_files import read_text
from robossl.logging.sinks.base import RunInfo

_ID_FILE = "wandb-id.txt"  # a resumed run continues the W&B run of this id
_MAX_ID_BYTES = 256
_STEP = "env_steps"


class WandbSink:
    """Logs to the project `robossl` (or WANDB_PROJECT); all charts have environment steps as their x axis."""

    packages = ("wandb",)

    def __init__(self, run: RunInfo) -> None:
        import wandb

        path = run.folder / _ID_FILE
        if not path.is_file():
            write_bytes_atomic(path, uuid.uuid4().hex.encode())
        self._run: Any = wandb.init(
            dir=str(run.folder),
            id=read_text(path, _MAX_ID_BYTES).strip(),
            name=run.folder.name,
            config=dict(run.config),
            resume="allow",
            settings=wandb.Settings(  # W&B runs git, which a configuration in the working folder can steer
                console="off", silent=True, disable_git=True, save_code=False
            ),
        )
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log one record.

        The step is logged as a value, because W&B drops records whose step is below an earlier one: two agents of a
        run log one after the other, both from the first step on.
        """
        self._run.log({**values, _STEP: step})

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


SINKS = {"wandb": WandbSink}
