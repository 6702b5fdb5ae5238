"""Short simulations that show what actions do: which joints move, which actuators have an effect, what falls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from robossl.core.seeding import generator

from .mujoco_setup import load_mujoco
from .simulation import Simulation

if TYPE_CHECKING:
    from mujoco import MjData, MjModel

    from .task import Task

_EFFECT_STEPS = 50  # [control steps] in which an action must have an effect
_RANDOM_ENVS = 8  # sub-environments with random actions
_MOVED = 1e-3  # of the range of a joint; less is the recoil of the parts that do move
_EFFECT = 1e-9  # [rad or m] smallest effect of an action
_MAX_ACTIONS = 128  # that are tried one by one
_FALL_SECONDS = 10.0  # [s] simulated
_FALL_EXTENTS, _FALL_METERS = 5.0, 5.0  # a drop by more than both is a fall


class ActionEffects(NamedTuple):
    """Effects of single actions from the same start, compared with zero actions."""

    moved: np.ndarray  # (nv,) bool: some action moves this degree of freedom
    without_effect: np.ndarray  # indices of actions that change nothing
    diverged: bool  # the physics diverged


class Fall(NamedTuple):
    """A body that falls without actions."""

    body: str
    distance: float  # [m] along gravity
    seconds: float  # [s]


def action_effects(task: Task, substeps: int, seconds: float) -> ActionEffects:
    """Return what each action does: -1 and 1 alone, and random actions together.

    Args:
        task: The task.
        substeps: Physics steps per control step.
        seconds: Time limit [s]; fewer steps are made where they take longer.
    """
    simulation = _simulation(task, 1, substeps)
    count = simulation.action_space().shape[0]
    tried = min(count, _MAX_ACTIONS)
    num_envs = 1 + 2 * tried + _RANDOM_ENVS
    simulation = _simulation(task, num_envs, substeps)
    random = generator(0, "robot examination")
    actions = np.zeros((num_envs, count))
    singles = np.arange(tried)
    actions[1 + singles, singles], actions[1 + tried + singles, singles] = -1.0, 1.0
    model = simulation.model
    units, positions = _units(model), np.zeros((num_envs, model.nv))
    changes = np.zeros((num_envs, model.nv))  # largest difference from zero actions so far
    states, activations = np.zeros(num_envs), simulation.batch.bind("act")
    diverged, deadline = False, time.monotonic() + seconds
    mujoco = load_mujoco()
    for step in range(_EFFECT_STEPS):
        actions[-_RANDOM_ENVS:] = random.uniform(-1, 1, (_RANDOM_ENVS, count))
        diverged |= bool(simulation.step(actions).physics_error.any())
        for row, qpos in zip(positions, simulation.robot.qpos):
            mujoco.mj_differentiatePos(model, row, 1.0, simulation.robot.qpos[0], qpos)
        np.maximum(changes, np.abs(positions), out=changes)
        difference = np.abs(activations - activations[0]).max(axis=1, initial=0.0)
        np.maximum(states, np.maximum(difference, np.abs(positions).max(axis=1)), out=states)
        if time.monotonic() > deadline and step >= 5:
            break
    effects = np.maximum(states[1 : 1 + tried], states[1 + tried : 1 + 2 * tried])
    moved = np.asarray((changes > _MOVED * units).any(axis=0))
    return ActionEffects(moved, np.flatnonzero(effects < _EFFECT), diverged)


def find_fall(task: Task, substeps: int, seconds: float) -> Fall | None:
    """Return the body that falls farthest without actions; None if none falls for long."""
    simulation = _simulation(task, 1, substeps)
    model = simulation.model
    gravity = np.asarray(model.opt.gravity)
    strength = float(np.sqrt(gravity @ gravity))
    if strength == 0:
        return None
    centers = simulation.batch.bind("subtree_com")  # (1, nbody, 3)
    roots = [b for b in range(1, model.nbody) if model.body_parentid[b] == 0 and model.body_weldid[b] != 0]
    if not roots:
        return None
    simulation.batch.forward()
    start = centers[0, roots].copy()
    limit = max(_FALL_EXTENTS * float(model.stat.extent), _FALL_METERS)
    action, deadline = np.zeros((1, simulation.action_space().shape[0])), time.monotonic() + seconds
    fall, elapsed = None, 0.0
    while elapsed < _FALL_SECONDS and time.monotonic() < deadline:
        if simulation.step(action).physics_error.any():
            return fall
        elapsed += simulation.control_step
        drops = ((centers[0, roots] - start) * gravity).sum(axis=1) / strength
        lowest = int(np.argmax(drops))
        if drops[lowest] > limit:
            fall = Fall(body_name(model, roots[lowest]), float(drops[lowest]), elapsed)
    return fall


def sampled_start(task: Task, substeps: int) -> MjData:
    """Return data of the model, with all derived fields, in an initial state of the task."""
    mujoco, simulation = load_mujoco(), _simulation(task, 1, substeps)
    data = mujoco.MjData(simulation.model)
    simulation.batch.get_data(0, data)
    mujoco.mj_forward(simulation.model, data)
    return data


def body_name(model: MjModel, body: int) -> str:
    """Return the name of a body, or its number."""
    return model.body(body).name or f"body {body}"


def joint_name(model: MjModel, joint: int) -> str:
    """Return the name of a joint; without one, its kind and body."""
    kinds = {int(kind): kind.name.removeprefix("mjJNT_").lower() for kind in _joint_kinds()}
    kind = kinds[int(model.jnt_type[joint])]
    return model.joint(joint).name or f"{kind} of {body_name(model, int(model.jnt_bodyid[joint]))}"


def _joint_kinds() -> list[Any]:
    kinds = load_mujoco().mjtJoint
    return [kinds.mjJNT_FREE, kinds.mjJNT_BALL, kinds.mjJNT_SLIDE, kinds.mjJNT_HINGE]


def _units(model: MjModel) -> np.ndarray:
    """Return for each degree of freedom (nv,) its range; without one a radian, or the extent of the model."""
    mujoco = load_mujoco()
    units = np.ones(model.nv)
    for joint in range(model.njnt):
        kind, first = int(model.jnt_type[joint]), int(model.jnt_dofadr[joint])
        if kind == int(mujoco.mjtJoint.mjJNT_FREE):
            units[first : first + 3] = model.stat.extent
        elif kind in (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE)):
            if model.jnt_limited[joint]:
                units[first] = max(float(np.diff(model.jnt_range[joint])[0]), 1e-6)
            elif kind == int(mujoco.mjtJoint.mjJNT_SLIDE):
                units[first] = model.stat.extent
    return units


def _simulation(task: Task, num_envs: int, substeps: int) -> Simulation:
    """Return a simulation whose sub-environments all start in the same state."""
    simulation = Simulation(task, num_envs, 1, substeps=substeps)
    for env_index in range(num_envs):
        simulation.seed(env_index, 0)
    simulation.reset(np.arange(num_envs))
    return simulation
