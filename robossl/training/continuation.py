"""Continuing a recording: finish one that was interrupted, extend it, or append new episodes to a stream."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from robossl import registry
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import ProgressReporter
from robossl.core.limits import check_disk
from robossl.core.seeding import derive
from robossl.core.simulation_backends import DEFAULT
from robossl.streams import Recorder, Stream
from robossl.streams.shards import is_shards
from robossl.training import output_dirs, provenance
from robossl.training.checkpoints import Checkpoints
from robossl.training.collect_loop import CollectLoop
from robossl.training.collection import Collection, attach, make_policy, provenance_of
from robossl.training.extension import Steps, new_total
from robossl.training.recorded_envs import backend_arguments, make_recorder
from robossl.training.shard_collection import resume_shards


def resume_collection(
    folder: str | Path, progress: ProgressReporter, steps: Steps | None = None, accept_changes: bool = False
) -> Stream:
    """Finish an interrupted recording, or extend one; both give the stream of an uninterrupted one.

    Args:
        folder: Folder of the stream.
        progress: Receives the steps.
        steps: New total of env steps, or "+N" for N more; None: as many as were requested.
        accept_changes: Go on although what decides the recording has changed.

    Raises:
        UsageError: The stream was not recorded by `collect`, has these steps already, or has changed.
    """
    folder = Path(folder)
    output_dirs.read_manifest(folder, "stream")
    if is_shards(folder):
        return resume_shards(folder, progress, steps, accept_changes)
    with output_dirs.lock(folder):
        saved = Checkpoints(folder / "checkpoints", progress.message).latest()
        if saved is None:
            raise UsageError(
                f"{folder}: expected a stream that `robossl collect` recorded, got one without checkpoints; to add new "
                f"episodes: robossl collect ENV --append {shell_path(folder)}"
            )
        settings, loop_tree = dict(saved["settings"]), saved["loop"]
        settings["steps"] = new_total(settings["steps"], steps, "steps")
        registry.check_recorded_env(settings["env"], folder)
        origin = saved["provenance"]
        if origin is None:
            raise UsageError(
                f"{folder}: expected an env that can be made again, got {settings['env']}, an object"
            )
        threads = origin["threads"]
        with closing(
            registry.make_envs(
                settings["env"],
                settings["num_envs"],
                threads=threads,
                pixels=settings["pixels"],
                **backend_arguments(settings.get("backend", DEFAULT), settings.get("device", "auto")),
            )
        ) as envs:
            now = provenance_of(settings, envs)
            assert now is not None
            origin["config"]["steps"] = now["config"]["steps"]  # may change
            command = f"robossl collect --resume {shell_path(folder)}"
            for line in provenance.check_changes(origin, now, command, accept_changes):
                progress.message(f"{folder} {line}")
            stream = Stream.open(folder)
            check_disk(folder, max(settings["steps"] - stream.transitions, 0), stream.schema.row_bytes)
            _truncate(stream, loop_tree, folder)
            recorder = make_recorder(
                envs, settings.get("record_envs", 0), lambda made: Recorder(made, stream)
            )
            policy = make_policy(settings["policy"], envs, settings["seed"])
            attach(policy, recorder, settings["steps"], "auto", progress)
            loop = CollectLoop(recorder, policy, settings["seed"])
            if (reason := loop.set_checkpoint(loop_tree)) is not None:
                progress.message(f"the recording goes on with new episodes: {reason}")
            if loop.num_steps >= settings["steps"] and steps is not None:
                raise UsageError(
                    f"steps: expected more than the {loop.num_steps:,} env steps that {folder} has, or +N for N more, "
                    f"got {steps}"
                )
            _record(Collection(folder, settings, provenance.resumed(origin, now)), loop, recorder, progress)
    return Stream.open(folder)


def append_episodes(
    folder: str | Path,
    progress: ProgressReporter,
    steps: int,
    env: str | None = None,
    policy: str | None = None,
    seed: int | None = None,
    threads: int = 0,
) -> Stream:
    """Record more steps into a stream.

    Without env, policy and seed, the recording that the stream is of goes on exactly where it ended. With one of them,
    or in a stream of another origin, new episodes are appended.

    Args:
        folder: Folder of the stream.
        progress: Receives the steps.
        steps: Env steps to append, summed over the sub-environments.
        env: Env of the new episodes; None: that of the stream.
        policy: Policy of the new episodes; None: that of the stream, or colored noise.
        seed: Seed of the new episodes; None: 0.
        threads: CPU threads; 0: all cores, at most 8.

    Raises:
        UsageError: The env does not fit the stream, or the policy is unknown.
    """
    folder = Path(folder)
    if is_shards(folder):
        if env is None and policy is None and seed is None:
            return resume_shards(folder, progress, f"+{steps}")
        raise UsageError(
            f"expected one stream to append other episodes to, got the shards of {folder}; record a stream of its own"
        )
    stream = Stream.open(folder)
    has_checkpoint = Checkpoints.exist(folder / "checkpoints")
    if env is None and policy is None and seed is None and has_checkpoint:
        return resume_collection(folder, progress, f"+{steps}")
    name = env or registry.check_recorded_env(
        output_dirs.recorded_env(folder) or stream.header.get("env"), folder
    )
    label = policy or "colored_noise"
    if not Path(label).is_dir():
        registry.policy(label)
    kwargs = stream.header.get("env_kwargs") or {}
    pixels = (kwargs.get("pixels") or [0])[0] if env is None else 0
    with (
        output_dirs.lock(folder),
        closing(
            registry.make_envs(name, stream.lanes, threads=provenance.thread_count(threads), pixels=pixels)
        ) as envs,
    ):
        part = derive(seed or 0, "append", stream.rows)
        stream.acquire()
        recorder = Recorder(envs, stream)
        maker = make_policy(label, envs, part)
        attach(maker, recorder, steps, "auto", progress)
        settings = {
            "env": name, "policy": label, "steps": steps, "num_envs": stream.lanes, "seed": part, "threads": threads,
            "pixels": pixels,
        }  # fmt: skip
        collection = Collection(folder, settings, provenance_of(settings, envs))
        loop = CollectLoop(recorder, maker, part)
        collection.save(loop.get_checkpoint())
        _record(collection, loop, recorder, progress)
    return Stream.open(folder)


def _record(
    collection: Collection, loop: CollectLoop, recorder: Recorder, progress: ProgressReporter
) -> None:
    """Record, and write the manifest with what the stream is of now."""
    folder, settings = collection.folder, collection.settings
    try:
        output_dirs.write_manifest(folder, "stream", settings, **settings)
        collection.record(loop, progress)
    finally:
        recorder.finish()


def _truncate(stream: Stream, tree: dict[str, Any], folder: Path) -> None:
    """Return a stream to the checkpoint of its recording; UsageError if other rows follow a finished one."""
    offset, loop = tree["stream"], tree["loop"]
    finished = loop["num_steps"] > 0 and loop["num_steps"] >= loop["requested_steps"]
    if (
        finished and (stream.lengths - np.asarray(offset["rows"]) > 1).any()
    ):  # more than the end of its episodes
        raise UsageError(
            f"{folder}: expected a stream that ends with its recording, got one with more rows; to add new episodes: "
            f"robossl collect --append {shell_path(folder)} --seed N"
        )
    stream.truncate(offset)
