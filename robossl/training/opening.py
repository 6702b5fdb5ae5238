"""Opening a run of `robossl learn`: start it in a new folder, or resume or extend the one in a folder.

Files are written in this order, so that a process may die between any two of them: lock, config.toml, the first
checkpoint, manifest.json. The config in a checkpoint decides; config.toml is its copy for people.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.folder_lock import FolderLock
from robossl.core.interfaces import ProgressReporter
from robossl.training import config_io, output_dirs, provenance
from robossl.training.checkpoints import Checkpoints
from robossl.training.config import LearnConfig
from robossl.training.config_validation import check_iterations
from robossl.training.experiment import Experiment
from robossl.training.extension import Steps, describe, extended_config, keep_report

_CONFIG = "config.toml"


def create_run(config: LearnConfig, out: str | Path | None, progress: ProgressReporter) -> Experiment:
    """Start a run in a new folder."""
    folder = output_dirs.create_output_dir(out, f"runs/{output_dirs.slug(config.env)}")
    with _released_on_error(output_dirs.lock_new(folder)) as lock:
        output_dirs.write_config(folder, config)
        run = Experiment(
            folder, config, progress, Checkpoints(folder / "checkpoints", progress.message), {}, _now(config)
        )
        run.exit_stack.callback(lock.release)
        with _closed_on_error(run):
            _start(run)
    return run


def resume_run(
    folder: str | Path,
    progress: ProgressReporter,
    steps: Steps | None = None,
    accept_changes: bool = False,
    command: Callable[[str], str] = str,
) -> Experiment:
    """Continue the run in a folder from its newest valid checkpoint.

    Args:
        folder: Folder of the run.
        progress: Receives the progress.
        steps: New total of environment steps; None: as before.
        accept_changes: Go on although what decides the result has changed.
        command: Returns the command line that resumes a run of an env, for messages.

    Raises:
        UsageError: There is no run, another process works on it, or what decides its result has changed.
    """
    folder = Path(folder)
    has_died = output_dirs.died_before_start(folder) and (folder / _CONFIG).is_file()
    if not has_died:
        output_dirs.read_manifest(folder, "run")
    with _released_on_error(output_dirs.lock(folder)) as lock:
        checkpoints = Checkpoints(folder / "checkpoints", progress.message)
        loaded = checkpoints.latest() or {}
        config = _read_config(folder, loaded)
        recorded, now = loaded.get("provenance"), _now(config)
        if recorded is not None:
            for line in provenance.check_changes(recorded, now, command(config.env), accept_changes):
                progress.message(f"{folder} {line}")
            now = provenance.resumed(recorded, now)
        run = Experiment(folder, config, progress, checkpoints, loaded, now)
        run.exit_stack.callback(lock.release)
        with _closed_on_error(run):
            if has_died:
                _start(run)
            if steps is not None:
                _extend(run, steps)
    return run


@contextmanager
def _released_on_error(lock: FolderLock) -> Iterator[FolderLock]:
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


@contextmanager
def _closed_on_error(run: Experiment) -> Iterator[None]:
    try:
        yield
    except BaseException:
        run.close()
        raise


def _start(run: Experiment) -> None:
    """Write the first checkpoint and then the manifest: from now on there is a run to resume."""
    if not run.loaded:
        run.save()
    output_dirs.write_manifest(run.folder, "run", run.config, env=run.config.env, seed=run.config.seed)


def _now(config: LearnConfig) -> dict[str, Any]:
    return provenance.provenance(config_io.flatten(config), config.env, config.threads, config.device)


def _read_config(folder: Path, loaded: dict[str, Any]) -> LearnConfig:
    """Return the config of a resumed run; config.toml is written again where the checkpoint is newer."""
    path = folder / _CONFIG
    if (recorded := loaded.get("config")) is not None:
        text = path.read_text(encoding="utf-8") if path.is_file() else None
        if text is None or text == loaded.get("previous_config"):  # removed, or killed in `_extend`
            values = config_io.dotted_keys(tomllib.loads(recorded))
            output_dirs.write_config(folder, config_io.parse(LearnConfig, ("the checkpoint", values)))
    config = config_io.parse(LearnConfig, (str(path), config_io.from_toml(path)))
    registry.check_recorded_env(config.env, path)
    return config


def _extend(run: Experiment, steps: Steps) -> None:
    """Change the total of environment steps; a finished run then continues with the phase `act`."""
    before = config_io.to_toml(run.config)
    config = extended_config(run.config, run.state, steps)
    check_iterations(config)
    if run.state.phase in ("evaluate", "done"):
        keep_report(run.folder, run.env_steps)
        run.state.phase = "act"
    run.config = config
    run.provenance["config"] = provenance.settings(config_io.flatten(config))
    run.save(previous_config=before)  # before config.toml, which a resume then writes again
    output_dirs.write_config(run.folder, config)
    run.progress.message(describe(config, run.state))
