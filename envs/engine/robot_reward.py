"""Reward of a robot file from a line of named terms, such as "forward=1 + 0.2*upright"; no term is code.

A line is terms joined by `+`, each with an optional weight before `*` and an optional target after `=`. The reward is
the weighted mean of the terms, each in [0, 1]:

| term | value |
| --- | --- |
| `qpos.JOINT` | where the joint is in its range: 0 at the lower end, 1 at the upper; with a target [rad or m] 1 there |
| `qvel.JOINT=V` | 1 from velocity V on [rad/s or m/s]; V < 0 is the other direction |
| `forward=V`, `forward.BODY=V` | 1 from velocity V along the x axis of the world on [m/s] |
| `height=H`, `height.BODY=H` | 1 from height H of the body on [m] |
| `upright`, `upright.BODY` | 1 as upright as at the start, 0 upside down |
| `reach.A.B` | 1 where bodies or sites A and B meet |
| `effort` | 1 without action, 0 for the largest |

Without BODY it is the body at the root of the first joint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from ..shared.reward_shaping import tolerance
from .mujoco_setup import load_mujoco

if TYPE_CHECKING:
    from mujoco import MjData, MjModel
    from mujoco.batch import Batch

Value = Callable[[np.ndarray], np.ndarray]  # action (n, A) -> (n,) in [0, 1]
_MEETING = 0.02  # [extents of the model] distance at which two points meet
_MAX_LENGTH = 1000  # [characters] of a line


@dataclass(frozen=True)
class Term:
    """One parsed term."""

    kind: str
    objects: tuple[str, ...]
    target: float | None
    weight: float


class RobotReward:
    """Weighted mean of the terms of a line.

    Args:
        line: The terms; see the head of this file.
        model: The model.
        home: Data of the model in the initial pose.
    """

    def __init__(self, line: str, model: MjModel, home: MjData) -> None:
        self._model, self._home = model, home
        self.terms = list(_parse(line, model))
        total = sum(term.weight for term in self.terms)
        self._shares = [term.weight / total for term in self.terms]
        self.stage = max(
            (_KINDS[term.kind].stage for term in self.terms), key=("none", "position", "velocity").index
        )

    def bind(self, batch: Batch) -> Value:
        """Return the function that computes the reward of a batch from its actions."""
        values = [_KINDS[term.kind].bind(term, self._model, self._home, batch) for term in self.terms]

        def reward(action: np.ndarray) -> np.ndarray:
            total = np.zeros(batch.nsim, like=action)
            for share, value in zip(self._shares, values):
                total += share * value(action)
            return np.minimum(total, 1.0)

        return reward


def _parse(line: str, model: MjModel) -> Iterator[Term]:
    """Yield the terms of a line.

    Raises:
        UsageError: The line is no sum of terms, or an object or target is missing or unknown.
    """
    if not isinstance(line, str) or not line.strip() or len(line) > _MAX_LENGTH:
        raise UsageError(f"expected a reward such as 'forward=1 + 0.2*upright', got {line!r:.100}")
    for text in re.split(r"(?<!=)\+", line):
        match = re.fullmatch(r"\s*(?:([^*=]+)\*)?\s*(\w+)(?:\.([^=]*?))?\s*(?:=\s*(\S+))?\s*", text)
        if match is None or match[2] not in _KINDS:
            raise unknown_name_error("reward term", match[2] if match else text, _KINDS)
        weight = _number(match[1], f"the weight of {text!r}") if match[1] else 1.0
        if weight <= 0:
            raise UsageError(f"expected a weight above 0, got {weight:g} in {text!r}")
        target = _number(match[4], f"the target of {text!r}") if match[4] else None
        kind = _KINDS[match[2]]
        if kind.needs_target and target is None:
            raise UsageError(f"expected a target in {text!r}, got none; such as {kind.example}")
        if not kind.takes_target and target is not None:
            raise UsageError(f"expected no target in {text!r}, got {match[4]}; such as {kind.example}")
        yield Term(match[2], kind.find(match[3] or "", model, text), target, weight)


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"expected a number as {what}, got {text.strip()!r}")
    return number


# --- objects


def _bodies(model: MjModel) -> list[str]:
    return [model.body(number).name for number in range(1, model.nbody)]


def _joints(model: MjModel) -> list[str]:
    kinds = load_mujoco().mjtJoint
    single = (int(kinds.mjJNT_HINGE), int(kinds.mjJNT_SLIDE))
    return [model.joint(number).name for number in range(model.njnt) if model.jnt_type[number] in single]


def _sites(model: MjModel) -> list[str]:
    return [model.site(number).name for number in range(model.nsite)]


def _find_joint(name: str, model: MjModel, term: str) -> tuple[str, ...]:
    if name not in [known for known in _joints(model) if known]:
        raise unknown_name_error("joint", name, filter(None, _joints(model)))
    return (name,)


def _find_body(name: str, model: MjModel, term: str) -> tuple[str, ...]:
    if name and name not in _bodies(model):
        raise unknown_name_error("MuJoCo body", name, filter(None, _bodies(model)))
    return (name,)


def _find_points(names: str, model: MjModel, term: str) -> tuple[str, ...]:
    known = {name for name in [*_bodies(model), *_sites(model)] if name}
    parts = names.split(".")
    for cut in range(1, len(parts)):  # names may contain dots
        pair = ".".join(parts[:cut]), ".".join(parts[cut:])
        if known.issuperset(pair):
            return pair
    listed = ", ".join(sorted(known))
    raise UsageError(f"expected two bodies or sites as reach.A.B, got {term.strip()!r}; available: {listed}")


def _find_nothing(name: str, model: MjModel, term: str) -> tuple[str, ...]:
    if name:
        raise UsageError(f"expected no object in the reward term {term!r}, got {name!r}; such as effort")
    return ()


def _body_id(name: str, model: MjModel) -> int:
    """Return a body by name; without one, the body at the root of the first joint."""
    return int(model.body(name).id) if name else int(model.body_rootid[model.jnt_bodyid[0]])


# --- values


def _near_or_beyond(value: np.ndarray, target: float) -> np.ndarray:
    """Return 1 from `target` on, away from 0; about 0.1 at 0."""
    lower, upper = (target, math.inf) if target >= 0 else (-math.inf, target)
    return tolerance(value, lower, upper, margin=max(abs(target), 1e-3))


def _qpos(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    joint = int(model.joint(term.objects[0]).id)
    column, qpos = int(model.jnt_qposadr[joint]), batch.bind("qpos")
    low, high = (float(end) for end in model.jnt_range[joint])
    limited = bool(model.jnt_limited[joint]) and high > low
    if term.target is None:
        if not limited:
            raise UsageError(
                f"expected a target for joint {term.objects[0]!r}, which has no range; such as qpos.{term.objects[0]}=1"
            )
        return lambda action: np.clip((qpos[:, column] - low) / (high - low), 0.0, 1.0)
    target, width = term.target, (high - low) / 2 if limited else 1.0
    return lambda action: tolerance(qpos[:, column], target, target, margin=width)


def _qvel(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    column, qvel = int(model.jnt_dofadr[model.joint(term.objects[0]).id]), batch.bind("qvel")
    return lambda action: _near_or_beyond(qvel[:, column], float(term.target or 0.0))


def _forward(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    body = _body_id(term.objects[0], model)
    root = int(model.body_rootid[body])
    velocity, position, center = (batch.bind(name) for name in ("cvel", "xpos", "subtree_com"))

    def value(action: np.ndarray) -> np.ndarray:
        rate, arm = (
            velocity[:, body],
            position[:, body] - center[:, root],
        )  # `cvel` is that of the center of mass
        speed = rate[:, 3] + (rate[:, 1] * arm[:, 2] - rate[:, 2] * arm[:, 1])
        return _near_or_beyond(speed, float(term.target or 0.0))

    return value


def _height(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    body, position = _body_id(term.objects[0], model), batch.bind("xpos")
    return lambda action: _near_or_beyond(position[:, body, 2], float(term.target or 0.0))


def _upright(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    body, rotation = _body_id(term.objects[0], model), batch.bind("xmat")
    x, y, z = home.xmat[body].reshape(3, 3)[2]  # the vertical, seen from the body

    def value(action: np.ndarray) -> np.ndarray:
        last = rotation[:, body].reshape(len(rotation), 9)[:, 6:]
        return np.clip((1.0 + (last[:, 0] * x + last[:, 1] * y + last[:, 2] * z)) / 2, 0.0, 1.0)

    return value


def _reach(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    extent = float(model.stat.extent)
    points: list[Callable[[], np.ndarray]] = []
    for name in term.objects:
        is_body = name in _bodies(model)
        number = int((model.body(name) if is_body else model.site(name)).id)
        field = batch.bind("xpos" if is_body else "site_xpos")
        points.append(lambda field=field, number=number: field[:, number])  # type: ignore[misc]

    def value(action: np.ndarray) -> np.ndarray:
        x, y, z = (points[0]() - points[1]()).T
        return tolerance(np.sqrt(x * x + y * y + z * z), 0.0, _MEETING * extent, margin=extent / 2)

    return value


def _effort(term: Term, model: MjModel, home: MjData, batch: Batch) -> Value:
    def value(action: np.ndarray) -> np.ndarray:
        total = np.zeros(len(action), like=action)
        for column in action.T:  # one by one: the same bits for any number of sub-environments
            total = total + column * column
        return 1.0 - total / action.shape[1]

    return value


@dataclass(frozen=True)
class _Kind:
    bind: Callable[[Term, MjModel, MjData, Batch], Value]
    find: Callable[[str, MjModel, str], tuple[str, ...]]
    stage: str  # of the derived fields that it reads
    takes_target: bool
    needs_target: bool
    example: str


_KINDS = {
    "qpos": _Kind(_qpos, _find_joint, "none", True, False, "qpos.slide=0.5"),
    "qvel": _Kind(_qvel, _find_joint, "none", True, True, "qvel.wheel=10"),
    "forward": _Kind(_forward, _find_body, "velocity", True, True, "forward=1"),
    "height": _Kind(_height, _find_body, "position", True, True, "height=0.5"),
    "upright": _Kind(_upright, _find_body, "position", False, False, "upright"),
    "reach": _Kind(_reach, _find_points, "position", False, False, "reach.hand.ball"),
    "effort": _Kind(_effort, _find_nothing, "none", False, False, "effort"),
}
