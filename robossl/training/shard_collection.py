"""Collecting with several workers: each records a shard, and `Shards` reads all of them as one stream."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.cells.actors import run_actors
from robossl.cells.work import Resources, Work
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import LearningPolicy, ProgressReporter
from robossl.core.limits import check_disk
from robossl.core.system_info import cores
from robossl.streams import Stream
from robossl.streams.env_metadata import schema_from_env
from robossl.streams.shards import read_shards, write_shards
from robossl.training import output_dirs, provenance
from robossl.training.config import LearnConfig
from robossl.training.extension import Steps, new_total
from robossl.training.requests import CollectRequest
from robossl.training.work_context import interrupt_message

COLLECTOR = "robossl.training.shard_collector:collector"
_BLOCK_STEPS = 16_384  # rough size of a block [steps of all sub-environments of a shard]


def collect_shards(request: CollectRequest, progress: ProgressReporter) -> Stream:
    """Record shards as requested, one for each worker.

    Raises:
        UsageError: The env is an object of this process, or the policy learns from the stream.
        KeyboardInterrupt: The recording was interrupted; `resume_shards` goes on with it.
    """
    if isinstance(request.envs, VectorEnv):
        raise UsageError(
            "workers: expected the name of an env, of which each worker makes its own, got a "
            f"{type(request.envs).__name__}"
        )
    name = canonical_id(registry.name_of(request.envs, **request.arguments))
    if request.backend != CollectRequest.backend or request.record_envs:
        raise UsageError(
            "workers: expected no backend or record_envs beside them: each worker has its own envs"
        )
    settings = shard_settings(
        name, request.policy, request.steps, request.workers, request.num_envs, request.seed,
        request.threads, request.pixels, request.engine,
    )  # fmt: skip
    with closing(registry.make_envs(name, 1, pixels=request.pixels)) as envs:
        origin = provenance.provenance(settings, name, settings["threads"], "auto", envs)
        row_bytes = schema_from_env(envs).row_bytes
    default = f"streams/{output_dirs.slug(name)}"
    check_disk(request.out or default, request.steps, row_bytes)
    with output_dirs.output_dir(request.out, default) as folder:
        content = {**settings, "provenance": origin}
        write_shards(folder, request.workers, content)
        output_dirs.write_manifest(folder, "stream", settings, **settings)
        record_shards(folder, settings, progress)
    return Stream.open(folder)


def shard_settings(
    env: str,
    policy: Any,
    steps: int,
    workers: int,
    num_envs: int,
    seed: int,
    threads: int,
    pixels: int,
    engine: str,
) -> dict[str, Any]:
    """Return the settings of a recording with several workers, after checking them.

    Args:
        env: Name of the env.
        policy: Name of the policy.
        steps: Env steps of all sub-environments; there will be a few more, since all episodes are whole.
        workers: Number of shards.
        num_envs: Sub-environments of all shards.
        seed: Of the envs and the policies.
        threads: CPU threads of each worker; 0: its share of the cores.
        pixels: Edge of image observations.
        engine: local or ray.
    """
    if not isinstance(policy, str) or Path(policy).is_dir():
        raise UsageError(f"policy: expected the name of a policy with workers, got {policy!r:.100}")
    if num_envs < workers:
        raise UsageError(
            f"workers: expected at most one for each of the {num_envs} sub-environments, got {workers}"
        )
    if not is_installed(env):
        raise UsageError(
            f"env: expected one that other processes can make, got {env}, which this process registered; give it as "
            "package:id"
        )
    threads = threads or (max(min(cores() // workers, 8), 1) if engine == "local" else 1)
    Resources(engine, workers, threads)
    make_policy = registry.policy(policy)
    with closing(registry.make_envs(env, 1, pixels=pixels)) as envs:
        if isinstance(make_policy(envs.single_action_space, 1, seed=0), LearningPolicy):
            raise UsageError(
                f"policy: expected one that does not learn with workers, got {policy}, which learns from the whole "
                "stream"
            )
    per_lane = -(-steps // num_envs)
    blocks = max(round(per_lane * (num_envs / workers) / _BLOCK_STEPS), 1)
    return {
        "env": env, "policy": policy, "steps": steps, "workers": workers, "num_envs": num_envs, "seed": seed,
        "threads": threads, "pixels": pixels, "engine": engine, "block_steps": -(-per_lane // blocks),
    }  # fmt: skip


def shard_settings_of(config: LearnConfig, seed: int) -> dict[str, Any]:
    """Return the settings of the shards of a run with `explore.workers`, after checking them; `seed` explores."""
    explore = config.explore
    return shard_settings(
        config.env, explore.policy, config.explore_steps, explore.workers, explore.num_envs, seed, 0,
        config.pixels, explore.engine,
    )  # fmt: skip


def is_installed(env: str) -> bool:
    """Return whether every process knows an env: it has the name of its package, or is of robossl or Gymnasium."""
    entry_point = registry.env_spec(env).entry_point
    return ":" in env or str(entry_point).split(".")[0] in ("robossl", "gymnasium")


def record_shards(folder: Path, settings: Mapping[str, Any], progress: ProgressReporter) -> None:
    """Record all shards up to the steps of the settings; blocks that are there already are kept."""
    workers, num_envs = settings["workers"], settings["num_envs"]
    blocks = -(-settings["steps"] // (num_envs * settings["block_steps"]))
    shared = {name: settings[name] for name in ("env", "policy", "seed", "threads", "pixels", "block_steps")}
    shared |= {
        "folder": str(folder.resolve()),
        "trusted": [settings["env"]] if ":" in settings["env"] else [],
    }
    works = [
        Work(
            COLLECTOR,
            {**shared, "shard": shard, "num_envs": num_envs // workers + (shard < num_envs % workers)},
        )
        for shard in range(workers)
    ]
    steps = [0] * workers

    def next_job(shard: int, answer: dict[str, Any] | None) -> dict[str, Any] | None:
        if answer is not None:
            progress.update(answer["steps"] - steps[shard])
            steps[shard] = answer["steps"]
            if answer["blocks"] >= blocks:
                return None
        return {"blocks": blocks}

    def died(shard: int, how: str) -> None:
        progress.message(f"collector {shard} has died ({how}); a new one goes on after its last block")

    progress.start("collect", settings["steps"], "steps")
    command = f"robossl collect --resume {shell_path(folder)}"
    try:
        with interrupt_message(f"the recorded blocks are in {folder}; to go on: {command}"):
            run_actors(works, Resources(settings["engine"], workers, settings["threads"]), next_job, died)
    finally:
        progress.stop()


def resume_shards(
    folder: Path, progress: ProgressReporter, steps: Steps | None = None, accept_changes: bool = False
) -> Stream:
    """Finish an interrupted recording, or extend one; both give the shards of an uninterrupted one.

    Args:
        folder: Folder of the shards.
        progress: Receives the env steps.
        steps: New total of env steps, or "+N" for N more; None: as many as were requested.
        accept_changes: Go on although what decides the recording has changed.
    """
    output_dirs.read_manifest(folder, "stream")
    with output_dirs.lock(folder):
        count, content = read_shards(folder)
        origin = content.pop("provenance")
        registry.check_recorded_env(content["env"], folder)
        settings = {**content, "steps": new_total(content["steps"], steps, "steps")}
        if steps is not None and settings["steps"] <= content["steps"]:
            raise UsageError(
                f"steps: expected more than the {content['steps']:,} env steps of {folder}, or +N for N more, "
                f"got {steps}"
            )
        with closing(registry.make_envs(content["env"], 1, pixels=content["pixels"])) as envs:
            now = provenance.provenance(content, content["env"], content["threads"], "auto", envs)
        command = f"robossl collect --resume {shell_path(folder)}"
        for line in provenance.check_changes(origin, now, command, accept_changes):
            progress.message(f"{folder} {line}")
        write_shards(folder, count, {**settings, "provenance": provenance.resumed(origin, now)})
        output_dirs.write_manifest(folder, "stream", settings, **settings)
        record_shards(folder, settings, progress)
    return Stream.open(folder)
