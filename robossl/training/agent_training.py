"""Training an agent in an env, and writing it to a folder.

The folder has a checkpoint of agent and envs, from which an interrupted training is resumed and a finished one
extended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core import interrupts
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError, shell_path
from robossl.core.interfaces import Agent, OfflineAgent, ProgressReporter
from robossl.core.io import check_writable
from robossl.evaluation.control import time_limit_warning
from robossl.logging.logger import Logger, ScopedLogger
from robossl.logging.sinks.base import RunInfo
from robossl.logging.throughput import ThroughputProgress
from robossl.streams import Recorder, Stream
from robossl.training import agent_loading, agent_streams, output_dirs, provenance
from robossl.training.agent_rows import row_of_agent
from robossl.training.agent_runner import AgentRunner
from robossl.training.agent_settings import accepted_settings, check_settings
from robossl.training.checkpoints import Checkpoints
from robossl.training.config import thread_count
from robossl.training.config_io import dotted_keys
from robossl.training.episode_metrics import episode_metrics
from robossl.training.extension import Steps, new_total
from robossl.training.metric_sinks import load_sinks
from robossl.training.requests import TrainRequest
from robossl.training.work_context import interrupt_message, torch_threads

CHECKPOINT_INTERVAL = 20.0  # [s] between checkpoints, or more where one takes long
_SHARE = 0.05  # of the time may be spent on checkpoints
SLICE = 1000  # env steps, or updates on a stream, between two chances to write a checkpoint
_STREAM = "stream"  # of the env steps of the agent
_NOT_SAVED = ("env", "representation", "out", "callbacks", "stream", "export_sb3", "arguments")


@dataclass(frozen=True)
class TrainResult:
    """A trained agent and the folder it was written to."""

    agent: Agent
    folder: Path


def train_agent(request: TrainRequest, progress: ProgressReporter) -> TrainResult:
    """Train an agent as requested; its steps are recorded in the stream `stream` of its folder.

    With a recorded stream, the agent first learns from that, without env steps.
    """
    if request.export_sb3 is not None:
        check_writable(request.export_sb3)
    env = canonical_id(registry.name_of(request.env, **request.arguments))
    if warning := time_limit_warning(env):
        progress.message(warning)
    with ExitStack() as stack:
        envs = _make_envs(env, request, thread_count(request.threads))
        stack.callback(envs.close)
        parts = _Parts.of(request, env, envs)
        folder = stack.enter_context(output_dirs.output_dir(request.out, f"agents/{output_dirs.slug(env)}"))
        stack.enter_context(torch_threads(request.threads))
        recorder = Recorder.create(envs, folder / _STREAM, policy=parts.name, seed=request.seed)
        stack.callback(recorder.finish)
        training = _Training(folder, request, parts, recorder, progress)
        training.save()
        training.write_manifest()
        training.run()
    return training.result()


def resume_agent_training(
    folder: str | Path,
    progress: ProgressReporter,
    steps: Steps | None = None,
    accept_changes: bool = False,
) -> TrainResult:
    """Finish an interrupted training, or extend one; both give the agent of an uninterrupted one.

    Args:
        folder: Folder of the agent.
        progress: Receives the steps.
        steps: New total of env steps, or "+N" for N more; None: as many as were requested.
        accept_changes: Go on although what decides the result has changed.

    Raises:
        UsageError: The folder has no checkpoint, these steps are taken already, or what decides the result has changed.
    """
    folder = Path(folder)
    output_dirs.read_manifest(folder, "agent")
    with output_dirs.lock(folder), ExitStack() as stack:
        has_checkpoint = Checkpoints.exist(folder / "checkpoints")
        saved = Checkpoints(folder / "checkpoints", progress.message).latest() if has_checkpoint else None
        if saved is None:
            raise UsageError(
                f"{folder}: expected an agent that `robossl train` trained, got one without checkpoints"
            )
        env = registry.check_recorded_env(saved["env"], folder)
        if saved["in_memory"]:
            raise UsageError(
                f"{folder}: expected an agent on a model in a folder, got one on a model in memory"
            )
        request = TrainRequest(
            env, representation=saved["representation"], stream=saved["stream_path"], **saved["request"]
        )
        request = replace(request, steps=new_total(request.steps, steps, "steps"))
        if steps is not None and request.steps <= saved["done_steps"]:
            raise UsageError(
                f"steps: expected more than the {saved['done_steps']:,} env steps that {folder} has, or +N for N "
                f"more, got {steps}"
            )
        envs = _make_envs(env, request, saved["provenance"]["threads"])
        stack.callback(envs.close)
        parts = _Parts.of(request, env, envs)
        before = saved["provenance"]
        before["config"]["steps"] = parts.provenance["config"]["steps"]  # may change
        command = f"robossl train --resume {shell_path(folder)}"
        for line in provenance.check_changes(before, parts.provenance, command, accept_changes):
            progress.message(f"{folder} {line}")
        parts = replace(parts, provenance=provenance.resumed(before, parts.provenance))
        stack.enter_context(torch_threads(parts.provenance["threads"]))
        recorded = Stream.open(folder / _STREAM)
        recorded.truncate(saved["recorded"])
        recorder = Recorder(envs, recorded)
        stack.callback(recorder.finish)
        training = _Training(folder, request, parts, recorder, progress)
        training.restore(saved)
        training.save()
        training.run()
    return training.result()


def _make_envs(env: str, request: TrainRequest, threads: int) -> VectorEnv:
    return registry.make_envs(
        env, request.num_envs, threads=threads, pixels=request.pixels, autoreset_mode=AutoresetMode.DISABLED
    )


@dataclass(frozen=True)
class _Parts:
    """What an agent is made of."""

    env: str
    name: str  # of the agent
    representation: Any
    stream: Stream | None  # that it learns from
    settings: Mapping[str, Any]  # what reproduces the training, for config.toml
    provenance: dict[str, Any]

    @classmethod
    def of(cls, request: TrainRequest, env: str, envs: VectorEnv) -> _Parts:
        """Return the parts of a request, after checking them."""
        load_sinks(request.log)
        encoder = request.resolved_encoder
        name = agent_loading.resolve_agent(request.agent, envs.single_action_space)
        check_settings(name, request.settings, encoder)
        if encoder == "cotrain" and request.stream is None:
            raise UsageError(
                "encoder cotrain needs steps recorded before the agent, got none; give --stream STREAM"
            )
        representation = agent_loading.resolve_representation(
            encoder, request.representation, envs, request.seed
        )
        stream = agent_streams.open_stream(name, request.stream, envs)
        settings = _settings(request, env, name)
        origin = provenance.provenance(dotted_keys(settings), env, request.threads, request.device, envs)
        return cls(env, name, representation, stream, settings, origin)


class _Training:
    """A training in a folder, with the checkpoint that it is resumed from."""

    def __init__(
        self,
        folder: Path,
        request: TrainRequest,
        parts: _Parts,
        recorder: Recorder,
        progress: ProgressReporter,
    ) -> None:
        self.folder, self.request, self.parts, self.recorder = folder, request, parts, recorder
        self.progress, name = progress, parts.name
        self.checkpoints = Checkpoints(folder / "checkpoints", progress.message)
        self.runner = AgentRunner(
            name, recorder, request.seed, parts.representation, device=request.device, stream=parts.stream,
            **accepted_settings(name, {"encoder": request.resolved_encoder}, request.settings),
        )  # fmt: skip
        self.updates = _offline_updates(request, name, self.runner.agent, parts.stream)
        if request.export_sb3 is not None and not hasattr(self.runner.agent, "export_zip"):
            raise UsageError(f"expected an SB3 agent for --export-sb3, got {name}")
        self.done_updates = self.done_steps = 0
        self.counted: tuple[int, int] = (0, 0)  # of the throughput
        self.metrics_offset = 0
        self._due = time.monotonic() + CHECKPOINT_INTERVAL

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.runner.set_checkpoint(saved["runner"], self.progress)
        self.done_updates, self.done_steps = int(saved["done_updates"]), int(saved["done_steps"])
        self.counted = int(saved["counted"][0]), int(saved["counted"][1])
        self.metrics_offset = int(saved["metrics_offset"])

    def save(self) -> None:
        """Write a checkpoint."""
        request, stream, representation = self.request, self.request.stream, self.request.representation
        assert self.recorder.stream is not None
        self.checkpoints.save(
            {
                "request": {
                    entry.name: getattr(request, entry.name)
                    for entry in fields(request)
                    if entry.name not in _NOT_SAVED
                },
                "env": self.parts.env,
                "in_memory": not isinstance(representation, (str, Path, type(None))),
                "representation": None if representation is None else str(representation),
                "stream_path": None if stream is None else str(self._offline_path()),
                "provenance": self.parts.provenance,
                "recorded": self.recorder.stream.offset(end_chunk=False),
                "runner": self.runner.get_checkpoint(),
                "done_updates": self.done_updates,
                "done_steps": self.done_steps,
                "counted": self.counted,
                "metrics_offset": self.metrics_offset,
            }
        )

    def run(self) -> None:
        """Learn from the recorded stream and then in the envs; write the agent, also after Ctrl-C."""
        request, progress, name = self.request, self.progress, self.parts.name
        command = f"robossl train --resume {shell_path(self.folder)}"
        info = RunInfo(self.folder, dict(self.parts.settings))
        sinks = load_sinks(request.log)
        with Logger(info, sinks, progress.message, self.metrics_offset) as logger:
            try:
                with interrupt_message(f"the agent so far is in {self.folder}; to go on: {command}"):
                    if self.done_updates < self.updates:
                        progress.start(f"train {name} on the stream", self.updates, "updates")
                        progress.update(self.done_updates)
                        self._learn_offline(logger)
                        progress.stop()
                    if self.done_steps < request.steps:
                        progress.start(f"train {name}", request.steps, "steps")
                        progress.update(self.done_steps)
                        self._learn(logger)
                self._save(logger)
                assert self.recorder.stream is not None
                metrics = episode_metrics(self.recorder.stream, "agent", range(request.num_envs))
                logger.scalars(request.steps, metrics)
                self.checkpoints.keep_newest()
            finally:
                progress.stop()
                self.recorder.finish()
                self.runner.save(self.folder / "agent")
                self.write_manifest()

    def _learn_offline(self, logger: Logger) -> None:
        agent, scoped = self.runner.agent, ScopedLogger(logger, "offline")
        assert isinstance(agent, OfflineAgent)
        while self.done_updates < self.updates:
            count = min(SLICE, self.updates - self.done_updates)
            agent.learn_offline(count, self.progress, scoped)
            self.done_updates += count
            self._save_if_due(logger)

    def _learn(self, logger: Logger) -> None:
        request = self.request
        throughput = ThroughputProgress(self.progress, logger, 0, self.counted)
        while self.done_steps < request.steps:
            left = request.steps - self.done_steps
            count = left if request.callbacks else min(SLICE, left)  # callbacks see one call of `learn`
            self.runner.learn(count, throughput, ScopedLogger(logger, "agent"), request.callbacks)
            self.done_steps += count
            self.counted = throughput.counted
            self._save_if_due(logger)
        throughput.log()

    def _save_if_due(self, logger: Logger) -> None:
        interrupts.check()
        if time.monotonic() >= self._due:
            self._save(logger)

    def _save(self, logger: Logger) -> None:
        start = time.monotonic()
        self.metrics_offset = logger.offset()
        self.save()
        duration = time.monotonic() - start
        self._due = start + duration + max(CHECKPOINT_INTERVAL, duration / _SHARE)

    def _offline_path(self) -> Path:
        assert self.parts.stream is not None
        return self.parts.stream.path.resolve()

    def write_manifest(self) -> None:
        """Write the manifest: the training can be resumed from now on."""
        request, parts = self.request, self.parts
        encoder, space = request.resolved_encoder, self.recorder.single_observation_space
        offline = {} if parts.stream is None else {"offline_stream": str(self._offline_path())}
        output_dirs.write_manifest(
            self.folder, "agent", parts.settings, env=parts.env, agent=parts.name, seed=request.seed,
            steps=request.steps, encoder=encoder, row=row_of_agent(parts.name, encoder, space, request.settings),
            **offline, **({"offline_updates": self.updates} if offline else {}),
        )  # fmt: skip

    def result(self) -> TrainResult:
        """Return the agent; write SB3's own file if it was requested."""
        if self.request.export_sb3 is not None:
            self.runner.agent.export_zip(self.request.export_sb3)  # type: ignore[attr-defined]
        return TrainResult(self.runner.agent, self.folder)


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
