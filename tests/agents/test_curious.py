"""Curious exploration: it visits more of what can be learned than noise, and pure noise does not attract it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from agent_toys import Line
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from robossl.agents.curious import CuriousConfig, CuriousPolicy
from robossl.agents.noise import ColoredNoisePolicy
from robossl.agents.shared.imagined_explorer import ImaginedExplorer, lambda_returns

from robossl.core.interfaces import LearningPolicy, NullProgress
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream

TINY = CuriousConfig(round_steps=100, model_updates=2, first_model_updates=4, explorer_updates=2)
STEPS = 60  # of an episode of the corridor


class Corridor(VectorEnv):
    """A point in a corridor: slow steps along x; where y is negative, a random number is shown (a noisy TV)."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = Box(-10, 10, (4,), np.float32)
        self.single_action_space = Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        if seed is not None:
            self.random = np.random.default_rng(seed)
            self.position, self.elapsed = np.zeros((self.num_envs, 2)), np.zeros(self.num_envs, int)
        self.position[mask], self.elapsed[mask] = self.random.uniform(-0.3, 0.3, (mask.sum(), 2)), 0
        return self.observe(), {}

    def step(self, actions: np.ndarray) -> tuple:
        self.position = np.clip(self.position + 0.1 * actions * [1.0, 0.5], [-4, -1], [4, 1])
        self.elapsed += 1
        no_end = np.zeros(self.num_envs, bool)
        return self.observe(), np.zeros(self.num_envs), no_end, self.elapsed >= STEPS, {}

    def observe(self) -> np.ndarray:
        x, y = self.position.T
        television = np.where(y < 0, self.random.normal(size=self.num_envs), 0.0)
        return np.stack([x, y, np.sin(3 * x) * (np.abs(x) > 1), television], 1).astype(np.float32)


class Messages(NullProgress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def record(envs: VectorEnv, policy: Any, steps: int, folder: Path, seed: int = 0) -> Stream:
    """Return the stream of a policy in `envs`."""
    recorder = Recorder.create(envs, folder, seed=seed)
    if isinstance(policy, LearningPolicy):
        policy.attach(recorder.stream, steps, "cpu")
    collect_steps(recorder, policy, steps, seed, NullProgress())
    recorder.finish()
    return Stream.open(folder)


def actions_of(stream: Stream) -> np.ndarray:
    return stream.windows(256, 1, np.random.default_rng(0), split=None).action[:, 0]


@pytest.mark.slow
def test_curious_policy_prefers_what_it_can_learn_to_pure_noise(tmp_path):
    policies = {
        "noise": ColoredNoisePolicy(Corridor(1).single_action_space, 16),
        "curious": CuriousPolicy(
            Corridor(1).single_action_space,
            16,
            config=CuriousConfig(
                round_steps=960, model_updates=60, first_model_updates=200, explorer_updates=20
            ),
        ),
    }
    unexplored, television = {}, {}  # fraction of the steps far out; and where noise is all there is to see
    for name, policy in policies.items():
        stream = record(Corridor(16), policy, 7680, tmp_path / name)
        window = stream.windows(7000, 1, np.random.default_rng(0), split=None)
        x, y = window.observation[:, 0, 0], window.observation[:, 0, 1]
        unexplored[name], television[name] = np.mean(np.abs(x) > 2.5), np.mean((np.abs(x) < 1) & (y < 0))
    assert unexplored["curious"] > 1.5 * unexplored["noise"]
    assert television["curious"] < 0.9 * television["noise"]


@pytest.mark.parametrize("discrete", [False, True])
def test_recorded_actions_depend_on_the_seed_and_not_on_threads(discrete, tmp_path):
    recorded = []
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        envs = Line(3, discrete)
        policy = CuriousPolicy(envs.single_action_space, 3, seed, TINY)
        recorded.append(actions_of(record(envs, policy, 350, tmp_path / f"{seed}-{threads}")))
        assert policy.rounds == 3
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
    np.testing.assert_array_equal(recorded[0], recorded[1])
    assert (recorded[0] != recorded[2]).any()


def test_explorer_acts_in_every_second_episode_of_each_sub_environment(tmp_path):
    envs = Line(2)
    policy = CuriousPolicy(envs.single_action_space, 2, config=TINY)
    record(envs, policy, 200, tmp_path / "stream")
    noise = ColoredNoisePolicy(envs.single_action_space, 2)
    policy._noise.set_checkpoint(noise.get_checkpoint())
    observation = np.zeros((2, 2), np.float32)
    equal = []
    for _ in range(4):
        policy.reset()
        noise.reset()
        equal.append((policy.act(observation) == noise.act(observation)).all(1))
    np.testing.assert_array_equal(np.array(equal[:2]).sum(0), [1, 1])
    np.testing.assert_array_equal(equal[0], equal[2])
    np.testing.assert_array_equal(equal[1], equal[3])


def test_without_a_stream_all_actions_are_colored_noise():
    space = Box(-1, 1, (2,), np.float32)
    curious, noise = CuriousPolicy(space, 3, 5), ColoredNoisePolicy(space, 3, 5)
    for policy in (curious, noise):
        policy.reset()
    for _ in range(20):
        np.testing.assert_array_equal(curious.act(None), noise.act(None))


def test_too_few_steps_for_a_round_are_noise_and_announced(tmp_path):
    progress, envs = Messages(), Line(2)
    recorder = Recorder.create(envs, tmp_path / "stream")
    policy = CuriousPolicy(envs.single_action_space, 2)
    policy.attach(recorder.stream, 1000, "cpu", progress)
    assert progress.texts == [
        "curious: the explorer is trained after 2000 steps; all 1000 steps are colored noise"
    ]
    recorder.close()


def test_rounds_become_rarer_as_the_stream_grows(tmp_path):
    envs = Line(2)
    policy = CuriousPolicy(envs.single_action_space, 2, config=replace(TINY, growth=1.0))
    record(envs, policy, 1000, tmp_path / "stream")
    assert policy.rounds == 4  # at 100, 200, 400 and 800 steps


class FakeModel:
    """Five heads that disagree in proportion to the first number of the encoded action."""

    device = torch.device("cpu")
    dynamics = SimpleNamespace(num_heads=5)

    def action_processor(self, action: torch.Tensor) -> torch.Tensor:
        return action

    def ensemble_predictions(self, z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        heads = torch.arange(-2.0, 3.0).reshape(5, *[1] * z.dim())
        return z + heads * (action[..., :1] + 1.1)


@pytest.mark.parametrize("space", [Box(-1, 1, (2,), np.float32), Discrete(4, start=-2)])
def test_explorer_chooses_the_actions_whose_results_the_heads_disagree_about(space):
    explorer = ImaginedExplorer(6, space, 0, torch.device("cpu"))
    encoded_dim = 4 if isinstance(space, Discrete) else 2
    starts, actions = torch.randn(200, 6), torch.zeros(200, encoded_dim)
    metrics = explorer.train(FakeModel(), starts, actions, 60)  # type: ignore[arg-type]
    assert metrics["novelty"] > 1.0
    chosen = explorer.actor.act(starts, explorer.random)
    assert all(space.contains(action) for action in chosen)
    if isinstance(space, Discrete):
        assert np.mean(chosen == -2) > 0.5  # the first category; uniform actions choose it in a quarter
    else:
        assert chosen[:, 0].mean() > 0.5
        assert abs(chosen[:, 1].mean()) < 0.4


def test_lambda_returns_of_a_constant_reward_and_zero_values():
    rewards = torch.ones(3, 2)
    expected = [1 + 0.9405 * (1 + 0.9405), 1 + 0.9405, 1.0]
    np.testing.assert_allclose(lambda_returns(rewards, torch.zeros(3, 2))[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "space",
    [
        Box(-np.inf, np.inf, (2,), np.float32),
        Box(np.array([3, -np.inf], np.float32), np.array([np.inf, -7], np.float32)),
        Box(0.1, 0.7, (2, 3), np.float64),
        Box(-1, 1, (), np.float32),
        Discrete(3, start=-1),
    ],
)
@pytest.mark.parametrize("explore", [True, False])
def test_actions_of_the_explorer_are_in_the_space(space, explore):
    explorer = ImaginedExplorer(6, space, 0, torch.device("cpu"))
    for action in explorer.actor.act(torch.randn(50, 6), explorer.random, explore):
        assert space.contains(np.asarray(action, space.dtype)), action


def test_images_are_explored_on_latents(tmp_path):
    class Camera(Line):
        """The line seen by a camera."""

        def __init__(self, num_envs: int) -> None:
            super().__init__(num_envs)
            self.single_observation_space = Box(0, 255, (44, 44, 3), np.uint8)
            self.observation_space = batch_space(self.single_observation_space, num_envs)

        def reset(self, **kwargs: Any) -> tuple:
            super().reset(**kwargs)
            return self.observe(), {}

        def step(self, actions: np.ndarray) -> tuple:
            return self.observe(), *super().step(actions)[1:]

        def observe(self) -> np.ndarray:
            image = np.zeros((self.num_envs, 44, 44, 3), np.uint8)
            column = np.clip(20 + 8 * self.state[:, 0], 0, 43).astype(int)
            image[np.arange(self.num_envs), :, column] = 255
            return image

    envs = Camera(2)
    policy = CuriousPolicy(envs.single_action_space, 2, config=replace(TINY, first_model_updates=2))
    record(envs, policy, 120, tmp_path / "stream")
    assert policy.rounds == 1
