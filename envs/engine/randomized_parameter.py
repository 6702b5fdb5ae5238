"""Randomized parameters: named, bounded changes of the physics, actions, observations or visuals of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .mujoco_setup import load_mujoco
from .task import Robot

if TYPE_CHECKING:
    from mujoco import MjModel

Range = tuple[float, float]
Index = Any  # of the rows of a model field: a slice, a list, or a tuple of them
TIMES_NOMINAL = "x nominal"


@dataclass(frozen=True)
class RandomizedParameter:
    """One number that domain randomization can change, with its bounds and sampling ranges."""

    name: str
    unit: str
    nominal: float
    train: tuple[Range, ...]
    test: tuple[Range, ...]  # disjoint from `train`
    description: str
    integer: bool = False
    scaled_fields: tuple[tuple[str, Index], ...] = ()  # model fields that it multiplies, with the rows
    visual: bool = False  # changes images only

    @property
    def bounds(self) -> Range:
        """The lowest and the highest value of all ranges."""
        ends = [end for range_ in (*self.train, *self.test) for end in range_]
        return min(ends), max(ends)

    def to_json(self) -> dict[str, Any]:
        """Return what a user needs to choose a value, as plain JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "nominal": self.nominal,
            "bounds": list(self.bounds),
            "train": [list(range_) for range_ in self.train],
            "test": [list(range_) for range_ in self.test],
            "description": self.description,
        }


def randomized_parameters(robot: type[Robot], model: MjModel) -> dict[str, RandomizedParameter]:
    """Return the parameters that have an effect on this model, by name, in a fixed order."""
    parameters = (*_physics(robot, model), *_action_and_observation(), *_visuals(model))
    return {parameter.name: parameter for parameter in parameters}


def _mass(name: str, bodies: slice | Sequence[int], description: str) -> RandomizedParameter:
    """Return the parameter that scales mass and inertia of MuJoCo bodies."""
    fields = (("body_mass", bodies), ("body_inertia", bodies))
    train, test = ((0.8, 1.25),), ((0.4, 0.65), (1.5, 2.5))
    return RandomizedParameter(name, TIMES_NOMINAL, 1, train, test, description, scaled_fields=fields)


def _physics(robot: type[Robot], model: MjModel) -> Iterator[RandomizedParameter]:
    all_rows = slice(None)
    if (model.body_mass > 0).any() and model.nv:
        yield _mass("link_mass", all_rows, "mass and inertia of all moving bodies")
    for name, bodies in robot.mass_groups.items():
        yield _mass(
            f"{name}_mass", [model.body(body).id for body in bodies], f"mass and inertia of the {name}"
        )
    if _has_contacts(model) or model.dof_frictionloss.any() or model.tendon_frictionloss.any():
        fields = (("geom_friction", (all_rows, slice(0, 1))), ("dof_frictionloss", all_rows))
        yield RandomizedParameter(
            "friction", TIMES_NOMINAL, 1, ((0.7, 1.4),), ((0.25, 0.5), (2, 3)), "contact and dry joint friction",
            scaled_fields=(*fields, ("tendon_frictionloss", all_rows)),
        )  # fmt: skip
    if model.dof_damping.any() or model.tendon_damping.any():
        yield RandomizedParameter(
            "joint_damping", TIMES_NOMINAL, 1, ((0.7, 1.4),), ((0.2, 0.5), (2, 5)), "viscous joint friction",
            scaled_fields=(("dof_damping", all_rows), ("tendon_damping", all_rows)),
        )  # fmt: skip
    if _has_gravity_load(model):
        yield RandomizedParameter(
            "gravity", TIMES_NOMINAL, 1, ((0.9, 1.1),), ((0.5, 0.8), (1.2, 1.5)), "gravitational acceleration",
            scaled_fields=(("opt.gravity", all_rows),),
        )  # fmt: skip
    yield RandomizedParameter(
        "actuator_gain", TIMES_NOMINAL, 1, ((0.85, 1.15),), ((0.5, 0.75), (1.25, 1.5)), "force of the actuators",
        scaled_fields=(("actuator_gainprm", all_rows), ("actuator_biasprm", all_rows)),
    )  # fmt: skip


def _action_and_observation() -> Iterator[RandomizedParameter]:
    yield RandomizedParameter(
        "action_delay", "control steps", 0, ((0, 1),), ((2, 4),), "delay of actions; zero action before the first",
        integer=True,
    )  # fmt: skip
    yield RandomizedParameter(
        "sensor_noise", "observed units", 0, ((0, 0.02),), ((0.03, 0.1),), "standard deviation of observed numbers",
    )  # fmt: skip


def _visuals(model: MjModel) -> Iterator[RandomizedParameter]:
    def visual(
        name: str, unit: str, nominal: float, train: Range, test: tuple[Range, Range], description: str
    ) -> RandomizedParameter:
        return RandomizedParameter(name, unit, nominal, (train,), test, description, visual=True)

    yield visual("color_hue", "degrees", 0, (-30, 30), ((-180, -60), (60, 180)), "hue rotation of all colors")
    yield visual(
        "light", TIMES_NOMINAL, 1, (0.8, 1.2), ((0.4, 0.65), (1.35, 1.8)), "brightness of all lights"
    )
    yield visual("camera_zoom", TIMES_NOMINAL, 1, (0.95, 1.05), ((0.7, 0.9), (1.1, 1.3)), "focal length")
    yield visual(
        "camera_roll", "degrees", 0, (-5, 5), ((-30, -10), (10, 30)), "rotation about the optical axis"
    )
    if model.nmat and (model.mat_texid >= 0).any():
        yield visual(
            "texture_scale", TIMES_NOMINAL, 1, (0.8, 1.25), ((0.25, 0.6), (1.7, 4)), "texture repeats"
        )


def _has_contacts(model: MjModel) -> bool:
    """Return whether some geoms can collide."""
    mujoco = load_mujoco()
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT):
        return False
    return bool(model.npair or (model.geom_contype[:, None] & model.geom_conaffinity[None]).any())


def _has_gravity_load(model: MjModel) -> bool:
    """Return whether gravity acts on some joint, in one of a few poses at rest."""
    mujoco = load_mujoco()
    data = mujoco.MjData(model)
    random = np.random.default_rng(0)
    for _ in range(3):
        mujoco.mj_integratePos(model, data.qpos, random.normal(0, 0.3, model.nv), 1.0)
        mujoco.mj_forward(model, data)
        if np.abs(data.qfrc_bias).max(initial=0) > 1e-9:
            return True
    return False
