"""Adapter from Gymnasium's vector envs to the VecEnv of Stable-Baselines3."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation
from robossl.rollout import autoreset_mode, final_observations, reset_done

from .features import FeatureBuilder
from .image_history import ImageHistory, Images
from .sub_env_access import SubEnvAccess, split_infos


class SB3VecEnv(VecEnv):
    """A `VectorEnv` in any autoreset mode as a VecEnv.

    SB3 expects the observation of the new episode in the step that ended the old one. In SAME_STEP mode the env returns
    it; otherwise this class resets the sub-environments that ended, through `options["reset_mask"]`, so that no dummy
    step happens. The infos of the last step of an episode have `terminal_observation` and `episode` (r: return, l:
    steps, t: seconds); the infos of every step have `TimeLimit.truncated`. Discrete actions start at 0.

    Example:
        envs = gymnasium.make_vec("robossl/CheetahRun-v0", num_envs=8)
        stable_baselines3.PPO("MlpPolicy", robossl.agents.SB3VecEnv(envs)).learn(10_000)
    """

    def __init__(
        self,
        envs: VectorEnv,
        features: FeatureBuilder | None = None,
    ) -> None:
        """Wrap `envs`.

        Args:
            envs: The vector env.
            features: Converts observations of all sub-environments to those of SB3. Default: nested observations
                become a flat Dict with keys like "arm/joints".
        """
        self.envs = envs
        self.observation: Observation = None  # (n, ...) as the env returned it last
        self._mode = autoreset_mode(envs)
        self._access = SubEnvAccess(envs)
        self._features = features
        self._history = ImageHistory()
        action_space = envs.single_action_space
        self._first_action = int(action_space.start) if isinstance(action_space, gym.spaces.Discrete) else 0
        super().__init__(
            envs.num_envs,
            _flat_space(envs.single_observation_space) if features is None else features.observation_space,
            # a separate space, because SB3 seeds it and samples from it
            gym.spaces.Discrete(int(action_space.n))  # type: ignore[attr-defined]
            if self._first_action
            else copy.deepcopy(action_space),
        )
        self._actions: np.ndarray | None = None
        self._seed: int | None = None
        self._start = time.perf_counter()
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)

    # --- observations and actions

    def latest_observation(self) -> Any:
        """Return the latest observation, converted now (with the current representation)."""
        return self._convert(self.observation)

    def _convert(self, observation: Observation) -> Any:
        """Return the observations of SB3 for those of the current time step."""
        if self._features is None:
            return self._flatten(observation)
        return self._features(observation, self._history.previous)

    def _images(self, observation: Observation) -> Images:
        return {} if self._features is None else self._features.images(observation)

    def to_env_actions(self, actions: np.ndarray) -> np.ndarray:
        """Return SB3's actions as the env expects them: Discrete from its `start`."""
        return actions + self._first_action if self._first_action else actions

    def _flatten(self, observation: Observation) -> Any:
        parts = spaces.flatten_by_path(self.envs.single_observation_space, observation)
        if set(parts) == {""}:
            return parts[""].copy()
        return {_key(path): values.copy() for path, values in parts.items()}

    # --- reset and step

    def reset(self) -> Any:
        """Reset all sub-environments, with the seed given last, if there is one."""
        options = self._options[0] or None
        if any((env_options or None) != options for env_options in self._options):
            raise UsageError(
                "a vector env resets all sub-environments with the same options, got different ones"
            )
        self.observation, infos = self.envs.reset(seed=self._seed, options=options)
        self._seed = None
        self._reset_options()
        self._history.clear()
        self._history.step(self._images(self.observation))
        self._return[:], self._length[:] = 0.0, 0
        self.reset_infos = split_infos(infos, self.num_envs)
        return self.latest_observation()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the seed of the next reset: seed + i for sub-environment i; None: the generators continue."""
        self._seed = None if seed is None else int(seed)
        return [None if seed is None else seed + env_index for env_index in range(self.num_envs)]

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions (n, *A) for `step_wait`."""
        self._actions = self.to_env_actions(np.asarray(actions))

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Return observations (n, ...), rewards (n,) float32, dones (n,) bool and one info per sub-environment."""
        assert self._actions is not None, "step_async() was not called before step_wait()"
        observation, reward, terminated, truncated, vector_infos = self.envs.step(self._actions)
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        self._return += reward
        self._length += 1
        infos = split_infos(vector_infos, self.num_envs)
        done = terminated | truncated
        if done.any():
            observation = self._end_episodes(done, observation, vector_infos, infos)
        else:
            self._history.step(self._images(observation))
        for env_index, info in enumerate(infos):
            info["TimeLimit.truncated"] = bool(truncated[env_index] and not terminated[env_index])
        self.observation = observation
        return self.latest_observation(), np.array(reward, np.float32), done, infos

    def _end_episodes(
        self,
        done: np.ndarray,
        observation: Observation,
        vector_infos: Mapping[str, Any],
        infos: list[dict[str, Any]],
    ) -> Observation:
        """Complete the infos of sub-environments `done` (n,), start new episodes, return the next observation."""
        same_step = self._mode is AutoresetMode.SAME_STEP
        space = self.envs.single_observation_space
        last = final_observations(space, observation, vector_infos, done) if same_step else observation
        self._history.step(self._images(last))
        converted = self._convert(last)
        final_infos = split_infos(vector_infos.get("final_info", {}), self.num_envs)
        for env_index in np.flatnonzero(done).tolist():
            if same_step:  # `infos` are those of the reset
                self.reset_infos[env_index], infos[env_index] = infos[env_index], final_infos[env_index]
            infos[env_index]["terminal_observation"] = _select(converted, env_index)
            infos[env_index]["episode"] = {
                "r": float(self._return[env_index]),
                "l": int(self._length[env_index]),
                "t": round(time.perf_counter() - self._start, 6),
            }
        self._return[done], self._length[done] = 0.0, 0
        if not same_step:
            observation = self._reset_done(done, observation)
        self._history.replace(self._images(observation), done)
        return observation

    def _reset_done(self, done: np.ndarray, observation: Observation) -> Observation:
        """Reset the sub-environments `done` (n,) and check that no other changed; return all observations."""
        space = self.envs.single_observation_space
        before = {
            path: np.array(values) for path, values in spaces.flatten_by_path(space, observation).items()
        }
        after, vector_infos = reset_done(self.envs, done)
        if not done.all():
            for path, values in spaces.flatten_by_path(space, after).items():
                if not _bitwise_equal(before[path][~done], np.asarray(values)[~done]):
                    raise UsageError(
                        f"{self.envs} ignores reset_mask: a reset changed other sub-environments; "
                        "SB3 needs an env that supports it, or one with autoreset_mode SAME_STEP"
                    )
        for env_index, info in enumerate(split_infos(vector_infos, self.num_envs)):
            if done[env_index]:
                self.reset_infos[env_index] = info
        return after

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return a frame of each sub-environment, or None where the env does not render."""
        frames: Any = self.envs.render()
        return [None] * self.num_envs if frames is None else list(frames)

    # --- checkpoints

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the latest observation and images, returns and lengths of the episodes; not the state of the envs."""
        return {
            "observation": spaces.flatten_by_path(self.envs.single_observation_space, self.observation),
            "images": self._history.get_checkpoint(),
            "return": self._return.copy(),
            "length": self._length.copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        parts = {path: np.array(values) for path, values in tree["observation"].items()}
        self.observation = spaces.unflatten_by_path(self.envs.single_observation_space, parts)
        self._history.set_checkpoint(tree["images"])
        self._return[:], self._length[:] = tree["return"], tree["length"]

    # --- sub-environments

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of each sub-environment, or of the vector env of a native batch."""
        return self._access.get(attr_name, list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the sub-environments, or of the vector env of a native batch."""
        self._access.set(attr_name, value, list(self._get_indices(indices)))

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of each sub-environment, or once of the vector env of a native batch."""
        return self._access.call(method_name, list(self._get_indices(indices)), *args, **kwargs)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Return whether each sub-environment has this wrapper; `Monitor` always, its statistics are in the infos."""
        env_ids = list(self._get_indices(indices))
        if issubclass(wrapper_class, Monitor):
            return [True] * len(env_ids)
        return self._access.is_wrapped(wrapper_class, env_ids)


def _key(path: str) -> str:
    return path.replace(".", "/")  # names of torch modules must not contain dots


def _flat_space(space: gym.Space) -> gym.Space:
    leaves = spaces.leaves(space)
    return leaves[""] if set(leaves) == {""} else gym.spaces.Dict({_key(p): s for p, s in leaves.items()})


def _select(batch: Any, env_index: int) -> Any:
    """Return the part of one sub-environment of an array, or of a flat dict of arrays."""
    if isinstance(batch, dict):
        return {name: _select(values, env_index) for name, values in batch.items()}
    return batch[env_index]


def _bitwise_equal(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether arrays are equal to the bit; NaN equals NaN."""
    return first.tobytes() == second.astype(first.dtype).tobytes()
