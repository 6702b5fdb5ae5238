"""A run: its folder, its settings, how far it is, and the checkpoints that let it go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robossl import registry
from robossl.core.errors import OperationError
from robossl.core.interfaces import ProgressReporter
from robossl.core.seeding import derive
from robossl.streams import Stream, validate_stream
from robossl.training import config_io
from robossl.training import output_dirs
from robossl.training.agent_loading import load
from robossl.training.checkpoints import Checkpoints
from robossl.training.config import LearnConfig, thread_count
from robossl.training.evaluation_steps import EVALUATION_SEED
from robossl.world_model import WorldModel, WorldModelTrainer

PHASES = ("explore", "pretrain", "goals", "act", "evaluate", "done")
_EVERY = 20.0  # [s] between checkpoints inside a phase


class Experiment:
    """One run of `robossl learn`.

    Everything that decides its future is in its newest checkpoint: the phase, the marks of its streams, the
    learner, the actors and the results so far. What a stream holds beyond its mark is lived again.
    """

    def __init__(self, folder: Path, config: LearnConfig, progress: ProgressReporter) -> None:
        self.folder = folder
        self.config = config
        self.progress = progress
        self.checkpoints = Checkpoints(folder / "checkpoints", progress.message)
        self.loaded: dict[str, Any] = self.checkpoints.latest() or {}
        self.state: dict[str, Any] = self.loaded.get(
            "state", {"phase": PHASES[0], "round": 0, "seconds": {}, "results": {}, "marks": {}}
        )
        self.actors: dict[str, Any] = {}
        self._streams: dict[str, Stream] = {}
        self._learner: WorldModelTrainer | None = None
        self._saved = time.monotonic()

    @classmethod
    def create(cls, config: LearnConfig, out: str | Path | None, progress: ProgressReporter) -> Experiment:
        """A new run in a folder of its own."""
        folder = output_dirs.create_output_dir(out, f"runs/{output_dirs.slug(config.env)}")
        output_dirs.write_manifest(folder, "run", config, env=config.env, seed=config.seed)
        return cls(folder, config, progress)

    @classmethod
    def resume(cls, folder: str | Path, progress: ProgressReporter) -> Experiment:
        """The run in a folder, where its newest whole checkpoint left it."""
        output_dirs.read_manifest(folder, "run")
        config = config_io.parse(
            LearnConfig, (f"{folder}/config.toml", config_io.from_toml(Path(folder) / "config.toml"))
        )
        return cls(Path(folder), config, progress)

    @property
    def phase(self) -> str:
        """Where the run is."""
        return self.state["phase"]

    @property
    def results(self) -> dict[str, Any]:
        """What was measured so far, by phase."""
        return self.state["results"]

    def absent(self, key: str, reason: str) -> None:
        """The report will not have `key`, for this reason."""
        self.results.setdefault("absent", {})[key] = reason

    def seed(self, *names: str | int) -> int:
        """A seed for one purpose of this run."""
        return derive(self.config.seed, *names)

    def stream(self, name: str = "stream") -> Stream:
        """A stream of the run, cut back to what the newest checkpoint knows; `WorkError` where it is damaged."""
        if name not in self._streams:
            self._streams[name] = stream = Stream.open(self.folder / name)
            stream.truncate(self.state["marks"][name])
            for damage in validate_stream(stream.path)["damaged"]:
                raise OperationError(
                    f"{stream.path} is damaged: {damage['reason']}; to set the chunk aside and keep the rest: "
                    f"robossl stream validate --repair {stream.path}"
                )
        return self._streams[name]

    def add_stream(self, name: str, stream: Stream | None) -> None:
        """A stream that has just been made belongs to the run from here on."""
        assert stream is not None
        self._streams[name] = stream
        self.mark(name)

    def mark(self, name: str) -> None:
        """What the stream holds now is part of the next checkpoint."""
        self._streams[name].commit()
        self.state["marks"][name] = self._streams[name].mark()

    @property
    def threads(self) -> int:
        """CPU threads for physics and networks."""
        return thread_count(self.config.threads)

    @property
    def evaluation_seed(self) -> int:
        """What the held-out episodes begin from."""
        return EVALUATION_SEED + self.config.seed

    def agent(self) -> Any | None:
        """The agent on the representation, live or from its folder; None where none was trained."""
        if "representation" in self.actors:
            return self.actors["representation"].agent
        if not (self.folder / "agent").is_dir():
            return None
        return load(self.folder, registry.make_envs(self.config.env, 1))

    @property
    def learner(self) -> WorldModelTrainer:
        """The world's learner, where the newest checkpoint left it."""
        if self._learner is None:
            stream = self.stream()
            model = WorldModel(
                self.config.world_model, stream.observation_space, stream.action_space, self.seed("world")
            )
            self._learner = WorldModelTrainer(model, stream, self.seed("learner"), device=self.config.device)
            if "world" in self.loaded:
                self._learner.set_checkpoint(self.loaded["world"])
        return self._learner

    def close(self) -> None:
        """Close environments and streams; everything committed stays."""
        for actor in self.actors.values():
            actor.close()
        for stream in self._streams.values():
            stream.close()

    def save(self, **state: Any) -> None:
        """A checkpoint of everything, with these changes to the state."""
        self.state |= state
        tree: dict[str, Any] = {**self.loaded, "state": self.state}  # what was not taken up stays as it was
        if self._learner is not None:
            tree["world"] = self._learner.get_checkpoint()
        if self.actors:
            tree["actors"] = {name: actor.get_checkpoint() for name, actor in self.actors.items()}
        self.checkpoints.save(tree)
        self._saved = time.monotonic()

    def save_sometimes(self) -> None:
        """A checkpoint if the last one is old. Saving changes nothing, so its moments need not be reproducible."""
        if time.monotonic() - self._saved > _EVERY:
            self.save()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to the phase's account."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.state["seconds"]
            seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - start, 3)
