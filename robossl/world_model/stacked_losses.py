"""Losses of several world models at once: encoder, dynamics and objectives under `torch.func.vmap`.

Models may have different objectives: each objective is computed for the models that have it. One that `vmap` cannot
compute, such as one that draws random numbers, is computed for one model after the other.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from robossl.world_model.array_types import to_tensor
from robossl.world_model.encoded_batch import EncodedBatch, encode_windows

if TYPE_CHECKING:
    from robossl.streams import Window
    from robossl.world_model.stacked_weights import StackedWeights
    from robossl.world_model.trainer import WorldModelTrainer

_TOLERANCE = (
    1e-3  # relative difference of a loss to that of each model alone at which an objective is not stacked
)
_PARTS = ("encoder", "dynamics", "inverse", "decoder")  # beside the heads
Inputs = tuple[Tensor, ...]


@dataclass
class Use:
    """What one objective of one trainer uses."""

    loss: float  # on the first windows
    detached: bool  # whether it gets latents without gradient
    draws: bool = False  # whether it draws random numbers
    open_loop: bool = False  # whether it uses the open-loop predictions of the batch
    parts: list[str] = field(default_factory=list)  # the networks that it calls itself


def probe(trainer: WorldModelTrainer, window: Window) -> tuple[dict[str, Use], set[str]]:
    """Return what each objective of a trainer uses, and the names of the weights that they train together.

    The trainer is not changed.
    """
    model, config = trainer.model, trainer.config
    random = torch.Generator().set_state(trainer.random.get_state())
    batch = encode_windows(model, window, random)
    detached_batch = dataclasses.replace(batch, z=batch.z.detach())
    uses, total = {}, torch.zeros((), device=batch.z.device)
    for name, objective in trainer.objectives.items():
        detached = not config.trains_encoder(name)
        given = dataclasses.replace(detached_batch if detached else batch)
        state = random.get_state()
        loss = objective.loss(given)
        use = Use(float(loss.detach()), detached, not torch.equal(state, random.get_state()))
        use.open_loop = "open_loop" in vars(given)
        again = dataclasses.replace(given)
        if use.open_loop:
            vars(again)["open_loop"] = given.open_loop
        random.set_state(state)
        use.parts = _called_parts(model, partial(objective.loss, again))
        uses[name], total = use, total + loss
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad))
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return uses, {name for name, gradient in zip(names, gradients) if gradient is not None}


def _called_parts(model: nn.Module, run: Callable[[], Any]) -> list[str]:
    """Return the prefixes of the networks of `model` that `run` calls."""
    called: list[str] = []
    parts = {name: getattr(model, name) for name in _PARTS if getattr(model, name) is not None}
    parts |= {f"heads.{name}": head for name, head in model.heads.items()}  # type: ignore[union-attr,operator]
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: called.append(name))
        for name, module in parts.items()
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(called))


class _Holder(nn.Module):
    """A module whose call passes its model to a function, for `functional_call`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *inputs: Any) -> Any:
        return function(self.model, *inputs)


@dataclass
class _Group:
    """One objective, and the models that compute it in the same way."""

    name: str
    rows: list[int]
    use: Use
    stacked: bool = True


class StackedLosses:
    """The losses of S trainers with models of equal shape."""

    def __init__(
        self,
        trainers: Sequence[WorldModelTrainer],
        weights: StackedWeights,
        uses: Sequence[Mapping[str, Use]],
    ) -> None:
        """Prepare the losses.

        Args:
            trainers: The trainers.
            weights: Their weights.
            uses: What the objectives of each use, by name.
        """
        self._trainers, self._weights = list(trainers), weights
        self.objectives = {name: o for trainer in trainers for name, o in trainer.objectives.items()}
        holders: dict[tuple[str, ...], _Holder] = {}
        self._holders = []
        for trainer in trainers:  # models with equal heads share one template without numbers
            key = tuple(trainer.model.heads)
            if key not in holders:
                template = copy.deepcopy(trainer.model)
                template.goal_heads = None
                holders[key] = _Holder(
                    template.to("meta")
                )  # a weight that is not passed fails when it is used
            self._holders.append(holders[key])
        buffers = [dict(trainer.model.named_buffers()) for trainer in trainers]
        self._buffers = {name: torch.stack([each[name].detach() for each in buffers]) for name in buffers[0]}
        self._groups: dict[tuple[str, bool], _Group] = {}
        for row, each in enumerate(uses):
            for name, use in each.items():
                group = self._groups.setdefault((name, use.detached), _Group(name, [], use, not use.draws))
                group.rows.append(row)
        self._open_loop_rows = {
            detached: sorted({r for g in self._groups.values() if g.use.open_loop and g.use.detached == detached
                              for r in g.rows})
            for detached in (False, True)
        }  # fmt: skip

    def verify(self, window: Any, uses: Sequence[Mapping[str, Use]]) -> None:
        """Compute the objectives one after the other whose stacked losses differ from those of `uses`, or fail."""
        z, vector, action, mask = self._encode(window)
        open_loops = self._open_loops(z, vector, action, mask)
        for group in self._groups.values():
            if not group.stacked:
                continue
            try:
                losses = self._stacked(group, z, vector, action, mask, open_loops).detach().cpu().double()
            except (RuntimeError, TypeError, ValueError):
                group.stacked = False  # `probe` has computed it alone without an error
                continue
            expected = torch.tensor([uses[row][group.name].loss for row in group.rows], dtype=torch.float64)
            group.stacked = torch.allclose(losses, expected, rtol=_TOLERANCE, atol=_TOLERANCE)

    @property
    def not_stacked(self) -> list[str]:
        """The objectives that are computed for one model after the other."""
        return list(dict.fromkeys(group.name for group in self._groups.values() if not group.stacked))

    def __call__(self, window: Any) -> dict[str, Tensor]:
        """Return each objective's losses (S,); 0 for models without it.

        Args:
            window: Windows of all models one after the other: the vector leaves of `observation` by path
                (S*B, T+1, ...), `action` (S*B, T, *A), `valid` (S*B, T).
        """
        z, vector, action, mask = self._encode(window)
        open_loops = self._open_loops(z, vector, action, mask)
        parts: dict[str, list[tuple[list[int], Tensor]]] = {}
        for group in self._groups.values():
            if group.stacked:
                losses = self._stacked(group, z, vector, action, mask, open_loops)
                parts.setdefault(group.name, []).append((group.rows, losses))
        for row, trainer in enumerate(self._trainers):  # in the order in which each draws its random numbers
            for name in trainer.objectives:
                group = self._groups[name, not trainer.config.trains_encoder(name)]
                if not group.stacked:
                    loss = self._single(group, row, z, vector, action, mask, open_loops)
                    parts.setdefault(name, []).append(([row], loss[None]))
        return {name: self._scattered(found) for name, found in parts.items()}

    def _scattered(self, parts: Sequence[tuple[list[int], Tensor]]) -> Tensor:
        """Return losses (S,) of the losses of some rows each."""
        rows = [row for chosen, _ in parts for row in chosen]
        values = torch.cat([losses.float() for _, losses in parts])
        if rows == list(range(len(self._trainers))):
            return values
        index = _index(tuple(rows), values.device)
        return values.new_zeros(len(self._trainers)).index_copy(0, index, values)

    def _encode(self, window: Any) -> Inputs:
        """Return latents (S, B, T+1, Z), normalized vectors (S, B, T+1, D), actions (S, B, T, A), mask (S, B, T)."""
        model = self._trainers[0].model
        count, rows = len(self._trainers), list(range(len(self._trainers)))

        def split(values: Tensor) -> Tensor:
            return values.view(count, -1, *values.shape[1:])

        raw = split(model.observation_processor.concatenate(window.observation))
        action = split(model.action_processor(window.action))
        mask = split(to_tensor(window.valid, model.device).float().cumprod(1))

        def encode(model: Any, raw: Tensor) -> Inputs:
            vector = model.observation_processor.normalize_vector(raw)
            return model.encoder(vector, {}), vector

        z, vector = self._map(encode, rows, ["encoder"], raw)
        return z, vector, action, mask

    def _open_loops(self, z: Tensor, vector: Tensor, action: Tensor, mask: Tensor) -> dict[bool, Tensor]:
        """Return open-loop predictions (S', N, T+1, Z) of the models that need them, from latents with and without
        gradient."""
        return {
            detached: self._map(
                lambda model, z, vector, action, mask: EncodedBatch(
                    model, z, vector, action, mask, self._trainers[0].random
                ).open_loop,
                rows, ["dynamics"], *(_take(x, rows) for x in (z.detach() if detached else z, vector, action, mask)),
            )
            for detached, rows in self._open_loop_rows.items()
            if rows
        }  # fmt: skip

    def _inputs(
        self, group: _Group, rows: list[int], z: Tensor, rest: Inputs, open_loops: dict[bool, Tensor]
    ) -> Inputs:
        """Return the inputs of an objective for some of the models."""
        found = [_take(x, rows) for x in (z.detach() if group.use.detached else z, *rest)]
        if group.use.open_loop:
            available = self._open_loop_rows[group.use.detached]
            found.append(_take(open_loops[group.use.detached], [available.index(row) for row in rows]))
        return tuple(found)

    def _stacked(
        self, group: _Group, z: Tensor, vector: Tensor, action: Tensor, mask: Tensor, open_loops: dict[bool, Tensor]
    ) -> Tensor:  # fmt: skip
        """Return the losses (R,) of an objective for the models of its group."""
        inputs = self._inputs(group, group.rows, z, (vector, action, mask), open_loops)
        call = self._loss_call(group, self._trainers[0].random)
        return self._map(call, group.rows, group.use.parts, *inputs)

    def _single(
        self, group: _Group, row: int, z: Tensor, vector: Tensor, action: Tensor, mask: Tensor,
        open_loops: dict[bool, Tensor],
    ) -> Tensor:  # fmt: skip
        """Return the loss of an objective for one model."""
        inputs = self._inputs(group, [row], z, (vector, action, mask), open_loops)
        tensors = {name: value[0] for name, value in self._tensors([row]).items()}
        call = self._loss_call(group, self._trainers[row].random)
        return functional_call(self._holders[row], tensors, (call, *(x[0] for x in inputs)))

    def _loss_call(self, group: _Group, random: torch.Generator) -> Callable[..., Tensor]:
        """Return the function of a model and its inputs that computes the loss."""

        def call(
            model: Any, z: Tensor, vector: Tensor, action: Tensor, mask: Tensor, *open_loop: Tensor
        ) -> Tensor:
            batch = EncodedBatch(model, z, vector, action, mask, random)
            if open_loop:
                vars(batch)["open_loop"] = open_loop[0]
            return self.objectives[group.name].loss(batch)

        return call

    def _map(
        self, function: Callable[..., Any], rows: list[int], parts: Sequence[str], *inputs: Tensor
    ) -> Any:
        """Call `function(model, *inputs)` for models at once, whose named parts have their weights."""
        holder, tensors = self._holders[rows[0]], self._tensors(rows, parts)
        return vmap(
            lambda own, *each: functional_call(holder, own, (function, *each)), randomness="error"
        )(tensors, *inputs)  # fmt: skip

    def _tensors(self, rows: list[int], parts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return weights of the named parts (None: of all) and all buffers for some models: (R, *shape) each."""
        prefixes = None if parts is None else tuple(f"{part}." for part in parts)
        weights = {
            name: _take(view, rows)
            for name, view in self._weights.views.items()
            if (prefixes is None or name.startswith(prefixes)) and rows[0] in self._weights.rows[name]
        }
        buffers = {name: _take(value, rows) for name, value in self._buffers.items()}
        return {f"model.{name}": value for name, value in {**weights, **buffers}.items()}


def _take(values: Tensor, rows: list[int]) -> Tensor:
    """Return some rows of a tensor; the tensor itself, if these are all."""
    if rows == list(range(len(values))):
        return values
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return values[rows[0] : rows[0] + len(rows)]
    return values[_index(tuple(rows), values.device)]


@lru_cache
def _index(rows: tuple[int, ...], device: torch.device) -> Tensor:
    """Return row numbers on a device; made once, as a CUDA graph cannot copy them from the CPU."""
    return torch.tensor(rows, device=device)
