"""WarpSimulation: reset, step and observation of one task on a device, without the host in between."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from robossl.core.errors import UsageError, one_line
from robossl.core.limits import check_count, check_memory
from robossl.core.traceback_utils import format_location

from ..engine.control_ranges import control_ranges
from ..engine.mocap_action import MocapAction
from ..engine.mujoco_setup import load_mujoco
from ..engine.observation_builder import box, compose_observation
from ..engine.randomization_spec import RandomizationArgument
from ..engine.robot_files import load_model
from ..engine.simulation import achieved_columns
from ..engine.task import GoalTask, Task
from ..engine.task_validation import check_declared, dry_run
from .capacity import Capacity, check_device_memory, measure_capacity
from .device_array import DeviceArray
from .device_tensors import constant
from .start_bank import StartBank
from .warp_batch import INVALID_ACTION, WarpBatch
from .warp_pixels import WarpPixels
from .warp_variations import WarpVariations

Tensors = dict[str, torch.Tensor]


class WarpSettings(NamedTuple):
    """What an env with `backend="warp"` has beyond the settings of every env."""

    device: torch.device
    capacity: Capacity | None = None  # for contacts and constraints; None: measured in a trial
    deterministic: bool = False


class WarpSimulation:
    """Batch of `num_envs` sub-environments of one task on a device.

    Args:
        task: The task.
        num_envs: Number of sub-environments n.
        settings: Device and capacity.
        max_episode_steps: Time limit [control steps]; None, 0 or -1 for no limit.
        pixels: Size (height, width) of image observations; None observes numbers.
        proprioception: Observe the numbers beside the image.
        camera: Name of the camera of image observations; None takes the first.
        randomization: Domain randomization: one spec, or a list of n.
        substeps: Physics steps per control step; None takes the robot's.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        settings: WarpSettings,
        max_episode_steps: int | None,
        pixels: Sequence[int] | None = None,
        proprioception: bool = False,
        camera: str | None = None,
        randomization: RandomizationArgument = None,
        substeps: int | None = None,
    ) -> None:
        check_memory("num_envs", num_envs)  # a first look, before the memory of one is known
        if substeps is not None:
            check_count("substeps", substeps)
        check_declared(task)
        self.task, self.num_envs, self.device = task, num_envs, settings.device
        self.model = load_model(task.robot.model)
        if self.model.nu == 0 and task.mocap is None:
            raise UsageError(
                f"expected a robot with actuators, got {task.robot.model}, which has no actuators"
            )
        dry_run(task, self.model)
        self.substeps = substeps or task.robot.substeps
        self.control_step = self.substeps * self.model.opt.timestep  # [s]
        self._proprioception = proprioception
        if proprioception and pixels is None:
            raise UsageError(
                "expected pixels=(height, width) with proprioception=True, got none; give pixels"
            )
        self.capacity = settings.capacity or measure_capacity(task, self.model, self.substeps)
        per_env = WarpBatch.bytes_per_env(self.model, self.device, *self.capacity)
        check_device_memory(per_env + StartBank.bytes_per_env(self.model), num_envs, self.device)
        mocap_size = 0 if task.mocap is None else self.model.nmocap * (6 if task.mocap == "pose" else 3)
        self.action_dim = self.model.nu + mocap_size
        self.variations = WarpVariations(
            task.robot, self.model, num_envs, self.device, randomization, self.action_dim
        )
        self.batch = WarpBatch(
            self.model, num_envs, self.device, *self.capacity, self.variations.fields, settings.deterministic
        )
        self.robot = task.robot(self.batch)  # type: ignore[arg-type]
        self._mocap = None
        if task.mocap is not None:
            arguments = (task.keyframe, task.mocap, self.control_step)
            self._mocap = MocapAction(self.model, self.batch, *arguments)  # type: ignore[arg-type]
        self.bank = StartBank(task, self.model, num_envs, self.device, self.variations)
        self.images = None
        if pixels is not None:
            self.images = WarpPixels(self.model, self.batch, pixels, camera)

        home = self.model.key_qpos[task.keyframe] if task.keyframe >= 0 else self.model.qpos0
        ranges = control_ranges(self.model, home)
        self._center = self._constant((ranges.low + ranges.high) / 2)  # (nu,)
        self._half_range = self._constant((ranges.high - ranges.low) / 2)  # (nu,)
        self._limit = self._constant(task.robot.observation_limit)  # (D,)
        self._template = self._reset_template()
        self._all = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        limit = max_episode_steps or 0
        check_count("max_episode_steps", limit, -1)
        self._max_steps = limit if limit > 0 else 2**40
        self.elapsed = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self.ended = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.error_counts = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self.last_error = torch.zeros(
            num_envs, dtype=torch.int32, device=self.device
        )  # bits of `batch.errors`
        self._before = {name: part.clone() for name, part in self.batch.parts.items()}
        self._goal: torch.Tensor | None = None  # (n, G)
        self._columns: slice | None = None  # of the observation that are the achieved goal
        if isinstance(task, GoalTask):
            self._goal = torch.zeros((num_envs, len(task.goal_limit)), device=self.device)
            self._columns = achieved_columns(task)
        self._action = torch.zeros((num_envs, self.action_dim), device=self.device)
        self.with_privileged = False  # also return privileged quantities at the end of an episode
        self._check_code()

    def _check_code(self) -> None:
        """Run the functions of the robot and the task once.

        Raises:
            UsageError: One of them cannot run on a device.
        """
        try:
            self._rewards(self._action)
            self.observation()
            self.privileged_state()
        except (TypeError, RuntimeError, AttributeError, IndexError) as error:
            reason, task = one_line(error), type(self.task).__name__
            place = format_location(traceback.extract_tb(error.__traceback__))
            raise UsageError(
                f"expected functions of {task} that run on a device for backend='warp', got an error"
                f"{f' at {place}' if place else ''}: {reason}; backend='mujoco' can"
            ) from error

    def _constant(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def _reset_template(self) -> Tensors:
        """Return the state (...) of a new episode, but for positions and velocities."""
        mujoco_module = load_mujoco()
        data = mujoco_module.MjData(self.model)
        if self.task.keyframe >= 0:
            mujoco_module.mj_resetDataKeyframe(self.model, data, self.task.keyframe)
        state = np.zeros((1, self.batch.nstate))
        signature = int(mujoco_module.mjtState.mjSTATE_INTEGRATION)
        mujoco_module.mj_getState(self.model, data, state[0], signature)
        fields = self.batch.split_state(state)
        return {name: self._constant(values[0]) for name, values in fields.items()}

    # --- spaces

    def observation_space(self) -> spaces.Space:
        """Return the observation space of one sub-environment."""
        image = None if self.images is None else spaces.Box(0, 255, (*self.images.size, 3), np.uint8)
        limit = getattr(self.task, "goal_limit", None)
        goals = None if limit is None or self._goal is None else (box(limit), box(limit))
        space = compose_observation(
            box(self.task.robot.observation_limit), image, goals, self._proprioception
        )
        return spaces.Dict(space) if isinstance(space, dict) else space

    def action_space(self) -> spaces.Box:
        """Return the action space of one sub-environment."""
        return box(np.ones(self.action_dim))

    # --- episodes

    def reset(self, mask: torch.Tensor) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool; the bank must hold their starts."""
        start = self.bank.take(mask)
        self.batch.write(self._template | {"qpos": start["qpos"], "qvel": start["qvel"]}, mask)
        if self._goal is not None:
            self._goal.copy_(torch.where(mask[:, None], start["goal"], self._goal))
        self.variations.begin(start, mask, self.batch)
        self.elapsed.masked_fill_(mask, 0)
        self.ended.masked_fill_(mask, False)
        self.refresh()

    def refresh(self) -> None:
        """Compute derived fields after a write into the state."""
        self.robot.step_cache = None
        self.batch.forward(self.task.robot.forward_stage)

    def step(self, action: torch.Tensor, resetting: torch.Tensor | None) -> Tensors:
        """Advance all sub-environments by one control step.

        Args:
            action: Actions (n, A).
            resetting: (n,) bool, sub-environments that start a new episode instead; None steps all of them.

        Returns:
            "reward" (n,), "terminated", "truncated", "physics_error" (n,), and "success" of a task that has it.
        """
        stepping = self._all if resetting is None else ~resetting
        invalid = ~torch.isfinite(action).all(1)
        action = torch.where(invalid[:, None], 0.0, action.clamp(-1.0, 1.0))
        action = self.variations.delay(action, stepping)
        control = action[:, : self.model.nu]
        for name, part in self.batch.parts.items():
            self._before[name].copy_(part)
        if self._mocap is not None:
            self._mocap.apply(DeviceArray(action[:, self.model.nu :]), None)  # type: ignore[arg-type]
        self.batch.parts["ctrl"].copy_(self._center + self._half_range * control)
        self.batch.step(self.substeps)
        errors = torch.where(invalid, INVALID_ACTION, self.batch.errors())
        errors = torch.where(stepping, errors, 0)
        failed = errors != 0
        self.batch.write(self._before, failed)
        self.batch.write(self._template, failed & ~self.batch.is_finite())  # a user wrote into the state
        self.last_error.copy_(torch.where(failed, errors, self.last_error))
        self.error_counts += failed
        self.elapsed += stepping
        if resetting is None:
            self.refresh()
        else:
            self.reset(resetting)
        result = self._rewards(action)
        terminated = result["terminated"] & ~failed & stepping
        truncated = (failed | (self.elapsed >= self._max_steps)) & stepping
        reward = torch.where(torch.isfinite(result["reward"]) | ~failed, result["reward"], 0.0)
        self.ended.copy_(terminated | truncated)
        return result | {
            "reward": torch.where(stepping, reward, 0.0),
            "terminated": terminated,
            "truncated": truncated,
            "physics_error": failed,
        }

    def _rewards(self, action: torch.Tensor) -> Tensors:
        """Return reward, termination and success in the current state."""
        task: Any = self.task
        self.robot.step_cache = {}
        if self._goal is not None:
            reward, success = task.reward_and_success(DeviceArray(self.achieved()), DeviceArray(self._goal))
        else:
            reward = task.reward(self.robot, DeviceArray(action))
            success = task.success(self.robot)
        result = {
            "reward": self._result(reward, torch.float32),
            "terminated": self._result(task.terminated(self.robot), torch.bool),
        }
        self.robot.step_cache = None
        return result if success is None else result | {"success": self._result(success, torch.bool)}

    def _result(self, value: Any, dtype: torch.dtype) -> torch.Tensor:
        """Return what a task computed as a new tensor (n,)."""
        if isinstance(value, DeviceArray):
            return value.tensor.to(dtype, copy=True)
        return constant(value, self.device).to(dtype).expand(self.num_envs).clone()

    def success(self) -> torch.Tensor | None:
        """Return (n,) bool: the task is solved in the current state; None for a task without success."""
        return self._rewards(self._action).get("success")

    # --- observations

    def numbers(self) -> torch.Tensor:
        """Return the observed numbers (n, D), without noise."""
        value = self.robot.observation()
        return torch.maximum(torch.minimum(value.tensor, self._limit), -self._limit)  # type: ignore[attr-defined]

    def achieved(self) -> torch.Tensor:
        """Return the achieved goals (n, G)."""
        task: Any = self.task
        if self._columns is not None:
            return self.numbers()[:, self._columns]
        limit = constant(task.goal_limit, self.device)
        return torch.maximum(torch.minimum(task.achieved(self.robot).tensor, limit), -limit)

    def observation(self) -> Any:
        """Return the current observation of all sub-environments: new tensors, or a dict of them."""
        goals = None if self._goal is None else (self.achieved().clone(), self._goal.clone())
        numbers = self.numbers()
        if self.variations.active:
            noisy = self.variations.noisy(numbers, self.elapsed)
            numbers = torch.maximum(torch.minimum(noisy, self._limit), -self._limit)
        images = None if self.images is None else self.images.render()
        return compose_observation(numbers.clone(), images, goals, self._proprioception)

    def privileged_state(self) -> Tensors:
        """Return physical quantities by name, each (n, k)."""
        state = self.robot.privileged_state()
        return {name: value.tensor for name, value in state.items()}  # type: ignore[attr-defined]

    # --- state

    def physics_state(self) -> torch.Tensor:
        """Return the complete physics state (n, P)."""
        return self.batch.state.tensor

    def set_state(self, states: np.ndarray, env_ids: np.ndarray, goal: np.ndarray | None) -> None:
        """Put sub-environments `env_ids` (m,) into physics states (m, P) with goals (m, G); their episodes start."""
        ids = torch.from_numpy(np.array(env_ids)).to(self.device)
        if goal is not None:
            if self._goal is None:
                raise UsageError(
                    f"expected no goal, got one for {type(self.task).__name__}, which has no goals"
                )
            self._goal[ids] = torch.from_numpy(np.array(goal, np.float32)).to(self.device)
        for name, values in self.batch.split_state(np.asarray(states)).items():
            part = self.batch.parts[name]
            part[ids] = torch.from_numpy(np.array(values, np.float32)).to(self.device, part.dtype)
        if self.variations.active:
            self.variations.clear(ids)
        self.elapsed[ids] = 0
        self.ended[ids] = False
        self.refresh()

    def changing(self) -> list[torch.Tensor]:
        """Return every tensor that a step changes."""
        own = [self.elapsed, self.ended, self.error_counts, self.last_error, self.bank.taken]
        goal = [] if self._goal is None else [self._goal]
        fields = [self.batch.field(name) for name in self.variations.fields]
        return [*self.batch.parts.values(), *own, *goal, *self.variations.changing(), *fields]

    def goals(self) -> torch.Tensor | None:
        """Return the goals (n, G) of a goal task."""
        return self._goal

    def outcome(self, action: torch.Tensor) -> Tensors:
        """Return reward, termination and success of steps that ended in the current state."""
        return self._rewards(action.clamp(-1.0, 1.0))
