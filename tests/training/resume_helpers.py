"""Tiny runs, and processes that kill themselves at an exact moment of a run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plain_plots import plain_plots

from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.logging.sinks.jsonl import read_metrics
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
    "agent.name": "sac",
    "agent.num_envs": 4,
    "agent.num_iterations": 2,
    "agent.learning_starts": 100,
    "goals.trials": 2,
    "goals.horizons": (5, 10),
    "goals.head_updates": 5,
    "goals.control": False,
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
DISCRETE = ("CartPole-v1", "thirdparty/DiscreteActions-v0", "goals/DiscreteActionGoals-v0")
# with these, `tiny` has the agent that a run has by default, which imagines
DEFAULT_AGENT: dict[str, Any] = {
    "agent__name": "auto",
    "agent__settings__reward_updates": 20,
    "agent__settings__num_imagined_envs": 8,
    "agent__settings__batch_size": 16,
}
FILES = (
    "model/model.safetensors",
    "model/goal_heads.safetensors",
    "latest-model/model.safetensors",
    "agent/agent.safetensors",
    "agent/weights.safetensors",
    "agent/representation/model.safetensors",
    "observation-agent/agent.safetensors",
)
_WALL_CLOCK = (
    "seconds",
    "versions",
    "provenance",
    "ms_per_decision",
    "memory",
)  # keys of the report that may differ
_WALL_CLOCK_METRICS = ("time/", "memory/")


def tiny(env: str = "robossl/Reacher-v0", **settings: Any) -> LearnConfig:
    """Return the config of a run of a few seconds; `settings` as on the command line, with `__` for the dot."""
    values = {name.replace("__", "."): value for name, value in settings.items()}
    agent = "dqn" if env in DISCRETE else "sac"
    return config_io.parse(LearnConfig, ("the test", {**TINY, "agent.name": agent, "env": env, **values}))


def flags(**settings: Any) -> list[str]:
    """Return the same as arguments of a command line."""
    values = {**TINY, **{name.replace("__", "."): value for name, value in settings.items()}}
    return [
        arg
        for name, value in values.items()
        for arg in (f"--{name}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    ]


def outcome(run: Path) -> dict[str, Any]:
    """Return what must not depend on interruptions: bytes of files, the report, and the metrics."""
    files = {name: (run / name).read_bytes() for name in FILES if (run / name).exists()}
    return {**files, "report": _reproducible(read_json(run / "report.json")), "metrics": metrics(run)}


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the metrics without wall-clock values."""
    return [
        {name: value for name, value in record.items() if not _is_wall_clock(name)}
        for record in read_metrics(run)
    ]


def _is_wall_clock(name: str) -> bool:
    return any(part in name for part in _WALL_CLOCK_METRICS)


def _reproducible(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _reproducible(v) for k, v in value.items() if k not in _WALL_CLOCK}
    return [_reproducible(v) for v in value] if isinstance(value, list) else value


class Interrupting(NullProgress):
    """Sends Ctrl-C after some steps or updates."""

    def __init__(self, after: float) -> None:
        self._after = after

    def update(self, count: int, **metrics: float) -> None:
        self._after -= count
        if self._after < 0:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Moment:
    """A moment of a run: in a phase, after some progress updates; or around the rename of a checkpoint."""

    phase: str  # first part of its name, or "checkpoint"
    after: int = 0  # progress updates since the phase started; of checkpoints: how many were written before
    renamed: bool = False  # of a checkpoint: after its rename instead of before


_NEVER = Moment("never")


class _KillingProgress(NullProgress):
    """Kills its own process at a moment."""

    def __init__(self, moment: Moment, messages: Path) -> None:
        self._moment, self._messages, self._active, self._updates = moment, messages, False, 0

    def start(self, phase: str, total: int, unit: str) -> None:
        self._active, self._updates = phase.startswith(self._moment.phase), 0
        self._kill_if_due()

    def update(self, count: int, **metrics: float) -> None:
        self._updates += 1
        self._kill_if_due()

    def message(self, text: str) -> None:
        with open(self._messages, "a") as file:
            file.write(f"{text}\n")

    def _kill_if_due(self) -> None:
        if self._active and self._updates == self._moment.after:
            os.kill(os.getpid(), signal.SIGKILL)


def _kill_at_checkpoint(moment: Moment) -> None:
    """Kill the process before or after the rename that completes a checkpoint."""
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


def _run(
    folder: Path, config: LearnConfig | None, moment: Moment | None, interval: float, steps: int | str | None
) -> None:
    import thirdparty_envs

    from robossl.training import agent_phase, collect_loop, experiment, phases, world_model_phase

    thirdparty_envs.register_thirdparty_envs()
    experiment._CHECKPOINT_INTERVAL = interval  # [s] between checkpoints inside a phase
    collect_loop.CHECKPOINT_INTERVAL = min(interval, 0.1)
    agent_phase._SLICE = 40  # [steps]
    world_model_phase.LOG_INTERVAL = 7  # [updates]
    if moment is not None and moment.phase == "checkpoint":
        _kill_at_checkpoint(moment)
    progress = _KillingProgress(moment or _NEVER, messages_file(folder))
    with plain_plots():
        if config is None:
            phases.learn(resume=folder, progress=progress, steps=steps)
        else:
            phases.learn(config, folder, progress=progress)


def messages_file(folder: Path) -> Path:
    """Return the file with the messages of the runs in a folder."""
    return folder.with_name(f"{folder.name}-messages.txt")


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(  # imported once for all processes; torch.optim imports the last one at first use
    ["robossl.training.phases", "robossl.agents.sb3", "robossl.agents.planner", "tyro", "torch._dynamo"]
)


def run_in_process(
    folder: Path,
    config: LearnConfig | None = None,
    kill_at: Moment | None = None,
    interval: float = 1e9,
    steps: int | str | None = None,
) -> int:
    """Start a run in a new process, or without a config resume the one in `folder`; return the exit code.

    Args:
        folder: Folder of the run.
        config: Config of a new run.
        kill_at: When the process kills itself.
        interval: Time between checkpoints inside a phase [s].
        steps: New total of environment steps of a resumed run.
    """
    process = _PROCESSES.Process(target=_run, args=(folder, config, kill_at, interval, steps))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode
