"""Envs that count: every number they give tells the lane, the episode and the step it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from robossl.streams import Stream

LENGTHS = (
    (3, 1, 7, 4),
    (5, 2, 2),
    (1, 1, 6),
    (4, 8),
    (2, 3, 9),
)  # actions of episodes
MODES = tuple(AutoresetMode)


def length_of(lane: int, episode: int) -> int:
    """How many actions that episode has."""
    turn = LENGTHS[lane % len(LENGTHS)]
    return turn[episode % len(turn)]


def is_terminated(lane: int, episode: int) -> bool:
    """Does it end by itself? The others are cut off."""
    return (lane + episode) % 2 == 0


def reward_of(lane: int, episode: int, step: int) -> float:
    """What arriving at that step brings."""
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
        over = self.count == length_of(self.lane, self.episode)
        end = is_terminated(self.lane, self.episode)
        reward = reward_of(self.lane, self.episode, self.count)
        return self._observe(float(action[0])), reward, over and end, over and not end, {}

    def _observe(self, action: float) -> np.ndarray:
        return np.array([self.lane, self.episode, self.count, action], np.float32)


class CountingEnvs(VectorEnv):
    """The same as one native batch, which knows its physical truth and can be saved.

    `kind` is what is observed: "vector", "goal" (a goal dict), "image" (a dict with a picture), "discrete".
    """

    def __init__(self, lanes: int, mode: AutoresetMode, kind: str = "vector", discrete: bool = False) -> None:
        self.num_envs, self.mode, self.kind, self.discrete = lanes, mode, kind, discrete
        self.metadata = {"autoreset_mode": mode}
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
        self.over = np.ones(lanes, bool)
        self.poison: tuple[int, int, int] | None = None  # lane, episode, step that observe NaN

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            mask = options["reset_mask"]
        self._begin(mask)
        return self.observe(), {}

    def _begin(self, mask: np.ndarray) -> None:
        self.episode[mask] += 1
        self.count[mask], self.action[mask], self.over[mask] = 0, -1.0, False

    def step(self, actions: np.ndarray) -> tuple:
        dummy = self.over.copy() if self.mode is AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, bool)
        if self.mode is AutoresetMode.DISABLED:
            assert not self.over.any()
        self._begin(dummy)
        alive = ~dummy
        self.count[alive] += 1
        self.action[alive] = np.asarray(actions).reshape(self.num_envs)[alive]
        lanes = range(self.num_envs)
        over = np.array([bool(alive[i]) and self.count[i] == length_of(i, self.episode[i]) for i in lanes])
        end = np.array([is_terminated(i, self.episode[i]) for i in lanes])
        reward = np.array([reward_of(i, self.episode[i], self.count[i]) * alive[i] for i in lanes])
        self.over = over.copy()
        infos: dict[str, Any] = {}
        if self.mode is AutoresetMode.SAME_STEP and over.any():
            infos = {"final_obs": self.observe(), "_final_obs": over.copy()}
            self._begin(over)
        return self.observe(), reward, over & end, over & ~end, infos

    def observe(self) -> Any:
        """What every lane sees."""
        lane = np.arange(self.num_envs)
        vector = np.stack([lane, self.episode, self.count, self.action], axis=1).astype(np.float32)
        if self.poison is not None:
            bad = (lane == self.poison[0]) & (self.episode == self.poison[1]) & (self.count == self.poison[2])
            vector[bad, 2] = np.nan
        if self.kind == "goal":
            return {"observation": vector, "achieved_goal": vector + 1, "desired_goal": vector + 2}
        if self.kind == "image":
            picture = np.zeros((self.num_envs, 8, 6, 3), np.uint8)
            picture += (self.count + 50 * lane).astype(np.uint8)[:, None, None, None]
            return {"camera": picture, "body": {"joints": vector}}
        return self.count.copy() if self.kind == "discrete" else vector

    # Physical

    def privileged_state(self) -> dict[str, np.ndarray]:
        return {"where": np.stack([self.episode, self.count], axis=1).astype(np.float64)}

    def get_physics_state(self) -> np.ndarray:
        lane = np.arange(self.num_envs)
        return np.stack([lane, self.episode, self.count], axis=1).astype(np.float64)

    def set_physics_state(self, physics: np.ndarray, ids: Any = None, goal: Any = None) -> Any:
        raise NotImplementedError

    # Resumable

    def get_checkpoint(self) -> Any:
        return {n: getattr(self, n).copy() for n in ("episode", "count", "action", "over")}

    def set_checkpoint(self, tree: Any) -> None:
        for name in ("episode", "count", "action", "over"):
            setattr(self, name, np.array(tree[name]))


class RecallingEnvs(CountingEnvs):
    """The same, and they still know how their lanes ended."""

    def _begin(self, mask: np.ndarray) -> None:
        self.ends = self.privileged_state(), self.get_physics_state()
        super()._begin(mask)

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return self.ends


def sync(lanes: int, mode: AutoresetMode) -> VectorEnv:
    """Gymnasium's own vectorisation of single envs."""
    return SyncVectorEnv([lambda i=i: CountingEnv(i) for i in range(lanes)], autoreset_mode=mode)


def live(recorder: VectorEnv, steps: int, begin: int = 0) -> None:
    """Take `steps` steps; the action of lane i at step t is 1000 i + t. Resets what autoreset leaves."""
    for t in range(begin, begin + steps):
        actions = 1000.0 * np.arange(recorder.num_envs) + t
        shape = (recorder.num_envs, *recorder.single_action_space.shape)
        actions = actions.reshape(shape).astype(recorder.action_space.dtype)
        _, _, terminated, truncated, _ = recorder.step(actions)
        done = terminated | truncated
        if recorder.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            recorder.reset(options={"reset_mask": done})


def rows_of(stream: Stream, lane: int) -> dict[str, np.ndarray]:
    """All rows of a lane."""
    return stream.read(lane, 0, int(stream.lengths[lane]))


def check_law(stream: Stream, cut: dict[int, set[int]] | None = None, name: str = "observation") -> None:
    """The alignment law in every lane: 0, 1, 2, ... without a gap, an echo or a mix-up.

    `cut` names the episodes of a lane that a reset broke off; the newest one may be open or broken off.
    """
    for lane in range(stream.lanes):
        rows, episode, step = rows_of(stream, lane), 0, 0
        seen = rows[name]
        for t in range(len(seen)):
            newest = t + 1 == len(seen)
            full = length_of(lane, episode)
            assert tuple(seen[t, :3]) == (lane, episode, step)
            assert rows["is_first"][t] == (step == 0)
            if rows["is_last"][t]:
                assert step == full or newest or episode in (cut or {}).get(lane, ())
                nothing = ("valid", "action", "reward", "terminated", "truncated")
                assert not any(rows[field][t].any() for field in nothing)
                episode, step = episode + 1, 0
                continue
            over, end = step + 1 == full, is_terminated(lane, episode)
            assert rows["valid"][t]
            assert rows["reward"][t] == np.float32(reward_of(lane, episode, step + 1))
            assert (rows["terminated"][t], rows["truncated"][t]) == (over and end, over and not end)
            if not newest:
                assert seen[t + 1, 3] == rows["action"][t].reshape(-1)[0], "the action led elsewhere"
            step += 1


def equal_files(one: Path, other: Path) -> bool:
    """The same chunks, byte for byte."""
    names = sorted(p.name for p in one.glob("chunk-*"))
    assert names, f"no chunks in {one}"
    if names != sorted(p.name for p in other.glob("chunk-*")):
        return False
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)
