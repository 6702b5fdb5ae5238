"""Training the world model: gradient steps, logged losses, and the published model in its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from robossl.core import interrupts
from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, ProgressReporter
from robossl.evaluation.reward_free import missing_goals_reason
from robossl.logging.throughput import memory_metrics
from robossl.streams import Stream
from robossl.training import output_dirs
from robossl.training.agent_rows import STREAM
from robossl.training.experiment import MODEL, Experiment
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.diagnostics import NO_PROBLEMS
from robossl.world_model.goal_heads import fit_goal_heads

_MIN_EPISODES = 10  # with fewer, a split (validation, probe, test) may be empty
LOG_INTERVAL = 50  # updates between two records of the losses, and between two chances to write a checkpoint


def few_episodes_warning(stream: Stream) -> str | None:
    """Return a warning if the stream has too few episodes to hold some out; None if it has enough."""
    count = len(stream.episodes())
    if count >= _MIN_EPISODES:
        return None
    return (
        f"the stream has {count} episodes; validation, probes and tests need {_MIN_EPISODES} or more: "
        "few or no episodes are held out, so little can be evaluated"
    )


def run_trainer(
    trainer: WorldModelTrainer,
    target: int,
    progress: ProgressReporter,
    logger: MetricLogger,
    step: int | None = None,
    after_slice: Callable[[], None] = lambda: None,
) -> None:
    """Train the world model up to its `target`-th gradient step.

    Args:
        trainer: The trainer.
        target: Total number of gradient steps.
        progress: Receives every gradient step.
        logger: Receives the losses and the throughput.
        step: Environment step of the records; None: the number of gradient steps.
        after_slice: Called after every few gradient steps.
    """
    while trainer.updates < target:
        count = min(LOG_INTERVAL, target - trainer.updates)
        start = time.perf_counter()
        losses = trainer.run(count, progress)
        rate = count / max(time.perf_counter() - start, 1e-9)
        log_training(logger, trainer, losses, rate, step)
        interrupts.check()
        after_slice()


def log_training(
    logger: MetricLogger,
    trainer: WorldModelTrainer,
    losses: Mapping[str, float],
    rate: float,
    step: int | None = None,
) -> None:
    """Log losses, updates per second `rate` and memory of a trainer; `step` as for `run_trainer`."""
    record = {f"world_model/{name}": value for name, value in losses.items()}
    record |= {
        "world_model/updates": trainer.updates,
        "time/updates_per_second": rate,
        **memory_metrics(),
    }
    logger.scalars(trainer.updates if step is None else step, record)


def log_diagnostics(logger: MetricLogger, step: int, diagnostics: Mapping[str, Any]) -> None:
    """Log the numbers of the world model's diagnostics."""
    numbers = {f"diagnostics/{k}": v for k, v in diagnostics.items() if isinstance(v, (int, float))}
    logger.scalars(step, numbers)


def train_world_model(
    run: Experiment, target: int, step: int, after_slice: Callable[[], None] = lambda: None
) -> None:
    """Train the world model of a run up to its `target`-th gradient step."""
    run.progress.start("train world model", target - run.trainer.updates, "updates")
    run_trainer(run.trainer, target, run.progress, run.logger, step, after_slice)
    run.progress.stop()


def fit_heads(
    model: WorldModel, stream: Stream, updates: int, seed: int, progress: ProgressReporter
) -> dict[str, float]:
    """Fit goal heads to a frozen model if the env has goals, and return metrics for the logger.

    Args:
        model: Its `goal_heads` are set.
        stream: Recorded steps; rewards are not used.
        updates: Gradient steps of each head; 0: no heads.
        seed: Seed of the heads.
        progress: Receives the progress, and the reason if no heads can be fitted.
    """
    if updates == 0 or missing_goals_reason(stream.observation_space) is not None:
        return {}
    try:
        heads = fit_goal_heads(model, stream, updates, seed, progress)
    except UsageError as error:
        progress.message(f"no goal heads are fitted: {error}")
        return {}
    return {f"goal_heads/{name}": value for name, value in heads.metrics.items()}


def save_model(run: Experiment, step: int, name: str) -> dict[str, Any]:
    """Write the published model into the folder `name` of the run, and return its diagnostics."""
    diagnostics = run.trainer.diagnose()
    log_diagnostics(run.logger, step, diagnostics)
    for text in diagnostics["messages"]:
        if text != NO_PROBLEMS:
            run.progress.message(f"world model: {text}")
    folder = run.folder / name
    run.trainer.ema_model.save(folder)
    only = {"exploration_lanes": run.config.explore.lanes} if name == MODEL else {}
    output_dirs.write_manifest(
        folder, "model", env=run.config.env, seed=run.config.seed, stream=f"../{STREAM}", **only
    )
    return diagnostics
