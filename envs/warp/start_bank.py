"""Starts of episodes, drawn on the host by the generator of each sub-environment before the device needs them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.utils import seeding

from robossl.core.seeding import generator_state, restore_generator

from ..engine.mujoco_setup import load_mujoco
from ..engine.task import GoalTask, Task

if TYPE_CHECKING:
    from mujoco import MjModel

    from .warp_variations import WarpVariations

DEPTH = 8  # starts that a sub-environment has in advance
_EAGER = 64  # steps over which the starts that are not needed soon are drawn


class StartBank:
    """The next starts of each sub-environment, on the device: positions, velocities, goals and variations.

    A sub-environment takes its starts in the order in which its generator draws them, so that its episodes begin as on
    the CPU. The device counts the starts taken; the host reads that number now and then and draws new ones.

    Args:
        task: The task.
        model: Its model.
        num_envs: Number of sub-environments n.
        device: Device of the bank.
        variations: Draws what differs between the sub-environments in an episode.
    """

    def __init__(
        self, task: Task, model: MjModel, num_envs: int, device: torch.device, variations: WarpVariations
    ) -> None:
        self._task, self._num_envs, self._device = task, num_envs, device
        self._variations = variations
        self._lift = TouchLift(model)
        goals = len(task.goal_limit) if isinstance(task, GoalTask) else 0
        self._sizes = {"qpos": model.nq, "qvel": model.nv, "goal": goals, **variations.sizes()}
        width = sum(self._sizes.values())
        self._rows = torch.zeros((num_envs * DEPTH, width), device=device)
        self.taken = torch.zeros(
            num_envs, dtype=torch.int64, device=device
        )  # (n,) starts since the bank was emptied
        self._first = torch.arange(num_envs, device=device) * DEPTH
        self._drawn = np.zeros(num_envs, np.int64)  # (n,) the same of starts drawn
        self._known_taken = np.zeros(num_envs, np.int64)  # (n,) `taken` when the host read it
        self._steps = 0  # since then
        self.just_read = False  # the host has read in the last `prepare`
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._before: list[dict[int, dict[str, Any]]] = [{} for _ in range(num_envs)]  # generators, by start

    @staticmethod
    def bytes_per_env(model: MjModel) -> int:
        """Return the memory [bytes] of the starts of a sub-environment, without those of variations."""
        return 4 * DEPTH * (model.nq + model.nv)

    # --- generators

    def seed(self, seeds: Mapping[int, int]) -> None:
        """Replace generators by ones with these seeds, by sub-environment, and forget the starts of the old ones."""
        if seeds:
            self.read()
        for env_index, seed in seeds.items():
            self._generators[env_index] = seeding.np_random(seed)[0]
            self._drawn[env_index] = self._known_taken[env_index]
            self._before[env_index].clear()

    def generator(self, env_index: int) -> np.random.Generator:
        """Return the generator of a sub-environment, after the starts taken; forget its other starts."""
        self.discard([env_index])
        return self._generator(env_index)

    def _generator(self, env_index: int) -> np.random.Generator:
        random = self._generators[env_index]
        if random is None:
            random = self._generators[env_index] = seeding.np_random()[0]
        return random

    def discard(self, env_ids: Iterable[int]) -> None:
        """Forget the starts that were not taken; the generators are again as they were before these."""
        self.read()
        for env_index in env_ids:
            taken = int(self._known_taken[env_index])
            if taken < self._drawn[env_index]:
                restore_generator(self._generator(env_index), self._before[env_index][taken])
                self._drawn[env_index] = taken
            self._before[env_index].clear()

    # --- starts

    def take(self, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the next start (n, ...) of every sub-environment, and count it as taken in those of `mask` (n,)."""
        row = self._rows.index_select(0, self._first + self.taken % DEPTH)
        self.taken += mask
        return dict(zip(self._sizes, row.split(list(self._sizes.values()), dim=1)))

    def prepare(self) -> None:
        """Draw starts before a step, if one of the sub-environments may run out of them."""
        if int((self._drawn - self._known_taken).min()) > self._steps:
            self._steps += 1
            self.just_read = False
            return
        self.read()
        self.just_read = True
        left = self._drawn - self._known_taken
        self._draw(np.flatnonzero(left < DEPTH // 2), DEPTH // 2)
        self._steps = 1

    def prepare_ahead(self) -> None:
        """Draw a few starts that are not needed yet, while the device steps."""
        left = self._drawn - self._known_taken
        missing = np.flatnonzero(left < DEPTH)
        if len(missing):
            self._draw(missing[np.argsort(left[missing])][: self._num_envs // _EAGER + 1], DEPTH)

    def read(self) -> None:
        """Read from the device how many starts were taken."""
        self._known_taken = self.taken.cpu().numpy().copy()
        self._steps = 0

    def _draw(self, env_ids: np.ndarray, count: int) -> None:
        """Draw starts of sub-environments until each has `count` that are not known to be taken."""
        if not len(env_ids):
            return
        places, rows = [], []
        for env_index in env_ids.tolist():
            random, before = self._generator(env_index), self._before[env_index]
            for old in [number for number in before if number < self._known_taken[env_index]]:
                del before[old]
            while self._drawn[env_index] - self._known_taken[env_index] < count:
                number = int(self._drawn[env_index])
                before[number] = generator_state(random)
                places.append(env_index * DEPTH + number % DEPTH)
                rows.append(self._start(env_index, random))
                self._drawn[env_index] = number + 1
        values = torch.from_numpy(np.array(rows, np.float32)).to(self._device)
        self._rows[torch.tensor(places, device=self._device)] = values

    def _start(self, env_index: int, random: np.random.Generator) -> np.ndarray:
        """Return one start, in the order in which `Simulation.reset` draws it."""
        variation = self._variations.draw(env_index, random)
        qpos, qvel = self._task.sample_initial_state(random)
        qpos = self._lift(np.array(qpos, np.float64))
        goal = self._task.sample_goal(random) if isinstance(self._task, GoalTask) else np.zeros(0)
        return np.concatenate([qpos, qvel, goal, variation])

    # --- checkpoints

    def get_checkpoint(self) -> list[dict[str, Any]]:
        """Return the state of each generator after the starts taken."""
        self.read()
        states = []
        for env_index, taken in enumerate(self._known_taken.tolist()):
            before = self._before[env_index].get(taken)
            states.append(generator_state(self._generator(env_index)) if before is None else dict(before))
        return states

    def set_checkpoint(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Continue from `get_checkpoint`."""
        self.read()
        self._drawn = self._known_taken.copy()
        for env_index, state in enumerate(states):
            self._before[env_index].clear()
            restore_generator(self._generator(env_index), dict(state))


class TouchLift:
    """Lifts bodies that begin in contact at a distance of exactly 0 by 0.1 mm.

    On a device the sign of such a distance depends on the rounding of float32, and with it whether there is a contact.

    Args:
        model: The model.
    """

    HEIGHT = 1e-4  # [m]
    _TOUCHING = 1e-6  # [m]

    def __init__(self, model: MjModel) -> None:
        mujoco = load_mujoco()
        self._columns = _vertical_columns(model)  # of qpos, by body at the root
        self._model = copy.copy(model)
        self._model.geom_margin[:] = np.maximum(model.geom_margin, self._TOUCHING)
        self._data = mujoco.MjData(self._model)

    def __call__(self, qpos: np.ndarray) -> np.ndarray:
        """Return a pose (nq,) with the touching bodies lifted."""
        if not self._columns:
            return qpos
        mujoco, model, data = load_mujoco(), self._model, self._data
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        for contact in data.contact[: data.ncon]:
            if abs(contact.dist) > self._TOUCHING:
                continue
            roots = {int(model.body_rootid[model.geom_bodyid[geom]]) for geom in contact.geom if geom >= 0}
            for column in {self._columns[root] for root in roots & self._columns.keys()}:
                if data.qpos[column] == qpos[column]:
                    qpos[column] += self.HEIGHT
        return qpos


def _vertical_columns(model: MjModel) -> dict[int, int]:
    """Return the column of qpos that is the height of a tree of bodies, by its first body, where there is one."""
    mujoco, columns = load_mujoco(), {}
    for joint in range(model.njnt):
        body, column = int(model.jnt_bodyid[joint]), int(model.jnt_qposadr[joint])
        if int(model.body_rootid[body]) != body:
            continue
        if model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_FREE):
            columns[body] = column + 2
        elif model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_SLIDE) and model.jnt_axis[joint][2] > 0.99:
            columns[body] = column
    return columns
