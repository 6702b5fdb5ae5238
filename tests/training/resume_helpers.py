"""Tiny runs, and processes in which a run lives until it is ended at an exact moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.training import config_io
from robossl.training.config import LearnConfig

TINY: dict[str, Any] = {
    "threads": 1,
    "device": "cpu",
    "steps": 2000,
    "explore.num_envs": 8,
    "explore.fraction": 0.84,
    "pretrain.updates": 20,
    "pretrain.updates_per_iteration": 5,
    "agent.num_envs": 4,
    "agent.num_iterations": 2,
    "agent.learning_starts": 100,
    "goals.trials": 2,
    "goals.horizon": 10,
    "evaluate.episodes": 2,
    "evaluate.curve_episodes": 2,
    "evaluate.videos": False,
    "world_model.latent_dim": 8,
    "world_model.encoder_hidden": (16,),
    "world_model.dynamics_hidden": (16,),
    "world_model.inverse_hidden": (16,),
    "world_model.decoder_hidden": (16,),
    "world_model.ensemble_size": 2,
    "world_model.batch_size": 16,
}
FILES = (
    "model/model.safetensors",
    "agent/agent.safetensors",
    "agent/representation/model.safetensors",
    "raw-agent/agent.safetensors",
)
_OF_THE_MACHINE = ("seconds", "versions", "made", "ms_per_decision")


def tiny(env: str = "robossl/Reacher-v0", **settings: Any) -> LearnConfig:
    """A run of seconds; `settings` as on the command line, with `__` for the dot."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return config_io.parse(LearnConfig, ("the test", {**TINY, "env": env, **given}))


def flags(**settings: Any) -> list[str]:
    """The same as words of a command line."""
    given = {**TINY, **{name.replace("__", "."): value for name, value in settings.items()}}
    return [
        word
        for name, value in given.items()
        for word in (f"--{name}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    ]


def outcome(run: Path) -> dict[str, Any]:
    """What must not depend on how often a run was ended: the bytes of its files, its report."""
    files = {name: (run / name).read_bytes() for name in FILES if (run / name).exists()}
    return {**files, "report": _of_the_run(read_json(run / "report.json"))}


def _of_the_run(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _of_the_run(v) for k, v in value.items() if k not in _OF_THE_MACHINE}
    return [_of_the_run(v) for v in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Moment:
    """When a run is ended: in a phase, after so many words of progress; or around a checkpoint's rename."""

    phase: str  # how its name begins, or "checkpoint"
    after: int = 0  # advances since the phase began; of checkpoints, how many were written before
    renamed: bool = False  # of a checkpoint: after its rename, not before


_NEVER = Moment("never")


class _Doom(NullProgress):
    """Ends its own process at a moment."""

    def __init__(self, moment: Moment, notes: Path) -> None:
        self._moment, self._notes, self._open, self._words = moment, notes, False, 0

    def start(self, phase: str, total: int, unit: str) -> None:
        self._open, self._words = phase.startswith(self._moment.phase), 0
        self._look()

    def update(self, count: int, **figures: float) -> None:
        self._words += 1
        self._look()

    def message(self, text: str) -> None:
        with open(self._notes, "a") as file:
            file.write(f"{text}\n")

    def _look(self) -> None:
        if self._open and self._words == self._moment.after:
            os.kill(os.getpid(), signal.SIGKILL)


def _guard_checkpoints(moment: Moment) -> None:
    """End the process around the rename that makes a checkpoint."""
    rename, written = os.replace, []

    def replace(source: Any, target: Any) -> None:
        checkpoint = Path(target).name.startswith("checkpoint-")
        if checkpoint and len(written) == moment.after and not moment.renamed:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        if checkpoint and len(written) == moment.after:
            os.kill(os.getpid(), signal.SIGKILL)
        written.extend([target] * checkpoint)

    os.replace = replace


def _live(folder: Path, config: LearnConfig | None, moment: Moment | None, every: float) -> None:
    import thirdparty_envs

    from robossl.training import experiment, phases, world_model_phase

    thirdparty_envs.register_thirdparty_envs()
    experiment._EVERY, world_model_phase._SLICE = (
        every,
        7,
    )  # [s] between checkpoints inside a phase, [updates]
    if moment is not None and moment.phase == "checkpoint":
        _guard_checkpoints(moment)
    doom = _Doom(moment or _NEVER, notes(folder))
    if config is None:
        phases.learn(resume=folder, progress=doom)
    else:
        phases.learn(config, folder, progress=doom)


def notes(folder: Path) -> Path:
    """The file of what the runs in a folder noted."""
    return folder.with_name(f"{folder.name}-notes.txt")


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(  # once for all processes; torch.optim imports the last one when first used
    ["robossl.training.phases", "robossl.agents.sb3", "robossl.agents.planner", "tyro", "torch._dynamo"]
)


def live(
    folder: Path, config: LearnConfig | None = None, end: Moment | None = None, every: float = 1e9
) -> int:
    """Begin a run, or without a config go on with the one in `folder`, in a process of its own; its exit code.

    `every` [s] a checkpoint is written inside a phase.
    """
    process = _PROCESSES.Process(target=_live, args=(folder, config, end, every))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode
