"""Any Gymnasium vector env as the VecEnv that Stable-Baselines3 wants."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.rollout import autoreset_mode, final_observations, reset_done

from .sub_env_access import SubEnvAccess, split_infos


class SB3VecEnv(VecEnv):
    """Shows a `VectorEnv`, in any autoreset mode, to Stable-Baselines3.

    SB3 wants the observation of the new episode in the very step that ended the old one, and no other lane
    disturbed. In SAME_STEP mode the env does that; otherwise the lanes that ended are reset here through
    `options["reset_mask"]`, so that a dummy step never happens. The infos of a lane's last step hold
    `terminal_observation` and `episode` (r: return, l: steps, t: seconds); those of every step
    `TimeLimit.truncated`. Discrete actions count from 0, as SB3 counts.

    `transform` turns observations into what SB3 is to see, of space `space`; without it, nested
    observations become a flat Dict whose keys have slashes, "arm/joints".
    """

    def __init__(
        self,
        envs: VectorEnv,
        transform: Callable[[Any], Any] | None = None,
        space: gym.Space | None = None,
    ) -> None:
        """`transform` and `space` go together."""
        assert (transform is None) == (space is None)
        self.envs = envs
        self.observation: Any = None  # (n, ...) as the env returned it last
        self._mode = autoreset_mode(envs)
        self._lanes = SubEnvAccess(envs)
        self._transform = transform or self._flat
        action_space = envs.single_action_space
        self._first = int(action_space.start) if isinstance(action_space, gym.spaces.Discrete) else 0
        super().__init__(
            envs.num_envs,
            space or _flat_space(envs.single_observation_space),
            # a space of its own: SB3 seeds it and draws from it
            gym.spaces.Discrete(int(action_space.n))  # type: ignore[attr-defined]
            if self._first
            else copy.deepcopy(action_space),
        )
        self._actions: np.ndarray | None = None
        self._seed: int | None = None
        self._start = time.perf_counter()
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int64)

    # --- observations and actions

    def present(self) -> Any:
        """The latest observation, transformed anew: what a newer representation makes of it."""
        return self._transform(self.observation)

    def native(self, actions: np.ndarray) -> np.ndarray:
        """SB3's actions as the env counts them."""
        return actions + self._first if self._first else actions

    def _flat(self, observation: Any) -> Any:
        parts = spaces.flatten_by_path(self.envs.single_observation_space, observation)
        if set(parts) == {""}:
            return parts[""].copy()
        return {_key(path): values.copy() for path, values in parts.items()}

    # --- the life of a VecEnv

    def reset(self) -> Any:
        """Reset all lanes; with the seed given last, if there is one."""
        options = self._options[0] or None
        if any((given or None) != options for given in self._options):
            raise UsageError("a vector env resets all lanes with the same options; got different ones")
        self.observation, infos = self.envs.reset(seed=self._seed, options=options)
        self._seed = None
        self._reset_options()
        self._return[:], self._length[:] = 0.0, 0
        self.reset_infos = split_infos(infos, self.num_envs)
        return self.present()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Lane i gets seed + i at the next reset; without a seed every lane's generator goes on."""
        self._seed = None if seed is None else int(seed)
        return [None if seed is None else seed + lane for lane in range(self.num_envs)]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (n, *A) for `step_wait`."""
        self._actions = self.native(np.asarray(actions))

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations (n, ...), rewards (n,) float32, dones (n,) bool, infos of each lane."""
        assert self._actions is not None, "step_async comes first"
        observation, reward, terminated, truncated, vector = self.envs.step(self._actions)
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        self._return += reward
        self._length += 1
        infos = split_infos(vector, self.num_envs)
        done = terminated | truncated
        if done.any():
            observation = self._finish(done, observation, vector, infos)
        for lane, info in enumerate(infos):
            info["TimeLimit.truncated"] = bool(truncated[lane] and not terminated[lane])
        self.observation = observation
        return self.present(), np.array(reward, np.float32), done, infos

    def _finish(
        self, done: np.ndarray, observation: Any, vector: dict[str, Any], infos: list[dict[str, Any]]
    ) -> Any:
        """Complete the infos of lanes `done` (n,), begin new episodes there; what all lanes see next."""
        same_step = self._mode is AutoresetMode.SAME_STEP
        space = self.envs.single_observation_space
        last = final_observations(space, observation, vector, done) if same_step else observation
        shown = self._transform(last)
        final = split_infos(vector.get("final_info", {}), self.num_envs)
        for lane in np.flatnonzero(done).tolist():
            if same_step:  # so far they tell of the reset
                self.reset_infos[lane], infos[lane] = infos[lane], final[lane]
            infos[lane]["terminal_observation"] = _one(shown, lane)
            infos[lane]["episode"] = {
                "r": float(self._return[lane]),
                "l": int(self._length[lane]),
                "t": round(time.perf_counter() - self._start, 6),
            }
        self._return[done], self._length[done] = 0.0, 0
        return observation if same_step else self._begin(done, observation)

    def _begin(self, done: np.ndarray, observation: Any) -> Any:
        """Reset the lanes `done` (n,) and no other; the observation of all."""
        space = self.envs.single_observation_space
        before = {
            path: np.array(values) for path, values in spaces.flatten_by_path(space, observation).items()
        }
        begun, vector = reset_done(self.envs, done)
        if not done.all():
            for path, values in spaces.flatten_by_path(space, begun).items():
                if not _equal(before[path][~done], np.asarray(values)[~done]):
                    raise UsageError(
                        f"{self.envs} does not heed reset_mask: a reset disturbed lanes it was not meant for; "
                        "SB3 needs an env that does, or one made with autoreset_mode SAME_STEP"
                    )
        for lane, info in enumerate(split_infos(vector, self.num_envs)):
            if done[lane]:
                self.reset_infos[lane] = info
        return begun

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of each lane, where the env renders."""
        frames: Any = self.envs.render()
        return [None] * self.num_envs if frames is None else list(frames)

    # --- going on in another process

    def get_checkpoint(self) -> dict[str, Any]:
        """The latest observation, and what the running episodes brought so far. The envs are saved by others."""
        return {
            "observation": spaces.flatten_by_path(self.envs.single_observation_space, self.observation),
            "return": self._return.copy(),
            "length": self._length.copy(),
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Be where `get_checkpoint` was."""
        parts = {path: np.array(values) for path, values in tree["observation"].items()}
        self.observation = spaces.unflatten_by_path(self.envs.single_observation_space, parts)
        self._return[:], self._length[:] = tree["return"], tree["length"]

    # --- asking the lanes

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of each lane; of the vector env, where lanes are no objects of their own."""
        return self._lanes.get(attr_name, list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the lanes, or of the vector env they all share."""
        self._lanes.set(attr_name, value, list(self._get_indices(indices)))

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of each lane; once, of the vector env, where lanes are no objects of their own."""
        return self._lanes.call(method_name, list(self._get_indices(indices)), *args, **kwargs)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Whether each lane is wrapped so; by `Monitor` always, for its statistics are in the infos."""
        lanes = list(self._get_indices(indices))
        return (
            [True] * len(lanes)
            if issubclass(wrapper_class, Monitor)
            else self._lanes.wrapped(wrapper_class, lanes)
        )


def _key(path: str) -> str:
    return path.replace(".", "/")  # no name of a torch module may have a dot


def _flat_space(space: gym.Space) -> gym.Space:
    leaves = spaces.leaves(space)
    return leaves[""] if set(leaves) == {""} else gym.spaces.Dict({_key(p): s for p, s in leaves.items()})


def _one(batch: Any, lane: int) -> Any:
    """A lane's part of a batch, an array or a flat dict of arrays."""
    if isinstance(batch, dict):
        return {name: _one(values, lane) for name, values in batch.items()}
    return batch[lane]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """To the bit; NaN is NaN."""
    return one.tobytes() == other.astype(one.dtype).tobytes()
