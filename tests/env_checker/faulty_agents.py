"""An agent without faults, and agents with one fault each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, read_json, save_tree, write_json
from robossl.core.seeding import generator_state, restore_generator
from robossl.core.spaces import flatten_by_path
from robossl.rollout import StepLoop


class GoodAgent:
    """A linear policy with noise; it learns by moving towards actions with a reward above average."""

    def __init__(self, envs, representation=None, seed=0, device="auto", learning_rate=0.1) -> None:
        self.envs, self.space, self.seed, self.learning_rate = (
            envs,
            envs.single_action_space,
            seed,
            learning_rate,
        )
        self.loop, self.random = StepLoop(envs, seed), np.random.default_rng(seed)
        self.discrete = isinstance(self.space, gym.spaces.Discrete)
        self.weights = self.random.standard_normal(
            (self.space.n if self.discrete else self.space.shape[0], 2)
        )
        self.phase = np.zeros(envs.num_envs)  # (n,) steps in the episode, an input of the policy
        self.noise = np.zeros((envs.num_envs, len(self.weights)))

    def scores(self, observation: Any) -> np.ndarray:
        parts = flatten_by_path(self.envs.single_observation_space, observation)
        features = np.asarray(parts.get("observation", parts.get("")), np.float64)
        self.phase += 1
        return features @ self.weights.T + 0.01 * self.phase[:, None]

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.standard_normal(shape)

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        scores = self.scores(observation)
        self.noise = self.draw(scores.shape) if explore else np.zeros(scores.shape)
        scores = scores + self.noise
        if self.discrete:
            return scores.argmax(1) + int(self.space.start)
        return np.clip(scores, self.space.low, self.space.high).astype(np.float32)

    def reset(self, mask: np.ndarray | None = None) -> None:
        self.phase[slice(None) if mask is None else mask] = 0

    def learn(self, envs, steps, progress=None, logger=None) -> None:
        for step in self.loop.steps(self, steps, progress):
            advantage = step.reward - step.reward.mean()  # (n,)
            self.weights += self.learning_rate * (advantage[:, None] * self.noise).mean(0)[:, None]
            if logger:
                logger.scalars(self.loop.num_steps, {"agent/reward": float(step.reward.mean())})

    def set_representation(self, representation) -> None:
        pass

    def reset_envs(self, envs) -> None:
        self.loop.reset_envs()

    def get_checkpoint(self) -> dict[str, Any]:
        arrays = {"weights": self.weights.copy(), "phase": self.phase.copy()}
        return {**arrays, "random": generator_state(self.random), "loop": self.loop.get_checkpoint()}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        self.weights, self.phase = np.array(tree["weights"]), np.array(tree["phase"])
        restore_generator(self.random, tree["random"])
        self.loop.set_checkpoint(tree["loop"])

    def save(self, folder) -> None:
        write_json(Path(folder) / "settings.json", {"seed": self.seed, "learning_rate": self.learning_rate})
        save_tree(Path(folder) / "weights.safetensors", {"weights": self.weights})

    @classmethod
    def load(cls, folder, envs, device="auto"):
        agent = cls(envs, **read_json(Path(folder) / "settings.json"))
        agent.weights = np.array(load_tree(Path(folder) / "weights.safetensors")["weights"])
        return agent


class NoSave(GoodAgent):
    save = None


class LearnWithoutLogger(GoodAgent):
    def learn(self, envs, steps, progress=None) -> None:
        super().learn(envs, steps, progress)


class RefusesAllEnvs(GoodAgent):
    def __init__(self, envs, representation=None, seed=0, device="auto") -> None:
        raise UsageError("needs a camera")


class RaisesInConstructor(GoodAgent):
    def __init__(self, envs, representation=None, seed=0, device="auto") -> None:
        raise KeyError("camera")


class AcceptsAllSettings(GoodAgent):
    def __init__(self, envs, representation=None, seed=0, device="auto", **settings) -> None:
        super().__init__(envs, representation, seed, device)


class Float64Actions(GoodAgent):
    def act(self, observation, explore=True):
        return super().act(observation, explore).astype(np.float64)


class ActionsOutOfBounds(GoodAgent):
    def act(self, observation, explore=True):
        return super().act(observation, explore) + 3


class OneAction(GoodAgent):
    def act(self, observation, explore=True):
        return super().act(observation, explore)[0]


class MutatesObservations(GoodAgent):
    def scores(self, observation):
        scores = super().scores(observation)
        array = observation["observation"] if isinstance(observation, dict) else observation
        array *= 0.5
        return scores


class ResetsAllEpisodes(GoodAgent):
    def reset(self, mask=None) -> None:
        super().reset()


class MutatesMask(GoodAgent):
    def reset(self, mask=None) -> None:
        super().reset(mask)
        if mask is not None:
            mask[:] = False


class ForgetsExtraSteps(GoodAgent):
    """Every call takes whole vector steps, without counting those of earlier calls."""

    def learn(self, envs, steps, progress=None, logger=None) -> None:
        super().learn(envs, -(-steps // envs.num_envs) * envs.num_envs, progress, logger)


class TakesHalfOfTheSteps(GoodAgent):
    def learn(self, envs, steps, progress=None, logger=None) -> None:
        super().learn(envs, steps // 2, progress, logger)


class NoProgress(GoodAgent):
    def learn(self, envs, steps, progress=None, logger=None) -> None:
        super().learn(envs, steps, None, logger)


class LogsStrings(GoodAgent):
    def learn(self, envs, steps, progress=None, logger=None) -> None:
        super().learn(envs, steps, progress)
        if logger:
            logger.scalars(0, {"agent/state": "good"})


class UnseededRandom(GoodAgent):
    def __init__(self, envs, representation=None, seed=0, device="auto", learning_rate=0.1) -> None:
        super().__init__(envs, representation, seed, device, learning_rate)
        self.other_random = np.random.default_rng()

    def draw(self, shape):
        return self.other_random.standard_normal(shape)


class GlobalRandom(GoodAgent):
    """Seeds and uses NumPy's global generator."""

    def draw(self, shape):
        np.random.seed(int(self.random.integers(1000)))  # noqa: NPY002 - the fault
        return np.random.standard_normal(shape)  # noqa: NPY002 - the fault


class LosesWeights(GoodAgent):
    @classmethod
    def load(cls, folder, envs, device="auto"):
        return cls(envs, **read_json(Path(folder) / "settings.json"))


class SavesPickle(GoodAgent):
    def save(self, folder) -> None:
        super().save(folder)
        (Path(folder) / "weights.pkl").write_bytes(b"")


class IncompleteCheckpoint(GoodAgent):
    def set_checkpoint(self, tree) -> None:
        before = generator_state(self.random)
        super().set_checkpoint(tree)
        restore_generator(self.random, before)


class RefusesRepresentations(GoodAgent):
    def set_representation(self, representation) -> None:
        raise NotImplementedError("no encoder")


class KeepsEpisodes(GoodAgent):
    def reset_envs(self, envs) -> None:
        pass
