"""The weights of several world models as one tensor, with their AdamW states, gradient norms and averages.

Row s has the weights of model s. A weight that a model lacks, or that none of its objectives trains, is a masked entry:
it is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robossl.world_model.trainer import ema_weight

if TYPE_CHECKING:
    from robossl.world_model.trainer import WorldModelTrainer

_EPS = 1e-6  # of torch.nn.utils.clip_grad_norm_
_STATES = ("exp_avg", "exp_avg_sq")  # of AdamW, beside the number of steps


class StackedWeights:
    """Weights (S, P) of S trainers with models of equal shape; heads of objectives may differ.

    Attributes:
        values: (S, P) the trained weights.
        views: By name of the weight, its values (S, *shape); they share the memory of `values` and have gradients.
        rows: By name of the weight, which models have it.
    """

    def __init__(self, trainers: Sequence[WorldModelTrainer], trained: Sequence[set[str]]) -> None:
        """Stack the weights of `trainers`.

        Args:
            trainers: Trainers after equally many updates.
            trained: For each, the names of the weights that its objectives train.
        """
        self._trainers = list(trainers)
        self._models = [dict(trainer.model.named_parameters()) for trainer in trainers]
        groups = _clip_groups(trainers)
        shapes = {name: p.shape for model in self._models for name, p in model.items()}
        names = sorted(shapes, key=lambda name: groups.get(name, ""))  # stable: each group is one block
        self.rows = {n: [s for s, model in enumerate(self._models) if n in model] for n in names}
        first = next(iter(self._models[0].values()))
        self._places: dict[str, slice] = {}
        self._blocks: dict[str, slice] = {}  # of the weights that are clipped together
        end = 0
        for name in names:
            self._places[name] = slice(end, end := end + shapes[name].numel())
            group = groups.get(name, "")
            start = self._blocks[group].start if group in self._blocks else self._places[name].start
            self._blocks[group] = slice(start, end)
        size = (len(trainers), end)
        self.mask = torch.zeros(size, dtype=torch.bool, device=first.device)
        for row, chosen in zip(self.mask, trained):
            for name in chosen:
                row[self._places[name]] = True
        self.values = torch.zeros(size, device=first.device)
        self.average = torch.zeros_like(self.values)
        self._moments = {name: torch.zeros_like(self.values) for name in _STATES}
        self._all_trained = bool(self.mask.all())
        self.views = {
            name: self.values[:, place].view(-1, *shapes[name]).detach().requires_grad_()
            for name, place in self._places.items()
        }
        self._read()
        config = trainers[0].config
        self._decay, self._max_norm = config.learning_rate * config.weight_decay, config.max_grad_norm
        self._adam = torch.optim.AdamW(
            [self.values], lr=config.learning_rate, weight_decay=0.0,
            fused=first.device.type in ("cpu", "cuda"), capturable=first.device.type == "cuda",
        )  # fmt: skip
        if trainers[0].updates:
            step = torch.tensor(float(trainers[0].updates))
            step = step.to(first.device) if first.device.type == "cuda" else step
            self._adam.state[self.values] = {"step": step, **self._moments}

    @torch.no_grad()
    def _read(self) -> None:
        """Read weights, averages and optimizer states of the trainers."""
        for s, trainer in enumerate(self._trainers):
            average = dict(trainer.ema_model.named_parameters())
            for name, parameter in self._models[s].items():
                place = self._places[name]
                self.values[s, place] = parameter.flatten()
                self.average[s, place] = average[name].flatten()
                for key, value in trainer.optimizer.state.get(parameter, {}).items():
                    if key in _STATES:
                        self._moments[key][s, place] = value.flatten()

    @torch.no_grad()
    def write_back(self, updates: int) -> None:
        """Write weights, averages and optimizer states into the trainers, which have had `updates` updates."""
        state = self._adam.state.get(self.values, {})
        for s, trainer in enumerate(self._trainers):
            average = dict(trainer.ema_model.named_parameters())
            for name, parameter in self._models[s].items():
                place = self._places[name]
                parameter.copy_(self.values[s, place].view_as(parameter))
                average[name].copy_(self.average[s, place].view_as(parameter))
                if state and self.mask[s, place.start]:
                    trainer.optimizer.state[parameter] = {
                        "step": torch.tensor(float(updates), device=state["step"].device),
                        **{key: state[key][s, place].view_as(parameter).clone() for key in _STATES},
                    }

    def step(self, loss: Tensor) -> None:
        """Update the weights by the gradient of a loss, which is summed over the models."""
        views = list(self.views.values())
        found = torch.autograd.grad(loss, views, allow_unused=True)
        gradient = torch.cat(
            [(torch.zeros_like(v) if g is None else g).flatten(1) for v, g in zip(views, found)], 1
        )
        with torch.no_grad():
            for block in self._blocks.values():
                part = gradient[:, block]
                norm = torch.linalg.vector_norm(part, dim=1, keepdim=True)
                part.mul_((self._max_norm / (norm + _EPS)).clamp_max(1.0))
            if self._decay:
                self.values.mul_(1 - self._decay if self._all_trained else 1 - self._decay * self.mask)
            self.values.grad = gradient
            self._adam.step()

    @torch.no_grad()
    def update_average(self, updates: int) -> None:
        """Move the averages toward the weights, which have had `updates` updates."""
        self.average.lerp_(self.values, ema_weight(updates))


def _clip_groups(trainers: Sequence[WorldModelTrainer]) -> Mapping[str, str]:
    """Return the weights of the detached heads, which are clipped by their own norm: name -> objective."""
    return {
        f"heads.{name}.{parameter}": name
        for trainer in trainers
        for name, entry in trainer.objectives.items()
        if entry.detached
        for parameter, _ in trainer.model.heads[name].named_parameters()
    }
