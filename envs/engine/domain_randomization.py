"""Variations: every lane may live in a world of its own, drawn anew for each life."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator_state, restore_generator

from .randomization_spec import Rule, sample_spec, validate_spec
from .randomized_parameter import factors_of
from .task import Robot
from .visual_randomizer import Look


class DomainRandomization:
    """The rules of n lanes, the values drawn from them, and what they do to physics, actions and senses.

    A lane's values and noise come from a generator of their own, made from the lane's state at its reset: the
    same seed begins the same lives with the same goals, however the worlds differ.
    """

    def __init__(self, robot: type[Robot], model: Any, batch: Any, rule: Any) -> None:
        self.randomized_parameters = factors_of(robot, model)
        self.rules: list[Rule] = [{} for _ in range(batch.nsim)]
        self._nominal = np.array([factor.nominal for factor in self.randomized_parameters.values()], np.float64)  # (F,)
        self.values = np.tile(self._nominal, (batch.nsim, 1))  # (n, F)
        self._model, self._batch = model, batch
        self._randoms: list[np.random.Generator | None] = [None] * batch.nsim
        delays = int(self.randomized_parameters["action_delay"].bounds[1])
        self._sent = np.zeros(
            (batch.nsim, delays + 1, model.nu)
        )  # (n, K, A) the latest actions, newest first
        self._noise = np.zeros((batch.nsim, len(robot.observation_limit)))  # (n, D) added to what is observed
        self._fields: dict[str, np.ndarray] = {}  # (n, ...) each lane's own, of those ever varied
        self.active = False  # some lane may differ from the nominal world
        self.ask(rule, np.ones(batch.nsim, bool))

    # --- what is asked

    def ask(self, rule: Any, chosen: np.ndarray) -> None:
        """Rules for the chosen lanes (n,) bool, from their next reset on: one for all, or a list of n."""
        lanes = np.flatnonzero(chosen)
        if isinstance(rule, (list, tuple)):
            if len(rule) != len(self.rules):
                raise UsageError(f"expected {len(self.rules)} randomizations, one for each sub-environment, got {len(rule)}")
            asked: Sequence[Any] = [rule[lane] for lane in lanes]
        else:
            asked = [rule] * len(lanes)
        for lane, one in zip(lanes, [validate_spec(one, self.randomized_parameters) for one in asked]):
            self.rules[lane] = one
            self.active = self.active or bool(one)

    def values_by_name(self) -> dict[str, np.ndarray]:
        """(n,) the value of each factor in each lane's world."""
        return {name: self.values[:, i].copy() for i, name in enumerate(self.randomized_parameters)}

    def looks(self, lanes: Iterable[int] | None = None) -> Iterable[Look]:
        """How the worlds of `lanes` (all without) look."""
        if not self.active:
            return repeat({})
        return [self._look(lane) for lane in (range(len(self.rules)) if lanes is None else lanes)]

    def _look(self, lane: int) -> Look:
        return {
            name: float(value)
            for (name, factor), value in zip(self.randomized_parameters.items(), self.values[lane])
            if factor.look and value != factor.nominal
        }

    # --- a life

    def begin(self, lane: int, random: np.random.Generator) -> None:
        """Draw a lane's world; its generator `random` is left as it was."""
        self._sent[lane] = self._noise[lane] = 0
        self._randoms[lane] = None
        values = self._nominal
        if self.rules[lane]:
            own = np.random.default_rng(derive(0, "variations", str(generator_state(random))))
            values = sample_spec(self.rules[lane], self.randomized_parameters, own)
            self._randoms[lane] = own
        if not np.array_equal(values, self.values[lane]):
            self._become(lane, values)

    def _become(self, lane: int, values: np.ndarray) -> None:
        """Give a lane a world of these values (F,)."""
        self.values[lane] = values
        scaling = [(f, v) for f, v in zip(self.randomized_parameters.values(), values) if f.scales]
        for field in {name for factor, _ in scaling for name, _ in factor.scales}:
            self._vary(field, lane, scaling)
        self._batch.set_const([lane])

    def _vary(self, field: str, lane: int, scaling: list[tuple[Any, float]]) -> None:
        nominal = _field(self._model, field)
        value = np.array(nominal)
        for factor, times in scaling:
            for name, rows in factor.scales:
                if name == field and times != 1.0:
                    value[rows] *= times
        if field not in self._fields and not np.array_equal(value, nominal):
            self._fields[field] = self._batch.expand(field)
        if field in self._fields:
            self._fields[field][lane] = value

    def acted(self, action: np.ndarray, ids: np.ndarray | None) -> np.ndarray:
        """(n, A) the actions that arrive in lanes `ids` (all without) when `action` (n, A) is sent."""
        chosen = slice(None) if ids is None else ids
        self._sent[chosen, 1:] = self._sent[chosen, :-1]
        self._sent[chosen, 0] = action[chosen]
        delay = self.values[:, self._column("action_delay")].astype(np.int64)
        return self._sent[np.arange(len(delay)), delay]

    def sense(self, ids: np.ndarray) -> None:
        """Draw the noise of what lanes `ids` observe now."""
        deviation = self.values[:, self._column("sensor_noise")]
        for lane in ids[deviation[ids] > 0]:
            random = self._randoms[lane]
            assert random is not None
            self._noise[lane] = random.normal(0, deviation[lane], self._noise.shape[1])

    def sensed(self, numbers: np.ndarray) -> np.ndarray:
        """(n, D) the numbers of lanes as they are observed."""
        return np.where(self._noise == 0, numbers, numbers + self._noise)  # not a bit changed without noise

    def quiet(self, lanes: np.ndarray) -> None:
        """Lanes are put into a state: nothing is under way to them, they observe it exactly."""
        self._sent[lanes] = self._noise[lanes] = 0

    def _column(self, name: str) -> int:
        return list(self.randomized_parameters).index(name)

    # --- being saved

    def get_checkpoint(self) -> dict[str, Any] | None:
        """Everything that decides the lanes' worlds, now and from the next reset on."""
        if not self.active:
            return None
        return {
            "rules": [dict(rule) for rule in self.rules],
            "values": self.values.copy(),
            "sent": self._sent.copy(),
            "noise": self._noise.copy(),
            "generators": [None if r is None else generator_state(r) for r in self._randoms],
        }

    def become(self, tree: Mapping[str, Any] | None) -> None:
        """Give every lane the world of a checkpoint."""
        for lane in range(len(self.rules)):
            values = self._nominal if tree is None else np.asarray(tree["values"][lane], np.float64)
            if not np.array_equal(values, self.values[lane]):
                self._become(lane, values)

    def set_checkpoint(self, tree: Mapping[str, Any] | None) -> None:
        """Go on where `get_checkpoint` was, once the lanes have their worlds and their states."""
        self.active = tree is not None
        if tree is None:
            self.rules = [{} for _ in self.rules]
            self._randoms = [None] * len(self.rules)
            self.quiet(np.arange(len(self.rules)))
            return
        self.rules = [validate_spec(rule, self.randomized_parameters) for rule in tree["rules"]]
        self._randoms = [None if state is None else _restored(state) for state in tree["generators"]]
        self._sent[:] = tree["sent"]
        self._noise[:] = tree["noise"]


def _restored(state: dict[str, Any]) -> np.random.Generator:
    random = np.random.default_rng(0)
    restore_generator(random, state)
    return random


def _field(model: Any, name: str) -> np.ndarray:
    """A field of a model, or of its options as "opt.<name>"."""
    part, _, rest = name.partition(".")
    return np.asarray(getattr(model.opt, rest) if part == "opt" else getattr(model, name))
