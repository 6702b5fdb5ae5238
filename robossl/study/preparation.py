"""What the cells of a study learn from: streams, their copies with the rewards of a task, world models and baselines.

Each is a folder that appears when it is complete, so that a stopped study makes again only what it was working on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from robossl.core.interfaces import ProgressReporter
from robossl.core.io import new_folder
from robossl.core.seeding import derive
from robossl.streams import Stream
from robossl.study.protocol import Protocol
from robossl.study.study_folder import Study, task_slug
from robossl.training.collection import collect_stream
from robossl.training.config import head_update_count
from robossl.training.continuation import append_episodes
from robossl.training.pretraining import pretrain_world_model
from robossl.training.relabeling import relabel_recorded
from robossl.training.requests import CollectRequest, PretrainRequest, RelabelRequest
from robossl.training.world_model_phase import fit_heads
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import default_config_for


class Preparation:
    """The streams and models of a study."""

    def __init__(self, study: Study, protocol: Protocol, progress: ProgressReporter, threads: int) -> None:
        """Prepare for a study with `threads` CPU threads."""
        self.study, self.protocol, self._progress, self._threads = study, protocol, progress, threads
        self._spec = study.spec

    # --- streams

    def stream(self, seed: int, task: str | None = None, numbers: bool = False) -> Stream:
        """Return a stream that was made.

        Args:
            seed: Its stream seed.
            task: The task whose rewards it has; None: that of the reward-free stream, which is recorded with its own.
            numbers: In a study from images, observe numbers instead.
        """
        return Stream.open(self.stream_path(seed, task, numbers))

    def stream_path(self, seed: int, task: str | None = None, numbers: bool = False) -> Path:
        """Return the folder of a stream; arguments as those of `stream`."""
        parts = [str(seed)]
        if task is not None and task != self._spec.stream_task:
            parts.append(task_slug(task))
        if numbers and self._spec.pixels:
            parts.append("numbers")
        return self.study.folder / "streams" / "-".join(parts)

    def make_stream(self, seed: int, numbers: bool = False) -> None:
        """Record the reward-free stream."""
        self._make(
            self.stream_path(seed, None, numbers),
            lambda f: self._record(f, self._spec.stream_task, seed, numbers),
        )

    def make_labels(self, seed: int, task: str, relabel: bool, numbers: bool = False) -> None:
        """Write the stream with the rewards of a task; if the task cannot label states, record its own stream.

        Args:
            seed: The stream seed.
            task: The task.
            relabel: Whether the task computes rewards of recorded states.
            numbers: In a study from images, observe numbers instead.
        """
        path = self.stream_path(seed, task, numbers)
        if relabel:
            source = self.stream_path(seed, None, numbers)
            request = RelabelRequest(source, task, seed=seed, threads=self._threads)
            self._make(path, lambda folder: _relabel(request, folder, self._progress))
        else:
            self._make(path, lambda folder: self._record(folder, task, seed, numbers))

    def _record(self, folder: Path, task: str, seed: int, numbers: bool) -> None:
        """Record a stream: each policy of the study an equal part."""
        sizes, pixels = self._spec.sizes, 0 if numbers else self._spec.pixels
        first, *others = sizes.policies
        steps = -(-sizes.stream_steps // len(sizes.policies))
        request = CollectRequest(
            task, first, steps, folder, seed, self.protocol.stream_envs, self._threads, pixels
        )
        collect_stream(request, self._progress).close()
        for index, policy in enumerate(others, 1):
            other_seed = derive(seed, "transfer stream", index) % 2**31
            append_episodes(folder, self._progress, steps, None, policy, other_seed, self._threads).close()

    # --- models

    def model_path(self, seed: int, name: str) -> Path:
        """Return the folder of a representation."""
        return self.study.folder / "models" / f"{seed}-{name}"

    def model(self, seed: int, name: str) -> WorldModel:
        """Return a representation that was made, frozen."""
        return WorldModel.load(self.model_path(seed, name), "cpu").frozen_copy()

    def goal_model(self, seed: int, name: str, task: str) -> WorldModel:
        """Return a representation with goal heads for the goals of a task, fitted without its rewards."""
        model = self.model(seed, name)
        if task != self._spec.stream_task:
            model.goal_heads = None
            updates = head_update_count("auto", self._spec.sizes.model_updates)
            stream = self.stream(seed, task)
            model.observation_space = stream.observation_space  # its goals may have other sizes
            try:
                fit_heads(model, stream, updates, seed, self._progress)
            finally:
                stream.close()
        return model

    def make_model(self, seed: int, name: str) -> None:
        """Train a representation on the reward-free stream; its encoder alone, if that does not depend on updates."""
        settings = self.protocol.representations[name]
        stream = self.stream(seed)
        updates = self._spec.sizes.model_updates if settings["trained"] else 1
        request = PretrainRequest(
            stream, updates, self._config(stream), seed=seed, device="cpu", threads=self._threads,
            head_updates=0 if "baseline" in settings else "auto", baseline=settings.get("baseline"),
        )  # fmt: skip
        self._make(self.model_path(seed, name), lambda folder: _pretrain(request, folder, self._progress))

    def _config(self, stream: Stream) -> WorldModelConfig:
        """Return the default config for the stream with the sizes of the study; images keep the default sizes."""
        default = default_config_for(stream.observation_space)
        if self._spec.pixels:
            return default
        return WorldModelConfig.from_json({**default.to_json(), **self._spec.sizes.world_model})

    def _make(self, path: Path, write: Callable[[Path], None]) -> None:
        if not path.is_dir():
            with new_folder(path) as folder:
                write(folder)


def _relabel(request: RelabelRequest, folder: Path, progress: ProgressReporter) -> None:
    relabel_recorded(replace(request, out=folder), progress)[0].close()


def _pretrain(request: PretrainRequest, folder: Path, progress: ProgressReporter) -> None:
    pretrain_world_model(replace(request, out=folder), progress)
