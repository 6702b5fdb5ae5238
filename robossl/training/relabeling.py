"""Relabeling a stream: write it again with the reward of another task of the robot, or of a function."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.interfaces import ProgressReporter
from robossl.core.io import new_folder
from robossl.streams import Stream
from robossl.streams.relabel import Labels, RelabelSummary, RewardLabels, relabel_stream
from robossl.streams.task_labels import TaskLabels
from robossl.training import output_dirs
from robossl.training.config import thread_count
from robossl.training.requests import RelabelRequest

_BLOCK_ROWS = 1024  # rows that a task labels at once: sub-environments of its env


def relabel_recorded(request: RelabelRequest, progress: ProgressReporter) -> tuple[Stream, RelabelSummary]:
    """Write a stream with new labels as requested, and return it; the recorded stream is not changed.

    The folder appears when it is complete: after a failure there is none.
    """
    stream = request.stream if isinstance(request.stream, Stream) else Stream.open(request.stream)
    recorded = output_dirs.recorded_env(stream.path) or stream.header.get("env")
    task = None if request.task is None else canonical_id(registry.trust_env(request.task))
    with ExitStack() as stack:
        labels: Labels
        if task is None:
            assert request.reward is not None
            labels = RewardLabels(stream, request.reward)
        else:
            registry.env_spec(task)
            threads = thread_count(request.threads)
            envs = registry.make_envs(task, min(_BLOCK_ROWS, max(stream.rows, 2)), threads=threads)
            stack.callback(envs.close)
            labels = TaskLabels(stream, envs, request.seed)
        name = str(task or recorded)
        out = request.out
        if out is None:
            out = output_dirs.free_path(f"streams/{output_dirs.slug(name)}")
        settings: dict[str, Any] = {
            "env": name,
            "stream": str(stream.path),
            "task": task,
            "reward": labels.metadata["relabeled"]["reward"],
            "seed": request.seed,
        }
        with new_folder(out) as folder:
            progress.start("relabel", stream.rows, "rows")
            stack.callback(progress.stop)
            summary = relabel_stream(stream, folder, labels, progress)
            policy = stream.header.get("policy")
            entries = {"env": name, "policy": policy, "relabeled_from": str(stream.path.resolve())}
            output_dirs.write_manifest(folder, "stream", settings, **entries)
    return Stream.open(Path(out)), summary
