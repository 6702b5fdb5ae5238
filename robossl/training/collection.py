"""Collecting a stream: run a policy in a vector env and record every step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import LearningPolicy, Policy, ProgressReporter
from robossl.core.limits import check_disk
from robossl.core.simulation_backends import DEFAULT
from robossl.streams import Recorder, Stream
from robossl.streams.env_metadata import schema_from_env
from robossl.training import agent_loading, output_dirs, provenance
from robossl.training.checkpoints import Checkpoints
from robossl.training.collect_loop import CollectLoop
from robossl.training.config import thread_count
from robossl.training.recorded_envs import backend_arguments, make_recorder
from robossl.training.requests import CollectRequest
from robossl.training.shard_collection import collect_shards
from robossl.training.work_context import interrupt_message, torch_threads

Report = Callable[[str], None]


def collect_stream(request: CollectRequest, progress: ProgressReporter) -> Stream:
    """Record a stream as requested; a vector env in the request stays open.

    Raises:
        KeyboardInterrupt: The recording was interrupted; `continuation.resume_collection` goes on with it.
    """
    if request.workers:
        return collect_shards(request, progress)
    policy, seed = request.policy, request.seed
    if isinstance(policy, str) and not Path(policy).is_dir():
        registry.policy(policy)  # raises for an unknown name before any work
    with ExitStack() as stack:
        if not isinstance(request.envs, VectorEnv):
            name = canonical_id(registry.name_of(request.envs, **request.arguments))
            envs = registry.make_envs(
                name,
                request.num_envs,
                threads=thread_count(request.threads),
                pixels=request.pixels,
                **backend_arguments(request.backend, request.device),
            )
            stack.callback(envs.close)
        else:
            name, envs = _name_of(request.envs), request.envs
        label = policy if isinstance(policy, str) else type(policy).__name__
        settings = {
            "env": name,
            "policy": label,
            "steps": request.steps,
            "num_envs": envs.num_envs,
            "seed": seed,
            "threads": request.threads,
            "pixels": request.pixels,
        }
        if request.record_envs:
            settings["record_envs"] = request.record_envs
        if request.backend != DEFAULT:
            settings |= {"backend": request.backend, "device": request.device}
        policy_object = make_policy(policy, envs, seed)
        default = f"streams/{output_dirs.slug(name)}"
        recorded = request.steps * (request.record_envs or envs.num_envs) // envs.num_envs
        check_disk(request.out or default, recorded, schema_from_env(envs).row_bytes)
        with output_dirs.output_dir(request.out, default) as folder:
            recorder = make_recorder(
                envs, request.record_envs, lambda made: Recorder.create(made, folder, policy=label, seed=seed)
            )
            try:
                attach(policy_object, recorder, request.steps, "auto", progress)
            except UsageError:
                recorder.finish()
                raise
            stack.callback(recorder.finish)
            collection = Collection(folder, settings, provenance_of(settings, envs))
            loop = CollectLoop(recorder, policy_object, seed)
            collection.save(loop.get_checkpoint())
            output_dirs.write_manifest(folder, "stream", settings, **settings)
            collection.record(loop, progress)
            recorder.finish()
    return Stream.open(folder)


class Collection:
    """A recording in a folder, with the checkpoints that it is resumed from."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        origin: dict[str, Any] | None,
        report: Report = lambda text: None,
    ) -> None:
        """Open a recording.

        Args:
            folder: Folder of the stream.
            settings: What is recorded: env, policy, steps, num_envs, seed, threads, pixels.
            origin: Its provenance; None for envs that only this process can make.
            report: Receives a line for each damaged checkpoint.
        """
        self.folder, self.settings, self.origin = folder, settings, origin
        self.checkpoints = Checkpoints(folder / "checkpoints", report)

    def save(self, loop: dict[str, Any]) -> None:
        """Write a checkpoint, with that of the loop."""
        self.checkpoints.save({"settings": self.settings, "provenance": self.origin, "loop": loop})

    def record(self, loop: CollectLoop, progress: ProgressReporter) -> None:
        """Record up to `settings["steps"]`, and keep the newest checkpoint."""
        total, threads = self.settings["steps"], self.settings["threads"]
        if self.origin is not None:
            threads = self.origin["threads"]
        command = f"robossl collect --resume {shell_path(self.folder)}"
        progress.start("collect", total, "steps")
        progress.update(loop.num_steps)
        try:
            with (
                torch_threads(threads),
                interrupt_message(f"the recorded steps are in {self.folder}; to go on: {command}"),
            ):
                loop.run(total, progress, self.save)
        finally:
            progress.stop()
        self.checkpoints.keep_newest()


def _name_of(envs: VectorEnv) -> str:
    """Return the name under which later commands make envs like these; their class, if they cannot be made again."""
    try:
        return registry.name_of(envs)
    except UsageError:
        return registry.env_name(envs)


def provenance_of(settings: dict[str, Any], envs: VectorEnv) -> dict[str, Any] | None:
    """Return what decides the recording; None for envs that only this process can make."""
    try:
        registry.env_spec(settings["env"])
    except UsageError:
        return None
    return provenance.provenance(settings, settings["env"], settings["threads"], "auto", envs)


def attach(
    policy: Policy, recorder: Recorder, num_steps: int, device: str, progress: ProgressReporter
) -> None:
    """Let a policy that learns use the stream of `recorder`; no effect on other policies."""
    if isinstance(policy, LearningPolicy):
        policy.attach(recorder.stream, num_steps, device, progress)


def make_policy(policy: str | Policy, envs: VectorEnv, seed: int) -> Policy:
    """Return a policy for envs: an object as it is, the policy of a folder, or one by name."""
    if not isinstance(policy, str):
        return policy
    if Path(policy).is_dir():
        return agent_loading.load(policy, envs)
    return registry.policy(policy)(envs.single_action_space, envs.num_envs, seed=seed)
