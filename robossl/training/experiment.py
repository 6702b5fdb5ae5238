"""A run of `robossl learn`: its folder, config, state, checkpoints, metrics, streams, world model and agents."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import OperationError, shell_path
from robossl.core.interfaces import Agent, ProgressReporter
from robossl.core.seeding import derive
from robossl.evaluation.context import EVALUATION_SEED, EvaluationContext
from robossl.logging.logger import Logger
from robossl.logging.sinks.base import RunInfo
from robossl.streams import LaneView, Stream, validate_stream
from robossl.training import config_io
from robossl.training.agent_loading import load
from robossl.training.agent_rows import AGENT, STREAM
from robossl.training.agent_runner import AgentRunner
from robossl.training.checkpoints import Checkpoints
from robossl.training.config import LearnConfig
from robossl.training.metric_sinks import load_sinks
from robossl.training.state import RunState
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.model_files import load_arrays_strict

_CHECKPOINT_INTERVAL = 20.0  # [s] between checkpoints inside a phase

MODEL = "model"  # folder of the model that was trained on exploration only; the numbers of the report are its
LATEST_MODEL = "latest-model"  # folder of the model that was also trained on the steps of the agent


class Experiment:
    """One run of `robossl learn`.

    The newest checkpoint holds everything that determines the rest of the run: the state, the world model, its
    trainer and the agents. Time steps of a stream beyond the offset in the checkpoint are recorded again.
    """

    def __init__(
        self,
        folder: Path,
        config: LearnConfig,
        progress: ProgressReporter,
        checkpoints: Checkpoints,
        loaded: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        """Open a run; `opening.create_run` and `opening.resume_run` call this.

        Args:
            folder: Folder of the run, whose lock is held.
            config: Its config.
            progress: Receives the progress.
            checkpoints: Checkpoints of the run.
            loaded: The newest of them; empty for a new run.
            provenance: What decides the result, see `provenance.py`.
        """
        self.folder, self.config, self.progress = folder, config, progress
        self.checkpoints, self.loaded, self.provenance = checkpoints, loaded, provenance
        self.state = RunState.from_tree(self.loaded["state"]) if self.loaded else RunState()
        self.runners: dict[str, AgentRunner] = {}
        self.logger = Logger(
            RunInfo(folder, config_io.to_dict(config), self.state.metrics_step),
            load_sinks(config.log),
            progress.message,
            self.state.metrics_offset,
        )
        self._streams: dict[str, Stream] = {}
        self._trainer: WorldModelTrainer | None = None
        self._model: WorldModel | None = None
        self._acting_model: WorldModel | None = None
        self._last_save = time.monotonic()
        self.exit_stack = ExitStack()  # of what is closed with the run

    def set_missing(self, key: str, reason: str) -> None:
        """Record why the report will not have `key`."""
        self.state.missing[key] = reason

    def seed(self, *names: str | int) -> int:
        """Return the seed of this run for one purpose."""
        return derive(self.config.seed, *names)

    @property
    def threads(self) -> int:
        """CPU threads for physics and networks: as many as at the start of the run."""
        return int(self.provenance["threads"])

    @property
    def evaluation_seed(self) -> int:
        """Seed of the held-out episodes."""
        return EVALUATION_SEED + self.config.seed

    @property
    def env_steps(self) -> int:
        """Environment steps up to the last completed iteration: the axis of the metrics."""
        return self.config.explore_steps + self.state.iteration * self.config.iteration_steps

    @property
    def iteration_name(self) -> str:
        """Name of the running iteration, for progress: "iteration 2 of 4"."""
        count = "" if self.config.unlimited else f" of {int(self.config.num_iterations)}"
        return f"iteration {self.state.iteration + 1}{count}"

    # --- streams

    def stream(self, name: str = STREAM) -> Stream:
        """Return a stream of the run, cut back to the newest checkpoint.

        Raises:
            OperationError: A chunk is damaged; the message has the command that repairs the stream.
        """
        if name not in self._streams:
            self._streams[name] = stream = Stream.open(self.folder / name)
            stream.truncate(self.state.stream_offsets[name])
            for damage in validate_stream(stream.path)["damaged"]:
                raise OperationError(
                    f"{stream.path} is damaged: {damage['reason']}; to set the chunk aside and keep the rest: "
                    f"robossl stream validate --repair {shell_path(stream.path)}"
                )
        return self._streams[name]

    def register_stream(self, name: str, stream: Stream | None) -> None:
        """Add a new stream to the run."""
        assert stream is not None
        self._streams[name] = stream
        self.record_offset(name)

    def record_offset(self, name: str) -> None:
        """Commit a stream; the next checkpoint includes all of its time steps."""
        self._streams[name].commit()
        self.state.stream_offsets[name] = self._streams[name].offset()

    @cached_property
    def explored(self) -> LaneView:
        """The steps of the exploration policy, without those of agents."""
        self.stream()  # cut back first: a view opened before would miss the chunks that this removes
        return LaneView(self.folder / STREAM, 0, self.config.explore.lanes)

    @property
    def acted(self) -> LaneView:
        """The steps of the agent, without those of the exploration policy."""
        self.stream()
        lanes = self.config.explore.lanes
        return LaneView(self.folder / STREAM, lanes, lanes + self.config.agent.num_envs)

    # --- world model and agents

    @property
    def model(self) -> WorldModel:
        """The world model that was trained on exploration only, with its goal heads."""
        if self._model is None:
            self._model = WorldModel.load(self.folder / MODEL, self.config.device).frozen_copy()
        return self._model

    @property
    def trainer(self) -> WorldModelTrainer:
        """The trainer of the world model, as in the newest checkpoint."""
        if self._trainer is None:
            stream = self.stream()
            model = WorldModel(
                self.config.world_model, stream.observation_space, stream.action_space, self.seed("world")
            )
            self._trainer = WorldModelTrainer(model, stream, self.seed("learner"), device=self.config.device)
            if "world_model" in self.loaded:
                self._trainer.set_checkpoint(self.loaded["world_model"])
        return self._trainer

    @property
    def acting_model(self) -> WorldModel:
        """The version of the world model that the agents act on: older than the newest until the next iteration."""
        if self._acting_model is None and "acting_model" in self.loaded:
            saved = self.loaded["acting_model"]
            model = self.trainer.ema_model.frozen_copy()
            load_arrays_strict(
                model, {k: np.asarray(v) for k, v in saved["weights"].items()}, "the checkpoint"
            )
            model.version, model.metadata = int(saved["version"]), dict(saved["metadata"])
            self._acting_model = model
        return self.model if self._acting_model is None else self._acting_model

    @acting_model.setter
    def acting_model(self, model: WorldModel) -> None:
        self._acting_model = model

    def agent(self) -> Agent | None:
        """Return the agent, from memory or from its folder; None if none was trained."""
        if AGENT in self.runners:
            return self.runners[AGENT].agent
        if not (self.folder / AGENT).is_dir():
            return None
        return load(self.folder, self.make_envs(1))

    def make_envs(self, num_envs: int, **settings: Any) -> VectorEnv:
        """Make environments that are closed with the run."""
        settings = {"pixels": self.config.pixels, **settings}
        envs = registry.make_envs(self.config.env, num_envs, threads=self.threads, **settings)
        self.exit_stack.callback(envs.close)
        return envs

    def evaluation_context(self) -> EvaluationContext:
        """Return the context of the report; sections computed with it are part of the state of the run."""
        config = self.config
        return EvaluationContext(
            env=config.env,
            seed=config.seed,
            model=self.model,
            stream=self.explored,
            updates=int(self.model.metadata["updates"]),
            episodes=config.evaluate.episodes,
            goal_horizons=config.goals.horizons,
            goal_trials=config.goals.trials,
            reward_free_control=config.goals.control,
            videos=config.evaluate.videos,
            threads=self.threads,
            device=str(self.model.device),
            config=config_io.to_toml(config),
            folder=self.folder,
            progress=self.progress,
            results=self.state.sections,
            missing=self.state.missing,
            seconds=self.state.seconds,
        )

    # --- checkpoints

    @contextmanager
    def preserved_agents(self) -> Iterator[None]:
        """Restore the agents at the end of a `with` block: an evaluation must not change what they do later."""
        saved = {name: runner.agent.get_checkpoint() for name, runner in self.runners.items()}
        try:
            yield
        finally:
            for name, tree in saved.items():
                self.runners[name].agent.set_checkpoint(tree)

    def save(self, **more: Any) -> None:
        """Write a checkpoint; `more` are further entries of its tree."""
        self.state.metrics_offset, self.state.metrics_step = self.logger.offset(), self.logger.last_step
        for sink, reason in self.logger.failures.items():
            self.set_missing(f"metrics.{sink}", reason)
        tree: dict[str, Any] = {**self.loaded, "state": self.state.to_tree()}  # parts not loaded yet are kept
        tree |= {
            "config": config_io.to_toml(self.config),
            "previous_config": None,
            "provenance": self.provenance,
            **more,
        }
        if self._trainer is not None:
            tree["world_model"] = self._trainer.get_checkpoint()
        if self._acting_model is not None:
            model = self._acting_model
            weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
            tree["acting_model"] = {
                "weights": weights,
                "version": model.version,
                "metadata": dict(model.metadata),
            }
        if self.runners:
            tree["agents"] = {name: runner.get_checkpoint() for name, runner in self.runners.items()}
        self.checkpoints.save(tree)
        self._last_save = time.monotonic()

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is old; the results do not depend on when this happens."""
        if time.monotonic() - self._last_save > _CHECKPOINT_INTERVAL:
            self.save()

    def save_iteration_if_due(self) -> None:
        """Write a checkpoint inside an iteration if the last one is old; chunks begin and end where they would."""
        if time.monotonic() - self._last_save <= _CHECKPOINT_INTERVAL:
            return
        for name in self.state.stream_offsets:
            self.state.stream_offsets[name] = self.stream(name).offset(end_chunk=False)
        self.save()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the wall-clock time of a `with` block to `state.seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.state.seconds
            seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def close(self) -> None:
        """Close environments, streams and metric sinks; committed time steps stay."""
        with self.exit_stack:  # closes in reverse order
            self.exit_stack.callback(self.logger.close)
            for stream in self._streams.values():
                self.exit_stack.callback(stream.close)
            for runner in self.runners.values():
                self.exit_stack.callback(runner.close)
