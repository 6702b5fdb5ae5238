"""The self-supervised loss of a world model on the encoder that an agent trains, on old and recent time steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import Space

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.streams import Stream, Window
from robossl.streams.sampling import LaneRange, Sampler
from robossl.world_model import WorldModel
from robossl.world_model.trainer import WorldModelTrainer

from .trained_encoder import TrainedEncoder


@dataclass(frozen=True)
class SelfSupervisionSettings:
    """When the self-supervised loss updates the encoder, and on what."""

    every: int  # gradient steps of the agent
    learning_rate: float
    recent: bool  # half of a batch are recent time steps; otherwise all were recorded before the agent


class OldAndRecentStream:
    """Windows of time steps that were recorded before the agent (old), and of its own (recent), half and half.

    The old ones are those of another stream, or of the lanes before those of the agent. Without old or recent windows
    all are of the other kind. The class has what `WorldModelTrainer` reads of a stream.
    """

    def __init__(self, own: Stream, first_lane: int, num_envs: int, old: Stream | None, recent: bool) -> None:
        """Sample from `own`, where lanes from `first_lane` on are those of the agent, and from `old`."""
        self._recent = (own, LaneRange(first_lane, num_envs)) if recent else None
        self._old = (old, None) if old is not None else (own, LaneRange(0, first_lane))

    @property
    def observation_space(self) -> Space:
        """Return the observation space of a single lane."""
        return self._old[0].observation_space

    @property
    def action_space(self) -> Space:
        """Return the action space of a single lane."""
        return self._old[0].action_space

    def old_transitions(self, length: int = 1) -> bool:
        """Return whether there are windows of `length` actions that were recorded before the agent."""
        return _available(self._old, length)

    def windows(
        self,
        batch: int,
        length: int,
        rng: np.random.Generator,
        split: str | None = "train",
        sampler: Sampler | None = None,
    ) -> Window:
        """Sample windows of `length` actions; recent ones are of all splits."""
        assert sampler is None, "this class chooses the time steps"
        sources = [(self._old, split)] if _available(self._old, length) else []
        if self._recent is not None and _available(self._recent, length):
            sources.append((self._recent, None))
        if not sources:
            raise UsageError("no time steps for the self-supervised loss; give --stream STREAM")
        counts = [batch - batch // 2, batch // 2] if len(sources) == 2 else [batch]
        windows = [
            stream.windows(count, length, rng, each_split, sampler=lanes)
            for ((stream, lanes), each_split), count in zip(sources, counts)
        ]
        return windows[0] if len(windows) == 1 else _concatenate(self.observation_space, windows)


class SelfSupervision:
    """The self-supervised loss on an encoder that the critic loss also trains.

    The encoder of `trainer.model` is the encoder of the agent, one module: the self-supervised loss trains it together
    with the other networks of the world model, with an optimizer of its own; the loss of the agent trains it with that
    of the agent.
    """

    def __init__(
        self,
        model: WorldModel,
        stream: OldAndRecentStream,
        extractor: TrainedEncoder,
        settings: SelfSupervisionSettings,
        seed: int,
    ) -> None:
        """Share the encoder of a copy of `model` with `extractor`, whose optimizer must be created afterwards."""
        self.settings, self.stream = settings, stream
        device = extractor.columns.device
        config = replace(model.config, learning_rate=settings.learning_rate)
        self.trainer = WorldModelTrainer(
            model.frozen_copy(),
            stream,  # type: ignore[arg-type]
            seed,
            config,
            device,
            execution="eager",
        )
        self.trainer.normalizer_fitted = True  # the agent's inputs keep their statistics
        extractor.share(self.trainer.model)
        self._updates = 0  # gradient steps of the agent
        self.loss: float | None = None  # of the last update

    def after_update(self) -> None:
        """Count a gradient step of the agent, and update the encoder if it is time."""
        self._updates += 1
        if self._updates % self.settings.every == 0:
            self.loss = self.trainer.update()["loss"]

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the training."""
        return {"trainer": self.trainer.get_checkpoint(), "updates": self._updates}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self.trainer.set_checkpoint(tree["trainer"])
        self._updates = int(tree["updates"])


def _available(source: tuple[Stream, LaneRange | None], length: int) -> bool:
    stream, lanes = source
    limits = stream.lengths - length
    return bool((limits > 0).any()) if lanes is None else lanes.has_rows(limits)


def _concatenate(space: Space, windows: list[Window]) -> Window:
    """Return the windows of all arguments as one batch."""
    parts = [spaces.flatten_by_path(space, window.observation) for window in windows]
    observation = {path: np.concatenate([part[path] for part in parts]) for path in parts[0]}
    names = ("action", "reward", "terminated", "truncated", "valid", "lane", "start")
    arrays = {name: np.concatenate([getattr(window, name) for window in windows]) for name in names}
    return Window(spaces.unflatten_by_path(space, observation), **arrays)  # type: ignore[arg-type]
