"""Capacity for contacts and constraints, measured in a trial on the CPU, and the sub-environments that memory holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from robossl.core.errors import UsageError
from robossl.core.limits import format_bytes, free_memory
from robossl.core.seeding import generator

from ..engine.mujoco_setup import QuietConsole, load_batch
from ..engine.robot_files import model_digest
from ..engine.task import Task

if TYPE_CHECKING:
    from mujoco import MjModel

_ENVS, _STEPS = 32, 150  # of a trial
_RESERVE = 1.5  # times the most contacts and constraints of a trial
_STEP = 16  # capacities are multiples of it: kernels are compiled for each number of constraints
_SHARE = 0.9  # of the free memory
_measured: dict[Any, Capacity] = {}  # in this process


class Capacity(NamedTuple):
    """Capacity of one sub-environment."""

    contacts: int
    constraints: int


def measure_capacity(task: Task, model: MjModel, substeps: int) -> Capacity:
    """Return the capacity for 1.5 times the contacts and constraints that random actions reach on the CPU."""
    key = (type(task), task.keyframe, substeps, model_digest(model))
    if key not in _measured:
        _measured[key] = _measure(task, model, substeps)
    return _measured[key]


def _measure(task: Task, model: MjModel, substeps: int) -> Capacity:
    batch = load_batch().Batch(model, _ENVS, 1)
    batch.reset(keyframe=task.keyframe, stage=0)
    random = generator(0, "warp", "capacity")
    qpos, qvel, control = (batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
    contacts, constraints = batch.bind("ncon"), batch.bind("nefc")
    for env_index in range(_ENVS):
        qpos[env_index], qvel[env_index] = task.sample_initial_state(random)
    limited = model.actuator_ctrllimited.astype(bool)
    low, high = np.where(limited[:, None], model.actuator_ctrlrange, (-1.0, 1.0)).T
    most_contacts = most_constraints = 0
    with QuietConsole():
        for step in range(_STEPS):
            if step % 5 == 0:
                extreme = random.random((_ENVS, model.nu)) < 0.5
                uniform = random.uniform(low, high, (_ENVS, model.nu))
                control[...] = np.where(extreme, np.where(uniform > (low + high) / 2, high, low), uniform)
            try:
                batch.step(None, substeps, 0)
            except load_batch().SimulationError:
                pass  # a simulation diverged
            batch.warning[...] = 0
            most_contacts = max(most_contacts, int(contacts.max(initial=0)))
            most_constraints = max(most_constraints, int(constraints.max(initial=0)))
    return Capacity(_rounded(most_contacts), _rounded(most_constraints))


def _rounded(most: int) -> int:
    return max(_STEP, math.ceil(_RESERVE * most / _STEP) * _STEP)


def check_device_memory(per_env: float, num_envs: int, device: torch.device) -> None:
    """Raise UsageError if `num_envs` sub-environments of `per_env` [bytes] do not fit into the free memory."""
    free = int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_memory()
    if free is None or per_env * num_envs <= _SHARE * free:
        return
    raise UsageError(
        f"num_envs: expected at most {int(_SHARE * free / per_env):,} sub-environments of {format_bytes(per_env)} in "
        f"the {format_bytes(free)} of free memory of {device}, got {num_envs:,}"
    )
