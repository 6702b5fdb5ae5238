"""Any Gymnasium vector env as the VecEnv that Stable-Baselines3 wants."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from robossl.core import spaces


class SB3VecEnv(VecEnv):
    """Shows a `VectorEnv`, in any autoreset mode, to Stable-Baselines3.

    SB3 wants the observation of the new episode in the very step that ended the old one, and no other lane
    disturbed. In SAME_STEP mode the env does that; otherwise the lanes that ended are reset here through
    `options["reset_mask"]`, so that a dummy step never happens. The infos of a lane's last step hold
    `terminal_observation`, `TimeLimit.truncated` and `episode` (r: return, l: steps, t: seconds).

    `transform` turns observations into what SB3 is to see, of space `space`; without it, nested
    observations become a flat Dict.
    """

    def __init__(
        self,
        envs: VectorEnv,
        transform: Callable[[Any], Any] | None = None,
        space: gym.Space | None = None,
    ) -> None:
        self.envs = envs
        self._mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._transform = transform or self._flat
        self.render_mode = envs.render_mode
        super().__init__(
            envs.num_envs,
            space or _flat_space(envs.single_observation_space),
            envs.single_action_space,
        )
        self._actions: np.ndarray | None = None
        self._seed: int | None = None
        self._start = time.perf_counter()
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)
        self.observation: Any = None  # as the env returned it last

    def _flat(self, observation: Any) -> Any:
        parts = spaces.split(self.envs.single_observation_space, observation)
        return parts[""] if set(parts) == {""} else parts

    def present(self) -> Any:
        """The latest observation, transformed anew: what a newer representation makes of it."""
        return self._transform(self.observation)

    def running(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) and length (n,) so far of the episodes going on."""
        return self._return.copy(), self._length.copy()

    def go_on(self, observation: Any, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Be where another bridge was: its latest observation, and its running episodes."""
        self.observation = observation
        self._return[:], self._length[:] = returns, lengths

    def reset(self) -> Any:
        """Reset all lanes; with the seed given last, if there is one."""
        self.observation, infos = self.envs.reset(seed=self._seed)
        self._seed = None
        self._return[:], self._length[:] = 0.0, 0
        self.reset_infos = _by_lane(infos, self.num_envs)
        return self.present()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Lane i gets seed + i at the next reset."""
        self._seed = None if seed is None else int(seed)
        return [None if seed is None else seed + lane for lane in range(self.num_envs)]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (n, A) for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations, rewards (n,) float32, dones (n,) bool, infos of each lane."""
        assert self._actions is not None
        observation, reward, terminated, truncated, vector = self.envs.step(self._actions)
        done = np.logical_or(terminated, truncated)
        self._return += reward
        self._length += 1
        infos = _by_lane(vector, self.num_envs)
        if done.any():
            final = self._final(observation, vector, done)
            observation = self._finish(observation, final, done, terminated, truncated, vector, infos)
        self.observation = observation
        return self.present(), np.asarray(reward, np.float32), done, infos

    def _finish(
        self,
        observation: Any,
        final: Any,
        done: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        vector: dict[str, Any],
        infos: list[dict[str, Any]],
    ) -> Any:
        """Complete the infos of lanes that ended, reset them, and return what all lanes see next."""
        shown = self._transform(final)
        last = _by_lane(vector.get("final_info", {}), self.num_envs)
        for lane in np.flatnonzero(done):
            infos[lane] |= last[lane]
            infos[lane]["terminal_observation"] = _lane(shown, lane)
            infos[lane]["TimeLimit.truncated"] = bool(truncated[lane] and not terminated[lane])
            infos[lane]["episode"] = {
                "r": float(self._return[lane]),
                "l": int(self._length[lane]),
                "t": round(time.perf_counter() - self._start, 6),
            }
        self._return[done], self._length[done] = 0.0, 0
        if self._mode is AutoresetMode.SAME_STEP:
            return observation
        begun, fresh = self.envs.reset(options={"reset_mask": done.copy()})
        for lane, info in enumerate(_by_lane(fresh, self.num_envs)):
            if done[lane]:
                self.reset_infos[lane] = info
        return begun

    def _final(self, observation: Any, vector: dict[str, Any], done: np.ndarray) -> Any:
        """The batch of observations with the last ones of the episodes that ended."""
        if self._mode is not AutoresetMode.SAME_STEP:
            return observation
        space = self.envs.single_observation_space
        parts = {path: np.array(values) for path, values in spaces.split(space, observation).items()}
        for lane in np.flatnonzero(done):
            for path, value in spaces.split(space, vector["final_obs"][lane]).items():
                parts[path][lane] = value
        return spaces.join(space, parts)

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of each lane, where the env renders."""
        frames = self.envs.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector env, once for each lane asked for; of the lanes themselves if they have it."""
        lanes = list(self._get_indices(indices))
        inner = getattr(self.envs.unwrapped, "envs", None)
        if attr_name != "render_mode" and inner is not None:
            return [inner[lane].get_wrapper_attr(attr_name) for lane in lanes]
        return [getattr(self.envs, attr_name)] * len(lanes)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the lanes, or of the vector env they all share."""
        inner = getattr(self.envs.unwrapped, "envs", None)
        if inner is None:
            setattr(self.envs.unwrapped, attr_name, value)
            return
        for lane in self._get_indices(indices):
            inner[lane].set_wrapper_attr(attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of each lane; of the vector env, once, where lanes are no objects of their own."""
        lanes = list(self._get_indices(indices))
        inner = getattr(self.envs.unwrapped, "envs", None)
        if inner is not None:
            return [inner[lane].get_wrapper_attr(method_name)(*args, **kwargs) for lane in lanes]
        return [getattr(self.envs, method_name)(*args, **kwargs)] * len(lanes)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Whether each lane is wrapped so; of `Monitor` always true, its statistics are in the infos."""
        monitored = wrapper_class.__name__ == "Monitor"
        return [monitored for _ in self._get_indices(indices)]


def _flat_space(space: gym.Space) -> gym.Space:
    leaves = spaces.leaves(space)
    return leaves[""] if set(leaves) == {""} else gym.spaces.Dict(leaves)


def _lane(batch: Any, lane: int) -> Any:
    if isinstance(batch, dict):
        return {name: _lane(values, lane) for name, values in batch.items()}
    return batch[lane]


def _by_lane(vector: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Gymnasium's infos of arrays with their masks, as a dict for each lane."""
    infos: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, values in vector.items():
        if name.startswith("_") or name in ("final_obs", "final_info"):
            continue
        if isinstance(values, dict):
            mask = vector.get(f"_{name}")
            nested = _by_lane(values, count)
            for lane in range(count):
                if mask is None or mask[lane]:
                    infos[lane][name] = nested[lane]
            continue
        mask = vector.get(f"_{name}", np.ones(count, bool))
        for lane in range(count):
            if mask[lane]:
                infos[lane][name] = (
                    values[lane].item() if isinstance(values[lane], np.generic) else values[lane]
                )
    return infos
