"""Previous images: an agent acts and learns on the same pairs of images, and none of them spans two episodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import SMALL
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from robossl.agents.sb3 import latent_cache
from robossl.agents.sb3.features import FeatureBuilder
from robossl.agents.sb3.image_history import ImageHistory
from robossl.agents.sb3.latent_cache import LatentCache, images_before
from robossl.agents.sb3.replay import StreamReplayBuffer
from robossl.agents.sb3.vec_env import SB3VecEnv
from sb3_runs import make_agent

from robossl.streams import Recorder
from robossl.world_model import WorldModel

NUM_ENVS, EDGE = 2, 44


class Clock(gym.Env):
    """Images whose first pixels are the sub-environment, the episode and the step."""

    def __init__(self, env_index: int) -> None:
        self.observation_space, self.action_space = (
            Box(0, 255, (EDGE, EDGE, 3), np.uint8),
            Box(-1, 1, (1,), np.float32),
        )
        self.env_index, self.episode, self.count = env_index, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple:
        self.count += 1
        return self.observe(), 0.0, False, self.count == 3 + self.episode % 3, {}

    def observe(self) -> np.ndarray:
        image = np.zeros((EDGE, EDGE, 3), np.uint8)
        image[0, 0] = self.env_index, self.episode, self.count
        image[20:24, 20:24] = 200
        return image


def clocks(mode: AutoresetMode = AutoresetMode.DISABLED) -> SyncVectorEnv:
    return SyncVectorEnv([lambda i=i: Clock(i) for i in range(NUM_ENVS)], autoreset_mode=mode)


def pairs(inputs: dict[str, Any]) -> list[tuple]:
    """Return the first pixels of the current and the previous image of each input."""
    return [tuple(map(int, image[:, 0, 0])) for image in np.asarray(inputs["image"])]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_previous_image_is_of_the_same_episode(mode):
    envs = clocks(mode)
    ours = SB3VecEnv(envs, FeatureBuilder(envs.single_observation_space, keep_images=True))
    inputs, ended = ours.reset(), np.ones(NUM_ENVS, bool)
    for _ in range(12):
        for (index, episode, count, *before), first in zip(pairs(inputs), ended):
            assert before == [index, episode, 0 if first else count - 1]
            assert (count == 0) == first
        inputs, _, ended, infos = ours.step(np.zeros((NUM_ENVS, 1), np.float32))
        for info in infos:
            if "terminal_observation" in info:
                _, episode, count, _, *before = pairs({"image": info["terminal_observation"]["image"][None]})[
                    0
                ]
                assert before == [episode, count - 1]


def test_replayed_images_are_those_that_the_agent_acted_on(tmp_path):
    recorder = Recorder.create(clocks(), tmp_path / "s")
    features = FeatureBuilder(recorder.single_observation_space, keep_images=True)
    envs = SB3VecEnv(recorder, features)
    inputs, seen, ends = envs.reset(), set(), set()
    for _ in range(30):
        seen |= set(pairs(inputs))
        inputs, _, _, infos = envs.step(np.zeros((NUM_ENVS, 1), np.float32))
        last = [info["terminal_observation"] for info in infos if "terminal_observation" in info]
        ends |= {pair for each in last for pair in pairs({"image": each["image"][None]})}
    for n_steps in (1, 3):
        replay = StreamReplayBuffer(
            9, features.observation_space, envs.action_space, "cpu", NUM_ENVS,
            stream=recorder.stream, features=features, n_steps=n_steps,
        )  # fmt: skip
        batch = replay.sample(300)
        assert set(pairs(batch.observations)) <= seen
        assert set(pairs(batch.next_observations)) <= seen | ends
        firsts = [pair for pair in pairs(batch.observations) if pair[2] == 0]
        assert firsts
        assert all(pair[:3] == pair[3:] for pair in firsts)


def test_random_shift_moves_both_images_alike_and_is_drawn_anew(tmp_path):
    recorder = Recorder.create(clocks(), tmp_path / "s")
    features = FeatureBuilder(recorder.single_observation_space, keep_images=True)
    envs = SB3VecEnv(recorder, features)
    envs.reset()
    for _ in range(12):
        envs.step(np.zeros((NUM_ENVS, 1), np.float32))
    replay = StreamReplayBuffer(
        9, features.observation_space, envs.action_space, "cpu", NUM_ENVS,
        stream=recorder.stream, features=features, random_shift=3,
    )  # fmt: skip
    state = replay.get_checkpoint()
    images = replay.sample(64).observations["image"].numpy()
    squares = images == 200
    assert (squares[:, :3] == squares[:, 3:]).all()
    corners = {tuple(map(int, np.argwhere(square[0])[0])) for square in squares}
    assert corners == {(row, column) for row in range(17, 24) for column in range(17, 24)} & corners
    assert len(corners) > 20
    replay.set_checkpoint(state)
    np.testing.assert_array_equal(replay.sample(64).observations["image"].numpy(), images)


def test_frozen_encoder_sees_motion_when_it_acts(tmp_path):
    envs = clocks()
    model = image_model(envs)
    agent = make_agent("sac", Recorder.create(envs, tmp_path / "s"), model, encoder="frozen")
    first, _ = envs.reset(seed=0)
    second, *_ = envs.step(np.zeros((NUM_ENVS, 1), np.float32))
    second[:, 30:] = 255

    def expected(observation: np.ndarray, previous: np.ndarray) -> np.ndarray:
        z = model.encode(observation, previous)
        return agent.algorithm.predict(z, deterministic=True)[0]

    agent.reset()
    np.testing.assert_array_equal(agent.act(first, explore=False), expected(first, first))
    np.testing.assert_array_equal(agent.act(second, explore=False), expected(second, first))
    agent.reset(np.array([True, False]))
    np.testing.assert_array_equal(
        agent.act(first, explore=False), expected(first, np.stack([first[0], second[1]]))
    )
    agent.reset()
    np.testing.assert_array_equal(agent.act(second[:1], explore=False), expected(second[:1], second[:1]))


def test_history_continues_from_its_checkpoint():
    history, random = ImageHistory(), np.random.default_rng(0)
    images = [{"camera": random.integers(0, 255, (2, 4, 4, 3), np.uint8)} for _ in range(4)]
    history.step(images[0])
    history.step(images[1], np.array([True, False]))
    np.testing.assert_array_equal(history.previous["camera"][0], images[1]["camera"][0])
    np.testing.assert_array_equal(history.previous["camera"][1], images[0]["camera"][1])
    other = ImageHistory()
    other.set_checkpoint(history.get_checkpoint())
    for each in (history, other):
        each.step(images[2])
    np.testing.assert_array_equal(other.previous["camera"], history.previous["camera"])
    assert torch.equal(torch.from_numpy(other.previous["camera"]), torch.from_numpy(images[1]["camera"]))


def test_replayed_latents_are_computed_once_for_each_representation(tmp_path):
    recorder = Recorder.create(clocks(), tmp_path / "s")
    model, newer = (image_model(recorder, seed) for seed in (0, 1))
    features = FeatureBuilder(recorder.single_observation_space, model)
    envs = SB3VecEnv(recorder, features)
    envs.reset()
    for _ in range(20):
        envs.step(np.zeros((NUM_ENVS, 1), np.float32))
    replay = StreamReplayBuffer(
        9,
        features.observation_space,
        envs.action_space,
        "cpu",
        NUM_ENVS,
        stream=recorder.stream,
        features=features,
    )
    for representation in (model, newer):
        features.set_representation(representation)
        window = recorder.stream.windows(200, 1, np.random.default_rng(0), split=None)
        previous = images_before(recorder.stream, ("",), window.lane, window.start)[""]
        expected = representation.encode(window.observation[:, 0], previous)
        cached = [replay._latents.encode(representation, window.lane, window.start) for _ in range(2)]
        np.testing.assert_allclose(cached[0], expected, atol=1e-5)
        np.testing.assert_array_equal(*cached)
        fresh = LatentCache(recorder.stream, ("",), recorder.lanes)
        np.testing.assert_array_equal(
            fresh.encode(representation, window.lane[:3], window.start[:3]), cached[0][:3]
        )
        assert replay.sample(20).observations.shape == (20, SMALL.latent_dim)


def test_latent_cache_stays_within_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(latent_cache, "_CAPACITY", 6)
    recorder = Recorder.create(clocks(), tmp_path / "s")
    envs = SB3VecEnv(recorder)
    envs.reset()
    for _ in range(20):
        envs.step(np.zeros((NUM_ENVS, 1), np.float32))
    cache, model = LatentCache(recorder.stream, ("",), recorder.lanes), image_model(recorder)
    lane, row = np.zeros(20, np.int64), np.arange(20)
    previous = images_before(recorder.stream, ("",), lane, row)[""]
    now = recorder.stream.gather(lane, row, ["observation"])["observation"]
    for _ in range(2):
        np.testing.assert_allclose(cache.encode(model, lane, row), model.encode(now, previous), atol=1e-5)
    assert cache._latents.shape == (NUM_ENVS, 3, SMALL.latent_dim)


def image_model(envs: Any, seed: int = 0) -> WorldModel:
    """Return an untrained frozen world model of images."""
    config = replace(SMALL, objectives=("forward", "inverse"), linear_skip=False)
    return WorldModel(config, envs.single_observation_space, envs.single_action_space, seed).frozen_copy()
