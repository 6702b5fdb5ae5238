"""Exploration of a run by several workers: they record shards, which are then joined in the stream of the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from robossl.core.interfaces import ProgressReporter
from robossl.streams import Stream
from robossl.streams.shards import SHARDS, write_shards
from robossl.streams.storage.lock import remove_stream
from robossl.training.agent_rows import STREAM
from robossl.training.episode_metrics import episode_metrics
from robossl.training.experiment import Experiment
from robossl.training.shard_collection import record_shards, shard_settings_of
from robossl.training.world_model_phase import few_episodes_warning

_FOLDER = "shards"  # until the world model is trained
_PIECE = 8192  # rows that are copied at a time


def explore_in_shards(run: Experiment) -> None:
    """Record the exploration policy with several workers, and join the shards in the stream of the run.

    Blocks that are recorded already are kept, so an interrupted exploration goes on.
    """
    config, folder = run.config, run.folder / _FOLDER
    with run.timed("explore"):
        settings = shard_settings_of(config, run.seed("explore"))
        folder.mkdir(exist_ok=True)
        if not (folder / SHARDS).is_file():
            write_shards(folder, config.explore.workers, settings)
        record_shards(folder, settings, run.progress)
        remove_stream(run.folder / STREAM)  # of a join that was interrupted
        lanes = sum(config.lane_groups)
        with Stream.open(folder) as shards:
            stream = shards.create_like(
                run.folder / STREAM, lanes, policy=config.explore.policy, seed=settings["seed"]
            )
            join_lanes(shards, stream, config.explore_steps // config.explore.num_envs, run.progress)
        run.register_stream(STREAM, stream)
        lanes_of_policy = range(config.explore.num_envs)
        run.logger.scalars(config.explore_steps, episode_metrics(stream, "explore", lanes_of_policy))
    if warning := few_episodes_warning(stream):
        run.progress.message(warning)


def join_lanes(shards: Stream, stream: Stream, steps: int, progress: ProgressReporter) -> None:
    """Copy the first `steps` steps of each lane; a longer episode ends there, neither terminated nor truncated.

    Args:
        shards: The source.
        stream: A stream with at least as many lanes.
        steps: Steps of each lane.
        progress: Receives the steps.
    """
    progress.start("join the shards", steps * shards.lanes, "steps")
    for lane in range(shards.lanes):
        length, position, left = int(shards.lengths[lane]), 0, steps
        while left > 0 and position < length:
            rows = shards.read(lane, position, min(position + _PIECE, length))
            actions = np.cumsum(~rows["is_last"])  # (n,) steps up to each row
            stop = min(int(np.searchsorted(actions, left)) + 1, len(actions))
            taken = {name: np.array(values[:stop]) for name, values in rows.items()}
            stream.extend(taken, lane)
            position, left = position + stop, left - int(actions[stop - 1])
            progress.update(int(actions[stop - 1]))
        if position < length and not taken["is_last"][-1]:
            stream.extend(_as_end(shards, shards.read(lane, position, position + 1)), lane)
    progress.stop()


def _as_end(shards: Stream, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a row (1, ...) as the last one of its episode, without an action."""
    null = shards.schema.null_action
    return {
        **row,
        "action": np.broadcast_to(null, row["action"].shape).astype(row["action"].dtype),
        "reward": np.zeros_like(row["reward"]),
        **{name: np.zeros(1, bool) for name in ("terminated", "truncated", "valid", "is_first")},
        "is_last": np.ones(1, bool),
    }


def remove_shards(folder: Path) -> None:
    """Remove the shards of a run, whose steps are in its stream."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
