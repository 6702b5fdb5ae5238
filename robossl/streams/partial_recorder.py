"""PartialRecorder: step a large batch and record only its first sub-environments on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from robossl.core.errors import UsageError
from robossl.core.interfaces import Checkpointable, FinalStateEnv, PhysicsStateEnv
from robossl.streams.recorder import Recorder


class StepSink(Protocol):
    """Receives every step of all sub-environments."""

    def begin(self, observation: Any) -> None:
        """Take the observation (n, ...) after a reset of all sub-environments."""

    def append(self, action: np.ndarray, done: np.ndarray, observation: Any) -> None:
        """Take actions (n, *A), ends of episodes (n,) bool and the observations (n, ...) after a step."""


class PartialRecorder(VectorWrapper):
    """Vector env wrapper that records the first `count` sub-environments; policies act in all of them.

    Args:
        envs: Vector env of n sub-environments.
        count: Sub-environments that are recorded, less than n.
        record: Makes the recorder of a vector env of these.
        sink: Receives the steps of all sub-environments.
    """

    def __init__(
        self,
        envs: VectorEnv,
        count: int,
        record: Callable[[VectorEnv], Recorder],
        sink: StepSink | None = None,
    ) -> None:
        super().__init__(envs)
        if not 0 < count < envs.num_envs:
            raise UsageError(
                f"record_envs: expected 1 to {envs.num_envs - 1} of the {envs.num_envs} sub-environments, got {count}"
            )
        self._first = _PhysicsFirstEnvs(envs, count) if _has_physics(envs) else _FirstEnvs(envs, count)
        self._count, self._sink = count, sink
        self.recorder = record(self._first)
        self.stream, self.lanes = self.recorder.stream, self.recorder.lanes

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments."""
        if (options or {}).get("reset_mask") is not None:
            raise UsageError(
                "expected a reset of all sub-environments of a partial recording, got a reset_mask"
            )
        self.recorder.reset(seed=seed, options=options)
        observation, infos = self._first.whole
        if self._sink is not None:
            self._sink.begin(observation)
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all sub-environments and record the first ones."""
        self._first.actions = actions = np.array(actions)
        recorded = self.recorder.step(actions[: self._count])
        result = self._first.whole
        if recorded is not self._first.result:  # the recorder ended episodes
            result = tuple(
                _replaced(whole, part, self._count, self.num_envs) for whole, part in zip(result, recorded)
            )
        if self._sink is not None:
            done = np.asarray(result[2], bool) | np.asarray(result[3], bool)
            self._sink.append(actions, done, result[0])
        return result

    def finish(self) -> None:
        """End the running episodes and commit; the envs stay open."""
        self.recorder.finish()

    def close(self, **kwargs: Any) -> None:
        """Finish and close the envs."""
        self.recorder.finish()
        self.env.close(**kwargs)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the pending rows and the checkpoint of all envs."""
        inner = self.env.unwrapped
        envs = inner.get_checkpoint() if isinstance(inner, Checkpointable) else None
        return {**self.recorder.get_checkpoint(), "envs": envs}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, after truncating the stream to the offset stored with it."""
        self.recorder.set_checkpoint({**tree, "envs": None})
        inner = self.env.unwrapped
        if tree["envs"] is not None and isinstance(inner, Checkpointable):
            inner.set_checkpoint(tree["envs"])


class _FirstEnvs(VectorEnv):
    """The first sub-environments of a batch; a step of them steps all."""

    def __init__(self, envs: VectorEnv, count: int) -> None:
        self.all, self.num_envs = envs, count
        self.metadata, self.spec, self.render_mode = envs.metadata, envs.spec, None
        self.single_observation_space = envs.single_observation_space
        self.single_action_space = envs.single_action_space
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)
        self.actions: Any = None  # of all sub-environments in the next step
        self.whole: Any = None  # result of the last reset of all, or of the last step
        self.result: Any = None  # the part of the first ones

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments; with a mask (k,) only those of the first ones."""
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            masked = np.zeros(self.all.num_envs, bool)
            masked[: self.num_envs] = mask
            return self._part(self.all.reset(options={"reset_mask": masked}))
        self.whole = self.all.reset(seed=seed, options=options)
        return self._part(self.whole)

    def step(self, actions: Any) -> Any:
        """Step all sub-environments with `actions` of all."""
        self.whole = self.all.step(self.actions)
        self.result = self._part(self.whole)
        return self.result

    def _part(self, tree: Any) -> Any:
        return _first(tree, self.num_envs, self.all.num_envs)


class _PhysicsFirstEnvs(_FirstEnvs):
    """The same of envs that give access to their physics state."""

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return physical quantities by name, each (n, k) float64."""
        return self._part(self.all.unwrapped.privileged_state())  # type: ignore[attr-defined]

    def get_physics_state(self) -> np.ndarray:
        """Return the complete physics state (n, P) float64."""
        return self.all.unwrapped.get_physics_state()[: self.num_envs]  # type: ignore[attr-defined]

    def set_physics_state(self, physics: np.ndarray, env_ids: Any = None, goal: Any = None) -> Any:
        """Put sub-environments into physics states."""
        ids = np.arange(self.num_envs) if env_ids is None else env_ids
        observation = self.all.unwrapped.set_physics_state(physics, ids, goal)  # type: ignore[attr-defined]
        return self._part(observation)

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return privileged and physics state at the end of the last step that ended an episode."""
        inner = self.all.unwrapped
        assert isinstance(inner, FinalStateEnv)
        return self._part(inner.final_state())


def _has_physics(envs: VectorEnv) -> bool:
    return isinstance(envs.unwrapped, PhysicsStateEnv)


def _first(tree: Any, count: int, total: int) -> Any:
    """Return the first `count` entries of all arrays of `total` in nested dicts and tuples."""
    if isinstance(tree, dict):
        return {key: _first(value, count, total) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_first(value, count, total) for value in tree)
    return tree[:count] if isinstance(tree, np.ndarray) and tree.shape[:1] == (total,) else tree


def _replaced(whole: Any, part: Any, count: int, total: int) -> Any:
    """Return arrays of `total` entries in nested dicts and tuples, with the first `count` of them from `part`."""
    if isinstance(whole, dict):
        added = {key: _nothing(value, total) for key, value in part.items() if key not in whole}
        return {key: _replaced(value, part[key], count, total) for key, value in (added | whole).items()}
    if isinstance(whole, tuple):
        return tuple(_replaced(one, other, count, total) for one, other in zip(whole, part))
    if not isinstance(whole, np.ndarray) or whole.shape[:1] != (total,):
        return part
    return np.concatenate([part, whole[count:]])


def _nothing(part: np.ndarray, total: int) -> np.ndarray:
    """Return an array of `total` entries of the type of an info: None, or False."""
    return np.full((total, *part.shape[1:]), None if part.dtype == object else 0, part.dtype)
