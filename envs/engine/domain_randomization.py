"""Domain randomization: physics, delay, noise and visuals of each sub-environment, sampled in each episode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator_state, restore_generator

from .randomization_spec import RandomizationArgument, RandomizationSpec, sample_spec, validate_spec
from .randomized_parameter import RandomizedParameter, randomized_parameters
from .task import Robot
from .visual_randomizer import VisualParameters

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch


class DomainRandomization:
    """Specs of n sub-environments, the sampled values, and their effect on physics, actions and observations.

    Values and noise come from a separate generator, derived from the sub-environment's generator at its reset. The same
    seed therefore gives the same initial states and goals with any randomization.

    Args:
        robot: The robot class.
        model: Its model.
        batch: The batch whose model fields are randomized.
        spec: One spec for all sub-environments, or a list of n.
        action_dim: Numbers A of an action.
    """

    def __init__(
        self,
        robot: type[Robot],
        model: MjModel,
        batch: Batch,
        spec: RandomizationArgument,
        action_dim: int,
    ) -> None:
        self.parameters = randomized_parameters(robot, model)
        self.specs: list[RandomizationSpec] = [{} for _ in range(batch.nsim)]
        self._nominal = np.array([p.nominal for p in self.parameters.values()], np.float64)  # (F,)
        self.values = np.tile(self._nominal, (batch.nsim, 1))  # (n, F)
        self._model, self._batch = model, batch
        self._generators: list[np.random.Generator | None] = [None] * batch.nsim
        max_delay = int(self.parameters["action_delay"].bounds[1])
        self._sent_actions = np.zeros((batch.nsim, max_delay + 1, action_dim))  # (n, K, A) newest first
        self._noise = np.zeros((batch.nsim, len(robot.observation_limit)))  # (n, D) added to the observation
        self._fields: dict[str, np.ndarray] = {}  # (n, ...) model fields that were ever randomized
        self.active = False  # some sub-environment may differ from the nominal model
        self.set_spec(spec, np.ones(batch.nsim, bool))

    # --- specs and values

    def set_spec(self, spec: RandomizationArgument, mask: np.ndarray) -> None:
        """Set the specs of the sub-environments in `mask` (n,) bool, from their next reset on.

        Args:
            spec: One spec for all of them, or a list of n.
            mask: The sub-environments.
        """
        env_ids = np.flatnonzero(mask)
        specs = spec_list(spec, env_ids, len(self.specs))
        for env_index, valid in zip(env_ids, [validate_spec(s, self.parameters) for s in specs]):
            self.specs[env_index] = valid
            self.active = self.active or bool(valid)

    def values_by_name(self) -> dict[str, np.ndarray]:
        """Return the current value (n,) of each parameter."""
        return {name: self.values[:, i].copy() for i, name in enumerate(self.parameters)}

    def visuals(self, env_ids: Iterable[int] | None = None) -> Iterable[VisualParameters]:
        """Return the visual parameters of sub-environments `env_ids` (None: all)."""
        if not self.active:
            return repeat({})
        return [self._visuals(i) for i in (range(len(self.specs)) if env_ids is None else env_ids)]

    def _visuals(self, env_index: int) -> VisualParameters:
        return {
            name: float(value)
            for (name, parameter), value in zip(self.parameters.items(), self.values[env_index])
            if parameter.visual and value != parameter.nominal
        }

    # --- an episode

    def sample(self, env_index: int, random: np.random.Generator) -> None:
        """Sample the values of a sub-environment; the state of its generator `random` does not change."""
        self._sent_actions[env_index] = self._noise[env_index] = 0
        self._generators[env_index] = None
        values = self._nominal
        if self.specs[env_index]:
            derived_random = np.random.default_rng(derive(0, "variations", str(generator_state(random))))
            values = sample_spec(self.specs[env_index], self.parameters, derived_random)
            self._generators[env_index] = derived_random
        if not np.array_equal(values, self.values[env_index]):
            self._apply_values(env_index, values)

    def _apply_values(self, env_index: int, values: np.ndarray) -> None:
        """Write values (F,) into the model fields of a sub-environment."""
        self.values[env_index] = values
        scales = [(p, value) for p, value in zip(self.parameters.values(), values) if p.scaled_fields]
        for field in {name for parameter, _ in scales for name, _ in parameter.scaled_fields}:
            self._scale_field(field, env_index, scales)
        self._batch.set_const([env_index])

    def _scale_field(
        self, field: str, env_index: int, scales: list[tuple[RandomizedParameter, float]]
    ) -> None:
        nominal = _model_field(self._model, field)
        scaled = np.array(nominal)
        for parameter, factor in scales:
            for name, index in parameter.scaled_fields:
                if name == field and factor != 1.0:
                    scaled[index] *= factor
        if field not in self._fields and not np.array_equal(scaled, nominal):
            self._fields[field] = self._batch.expand(field)
        if field in self._fields:
            self._fields[field][env_index] = scaled

    def delay_action(self, action: np.ndarray, env_ids: np.ndarray | None) -> np.ndarray:
        """Return the actions (n, A) that take effect when `action` (n, A) is sent to `env_ids` (None: all)."""
        chosen = slice(None) if env_ids is None else env_ids
        self._sent_actions[chosen, 1:] = self._sent_actions[chosen, :-1]
        self._sent_actions[chosen, 0] = action[chosen]
        delay = self.values[:, self._column("action_delay")].astype(np.int64)
        return self._sent_actions[np.arange(len(delay)), delay]

    def sample_noise(self, env_ids: np.ndarray) -> None:
        """Sample the noise of the next observation of sub-environments `env_ids`."""
        std = self.values[:, self._column("sensor_noise")]
        for env_index in env_ids[std[env_ids] > 0]:
            random = self._generators[env_index]
            assert random is not None
            self._noise[env_index] = random.normal(0, std[env_index], self._noise.shape[1])

    def add_noise(self, numbers: np.ndarray) -> np.ndarray:
        """Return observed numbers (n, D) plus the sampled noise; numbers without noise keep their bits."""
        return np.where(self._noise == 0, numbers, numbers + self._noise)

    def clear(self, env_ids: np.ndarray) -> None:
        """Drop delayed actions and noise of sub-environments whose state was set by the user."""
        self._sent_actions[env_ids] = self._noise[env_ids] = 0

    def _column(self, name: str) -> int:
        return list(self.parameters).index(name)

    # --- checkpoints

    def get_checkpoint(self) -> dict[str, Any] | None:
        """Return everything that determines values, delays and noise; None without randomization."""
        if not self.active:
            return None
        return {
            "specs": [dict(spec) for spec in self.specs],
            "values": self.values.copy(),
            "sent_actions": self._sent_actions.copy(),
            "noise": self._noise.copy(),
            "generators": [None if r is None else generator_state(r) for r in self._generators],
        }

    def apply(self, tree: Mapping[str, Any] | None) -> None:
        """Write the values of a checkpoint into the model fields; call it before the physics state is set."""
        for env_index in range(len(self.specs)):
            values = self._nominal if tree is None else np.asarray(tree["values"][env_index], np.float64)
            if not np.array_equal(values, self.values[env_index]):
                self._apply_values(env_index, values)

    def set_checkpoint(self, tree: Mapping[str, Any] | None) -> None:
        """Continue from `get_checkpoint`; call it after `apply` and after the physics state is set."""
        self.active = tree is not None
        if tree is None:
            self.specs = [{} for _ in self.specs]
            self._generators = [None] * len(self.specs)
            self.clear(np.arange(len(self.specs)))
            return
        self.specs = [validate_spec(spec, self.parameters) for spec in tree["specs"]]
        self._generators = [None if state is None else _generator_from(state) for state in tree["generators"]]
        self._sent_actions[:] = tree["sent_actions"]
        self._noise[:] = tree["noise"]


def spec_list(spec: RandomizationArgument, env_ids: np.ndarray, num_envs: int) -> Sequence[Any]:
    """Return the spec of each of `env_ids` (m,): of one for all, or of a list for all sub-environments."""
    if not isinstance(spec, (list, tuple)):
        return [spec] * len(env_ids)
    if len(spec) != num_envs:
        raise UsageError(
            f"expected {num_envs} randomization specs, one for each sub-environment, got {len(spec)}"
        )
    return [spec[env_index] for env_index in env_ids]


def _generator_from(state: dict[str, Any]) -> np.random.Generator:
    random = np.random.default_rng(0)
    restore_generator(random, state)
    return random


def _model_field(model: MjModel, name: str) -> np.ndarray:
    """Return a field of a model, or of its options as "opt.<name>"."""
    owner, _, option = name.partition(".")
    return np.asarray(getattr(model.opt, option) if owner == "opt" else getattr(model, name))
