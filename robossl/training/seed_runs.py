"""Several seeds of `robossl learn` as one piece of work: a folder with a run for each seed, and one report over them.

FOLDER/manifest.json    kind "seeds", and the seeds
FOLDER/config.toml      the config of all runs, with the first seed
FOLDER/seed-0           the run of seed 0, and so on
FOLDER/report.json      medians over the seeds, with report.html and tables/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.errors import OperationError, UsageError, shell_path
from robossl.core.interfaces import ProgressReporter
from robossl.core.limits import check_seeds
from robossl.evaluation.comparison import Group, compare
from robossl.evaluation.report import page, report_file
from robossl.evaluation.results import EvaluationReport
from robossl.training import config_io, output_dirs
from robossl.training.config import LearnConfig
from robossl.training.report_pages import SEEDS, seed_runs, write_tables

_NOT_COMPARED = ("seed", "log")  # keys of the config that runs of one folder may differ in
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
    **options: Any,
) -> EvaluationReport:
    """Learn with each seed, one after the other, and report over all of them.

    A finished seed is not repeated, and an unfinished one is resumed: after any end the same call with the same folder
    goes on. More seeds may be added to a folder.

    Args:
        learn_run: Learns with one seed.
        config: The config; its seed is replaced.
        seeds: Seeds, each once.
        out: Folder; missing, empty, or one with runs of the same config. Default: runs/NAME-seeds.
        progress: Receives the progress.
        options: Passed to `learn_run`.

    Returns:
        The report over the seeds, with its folder under "folder".

    Raises:
        UsageError: A seed is given twice, or the folder has runs of another config.
        OperationError: Seeds failed; the report covers the others.
        KeyboardInterrupt: Interrupted; the message has the command to continue.
    """
    chosen = check_seeds(seeds)
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
        return _run_all(learn_run, config, folder, chosen, progress, options)


def resume_seeds(
    learn_run: LearnRun, folder: str | Path, progress: ProgressReporter, **options: Any
) -> EvaluationReport:
    """Go on with a folder of seeds: unfinished runs are resumed, missing ones are started."""
    folder = Path(folder)
    manifest = output_dirs.read_manifest(folder, SEEDS)
    path = folder / "config.toml"
    config = config_io.parse(LearnConfig, (str(path), config_io.from_toml(path)))
    registry.check_recorded_env(config.env, path)
    with output_dirs.lock(folder):
        return _run_all(learn_run, config, folder, check_seeds(manifest["seeds"]), progress, options)


def _check_same_config(folder: Path, config: LearnConfig) -> None:
    path = folder / "config.toml"
    recorded = config_io.flatten(config_io.parse(LearnConfig, (str(path), config_io.from_toml(path))))
    given = config_io.flatten(config)
    for key in dict.fromkeys([*recorded, *given]):
        if key not in _NOT_COMPARED and _plain(recorded.get(key)) != _plain(given.get(key)):
            raise UsageError(
                f"{folder} has runs with {key} {recorded.get(key)!r}, got {given.get(key)!r}; give another --out, or "
                f"the same settings (robossl learn --resume {shell_path(folder)})"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _run_all(
    learn_run: LearnRun,
    config: LearnConfig,
    folder: Path,
    seeds: Sequence[int],
    progress: ProgressReporter,
    options: dict[str, Any],
) -> EvaluationReport:
    failed: dict[int, str] = {}
    for index, seed in enumerate(seeds):
        run = folder / f"seed-{seed}"
        if (run / page.NAME).is_file():  # written last
            continue
        progress.message(f"seed {seed} ({index + 1} of {len(seeds)})")
        try:
            if (run / output_dirs.MANIFEST).is_file():
                learn_run(resume=run, progress=progress, **options)
            else:
                learn_run(dataclasses.replace(config, seed=seed), run, progress=progress)
        except OperationError as error:
            progress.message(f"seed {seed} failed: {error}")
            failed[seed] = str(error)
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(
                f"seed {seed} {interruption}\nTo continue with all seeds: robossl learn --resume {shell_path(folder)}"
            ) from None
    report = write_seeds_report(folder, failed)
    if failed:
        listed = "; ".join(f"seed {seed}: {error}" for seed, error in failed.items())
        raise OperationError(
            f"{len(failed)} of {len(seeds)} seeds failed ({listed}); "
            f"to try again: robossl learn --resume {shell_path(folder)}"
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
