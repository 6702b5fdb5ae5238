"""MujocoVectorEnv: a task in many sub-environments as one Gymnasium vector env, equal to single envs to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.core.autoreset import parse_autoreset_mode
from robossl.core.errors import UsageError
from robossl.core.interfaces import StateOutcome

from .episode_clock import EpisodeClock
from .input_checks import check_action, check_reset_mask, check_reset_options, check_seeds
from .observation_builder import Observation, separate
from .randomization_spec import RandomizationArgument
from .randomized_parameter import RandomizedParameter
from .registration import resolve_task
from .render_manager import RenderManager
from .simulation import Simulation, StepResult
from .task import Task, compute_goal_reward

_FORMAT = 2
Transition = tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]  # as `step` returns it


class MujocoVectorEnv(VectorEnv):
    """Vector env of one task on a `mujoco.batch.Batch`.

    Autoreset, rewards, infos and seeds equal those of Gymnasium's `SyncVectorEnv` over the single env, to the bit.
    When the physics of a sub-environment diverges its episode is truncated and `infos["physics_error"]` is true.

    Example:
        envs = gymnasium.make_vec("robossl/CheetahRun-v0", num_envs=64, nthread=2)

    Args:
        task: A Task, a subclass of it, or "module:Name".
        num_envs: Number of sub-environments n.
        max_episode_steps: Time limit of an episode [control steps]; None for no limit.
        nthread: Threads that step the physics; 0 takes all CPUs.
        autoreset_mode: Gymnasium's autoreset mode.
        render_mode: "human", "rgb_array" or None.
        camera: Name of the camera of frames and image observations; None takes the first.
        render_size: Size (height, width) of rendered frames [pixels].
        pixels: Size (height, width) of image observations [pixels]; None observes numbers.
        proprioception: Observe the numbers beside the image; see `ObservationBuilder`.
        randomization: Domain randomization: "train", "test", or a dict with a value, a range [low, high], "train" or
            "test" for each parameter; a list gives each sub-environment its own. See `randomized_parameters`.
        substeps: Physics steps per control step; None takes the robot's. With image observations a longer control
            step makes the effect of an action visible.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: Task | type[Task] | str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        nthread: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        camera: str | None = None,
        render_size: tuple[int, int] = (480, 480),
        pixels: tuple[int, int] | None = None,
        proprioception: bool = False,
        randomization: RandomizationArgument = None,
        substeps: int | None = None,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in {"self", "__class__"}}
        self.simulation = Simulation(
            resolve_task(task),
            num_envs,
            nthread,
            pixels=pixels,
            proprioception=proprioception,
            camera=camera,
            randomization=randomization,
            substeps=substeps,
        )
        self.num_envs = num_envs
        self.autoreset_mode = parse_autoreset_mode(autoreset_mode)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, **self.simulation.metadata(), "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.simulation.observation_space()
        self.single_action_space = self.simulation.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._render_manager = RenderManager(self.simulation, render_mode, camera, render_size)
        self._clock = EpisodeClock(num_envs, max_episode_steps)
        self._all = np.ones(num_envs, bool)
        self._started = False
        self._final_state: tuple[dict[str, np.ndarray], np.ndarray] | None = None

    # --- Gymnasium

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: An int s seeds sub-environment i with s + i; a list seeds each one; None keeps the generators.
            options: "reset_mask" (n,) bool selects the sub-environments to reset; "randomization" replaces theirs
                from this episode on.
        """
        options = dict(check_reset_options(options, ("reset_mask", "randomization")))
        mask = check_reset_mask(options.get("reset_mask"), self.num_envs)
        if "randomization" in options:
            self.simulation.randomization.set_spec(options["randomization"], mask)
        for env_index, env_seed in enumerate(check_seeds(seed, self.num_envs)):
            if env_seed is not None and mask[env_index]:
                self.simulation.seed(env_index, env_seed)
        self._reset(mask)
        self._started = True
        self._render_manager.update()
        return self.observation(), self._infos(mask)

    def step(self, actions: np.ndarray) -> Transition:
        """Advance every sub-environment by one control step; `actions` is (n, A), clipped to [-1, 1]."""
        if not self._started:
            raise UsageError("step() was called before reset(); call reset() first")
        actions = check_action(actions, self.action_space.shape)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            return self._step_or_reset(actions)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            return self._step_and_reset(actions)
        return self._step_only(actions)

    def _step_or_reset(self, actions: np.ndarray) -> Transition:
        """Reset ended sub-environments instead of stepping them: a transition with reward 0."""
        resetting = self._clock.ended
        if not np.count_nonzero(resetting):
            result, truncated = self._advance(actions, None)
            return self._transition(result, truncated, self._infos(None, result))
        self._reset(resetting)
        result, truncated = self._advance(actions, np.flatnonzero(~resetting))
        result.reward[resetting] = 0.0
        result.terminated[resetting] = False
        truncated[resetting] = False
        self._clock.start(resetting)
        return self._transition(result, truncated, self._infos(None, result))

    def _step_and_reset(self, actions: np.ndarray) -> Transition:
        """Reset sub-environments in the step in which they end; report their end in final_obs and final_info."""
        result, truncated = self._advance(actions, None)
        ended = self._clock.ended
        if not ended.any():
            return self._transition(result, truncated, self._infos(None, result))
        final_infos = self._infos(ended, result)
        privileged = {name: value.copy() for name, value in self.privileged_state().items()}
        self._final_state = privileged, self.get_physics_state()
        env_ids = np.flatnonzero(ended)
        last = separate(self.simulation.observation(env_ids), env_ids, self.num_envs)
        infos: dict[str, Any] = {"final_obs": last, "_final_obs": ended.copy()}
        infos |= {"final_info": final_infos, "_final_info": ended.copy()}
        self._reset(ended)
        physics_error = result.physics_error & ~ended
        after_reset = StepResult(result.reward, result.terminated, self.simulation.success(), physics_error)
        infos |= self._infos(None, after_reset)
        return self.observation(), result.reward, result.terminated, truncated, infos

    def _step_only(self, actions: np.ndarray) -> Transition:
        """Step without automatic resets."""
        if self._clock.ended.any():
            raise UsageError(
                f"sub-environments {np.flatnonzero(self._clock.ended).tolist()} have ended and autoreset is disabled; "
                "call reset(options={'reset_mask': ...}) before the next step"
            )
        result, truncated = self._advance(actions, None)
        return self._transition(result, truncated, self._infos(None, result))

    def _advance(self, actions: np.ndarray, env_ids: np.ndarray | None) -> tuple[StepResult, np.ndarray]:
        """Step sub-environments `env_ids`; return the result and truncations (n,)."""
        result = self.simulation.step(actions, env_ids)
        return result, self._clock.step(result.terminated, result.physics_error)

    def _transition(self, result: StepResult, truncated: np.ndarray, infos: dict[str, Any]) -> Transition:
        self._render_manager.update()
        return self.observation(), result.reward, result.terminated, truncated, infos

    def _reset(self, mask: np.ndarray) -> None:
        self.simulation.reset(np.flatnonzero(mask))
        self._clock.start(mask)

    def _infos(self, mask: np.ndarray | None, result: StepResult | None = None) -> dict[str, Any]:
        """Return the infos of the sub-environments of `mask` (n,) bool (None: all); `result` is None after a reset."""
        success = self.simulation.success() if result is None else result.success
        physics_error = np.zeros(self.num_envs, bool) if result is None else result.physics_error
        if mask is None:
            infos = {} if success is None else {"is_success": success, "_is_success": self._all.copy()}
            infos["physics_error"], infos["_physics_error"] = physics_error, self._all.copy()
            return infos
        infos = {} if success is None else {"is_success": success & mask, "_is_success": mask.copy()}
        return infos | {"physics_error": physics_error & mask, "_physics_error": mask.copy()}

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each sub-environment."""
        return tuple(self.simulation.generator(env_index) for env_index in range(self.num_envs))

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a frame (H, W, 3) uint8 of each sub-environment; None unless render_mode is "rgb_array".

        If it is "human", the window is brought up to date, as each step does.
        """
        if self.render_mode != "rgb_array":
            self._render_manager.update()
            return None
        return tuple(self._render_manager.frame(i) for i in range(self.num_envs))  # type: ignore[misc]

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderers."""
        self._render_manager.close()
        self.simulation.observation_builder.close()

    # --- goals and randomization

    def observation(self) -> Observation:
        """Return the current observation, as reset and step return it, as new arrays."""
        return self.simulation.observation()

    def success(self) -> np.ndarray | None:
        """Return (n,) bool: the task is solved in the current state; None for a task without success."""
        return self.simulation.success()

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any = None) -> np.ndarray:
        """Return the rewards (...,) of goals (..., G), for hindsight relabeling; `info` is not used."""
        return compute_goal_reward(self.simulation.task, achieved, desired)

    def goal_observation(self, goal: np.ndarray, env_ids: np.ndarray | None = None) -> Observation:
        """Return the observation, without goals, of the robot at rest at `goal`.

        Args:
            goal: Goals (m, G).
            env_ids: Sub-environments (m,) whose visual randomization the images show; None shows the nominal model.

        Returns:
            Numbers (m, D), or images and numbers according to `pixels` and `proprioception`.
        """
        return self.simulation.goal_observation(goal, env_ids)

    def randomized_values(self) -> dict[str, np.ndarray]:
        """Return the current value (n,) of each randomized parameter."""
        return self.simulation.randomization.values_by_name()

    @property
    def randomized_parameters(self) -> dict[str, RandomizedParameter]:
        """The parameters that can be randomized, by name, with units, bounds and the "train" and "test" ranges."""
        return self.simulation.randomization.parameters

    # --- physics state and checkpoints

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return physical quantities by name, each (n, k) float64."""
        return self.simulation.privileged_state()

    def get_physics_state(self) -> np.ndarray:
        """Return the complete physics state (n, P) float64."""
        return self.simulation.get_physics_state()

    def set_physics_state(
        self, physics: np.ndarray, env_ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> Observation:
        """Put sub-environments into given physics states and start their episodes there.

        Args:
            physics: Physics states (m, P), as `get_physics_state` returns them.
            env_ids: Distinct sub-environments (m,); None means all.
            goal: Goals (m, G); None keeps the goals.

        Returns:
            The observation of all sub-environments.
        """
        self._clock.start(self.simulation.set_physics_state(physics, env_ids, goal))
        self._started = True
        return self.observation()

    def outcome_of(
        self, physics: np.ndarray, action: np.ndarray, goal: np.ndarray | None = None
    ) -> StateOutcome:
        """Put the first m sub-environments into states and return the results of the steps that ended there.

        Args:
            physics: Physics states (m, P) after the steps, m at most `num_envs`.
            action: Actions (m, A) of the steps.
            goal: Goals (m, G); None keeps the goals.
        """
        count = len(physics)
        result = self.simulation.outcome_of(physics, action, goal)
        self._clock.start(np.arange(count))
        self._started = True
        observation = self.simulation.observation(np.arange(count))
        success = None if result.success is None else result.success[:count]
        return StateOutcome(observation, result.reward[:count], result.terminated[:count], success)

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return privileged and physics state at the end of the last SAME_STEP step in which an episode ended."""
        if self._final_state is None:
            raise UsageError("no episode has ended and been reset in the same step yet; step the envs first")
        return self._final_state

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """Return physics states (m, P) of the robot at rest in the poses of observations (m, D), also imagined ones.

        Returns None for a robot whose observation does not fix its pose.
        """
        return self.simulation.physics_from_observation(observation)

    def model_digest(self) -> str:
        """Return a digest of the compiled model: of the robot file, and of all files that it includes."""
        return self.simulation.model_digest()

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future, as arrays and plain JSON."""
        return {
            "format": _FORMAT,
            "simulation": self.simulation.get_checkpoint(),
            "elapsed_steps": self._clock.elapsed(),
            "ended": self._clock.ended.copy(),
            "started": self._started,
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        if tree.get("format") != _FORMAT:
            raise UsageError(
                f"expected an env checkpoint of format {_FORMAT}, got format {tree.get('format')}"
            )
        self.simulation.set_checkpoint(tree["simulation"])
        self._clock.start(self._all, np.asarray(tree["elapsed_steps"], np.int64))
        self._clock.ended = np.array(tree["ended"], bool)
        self._started = bool(tree["started"])

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "checkpoint": self.get_checkpoint(), "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.set_checkpoint(state["checkpoint"])
        self.spec = state["spec"]
