"""Collecting a stream: run a policy in a vector env and record every step."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError
from robossl.core.interfaces import LearningPolicy, Policy, ProgressReporter
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.training import agent_loading, output_dirs
from robossl.training.config import thread_count
from robossl.training.requests import CollectRequest
from robossl.training.work_context import interrupt_message, torch_threads


def collect_stream(request: CollectRequest, progress: ProgressReporter) -> Stream:
    """Record a stream as requested; a vector env in the request stays open."""
    policy, seed = request.policy, request.seed
    if isinstance(policy, str) and not Path(policy).is_dir():
        registry.policy(policy)  # raises for an unknown name before any work
    with ExitStack() as stack:
        if isinstance(request.envs, str):
            name = canonical_id(request.envs)
            registry.trust_env(request.envs)
            envs = registry.make_envs(
                request.envs, request.num_envs, threads=thread_count(request.threads), pixels=request.pixels
            )
            stack.callback(envs.close)
        else:
            name, envs = registry.env_name(request.envs), request.envs
        label = policy if isinstance(policy, str) else type(policy).__name__
        settings = {
            "env": name,
            "policy": label,
            "steps": request.steps,
            "num_envs": envs.num_envs,
            "seed": seed,
        }
        policy_object = _make_policy(policy, envs, seed)
        with output_dirs.output_dir(request.out, f"streams/{output_dirs.slug(name)}") as folder:
            recorder = Recorder.create(envs, folder, policy=label, seed=seed)
            try:
                attach(policy_object, recorder, request.steps, "auto", progress)
            except UsageError:
                recorder.finish()
                raise
            stack.callback(recorder.finish)
            output_dirs.write_manifest(folder, "stream", settings, **settings)
        progress.start("collect", request.steps, "steps")
        stack.callback(progress.stop)
        with torch_threads(request.threads), interrupt_message(f"the recorded steps are in {folder}"):
            collect_steps(recorder, policy_object, request.steps, seed, progress)
    return Stream.open(folder)


def attach(
    policy: Policy, recorder: Recorder, num_steps: int, device: str, progress: ProgressReporter
) -> None:
    """Let a policy that learns use the stream of `recorder`; no effect on other policies."""
    if isinstance(policy, LearningPolicy):
        policy.attach(recorder.stream, num_steps, device, progress)


def _make_policy(policy: str | Policy, envs: VectorEnv, seed: int) -> Policy:
    if not isinstance(policy, str):
        return policy
    if Path(policy).is_dir():
        return agent_loading.load(policy, envs)
    return registry.policy(policy)(envs.single_action_space, envs.num_envs, seed=seed)
