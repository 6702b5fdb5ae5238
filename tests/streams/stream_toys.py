"""Counting envs: every number they return identifies the lane, the episode and the step that it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.streams import Stream

LENGTHS = (  # actions of each episode of a lane
    (3, 1, 7, 4),
    (5, 2, 2),
    (1, 1, 6),
    (4, 8),
    (2, 3, 9),
)
AUTORESET_MODES = tuple(AutoresetMode)


def length_of(lane: int, episode: int) -> int:
    """Return the number of actions of an episode."""
    lengths = LENGTHS[lane % len(LENGTHS)]
    return lengths[episode % len(lengths)]


def is_terminated(lane: int, episode: int) -> bool:
    """Return whether an episode is terminated; the others are truncated."""
    return (lane + episode) % 2 == 0


def reward_of(lane: int, episode: int, step: int) -> float:
    """Return the reward of arriving at a step."""
    return 10_000.0 * lane + 100.0 * episode + step + 0.5


class CountingEnv(gym.Env):
    """Observes [lane, episode, step, last action]. Episodes are numbered from 0."""

    observation_space = Box(-1e9, 1e9, (4,), np.float32)
    action_space = Box(-1e9, 1e9, (1,), np.float32)

    def __init__(self, lane: int) -> None:
        self.lane, self.episode, self.count = lane, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._observe(-1.0), {}

    def step(self, action: np.ndarray) -> tuple:
        self.count += 1
        done = self.count == length_of(self.lane, self.episode)
        terminated = is_terminated(self.lane, self.episode)
        reward = reward_of(self.lane, self.episode, self.count)
        return self._observe(float(action[0])), reward, done and terminated, done and not terminated, {}

    def _observe(self, action: float) -> np.ndarray:
        return np.array([self.lane, self.episode, self.count, action], np.float32)


class CountingEnvs(VectorEnv):
    """The same env as a vector env with a physics state and checkpoints.

    `kind` selects the observation: "vector", "goal" (a goal dict), "image" (a dict with an image), "discrete".
    """

    def __init__(self, lanes: int, mode: AutoresetMode, kind: str = "vector", discrete: bool = False) -> None:
        self.num_envs, self.mode, self.kind, self.discrete = lanes, mode, kind, discrete
        self.metadata = {"autoreset_mode": mode, "step_seconds": 0.04}
        vector = CountingEnv.observation_space
        self.single_observation_space = {
            "vector": vector,
            "goal": Dict(observation=vector, achieved_goal=vector, desired_goal=vector),
            "image": Dict(camera=Box(0, 255, (8, 6, 3), np.uint8), body=Dict(joints=vector)),
            "discrete": Discrete(1000),
        }[kind]
        self.single_action_space = Discrete(1_000_000) if discrete else CountingEnv.action_space
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(self.single_action_space, lanes)
        self.episode = np.full(lanes, -1)
        self.count = np.zeros(lanes, np.int64)
        self.action = np.full(lanes, -1.0)
        self.done = np.ones(lanes, bool)
        self.nan_at: tuple[int, int, int] | None = None  # lane, episode, step with a NaN observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            mask = options["reset_mask"]
        self._begin(mask)
        return self.observe(), {}

    def _begin(self, mask: np.ndarray) -> None:
        self.episode[mask] += 1
        self.count[mask], self.action[mask], self.done[mask] = 0, -1.0, False

    def step(self, actions: np.ndarray) -> tuple:
        reset_only = (
            self.done.copy() if self.mode is AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)
        )
        if self.mode is AutoresetMode.DISABLED:
            assert not self.done.any()
        self._begin(reset_only)
        stepping = ~reset_only
        self.count[stepping] += 1
        self.action[stepping] = np.asarray(actions).reshape(self.num_envs)[stepping]
        lanes = range(self.num_envs)
        done = np.array([bool(stepping[i]) and self.count[i] == length_of(i, self.episode[i]) for i in lanes])
        terminated = np.array([is_terminated(i, self.episode[i]) for i in lanes])
        reward = np.array([reward_of(i, self.episode[i], self.count[i]) * stepping[i] for i in lanes])
        self.done = done.copy()
        infos: dict[str, Any] = {}
        if self.mode is AutoresetMode.SAME_STEP and done.any():
            infos = {"final_obs": self.observe(), "_final_obs": done.copy()}
            self._begin(done)
        return self.observe(), reward, done & terminated, done & ~terminated, infos

    def observe(self) -> Any:
        """Return the observation of all lanes."""
        lane = np.arange(self.num_envs)
        vector = np.stack([lane, self.episode, self.count, self.action], axis=1).astype(np.float32)
        if self.nan_at is not None:
            bad = (lane == self.nan_at[0]) & (self.episode == self.nan_at[1]) & (self.count == self.nan_at[2])
            vector[bad, 2] = np.nan
        if self.kind == "goal":
            return {"observation": vector, "achieved_goal": vector + 1, "desired_goal": vector + 2}
        if self.kind == "image":
            image = np.zeros((self.num_envs, 8, 6, 3), np.uint8)
            image += (self.count + 50 * lane).astype(np.uint8)[:, None, None, None]
            return {"camera": image, "body": {"joints": vector}}
        return self.count.copy() if self.kind == "discrete" else vector

    # PhysicsStateEnv

    def privileged_state(self) -> dict[str, np.ndarray]:
        return {"where": np.stack([self.episode, self.count], axis=1).astype(np.float64)}

    def get_physics_state(self) -> np.ndarray:
        lane = np.arange(self.num_envs)
        return np.stack([lane, self.episode, self.count], axis=1).astype(np.float64)

    def set_physics_state(self, physics: np.ndarray, env_ids: Any = None, goal: Any = None) -> Any:
        raise NotImplementedError

    # Checkpointable

    def get_checkpoint(self) -> Any:
        return {n: getattr(self, n).copy() for n in ("episode", "count", "action", "done")}

    def set_checkpoint(self, tree: Any) -> None:
        for name in ("episode", "count", "action", "done"):
            setattr(self, name, np.array(tree[name]))


class FinalStateCountingEnvs(CountingEnvs):
    """The same envs, which also keep the final state of each episode."""

    def _begin(self, mask: np.ndarray) -> None:
        self.final_states = self.privileged_state(), self.get_physics_state()
        super()._begin(mask)

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return self.final_states


def sync(lanes: int, mode: AutoresetMode) -> VectorEnv:
    """Return Gymnasium's SyncVectorEnv of single envs."""
    return SyncVectorEnv([lambda i=i: CountingEnv(i) for i in range(lanes)], autoreset_mode=mode)


def record_steps(recorder: VectorEnv, steps: int, begin: int = 0) -> None:
    """Take `steps` steps; the action of lane i at step t is 1000 i + t. Reset the lanes that autoreset does not."""
    for t in range(begin, begin + steps):
        actions = 1000.0 * np.arange(recorder.num_envs) + t
        shape = (recorder.num_envs, *recorder.single_action_space.shape)
        actions = actions.reshape(shape).astype(recorder.action_space.dtype)
        _, _, terminated, truncated, _ = recorder.step(actions)
        done = terminated | truncated
        if recorder.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            recorder.reset(options={"reset_mask": done})


def rows_of(stream: Stream, lane: int) -> dict[str, np.ndarray]:
    """Return all rows of a lane."""
    return stream.read(lane, 0, int(stream.lengths[lane]))


def check_alignment(
    stream: Stream, broken_off: dict[int, set[int]] | None = None, name: str = "observation"
) -> None:
    """Check the alignment in every lane: episodes and steps 0, 1, 2, ... without gap or duplicate.

    `broken_off` lists the episodes of a lane that a reset ended; the newest one may be running or ended.
    """
    for lane in range(stream.lanes):
        rows, episode, step = rows_of(stream, lane), 0, 0
        observations = rows[name]
        for t in range(len(observations)):
            newest = t + 1 == len(observations)
            full = length_of(lane, episode)
            assert tuple(observations[t, :3]) == (lane, episode, step)
            assert rows["is_first"][t] == (step == 0)
            if rows["is_last"][t]:
                assert step == full or newest or episode in (broken_off or {}).get(lane, ())
                empty_fields = ("valid", "action", "reward", "terminated", "truncated")
                assert not any(rows[field][t].any() for field in empty_fields)
                episode, step = episode + 1, 0
                continue
            done, terminated = step + 1 == full, is_terminated(lane, episode)
            assert rows["valid"][t]
            assert rows["reward"][t] == np.float32(reward_of(lane, episode, step + 1))
            assert (rows["terminated"][t], rows["truncated"][t]) == (
                done and terminated,
                done and not terminated,
            )
            if not newest:
                assert observations[t + 1, 3] == rows["action"][t].reshape(-1)[0], (
                    "the action belongs to another transition"
                )
            step += 1


def equal_files(one: Path, other: Path) -> bool:
    """Return whether two streams have the same chunks, byte for byte."""
    names = sorted(p.name for p in one.glob("chunk-*"))
    assert names, f"no chunks in {one}"
    if names != sorted(p.name for p in other.glob("chunk-*")):
        return False
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)
