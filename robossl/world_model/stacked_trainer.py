"""Stacked training: world models of several seeds and objectives learn as one batched network.

Every model keeps its own windows, random numbers, normalization and optimizer state, and gets the weights that it would
learn alone, within float rounding. A small network fills a small part of a GPU, and most of its time is spent on
starting operations: one operation for all models costs about as much as one for each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.world_model.cuda_graph import make_train_step
from robossl.world_model.custom_encoder import CustomEncoder
from robossl.world_model.loss_balancer import inverse_scale
from robossl.world_model.stacked_losses import StackedLosses, probe
from robossl.world_model.stacked_weights import StackedWeights
from robossl.world_model.trainer import WorldModelTrainer, check_losses

_REPORT_EVERY = 10  # [updates]
_SAME = {
    "objectives": ("forward",),
    "encoder_objectives": ("all",),
}  # settings that models of a stack may differ in


class StackedTrainer:
    """Training of S world models at once.

    The trainers are up to date after `write_back`.
    """

    def __init__(self, trainers: Sequence[WorldModelTrainer], execution: str = "auto") -> None:
        """Stack trainers after equally many updates.

        Args:
            trainers: Their models have equal shape apart from the heads of objectives.
            execution: As for `WorldModelTrainer`.

        Raises:
            UsageError: There are none, they cannot be stacked (`reason_not_stackable`), or data of one are invalid.
        """
        if not trainers:
            raise UsageError("stacked training: expected one trainer or more, got none")
        keys = [stack_key(trainer) for trainer in trainers]
        for trainer, key in zip(trainers, keys):
            if (reason := reason_not_stackable(trainer)) is not None:
                raise UsageError(f"stacked training: {reason}")
            if key != keys[0]:
                raise UsageError(
                    "stacked training: expected models of equal shape, settings and updates, got others"
                )
        self.trainers = list(trainers)
        for trainer in trainers:
            trainer.prepare()
        first = trainers[0]
        state = [_random_state(trainer) for trainer in trainers]
        windows = [trainer.draw_window() for trainer in trainers]
        found = [probe(trainer, window) for trainer, window in zip(trainers, windows)]
        uses = [use for use, _ in found]
        for trainer, saved in zip(trainers, state):
            trainer.window_rng.bit_generator.state = saved
        self.weights = StackedWeights(trainers, [trained for _, trained in found])
        self.losses = StackedLosses(trainers, self.weights, uses)
        self.losses.verify(_joined(first, windows), uses)
        names = list(self.losses.objectives)

        def vector(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, device=first.model.device, dtype=torch.float32)

        self._factors = {  # of each objective: (S,) weight in the sum, 0 for models without it
            name: vector([trainer.loss_balancer.weights.get(name, 0.0) for trainer in trainers])
            for name in names
        }
        self._has_inverse = vector(["inverse" in trainer.objectives for trainer in trainers]) > 0
        self._inverse_error = torch.stack([trainer.loss_balancer.inverse_error_ema for trainer in trainers])
        self._use_bf16 = first.use_bf16
        random: Any = _Generators([trainer.random for trainer in trainers])
        self._train_step = make_train_step(execution, self._gradient_step, first.model.device, random)
        self.updates = first.updates

    def update(self, count: int = 1) -> list[dict[str, float]]:
        """Run gradient steps of every model.

        Args:
            count: Number of gradient steps.

        Returns:
            The mean losses of each model, as `WorldModelTrainer.update`.

        Raises:
            OperationError: A loss is not finite.
        """
        history = []
        for _ in range(count):
            windows = [trainer.draw_window() for trainer in self.trainers]
            history.append(self._train_step(_joined(self.trainers[0], windows)))
            self.updates += 1
            self.weights.update_average(self.updates)
        means = torch.stack(history).mean(0).cpu().numpy()  # (1 + objectives, S)
        names = ("loss", *self.losses.objectives)
        results = []
        for row, trainer in enumerate(self.trainers):
            values = {
                name: float(value) for name, value in zip(names, means[:, row])
                if name == "loss" or name in trainer.objectives
            }  # fmt: skip
            check_losses(list(values.values()), count, self.updates, f" of seed {trainer.seed}")
            results.append(values)
        return results

    def run(self, updates: int, progress: ProgressReporter | None = None) -> list[dict[str, float]]:
        """Run gradient steps of every model with progress reports, and write the results into the trainers.

        Args:
            updates: Gradient steps of each model.
            progress: Receives the gradient steps of each model and the mean losses over the models.

        Returns:
            The mean losses of the last updates of each model.
        """
        progress = progress or NullProgress()
        losses: list[dict[str, float]] = [{} for _ in self.trainers]
        try:
            for done in range(0, updates, _REPORT_EVERY):
                count = min(_REPORT_EVERY, updates - done)
                losses = self.update(count)
                progress.update(count, loss=float(np.mean([each["loss"] for each in losses])))
        finally:
            self.write_back()
        return losses

    def run_to(self, target: int, progress: ProgressReporter | None = None) -> list[dict[str, float]]:
        """Train every model up to its `target`-th gradient step, as `run`."""
        return self.run(max(target - self.updates, 0), progress)

    def write_back(self) -> None:
        """Write weights, averages, optimizer states and counters into the trainers."""
        self.weights.write_back(self.updates)
        for trainer, error in zip(self.trainers, self._inverse_error):
            trainer.loss_balancer.inverse_error_ema.copy_(error)
            if trainer.updates < self.updates:
                trainer.ema_model.goal_heads = None  # they belong to the weights before these updates
            trainer.updates = self.updates

    def _gradient_step(self, window: Any) -> Tensor:
        """Update the weights; return the losses (1 + objectives, S).

        A CUDA graph repeats it, so it uses no Python number that changes.
        """
        device = self.weights.values.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._use_bf16, cache_enabled=False):
            losses = self.losses(window)
        scale: Tensor | float = 1.0
        if "inverse" in losses:
            scale, average = inverse_scale(losses["inverse"], self._inverse_error)
            self._inverse_error.copy_(torch.where(self._has_inverse, average, self._inverse_error))
            scale = torch.where(self._has_inverse, scale, torch.ones_like(scale))
        terms = [
            self._factors[name] * loss * (1.0 if self.losses.objectives[name].prevents_collapse else scale)
            for name, loss in losses.items()
        ]
        total = torch.stack(terms).sum(0)  # (S,)
        self.weights.step(total.sum())
        return torch.stack([total, *(losses[name] for name in self.losses.objectives)]).detach()


def reason_not_stackable(trainer: WorldModelTrainer) -> str | None:
    """Return why a model cannot be trained in a stack; None if it can."""
    model, config = trainer.model, trainer.config
    if model.observation_processor.images:
        return "models of images are not stacked: their convolutions use the processor well"
    if isinstance(model.encoder, CustomEncoder):
        return "models with a custom encoder are not stacked"
    if config.shuffle_time:
        return "models of shuffled time are not stacked"
    return None


def stack_key(trainer: WorldModelTrainer) -> Hashable:
    """Return what models of a stack have in common."""
    model = trainer.model
    shapes = tuple((n, tuple(p.shape)) for n, p in model.named_parameters() if not n.startswith("heads."))
    configs = tuple(dataclasses.replace(config, **_SAME) for config in (model.config, trainer.config))  # type: ignore[arg-type]
    return (
        shapes,
        configs,
        repr(model.observation_space),
        repr(model.action_space),
        str(model.device),
        trainer.updates,
    )


def _random_state(trainer: WorldModelTrainer) -> Any:
    return trainer.window_rng.bit_generator.state


def _joined(first: WorldModelTrainer, windows: Sequence[Any]) -> SimpleNamespace:
    """Return the windows of all models one after the other, as `StackedLosses` takes them."""
    leaves = [first.model.observation_processor.select(window.observation) for window in windows]
    observation = {path: np.concatenate([each[path] for each in leaves]) for path in leaves[0]}
    rest = {
        name: np.concatenate([getattr(window, name) for window in windows]) for name in ("action", "valid")
    }
    return SimpleNamespace(observation=observation, **rest)


class _Generators:
    """Several generators with one state: `CudaGraphStep` reads from it whether a step has drawn."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = list(generators)

    def get_state(self) -> Tensor:
        """Return the states of all generators."""
        return torch.cat([generator.get_state() for generator in self._generators])
