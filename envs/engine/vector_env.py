"""MujocoVectorEnv: many lanes of a task as one vector env, equal to the bit to as many single envs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.core.errors import UsageError

from .observation_builder import Observation
from .randomized_parameter import RandomizedParameter
from .registration import resolve
from .render_manager import RenderManager
from .simulation import Simulation, StepResult, checked_action
from .task import GoalTask, Task

_FORMAT = 1


class MujocoVectorEnv(VectorEnv):
    """`num_envs` lanes of a task on `mujoco.batch.Batch`, a pool of `nthread` threads (0: all CPUs).

    `task` is a Task, a subclass of it, or "module:Name". An episode is truncated after `max_episode_steps`
    (None: never) and when the physics of its lane breaks, which `infos["physics_error"]` tells. Autoreset,
    rewards, infos and seeds are those of `SyncVectorEnv` over the single env, to the bit. With `pixels` =
    (H, W) the observation is a picture, with `proprioception` also the numbers; see `Senses`. `randomization`
    ("train", "test", or by factor a value, a span or one of these words; a list for each its own) says in
    which worlds the lanes live; see `randomized_parameters`. `substeps` physics steps make a control step, instead of as many as
    the body asks for: pictures tell little of an action that has hardly begun.
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
        randomization: Any = None,
        substeps: int | None = None,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in {"self", "__class__"}}
        self.simulation = Simulation(
            resolve(task),
            num_envs,
            nthread,
            pixels=pixels,
            proprioception=proprioception,
            camera=camera,
            randomization=randomization,
            substeps=substeps,
        )
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata,
            "render_fps": round(1 / self.simulation.control_step),
            "step_seconds": self.simulation.control_step,
            "render_backend": self.simulation.senses.backend,
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space = self.simulation.observation_space()
        self.single_action_space = self.simulation.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._show = RenderManager(self.simulation, render_mode, camera, render_size)
        self._limit: float = max_episode_steps if max_episode_steps and max_episode_steps > 0 else math.inf
        self._clock = 0  # control steps taken
        self._born = np.zeros(num_envs, np.int64)  # (n,) the clock when the running episode began
        self._due = self._limit  # the clock before which no episode reaches the limit
        self._all = np.ones(num_envs, bool)
        self._over = np.zeros(num_envs, bool)  # (n,) the episode has ended and is to be reset
        self._begun = False
        self._final_truth: tuple[dict[str, np.ndarray], np.ndarray] | None = None

    # --- Gymnasium

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes, in the lanes of `options["reset_mask"]` (n,) bool or in all.

        `options["randomization"]` is the new rule of those lanes, for this and all later episodes.
        An int seeds lane i with seed + i; a list seeds each lane; None lets every lane's generator go on.
        """
        chosen = self._reset_mask(options)
        if "randomization" in (options or {}):
            self.simulation.randomization.ask((options or {})["randomization"], chosen)
        for lane, lane_seed in enumerate(self._seeds(seed)):
            if lane_seed is not None and chosen[lane]:
                self.simulation.seed(lane, lane_seed)
        self._restart(chosen)
        self._begun = True
        self._show.update()
        return self.observation(), self._infos(chosen)

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every lane by one control step; `actions` is (n, A) within [-1, 1]."""
        if not self._begun:
            raise UsageError("step() was called before reset()")
        actions = checked_action(actions, self.action_space.shape)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            return self._step_or_reset(actions)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            return self._step_and_reset(actions)
        return self._step_only(actions)

    def _step_or_reset(self, actions: np.ndarray) -> Any:
        """Lanes that ended are reset instead of stepped: a dummy transition with no reward."""
        waking = self._over
        if not np.count_nonzero(waking):
            outcome, truncated = self._advance(actions, None)
            return self._returned(outcome, truncated, self._infos(None, outcome))
        self._restart(waking)
        outcome, truncated = self._advance(actions, np.flatnonzero(~waking))
        outcome.reward[waking] = 0.0
        outcome.terminated[waking] = False
        truncated[waking] = False
        self._begin(waking)
        return self._returned(outcome, truncated, self._infos(None, outcome))

    def _step_and_reset(self, actions: np.ndarray) -> Any:
        """Lanes that end are reset at once; where they ended goes into final_obs and final_info."""
        outcome, truncated = self._advance(actions, None)
        ended = self._over
        if not ended.any():
            return self._returned(outcome, truncated, self._infos(None, outcome))
        final = self._infos(ended, outcome)
        self._final_truth = {name: value.copy() for name, value in self.privileged_state().items()}, self.get_physics_state()
        infos: dict[str, Any] = {"final_obs": self._one_by_one(ended), "_final_obs": ended.copy()}
        infos |= {"final_info": final, "_final_info": ended.copy()}
        self._restart(ended)
        alive = StepResult(
            outcome.reward, outcome.terminated, self.simulation.success(), outcome.physics_error & ~ended
        )
        infos |= self._infos(None, alive)
        return self.observation(), outcome.reward, outcome.terminated, truncated, infos

    def _step_only(self, actions: np.ndarray) -> Any:
        """Nothing resets by itself."""
        if self._over.any():
            raise UsageError(
                f"lanes {np.flatnonzero(self._over).tolist()} have ended; autoreset is disabled: reset them "
                "by reset(options={'reset_mask': ...}) before the next step"
            )
        outcome, truncated = self._advance(actions, None)
        return self._returned(outcome, truncated, self._infos(None, outcome))

    def _advance(self, actions: np.ndarray, ids: np.ndarray | None) -> tuple[StepResult, np.ndarray]:
        """Step lanes `ids` and note which episodes end; (n,) truncations beside the outcome."""
        outcome = self.simulation.step(actions, ids)
        self._clock += 1
        truncated = outcome.physics_error.copy()
        if self._clock >= self._due:
            truncated |= self._clock - self._born >= self._limit
        self._over = outcome.terminated | truncated
        return outcome, truncated

    def _returned(self, outcome: StepResult, truncated: np.ndarray, infos: dict[str, Any]) -> Any:
        self._show.update()
        return self.observation(), outcome.reward, outcome.terminated, truncated, infos

    def _restart(self, chosen: np.ndarray) -> None:
        self.simulation.reset(np.flatnonzero(chosen))
        self._begin(chosen)

    def _begin(self, chosen: np.ndarray, elapsed: int | np.ndarray = 0) -> None:
        """Episodes of the chosen lanes began `elapsed` steps ago and have not ended."""
        self._born[chosen] = self._clock - elapsed
        self._due = int(self._born.min()) + self._limit
        self._over = self._over.copy()  # the step under way still holds which lanes had ended
        self._over[chosen] = False

    def _infos(self, chosen: np.ndarray | None, outcome: StepResult | None = None) -> dict[str, Any]:
        """The infos of the chosen lanes (n,) bool (None: all); after a reset without an outcome."""
        success = self.simulation.success() if outcome is None else outcome.success
        physics_error = np.zeros(self.num_envs, bool) if outcome is None else outcome.physics_error
        if chosen is None:
            told = {} if success is None else {"is_success": success, "_is_success": self._all.copy()}
            told["physics_error"], told["_physics_error"] = physics_error, self._all.copy()
            return told
        mask = chosen
        infos = {} if success is None else {"is_success": success & mask, "_is_success": mask.copy()}
        return infos | {"physics_error": physics_error & mask, "_physics_error": mask.copy()}

    def _one_by_one(self, chosen: np.ndarray) -> np.ndarray:
        """(n,) objects: the observation of each chosen lane by itself, None elsewhere."""
        lanes = np.flatnonzero(chosen)
        batch = self.simulation.observation(lanes)
        single = np.full(self.num_envs, None, object)
        for row, lane in enumerate(lanes):
            single[lane] = {k: v[row] for k, v in batch.items()} if isinstance(batch, dict) else batch[row]
        return single

    def _seeds(self, seed: Any) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + lane for lane in range(self.num_envs)]
        seeds = [None if s is None else int(s) for s in seed]
        if len(seeds) != self.num_envs:
            raise UsageError(f"expected {self.num_envs} seeds, one for each lane, got {len(seeds)}")
        return seeds

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray:
        unknown = set(options or {}) - {"reset_mask", "randomization"}
        if unknown:
            words = ", ".join(sorted(unknown))
            raise UsageError(f"unknown reset options: {words}; there are: reset_mask, randomization")
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, bool)
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise UsageError(
                f"expected a reset_mask of {self.num_envs} booleans, not all false, got {mask.tolist()}"
            )
        return mask.copy()

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Every lane's own generator."""
        return tuple(self.simulation.generator(lane) for lane in range(self.num_envs))

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A frame (H, W, 3) uint8 of every lane; None unless render_mode is "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return tuple(self._show.frame(lane) for lane in range(self.num_envs))  # type: ignore[misc]

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderers."""
        self._show.close()
        self.simulation.senses.close()

    # --- the truth, and being saved

    def observation(self) -> Observation:
        """What the lanes observe now, as reset and step return it: fresh arrays."""
        return self.simulation.observation()

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any = None) -> np.ndarray:
        """Rewards (...,) of achieved and desired goals (..., G), as hindsight replay asks for them."""
        return compute_reward(self.simulation.task, achieved, desired)

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Privileged quantities by name, each (n, k) float64."""
        return self.simulation.privileged_state()

    def get_physics_state(self) -> np.ndarray:
        """(n, P) float64: the complete physics of each lane."""
        return self.simulation.get_physics_state()

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """`privileged_state()` and `get_physics_state()` where lanes ended, before SAME_STEP reset them: of the last step that did."""
        if self._final_truth is None:
            raise UsageError("no lane has ended and been reset within a step yet")
        return self._final_truth

    def set_physics_state(
        self, physics: np.ndarray, ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> Observation:
        """Put lanes `ids` (all without) into physics rows (m, P), with goals (m, G) if given.

        Their episodes begin there: no steps elapsed, nothing to reset. Returns the observation of all lanes.
        """
        lanes = self.simulation.set_physics_state(physics, ids, goal)
        self._begin(lanes)
        self._begun = True
        return self.observation()

    def goal_observation(self, goal: np.ndarray, lanes: np.ndarray | None = None) -> Observation:
        """What the robot observes, but for goals, when it rests at goals (m, G): (m, D), or as `pixels` says.

        Pictures are drawn as the worlds of `lanes` (m,) look; without them as the nominal one.
        """
        return self.simulation.goal_observation(goal, lanes)

    def randomized_values(self) -> dict[str, np.ndarray]:
        """(n,) by factor: in which world each lane lives; see `randomized_parameters`."""
        return self.simulation.randomization.values_by_name()

    @property
    def randomized_parameters(self) -> dict[str, RandomizedParameter]:
        """What may vary, by name: units, bounds, and the spans of "train" and "test"."""
        return self.simulation.randomization.randomized_parameters

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """(m, P): physics rows at rest in the poses that observations (m, D) tell, for `restore`.

        The observations may be imagined ones. None for a body whose observation does not tell its pose.
        """
        return self.simulation.physics_from_observation(observation)

    def success(self) -> np.ndarray | None:
        """(n,) bool: the wish is fulfilled right now, also after `restore`; None where there is no wish."""
        return self.simulation.success()

    def get_checkpoint(self) -> dict[str, Any]:
        """Everything that decides the future: arrays and plain JSON."""
        return {
            "format": _FORMAT,
            "simulation": self.simulation.get_checkpoint(),
            "elapsed": self._clock - self._born,
            "over": self._over.copy(),
            "begun": self._begun,
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was, to the same bits."""
        if tree.get("format") != _FORMAT:
            raise UsageError(
                f"an env checkpoint of format {tree.get('format')}; this version reads {_FORMAT}"
            )
        self.simulation.set_checkpoint(tree["simulation"])
        self._begin(self._all, np.asarray(tree["elapsed"], np.int64))
        self._over = np.array(tree["over"], bool)
        self._begun = bool(tree["begun"])

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "checkpoint": self.get_checkpoint(), "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.set_checkpoint(state["checkpoint"])
        self.spec = state["spec"]


def compute_reward(task: Task, achieved: np.ndarray, desired: np.ndarray) -> Any:
    """Rewards of goals (..., G); a float for two single goals (G,)."""
    if not isinstance(task, GoalTask):
        raise UsageError(f"the task {type(task).__name__} has no goals")
    reward = task.goal_reward(np.asarray(achieved), np.asarray(desired))
    return float(reward) if np.ndim(reward) == 0 else reward
