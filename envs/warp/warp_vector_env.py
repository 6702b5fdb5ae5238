"""WarpVectorEnv: a task in many sub-environments on a device as one Gymnasium vector env with torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.core.autoreset import parse_autoreset_mode
from robossl.core.errors import UsageError
from robossl.core.limits import check_count

from ..engine.input_checks import (
    check_env_ids,
    check_finite_rows,
    check_reset_mask,
    check_reset_options,
    check_seeds,
)
from ..engine.randomization_spec import RandomizationArgument
from ..engine.randomized_parameter import RandomizedParameter
from ..engine.registration import resolve_task
from ..engine.simulation import robot_name
from ..engine.task import Task
from .capacity import Capacity
from .device_array import DeviceArray
from .error_report import ErrorReport
from .warp_modules import warp_device
from .warp_pixels import BACKEND
from .warp_simulation import Tensors, WarpSettings, WarpSimulation
from .warp_step import BatchStep, tree_of

_FORMAT = "warp 1"
Transition = tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]


class WarpVectorEnv(VectorEnv):
    """Vector env of one task on MuJoCo Warp; actions, observations, rewards and infos are tensors on its device.

    Starts and autoreset equal those of `MujocoVectorEnv`; the physics is float32 and differs from it by rounding. On a
    GPU a step is one CUDA graph; the host only draws the starts of later episodes. When contacts or constraints of a
    sub-environment were lost, or its state is not finite, its episode is truncated, `infos["physics_error"]` is true,
    and a warning is logged. In SAME_STEP mode `infos["final_obs"]` is the observation (n, ...) before the resets.

    Args:
        task: A Task, a subclass of it, or "module:Name".
        num_envs: Number of sub-environments n.
        max_episode_steps: Time limit of an episode [control steps]; None for no limit.
        device: "cuda", also with a number, "cpu" or "auto": a GPU if there is one.
        autoreset_mode: Gymnasium's autoreset mode.
        camera: Name of the camera of image observations; None takes the first.
        pixels: Size (height, width) of image observations [pixels]; None observes numbers.
        proprioception: Observe the numbers beside the image.
        randomization: Domain randomization, as of `MujocoVectorEnv`.
        substeps: Physics steps per control step; None takes the robot's.
        max_contacts: Largest number of contacts of a sub-environment; None: 1.5 times those of a trial.
        max_constraints: The same of constraints.
        deterministic: Slower kernels that give the same bits in every run on a GPU.
        cuda_graph: Capture the step as a CUDA graph; without effect on the CPU.
        render_mode: None; frames of a stream are rendered from its physics states.
    """

    metadata = {  # noqa: RUF012
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: Task | type[Task] | str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        device: Any = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        camera: str | None = None,
        pixels: tuple[int, int] | None = None,
        proprioception: bool = False,
        randomization: RandomizationArgument = None,
        substeps: int | None = None,
        max_contacts: int | None = None,
        max_constraints: int | None = None,
        deterministic: bool = False,
        cuda_graph: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in {"self", "__class__"}}
        if render_mode is not None:
            raise UsageError(
                f"expected render_mode=None for backend='warp', got {render_mode!r}; set the states of "
                "get_physics_state() in an env with backend='mujoco' and render that"
            )
        if (max_contacts is None) != (max_constraints is None):
            raise UsageError("expected both of max_contacts and max_constraints, got one of them")
        for name, value in (("max_contacts", max_contacts), ("max_constraints", max_constraints)):
            check_count(name, value or 0, 0)
        capacity = None if max_contacts is None else Capacity(int(max_contacts), int(max_constraints or 0))
        self.device = warp_device(device)
        self.simulation = WarpSimulation(
            resolve_task(task),
            num_envs,
            WarpSettings(self.device, capacity, deterministic),
            max_episode_steps,
            pixels=pixels,
            proprioception=proprioception,
            camera=camera,
            randomization=randomization,
            substeps=substeps,
        )
        simulation = self.simulation
        self.num_envs = num_envs
        self.autoreset_mode = parse_autoreset_mode(autoreset_mode)
        self.render_mode = None
        self.metadata = {
            **self.metadata,
            "robot": robot_name(simulation.task.robot.model),
            "render_fps": round(1 / simulation.control_step),
            "step_seconds": simulation.control_step,
            "render_backend": None if pixels is None else BACKEND,
            "physics_backend": "mujoco_warp",
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space = simulation.observation_space()
        self.single_action_space = simulation.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.errors = ErrorReport(simulation)
        self._started = False
        self._all = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        uses_graph = cuda_graph and self.device.type == "cuda"
        self.batch_step = BatchStep(simulation, self.autoreset_mode, uses_graph)

    # --- Gymnasium

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; seeds and options are those of `MujocoVectorEnv.reset`."""
        options = dict(check_reset_options(options, ("reset_mask", "randomization")))
        given = options.get("reset_mask")
        mask = check_reset_mask(
            given.cpu().numpy() if isinstance(given, torch.Tensor) else given, self.num_envs
        )
        simulation = self.simulation
        if "randomization" in options:
            simulation.variations.set_spec(options["randomization"], mask)
            simulation.bank.discard(np.flatnonzero(mask).tolist())
        seeds = check_seeds(seed, self.num_envs)
        simulation.bank.seed({i: s for i, s in enumerate(seeds) if s is not None and mask[i]})
        simulation.bank.prepare()
        chosen = torch.from_numpy(mask).to(self.device)
        simulation.reset(chosen)
        self._started = True
        success = simulation.success()
        result = {"physics_error": torch.zeros_like(self._all)}
        if success is not None:
            result["success"] = success
        return simulation.observation(), self._infos(result, chosen)

    def step(self, actions: Any) -> Transition:
        """Advance every sub-environment by one control step; `actions` is (n, A), clipped to [-1, 1].

        Values of `actions` are not checked: an action that is not finite ends the episode with a physics error.
        """
        if not self._started:
            raise UsageError("step() was called before reset(); call reset() first")
        try:
            actions = torch.as_tensor(actions)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"expected actions that are numbers, got {type(actions).__name__}") from error
        if tuple(actions.shape) != self.action_space.shape:
            raise UsageError(
                f"expected actions of shape {self.action_space.shape}, got {tuple(actions.shape)}"
            )
        if self.autoreset_mode is AutoresetMode.DISABLED and bool(self.simulation.ended.any()):
            ended = torch.nonzero(self.simulation.ended)[:, 0].tolist()
            raise UsageError(
                f"sub-environments {ended} have ended and autoreset is disabled; call "
                "reset(options={'reset_mask': ...}) before the next step"
            )
        self.simulation.bank.prepare()
        result = self.batch_step.run(actions)
        self.simulation.bank.prepare_ahead()
        if (
            self.device.type == "cpu" or self.simulation.bank.just_read
        ):  # else the host would wait for the device
            self.errors.report()
        return self._transition(result)

    def _transition(self, result: Tensors) -> Transition:
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            infos = self._same_step_infos(result)
        else:
            infos = self._infos(result, None)
        observation = tree_of(result, "observation")
        return observation, result["reward"], result["terminated"], result["truncated"], infos

    def _same_step_infos(self, result: Tensors) -> dict[str, Any]:
        """Return infos with the last observations and infos of the episodes that ended."""
        ended = result["ended"]
        infos: dict[str, Any] = {"final_obs": tree_of(result, "final"), "_final_obs": ended}
        infos |= {"final_info": self._infos(result, ended), "_final_info": ended}
        after = {"physics_error": result["physics_error"] & ~ended}
        if "success_after_reset" in result:
            after["success"] = result["success_after_reset"]
        return infos | self._infos(after, None)

    def _infos(self, result: Tensors, mask: torch.Tensor | None) -> dict[str, Any]:
        """Return the infos of the sub-environments of `mask` (n,) bool; None: of all."""
        infos = {}
        for key, name in (("is_success", "success"), ("physics_error", "physics_error")):
            if name in result:
                infos[key] = result[name] if mask is None else result[name] & mask
                infos[f"_{key}"] = (self._all if mask is None else mask).clone()
        return infos

    @property
    def num_physics_errors(self) -> int:
        """Episodes that ended with a physics error, as far as the host knows."""
        return self.errors.total

    # --- goals and randomization

    def observation(self) -> Any:
        """Return the current observation."""
        return self.simulation.observation()

    def success(self) -> torch.Tensor | None:
        """Return (n,) bool: the task is solved in the current state; None for a task without success."""
        return self.simulation.success()

    def compute_reward(self, achieved: torch.Tensor, desired: torch.Tensor, info: Any = None) -> torch.Tensor:
        """Return the rewards (...,) of goals (..., G) on the device, for hindsight relabeling; `info` is not used."""
        task: Any = self.simulation.task
        if self.simulation.goals() is None:
            raise UsageError(f"expected a goal task, got {type(task).__name__}, which has no goals")
        return task.goal_reward(DeviceArray(achieved), DeviceArray(desired)).tensor

    def randomized_values(self) -> dict[str, torch.Tensor]:
        """Return the current value (n,) of each randomized parameter."""
        return self.simulation.variations.values_by_name()

    @property
    def randomized_parameters(self) -> dict[str, RandomizedParameter]:
        """The parameters that can be randomized, by name."""
        return self.simulation.variations.parameters

    # --- physics state and checkpoints

    def privileged_state(self) -> Tensors:
        """Return physical quantities by name, each (n, k)."""
        return {name: value.clone() for name, value in self.simulation.privileged_state().items()}

    def get_physics_state(self) -> torch.Tensor:
        """Return the complete physics state (n, P)."""
        return self.simulation.physics_state()

    def set_physics_state(self, physics: Any, env_ids: Any = None, goal: Any = None) -> Any:
        """Put sub-environments into physics states and start their episodes there; return all observations.

        Args:
            physics: Physics states (m, P), also those of an env with backend="mujoco".
            env_ids: Distinct sub-environments (m,); None means all.
            goal: Goals (m, G); None keeps the goals.
        """
        ids = check_env_ids(_numpy(env_ids), self.num_envs)
        shape = (len(ids), self.simulation.batch.nstate)
        states = check_finite_rows("physics states", _numpy(physics), shape, np.float64)
        if goal is not None and (goals := self.simulation.goals()) is not None:
            goal = check_finite_rows("goals", _numpy(goal), (len(ids), goals.shape[1]), np.float32)
        self.simulation.set_state(states, ids, goal)
        self._started = True
        return self.observation()

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future, as arrays and plain JSON."""
        simulation = self.simulation
        goals = simulation.goals()
        return {
            "format": _FORMAT,
            "physics": simulation.physics_state().cpu().numpy().astype(np.float64),
            "goal": None if goals is None else goals.cpu().numpy().copy(),
            "elapsed_steps": simulation.elapsed.cpu().numpy().copy(),
            "ended": simulation.ended.cpu().numpy().copy(),
            "started": self._started,
            "generators": simulation.bank.get_checkpoint(),
            "randomization": simulation.variations.get_checkpoint(simulation.batch),
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`; on the CPU to the same bits."""
        if tree.get("format") != _FORMAT:
            raise UsageError(
                f"expected a checkpoint of an env with backend='warp', got format {tree.get('format')!r}"
            )
        if len(tree["generators"]) != self.num_envs:
            raise UsageError(
                f"expected a checkpoint of {self.num_envs} sub-environments, got {len(tree['generators'])}"
            )
        simulation = self.simulation
        shape = (self.num_envs, simulation.batch.nstate)
        if np.shape(tree["physics"]) != shape:
            raise UsageError(
                f"expected a checkpoint with physics states {shape} of this robot, got {np.shape(tree['physics'])}"
            )
        simulation.variations.set_checkpoint(tree["randomization"], simulation.batch)
        simulation.bank.set_checkpoint(tree["generators"])
        sent = simulation.variations.get_sent()
        simulation.set_state(tree["physics"], np.arange(self.num_envs), tree["goal"])
        simulation.variations.set_sent(sent)
        simulation.elapsed.copy_(torch.from_numpy(np.array(tree["elapsed_steps"], np.int64)))
        simulation.ended.copy_(torch.from_numpy(np.array(tree["ended"], bool)))
        self._started = bool(tree["started"])

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "checkpoint": self.get_checkpoint(), "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.set_checkpoint(state["checkpoint"])
        self.spec = state["spec"]


def _numpy(values: Any) -> Any:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values
