"""Several seeds of `robossl learn` as one piece of work: a folder with a run for each seed, and one report over them.

FOLDER/manifest.json    kind "seeds", and the seeds
FOLDER/config.toml      the config of all runs, with the first seed
FOLDER/seed-0           the run of seed 0, and so on
FOLDER/report.json      medians over the seeds, with report.html and tables/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.cells.engine import run_jobs
from robossl.cells.work import Resources, Work
from robossl.core.errors import OperationError, UsageError, shell_path
from robossl.core.interfaces import ProgressReporter
from robossl.core.limits import check_count, check_seeds
from robossl.core.system_info import cores
from robossl.evaluation.comparison import Group, compare
from robossl.evaluation.report import page, report_file
from robossl.evaluation.results import EvaluationReport
from robossl.training import config_io, output_dirs
from robossl.training.config import LearnConfig
from robossl.training.config_validation import validate_config
from robossl.training.report_pages import SEEDS, seed_runs, write_tables

_NOT_COMPARED = ("seed", "log")  # keys of the config that runs of one folder may differ in
RUNNER = "robossl.training.phases:seed_runner"
LearnRun = Callable[..., Any]  # robossl.training.phases.learn


def is_seeds_folder(folder: str | Path) -> bool:
    """Return whether a folder has one run for each seed; one of `pretrain --seeds` has models."""
    manifest = output_dirs.manifest_of(folder)
    return manifest.get("kind") == SEEDS and "work" not in manifest


def learn_seeds(
    learn_run: LearnRun,
    config: LearnConfig,
    seeds: Sequence[int],
    out: str | Path | None,
    progress: ProgressReporter,
    at_once: int = 1,
    **options: Any,
) -> EvaluationReport:
    """Learn with each seed, one after the other or several at once, and report over all of them.

    A finished seed is not repeated, and an unfinished one is resumed: after any end the same call with the same folder
    goes on. More seeds may be added to a folder.

    Args:
        learn_run: Learns with one seed.
        config: The config; its seed is replaced.
        seeds: Seeds, each once.
        out: Folder; missing, empty, or one with runs of the same config. Default: runs/NAME-seeds.
        progress: Receives the progress.
        at_once: Seeds at the same time, each in a process of its own that shares the cores; 1: in this process.
        options: Passed to `learn_run`.

    Returns:
        The report over the seeds, with its folder under "folder".

    Raises:
        UsageError: A seed is given twice, or the folder has runs of another config.
        OperationError: Seeds failed; the report covers the others.
        KeyboardInterrupt: Interrupted; the message has the command to continue.
    """
    chosen = check_seeds(seeds)
    _resources(config, at_once)
    name = output_dirs.slug(config.env)
    folder = output_dirs.free_path(f"runs/{name}-seeds") if out is None else Path(out)
    if is_seeds_folder(folder):
        _check_same_config(folder, config)
        chosen = list(dict.fromkeys([*output_dirs.read_manifest(folder, SEEDS)["seeds"], *chosen]))
    else:
        folder = output_dirs.create_output_dir(folder, "")
    with output_dirs.lock(folder):
        first = dataclasses.replace(config, seed=chosen[0])
        output_dirs.write_manifest(folder, SEEDS, first, env=config.env, seeds=chosen)
        return _run_all(learn_run, config, folder, chosen, progress, at_once, options)


def resume_seeds(
    learn_run: LearnRun, folder: str | Path, progress: ProgressReporter, at_once: int = 1, **options: Any
) -> EvaluationReport:
    """Go on with a folder of seeds: unfinished runs are resumed, missing ones are started."""
    folder = Path(folder)
    manifest = output_dirs.read_manifest(folder, SEEDS)
    config = seeds_config(folder)
    registry.check_recorded_env(config.env, folder / "config.toml")
    config = validate_config(config, imagines=False)  # a recorded `auto` was sac or dqn
    _resources(config, at_once)
    with output_dirs.lock(folder):
        return _run_all(learn_run, config, folder, check_seeds(manifest["seeds"]), progress, at_once, options)


def _resources(config: LearnConfig, at_once: int) -> Resources:
    """Return the workers for `at_once` seeds, with the threads of the config or their share of the cores.

    Raises:
        UsageError: They have more threads than there are cores.
    """
    check_count("seeds_at_once", at_once)
    threads = config.threads or max(min(cores() // at_once, 8), 1)
    if at_once > 1 and at_once * threads > cores():
        raise UsageError(
            f"seeds_at_once: expected at most {cores()} threads in all, one for each core, got {at_once * threads}"
        )
    return Resources("local", at_once, threads)


def seeds_config(folder: Path) -> LearnConfig:
    """Return the config of the runs of a folder, with the first seed."""
    path = folder / "config.toml"
    return config_io.parse(LearnConfig, (str(path), config_io.from_toml(path)))


def _check_same_config(folder: Path, config: LearnConfig) -> None:
    recorded = config_io.flatten(seeds_config(folder))
    given = config_io.flatten(config)
    for key in dict.fromkeys([*recorded, *given]):
        if key not in _NOT_COMPARED and _plain(recorded.get(key)) != _plain(given.get(key)):
            raise UsageError(
                f"{folder} has runs with {key} {recorded.get(key)!r}, got {given.get(key)!r}; give another --out, or "
                f"the same settings (robossl learn --resume {shell_path(folder)})"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class SeedJob:
    """The run of one seed, for an engine."""

    seed: int
    needs: tuple[str, ...] = ()
    cost: float = 1.0

    @property
    def name(self) -> str:
        """Name of the job."""
        return f"seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON values."""
        return {"seed": self.seed}


def run_seed(
    learn_run: LearnRun,
    config: LearnConfig,
    folder: Path,
    seed: int,
    progress: ProgressReporter,
    options: dict[str, Any],
) -> dict[str, str]:
    """Start or resume the run of one seed; return {}, or {"error": why it failed}."""
    run = folder / f"seed-{seed}"
    try:
        if (run / output_dirs.MANIFEST).is_file():
            learn_run(resume=run, progress=progress, **options)
        else:
            learn_run(dataclasses.replace(config, seed=seed), run, progress=progress)
    except OperationError as error:
        return {"error": str(error)}
    return {}


def _run_all(
    learn_run: LearnRun,
    config: LearnConfig,
    folder: Path,
    seeds: Sequence[int],
    progress: ProgressReporter,
    at_once: int,
    options: dict[str, Any],
) -> EvaluationReport:
    failed: dict[int, str] = {}
    left = [seed for seed in seeds if not (folder / f"seed-{seed}" / page.NAME).is_file()]  # written last
    command = f"robossl learn --resume {shell_path(folder)}"

    def run_here(job: dict[str, Any]) -> dict[str, str]:
        seed = job["seed"]
        progress.message(f"seed {seed} ({seeds.index(seed) + 1} of {len(seeds)})")
        try:
            return run_seed(learn_run, config, folder, seed, progress, options)
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(f"seed {seed} {interruption}") from None

    def finished(job: SeedJob, error: str | None, by_need: bool) -> None:
        if error is not None:
            failed[job.seed] = error
        if error is not None or at_once > 1:
            progress.message(f"{job.name} {'is finished' if error is None else f'failed: {error}'}")

    resources = _resources(config, at_once)
    trusted = [config.env] if ":" in config.env else []
    settings = {
        "folder": str(folder.resolve()),
        "threads": resources.threads,
        "trusted": trusted,
        "options": options,
    }
    jobs = [SeedJob(seed) for seed in left]
    try:
        run_jobs(
            jobs,
            Work(RUNNER, settings),
            resources,
            finished,
            (lambda: run_here) if at_once == 1 else None,
            retries=2,
        )
    except KeyboardInterrupt as interruption:
        text = str(interruption) or "interrupted; everything up to the last checkpoints is saved."
        raise KeyboardInterrupt(f"{text}\nTo continue with all seeds: {command}") from None
    report = write_seeds_report(folder, failed)
    if failed:
        listed = "; ".join(f"seed {seed}: {error}" for seed, error in failed.items())
        raise OperationError(
            f"{len(failed)} of {len(seeds)} seeds failed ({listed}); to try again: {command}"
        )
    return report


def write_seeds_report(folder: Path, failed: dict[int, str]) -> EvaluationReport:
    """Write the report over the finished seeds of a folder.

    Raises:
        OperationError: No seed is finished.
    """
    runs = seed_runs(folder)
    if not runs:
        raise OperationError(f"all seeds failed: {'; '.join(failed.values())}")
    reports = [report_file.read(run) for run in runs]
    data = compare([Group(folder.name, reports, [run.name for run in runs])])
    if failed:
        data["failed"] = [{"seed": seed, "error": error} for seed, error in failed.items()]
    report = report_file.build_study("comparison", data, reports[0])
    report_file.write(folder, report)
    page.write(folder, [report])
    write_tables(folder, data)
    return EvaluationReport(report, folder)
