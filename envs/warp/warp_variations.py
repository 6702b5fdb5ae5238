"""Domain randomization on a device: model fields, delays and noise that differ between the sub-environments."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator_state

from ..engine.domain_randomization import spec_list
from ..engine.mujoco_setup import load_mujoco
from ..engine.randomization_spec import RandomizationArgument, RandomizationSpec, sample_spec, validate_spec
from ..engine.randomized_parameter import randomized_parameters
from ..engine.task import Robot

if TYPE_CHECKING:
    from mujoco import MjModel

    from .warp_batch import WarpBatch

# fields that MuJoCo computes from masses and inertias
_DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_invweight0", "actuator_acc0")
_UNIT = 2**24  # whole numbers below it are exact in float32


class WarpVariations:
    """Specs of n sub-environments, and the values of an episode, drawn with its start.

    The values are those of the CPU: they come from the generator of the sub-environment. The noise of observations does
    not: it is a function of a key of the episode and of the step, computed on the device.

    Args:
        robot: The robot class.
        model: Its model.
        num_envs: Number of sub-environments n.
        device: Device of the values.
        spec: One spec for all sub-environments, or a list of n.
        action_dim: Numbers A of an action.
    """

    def __init__(
        self,
        robot: type[Robot],
        model: MjModel,
        num_envs: int,
        device: torch.device,
        spec: RandomizationArgument,
        action_dim: int,
    ) -> None:
        self.parameters = randomized_parameters(robot, model)
        self.specs: list[RandomizationSpec] = [{} for _ in range(num_envs)]
        self._names = list(self.parameters)
        self._nominal = np.array([p.nominal for p in self.parameters.values()], np.float64)  # (F,)
        self._model, self._own = model, copy.copy(model)
        self._data: Any = None
        self.set_spec(spec, np.ones(num_envs, bool))
        self.active = any(self.specs)
        self.fields = self._changed_fields() if self.active else ()
        nominal = torch.tensor(self._nominal, dtype=torch.float32, device=device)
        self.values = nominal.repeat(num_envs, 1)  # (n, F)
        self._key = torch.zeros((num_envs, 2), device=device)  # of the noise
        delays = int(self.parameters["action_delay"].bounds[1]) + 1 if self.active else 0
        self._sent = torch.zeros((num_envs, delays, action_dim), device=device)  # newest first
        self._rows = torch.arange(num_envs, device=device)

    def set_spec(self, spec: RandomizationArgument, mask: np.ndarray) -> None:
        """Set the specs of the sub-environments in `mask` (n,) bool, from their next start on.

        Raises:
            UsageError: The batch was made without randomization: its sub-environments share one model.
        """
        env_ids = np.flatnonzero(mask)
        specs = [validate_spec(s, self.parameters) for s in spec_list(spec, env_ids, len(self.specs))]
        if any(specs) and not getattr(self, "active", True):
            raise UsageError(
                "expected randomization= when the env was made with backend='warp', got it in a reset; make the env "
                "with randomization='train' or a dict"
            )
        for env_index, valid in zip(env_ids.tolist(), specs):
            self.specs[env_index] = valid

    def _changed_fields(self) -> tuple[str, ...]:
        """Return the model fields that any parameter changes, and those computed from them."""
        names = {name for parameter in self.parameters.values() for name, _ in parameter.scaled_fields}
        sized = [name for name in sorted(names) if _host_field(self._model, name).size]
        derived = [name for name in _DERIVED if _host_field(self._model, name).size]
        return tuple(dict.fromkeys([*sized, *derived]))

    # --- a start

    def sizes(self) -> dict[str, int]:
        """Return the numbers of a start, by part."""
        if not self.active:
            return {}
        fields = {f"field.{name}": _host_field(self._model, name).size for name in self.fields}
        return {"values": len(self._names), "key": 2, **fields}

    def draw(self, env_index: int, random: np.random.Generator) -> np.ndarray:
        """Return the variation of the next episode; the state of the generator `random` does not change."""
        if not self.active:
            return np.zeros(0)
        values, key = self._nominal, np.zeros(2)
        if self.specs[env_index]:
            derived = np.random.default_rng(derive(0, "variations", str(generator_state(random))))
            values = sample_spec(self.specs[env_index], self.parameters, derived)
            key = derived.integers(0, _UNIT, 2).astype(np.float64)
        fields = self._fields_of(values)
        return np.concatenate([values, key, *(fields[name].reshape(-1) for name in self.fields)])

    def _fields_of(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return the model fields of parameter values (F,), as MuJoCo computes them."""
        mujoco, model = load_mujoco(), self._own
        scales = [(p, value) for p, value in zip(self.parameters.values(), values) if p.scaled_fields]
        for name in {name for parameter, _ in scales for name, _ in parameter.scaled_fields}:
            scaled = np.array(_host_field(self._model, name))
            for parameter, factor in scales:
                for field, index in parameter.scaled_fields:
                    if field == name and factor != 1.0:
                        scaled[index] *= factor
            _host_field(model, name)[...] = scaled
        self._data = self._data or mujoco.MjData(model)
        mujoco.mj_setConst(model, self._data)
        return {name: np.array(_host_field(model, name)) for name in self.fields}

    def begin(self, start: Mapping[str, torch.Tensor], mask: torch.Tensor, batch: WarpBatch) -> None:
        """Give the sub-environments of `mask` (n,) bool the variations of their starts."""
        if not self.active:
            return
        column = mask[:, None]
        self.values.copy_(torch.where(column, start["values"], self.values))
        self._key.copy_(torch.where(column, start["key"], self._key))
        self._sent.masked_fill_(mask[:, None, None], 0.0)
        for name in self.fields:
            field = batch.field(name)
            where = mask.reshape(-1, *(1,) * (field.ndim - 1))
            field.copy_(torch.where(where, start[f"field.{name}"].reshape(field.shape), field))

    # --- a step

    def delay(self, action: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the actions (n, A) that take effect when `action` is sent in the sub-environments of `mask`."""
        if not self.active:
            return action
        shifted = torch.cat([action[:, None], self._sent[:, :-1]], dim=1)
        self._sent.copy_(torch.where(mask[:, None, None], shifted, self._sent))
        delay = self.values[:, self._names.index("action_delay")].long()
        return self._sent[self._rows, delay]

    def noisy(self, numbers: torch.Tensor, elapsed: torch.Tensor) -> torch.Tensor:
        """Return observed numbers (n, D) plus the noise of step `elapsed` (n,) of the episodes."""
        if not self.active:
            return numbers
        scale = self.values[:, self._names.index("sensor_noise"), None]
        return numbers + scale * _normal(self._key.long(), elapsed.long(), numbers.shape[1])

    def clear(self, env_ids: torch.Tensor) -> None:
        """Drop the delayed actions of sub-environments whose state was set by the user."""
        self._sent[env_ids] = 0.0

    def changing(self) -> list[torch.Tensor]:
        """Return the tensors that a step or a start changes."""
        return [self.values, self._key, self._sent] if self.active else []

    def get_sent(self) -> torch.Tensor:
        """Return a copy of the delayed actions (n, K, A)."""
        return self._sent.clone()

    def set_sent(self, sent: torch.Tensor) -> None:
        """Set the delayed actions (n, K, A)."""
        self._sent.copy_(sent)

    def values_by_name(self) -> dict[str, torch.Tensor]:
        """Return the current value (n,) of each parameter."""
        return {name: self.values[:, i].clone() for i, name in enumerate(self._names)}

    # --- checkpoints

    def get_checkpoint(self, batch: WarpBatch) -> dict[str, Any] | None:
        """Return what determines values, delays and noise; None without randomization."""
        if not self.active:
            return None
        return {
            "specs": [dict(spec) for spec in self.specs],
            "values": self.values.cpu().numpy().copy(),
            "key": self._key.cpu().numpy().copy(),
            "sent_actions": self._sent.cpu().numpy().copy(),
            "fields": {name: batch.field(name).cpu().numpy().copy() for name in self.fields},
        }

    def set_checkpoint(self, tree: Mapping[str, Any] | None, batch: WarpBatch) -> None:
        """Continue from `get_checkpoint`."""
        if (tree is None) == self.active:
            raise UsageError("expected a checkpoint of an env with the same randomization, got another one")
        if tree is None:
            return
        self.specs = [validate_spec(spec, self.parameters) for spec in tree["specs"]]
        for target, name in ((self.values, "values"), (self._key, "key"), (self._sent, "sent_actions")):
            target.copy_(torch.from_numpy(np.array(tree[name], np.float32)))
        for name in self.fields:
            batch.field(name).copy_(torch.from_numpy(np.array(tree["fields"][name], np.float32)))


def _host_field(model: MjModel, name: str) -> np.ndarray:
    """Return a live field of a model, or of its options as "opt.<name>"."""
    owner, _, option = name.partition(".")
    return getattr(model.opt, option) if owner == "opt" else getattr(model, name)


def _normal(key: torch.Tensor, step: torch.Tensor, count: int) -> torch.Tensor:
    """Return standard normal numbers (n, count): a hash of keys (n, 2), steps (n,) and columns (Box and Muller)."""
    column = torch.arange(count, device=key.device)
    word = _mixed(_mixed(key[:, :1] * 0x9E3779B1 + step[:, None]) + key[:, 1:] * 0x85EBCA6B + column * 2)
    first, second = _mixed(word + 0x27D4EB2F), _mixed(word ^ 0x165667B1)
    radius = torch.sqrt(-2.0 * torch.log((first.float() + 1.0) / (2.0**32 + 2.0)))
    return radius * torch.cos((2.0 * torch.pi / 2.0**32) * second.float())


def _mixed(word: torch.Tensor) -> torch.Tensor:
    """Return 32-bit numbers (int64) with all bits mixed, after the finalizer of MurmurHash3."""
    word = word & 0xFFFFFFFF
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return word ^ (word >> 16)
