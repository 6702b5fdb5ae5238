"""Training an agent in an env, and writing it to a folder."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gymnasium.vector import AutoresetMode

from robossl import registry
from robossl.core.agent_observation import row_name
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, OfflineAgent, ProgressReporter
from robossl.core.io import check_writable
from robossl.logging.logger import Logger, ScopedLogger
from robossl.logging.sinks.base import RunInfo
from robossl.logging.throughput import ThroughputProgress
from robossl.streams import Recorder, Stream
from robossl.training import agent_loading, agent_streams, output_dirs
from robossl.training.agent_runner import AgentRunner
from robossl.training.agent_settings import accepted_settings, check_settings
from robossl.training.config import thread_count
from robossl.training.episode_metrics import episode_metrics
from robossl.training.metric_sinks import load_sinks
from robossl.training.requests import TrainRequest
from robossl.training.work_context import interrupt_message, torch_threads


@dataclass(frozen=True)
class TrainResult:
    """A trained agent and the folder it was written to."""

    agent: Agent
    folder: Path


def train_agent(request: TrainRequest, progress: ProgressReporter) -> TrainResult:
    """Train an agent as requested; its steps are recorded in the stream `stream` of its folder.

    With a recorded stream, the agent first learns from that, without env steps.
    """
    sinks = load_sinks(request.log)
    if request.export_sb3 is not None:
        check_writable(request.export_sb3)
    env, seed, encoder = canonical_id(registry.trust_env(request.env)), request.seed, request.resolved_encoder
    with ExitStack() as stack:
        envs = registry.make_envs(
            env,
            request.num_envs,
            threads=thread_count(request.threads),
            pixels=request.pixels,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        stack.callback(envs.close)
        name = agent_loading.resolve_agent(request.agent, envs.single_action_space)
        check_settings(name, request.settings, encoder)
        representation = agent_loading.resolve_representation(encoder, request.representation, envs, seed)
        stream = agent_streams.open_stream(name, request.stream, envs)
        settings = _settings(request, env, name)
        folder = stack.enter_context(output_dirs.output_dir(request.out, f"agents/{output_dirs.slug(env)}"))
        stack.enter_context(torch_threads(request.threads))
        recorder = Recorder.create(envs, folder / "stream", policy=name, seed=seed)
        stack.callback(recorder.finish)
        runner = AgentRunner(
            name, recorder, seed, representation, device=request.device, stream=stream,
            **accepted_settings(name, {"encoder": encoder}, request.settings),
        )  # fmt: skip
        updates = _offline_updates(request, name, runner.agent, stream)
        if request.export_sb3 is not None and not hasattr(runner.agent, "export_zip"):
            raise UsageError(f"expected an SB3 agent for --export-sb3, got {name}")
        output_dirs.write_manifest(
            folder, "agent", settings, env=env, agent=name, seed=seed, steps=request.steps, encoder=encoder,
            row=row_name(encoder, envs.single_observation_space, request.settings.get("observe")),
            **({} if stream is None else {"offline_stream": str(stream.path.resolve()), "offline_updates": updates}),
        )  # fmt: skip
        logger = stack.enter_context(Logger(RunInfo(folder, settings), sinks, progress.message))
        try:
            with interrupt_message(f"the agent so far is in {folder}"):
                if updates:
                    progress.start(f"train {name} on the stream", updates, "updates")
                    runner.agent.learn_offline(updates, progress, ScopedLogger(logger, "offline"))  # type: ignore[attr-defined]
                    progress.stop()
                if request.steps:
                    progress.start(f"train {name}", request.steps, "steps")
                    throughput = ThroughputProgress(progress, logger)
                    runner.learn(request.steps, throughput, ScopedLogger(logger, "agent"), request.callbacks)
                    throughput.log()
            assert recorder.stream is not None
            logger.scalars(request.steps, episode_metrics(recorder.stream, "agent", range(request.num_envs)))
        finally:
            progress.stop()
            recorder.finish()
            runner.save(folder / "agent")
    if request.export_sb3 is not None:
        runner.agent.export_zip(request.export_sb3)  # type: ignore[attr-defined]
    return TrainResult(runner.agent, folder)


def _offline_updates(request: TrainRequest, name: str, agent: Agent, stream: Stream | None) -> int:
    """Return the updates on the stream before the first env step; raise UsageError if the agent has none."""
    if stream is None:
        return 0
    if isinstance(agent, OfflineAgent):
        return agent_streams.offline_updates(name, request.offline_updates)
    if request.steps == 0 or request.offline_updates:
        raise UsageError(
            f"{name} learns from env steps, also with a stream; give --steps and no --offline-updates"
        )
    return 0


def _settings(request: TrainRequest, env: str, agent: str) -> dict[str, object]:
    """Return what reproduces the training, for config.toml."""
    representation = request.representation
    text = str(representation) if isinstance(representation, (str, Path)) else "a model in memory"
    stream = request.stream.path if isinstance(request.stream, Stream) else request.stream
    return {
        "env": env,
        "seed": request.seed,
        "steps": request.steps,
        "threads": request.threads,
        "device": request.device,
        "pixels": request.pixels,
        "log": list(request.log),
        "representation": None if representation is None else text,
        **({} if stream is None else {"stream": str(stream), "offline_updates": request.offline_updates}),
        "agent": {
            "name": agent,
            "num_envs": request.num_envs,
            "encoder": request.resolved_encoder,
            "settings": dict(request.settings),
        },
    }
