"""What cannot be learned from is told in one line before the first update, and what can is not refused."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from world_model_toys import ToyStream, dots, linear, pictures

import robossl
from robossl.core.errors import UsageError
from robossl.streams import Recorder, Stream
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.env import WorldModelEnv

CONFIG = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(64,),
    dynamics_hidden=(64,),
    inverse_hidden=(64,),
    decoder_hidden=(64,),
    ensemble_size=2,
    batch_size=24,
    unroll_steps=2,
)


def learner(
    stream: ToyStream, model: WorldModel | None = None, config: WorldModelConfig = CONFIG
) -> WorldModelTrainer:
    model = model or WorldModel(config, stream.observation_space, stream.action_space)
    return WorldModelTrainer(model, stream, device="cpu")


def refused(stream: ToyStream, config: WorldModelConfig = CONFIG) -> str:
    """The line with which learning is refused; nothing was learned by then."""
    taught = learner(stream, config=config)
    with pytest.raises(UsageError) as told:
        taught.update()
    assert taught.updates == 0
    assert "\n" not in str(told.value)
    return str(told.value)


def test_an_observation_that_never_changes() -> None:
    stream = linear()
    stream.observation[:] = 3.0
    assert "the observation is the same in all" in refused(stream)
    stream = pictures("floor", 10)
    stream.observation[:] = 7
    assert "the observation is the same in all" in refused(stream)
    stream = linear()
    stream.observation[..., :3] = 3.0  # a part of it may
    assert np.isfinite(learner(stream).update()["loss"])


def test_an_action_that_never_varies() -> None:
    stream = linear()
    stream.action[:] = 0.5
    assert "the action is the same in all" in refused(stream)
    discrete = linear(discrete=True)
    discrete.action[:] = 2
    assert "collect with --policy colored_noise or random" in refused(discrete)
    only_forward = WorldModelConfig(**{**CONFIG.to_json(), "objectives": ("forward", "reconstruction")})
    assert np.isfinite(learner(stream, config=only_forward).update()["loss"])


def test_numbers_that_are_none_are_found_where_they_lie() -> None:
    stream = linear(episodes=10)
    stream.observation[2, 11, 3] = np.nan
    assert refused(stream).endswith("as observation in row 11 of lane 2")
    stream = linear(episodes=10)
    stream.action[5, 0] = np.inf
    assert refused(stream).endswith("as action in row 0 of lane 5")


def test_one_that_comes_later_is_found_too() -> None:
    stream = linear()
    taught = learner(stream)
    taught.update()
    stream.observation[4:, 9] = np.nan
    with pytest.raises(UsageError, match=r"not finite as observation in row 9 of lane \d+$"):
        taught.update(5)


def test_images_of_another_size_and_another_robot() -> None:
    small = pictures("floor", 10)
    small.observation, small.observation_space = (
        small.observation[:, :, :48, :48],
        spaces.Box(0, 255, (48, 48, 3), np.uint8),
    )
    model = learner(pictures("floor", 10)).ema_model
    with pytest.raises(UsageError, match=r"made for observations .*64, 64, 3.*the stream has .*48, 48, 3"):
        learner(small, model)
    with pytest.raises(UsageError, match="the model was made for observations"):
        learner(linear(), model)
    with pytest.raises(UsageError, match="the model was made for actions"):
        learner(linear(discrete=True), learner(linear()).ema_model)
    with pytest.raises(UsageError, match="the stream has"):
        WorldModelEnv(model, dots(), num_envs=2)
    with pytest.raises(UsageError, match="looks at images"):
        learner(linear(), config=WorldModelConfig(objectives=("forward", "rotation")))


def test_a_shift_of_images_where_there_are_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"world\.shift is 2 and moves images; this model reads Box"):
        WorldModel(WorldModelConfig(random_shift=2), linear().observation_space, linear().action_space)


def test_doubles_are_learned_from_like_floats() -> None:
    stream, double = linear(), linear()
    double.observation = double.observation.astype(np.float64)
    double.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
    assert learner(double).update(2) == learner(stream).update(2)
    assert np.isfinite(learner(double, learner(stream).ema_model).update()["loss"])


class Short(gym.Env):
    """A number that the action moves, for ten steps."""

    observation_space = spaces.Box(-9, 9, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1, 1)
        return self.place.copy(), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.1 * np.asarray(action), -9, 9)
        return self.place.copy(), 0.0, False, False, {}


def short_stream(folder: Path, episodes: int) -> Stream:
    envs = gym.vector.SyncVectorEnv([lambda: gym.wrappers.TimeLimit(Short(), 10)])
    recorder = Recorder.create(envs, folder)
    recorder.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(11 * episodes - 1):
        recorder.step(random.uniform(-1, 1, (1, 1)))
    recorder.close()
    return Stream.open(folder)


def test_one_episode_serves_training_or_says_that_it_does_not(tmp_path: Path) -> None:
    said: list[str] = []

    class Ear(robossl.core.interfaces.NullProgress):
        def message(self, text: str) -> None:
            said.append(text)

    for count in range(1, 7):  # the split of an episode is drawn from the stream's id
        stream = short_stream(tmp_path / str(count), count)
        out = tmp_path / f"model{count}"
        if stream.counts["train"]:
            model = robossl.pretrain(stream, 1, CONFIG, out, device="cpu", progress=Ear())
            assert model.metadata["transitions"] == 10 * count
            assert any(line.startswith(f"the stream has {count} of the ten episodes") for line in said)
        else:
            with pytest.raises(UsageError, match="in split 'train'; transitions there are: train 0"):
                robossl.pretrain(stream, 1, CONFIG, out, device="cpu")
            assert not out.exists()
