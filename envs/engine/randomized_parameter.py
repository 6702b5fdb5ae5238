"""Factors: the named, bounded ways in which a world may differ from the nominal one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .mujoco_setup import load_mujoco
from .task import Robot

Span = tuple[float, float]
TIMES = "x nominal"


@dataclass(frozen=True)
class RandomizedParameter:
    """One number of a world, with what may be asked of it, and the spans it is drawn from."""

    name: str
    unit: str
    nominal: float
    train: tuple[Span, ...]
    test: tuple[Span, ...]  # these overlap with none of train
    about: str
    whole: bool = False  # only whole numbers
    scales: tuple[tuple[str, Any], ...] = ()  # model fields it multiplies, and which of their rows
    look: bool = False  # it changes pictures only

    @property
    def bounds(self) -> Span:
        """What may be asked for: from the lowest to the highest of all spans."""
        ends = [end for span in (*self.train, *self.test) for end in span]
        return min(ends), max(ends)

    def to_json(self) -> dict[str, Any]:
        """Everything a person needs to choose a value."""
        return {
            "name": self.name,
            "unit": self.unit,
            "nominal": self.nominal,
            "bounds": list(self.bounds),
            "train": [list(span) for span in self.train],
            "test": [list(span) for span in self.test],
            "about": self.about,
        }


def factors_of(robot: type[Robot], model: Any) -> dict[str, RandomizedParameter]:
    """The factors that change anything for this model, by name; always in the same order."""
    return {factor.name: factor for factor in (*_physics(robot, model), *_senses(), *_looks(model))}


def scaled_mass(name: str, bodies: Any, about: str) -> RandomizedParameter:
    """The mass of `bodies` (their numbers), and with it their inertia."""
    scales = (("body_mass", bodies), ("body_inertia", bodies))
    return RandomizedParameter(
        name, TIMES, 1, ((0.8, 1.25),), ((0.4, 0.65), (1.5, 2.5)), about, scales=scales
    )


def _physics(robot: type[Robot], model: Any) -> Iterator[RandomizedParameter]:
    every = slice(None)
    if (model.body_mass > 0).any() and model.nv:
        yield scaled_mass("link_mass", every, "mass and inertia of everything that moves")
    for name, links in robot.mass_groups.items():
        numbers = [model.body(link).id for link in links]
        yield scaled_mass(f"{name}_mass", numbers, f"mass and inertia of the {name}")
    if _touching(model) or model.dof_frictionloss.any() or model.tendon_frictionloss.any():
        fields = (("geom_friction", (every, slice(0, 1))), ("dof_frictionloss", every))
        yield RandomizedParameter(
            "friction", TIMES, 1, ((0.7, 1.4),), ((0.25, 0.5), (2, 3)), "of contacts, and dry friction of joints",
            scales=(*fields, ("tendon_frictionloss", every)),
        )  # fmt: skip
    if model.dof_damping.any() or model.tendon_damping.any():
        yield RandomizedParameter(
            "joint_damping", TIMES, 1, ((0.7, 1.4),), ((0.2, 0.5), (2, 5)), "viscous friction of joints",
            scales=(("dof_damping", every), ("tendon_damping", every)),
        )  # fmt: skip
    if _heavy(model):
        yield RandomizedParameter(
            "gravity", TIMES, 1, ((0.9, 1.1),), ((0.5, 0.8), (1.2, 1.5)), "the pull of the earth",
            scales=(("opt.gravity", every),),
        )  # fmt: skip
    yield RandomizedParameter(
        "actuator_gain", TIMES, 1, ((0.85, 1.15),), ((0.5, 0.75), (1.25, 1.5)), "force of the actuators",
        scales=(("actuator_gainprm", every), ("actuator_biasprm", every)),
    )  # fmt: skip


def _senses() -> Iterator[RandomizedParameter]:
    yield RandomizedParameter(
        "action_delay",
        "control steps",
        0,
        ((0, 1),),
        ((2, 4),),
        "actions arrive late; none before the first",
        True,
    )
    yield RandomizedParameter(
        "sensor_noise",
        "observed units",
        0,
        ((0, 0.02),),
        ((0.03, 0.1),),
        "standard deviation of each observed number",
    )


def _looks(model: Any) -> Iterator[RandomizedParameter]:
    def look(
        name: str, unit: str, nominal: float, train: Span, test: tuple[Span, Span], about: str
    ) -> RandomizedParameter:
        return RandomizedParameter(name, unit, nominal, (train,), test, about, look=True)

    yield look("color_hue", "degrees", 0, (-30, 30), ((-180, -60), (60, 180)), "turn of all colours")
    yield look("light", TIMES, 1, (0.8, 1.2), ((0.4, 0.65), (1.35, 1.8)), "brightness of all lamps")
    yield look("camera_zoom", TIMES, 1, (0.95, 1.05), ((0.7, 0.9), (1.1, 1.3)), "focal length")
    yield look("camera_roll", "degrees", 0, (-5, 5), ((-30, -10), (10, 30)), "turn about the line of sight")
    if model.nmat and (model.mat_texid >= 0).any():
        yield look("texture_scale", TIMES, 1, (0.8, 1.25), ((0.25, 0.6), (1.7, 4)), "repeats of all textures")


def _touching(model: Any) -> bool:
    """Some geoms can collide."""
    mujoco = load_mujoco()
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT):
        return False
    return bool(model.npair or (model.geom_contype[:, None] & model.geom_conaffinity[None]).any())


def _heavy(model: Any) -> bool:
    """Gravity acts on some joint, in one of a few poses at rest."""
    mujoco = load_mujoco()
    data = mujoco.MjData(model)
    random = np.random.default_rng(0)
    for _ in range(3):
        mujoco.mj_integratePos(model, data.qpos, random.normal(0, 0.3, model.nv), 1.0)
        mujoco.mj_forward(model, data)
        if np.abs(data.qfrc_bias).max(initial=0) > 1e-9:
            return True
    return False
