"""Training data without information is rejected in one line before the first update; usable data is accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from world_model_toys import SMALL_CONFIG, ToyStream, linear, make_trainer, moving_square, scenes

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Recorder, Stream
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelEnv, WorldModelTrainer

CONFIG = replace(SMALL_CONFIG, ensemble_size=2, batch_size=24, unroll_steps=2)


def rejection(stream: ToyStream) -> str:
    """Return the error of the first update; no update was made."""
    trainer = make_trainer(stream, CONFIG)
    with pytest.raises(UsageError) as raised:
        trainer.update()
    assert trainer.updates == 0
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_constant_observation_is_rejected_unless_a_part_varies() -> None:
    stream = linear()
    stream.observation[:] = 3.0
    assert "expected observations that vary" in rejection(stream)
    stream = scenes("floor", 10)
    stream.observation[:] = 7
    assert "expected observations that vary" in rejection(stream)
    stream = linear()
    stream.observation[..., :3] = 3.0
    assert np.isfinite(make_trainer(stream, CONFIG).update()["loss"])


def test_constant_action_is_rejected_unless_no_objective_predicts_it() -> None:
    stream = linear()
    stream.action[:] = 0.5
    assert "expected actions that vary" in rejection(stream)
    discrete = linear(discrete=True)
    discrete.action[:] = 2
    assert "collect with --policy colored_noise or random" in rejection(discrete)
    without_inverse = replace(CONFIG, objectives=("forward", "reconstruction"))
    assert np.isfinite(make_trainer(stream, without_inverse).update()["loss"])


def test_position_of_a_non_finite_number_is_reported() -> None:
    stream = linear(episodes=10)
    stream.observation[2, 11, 3] = np.nan
    assert rejection(stream).startswith(
        "observation: expected finite numbers, got nan at time step 11 of lane 2"
    )
    stream = linear(episodes=10)
    stream.action[5, 0] = np.inf
    assert rejection(stream).startswith("action: expected finite numbers, got inf at time step 0 of lane 5")


def test_non_finite_number_after_the_first_update_is_reported() -> None:
    stream = linear()
    trainer = make_trainer(stream, CONFIG)
    trainer.update()
    stream.observation[4:, 9] = np.nan
    with pytest.raises(UsageError, match=r"observation: .* time step 9 of lane \d+"):
        trainer.update(5)


def test_stream_with_other_spaces_than_the_model_is_rejected() -> None:
    small = scenes("floor", 10)
    small.observation = small.observation[:, :, :48, :48]
    small.observation_space = spaces.Box(0, 255, (48, 48, 3), np.uint8)
    model = make_trainer(scenes("floor", 10), CONFIG).ema_model
    with pytest.raises(
        UsageError, match=r"observations of the stream: expected .*64, 64, 3.* got .*48, 48, 3"
    ):
        WorldModelTrainer(model, small, device="cpu")
    with pytest.raises(UsageError, match="observations of the stream"):
        WorldModelTrainer(model, linear(), device="cpu")
    with pytest.raises(UsageError, match="actions of the stream"):
        WorldModelTrainer(make_trainer(linear(), CONFIG).ema_model, linear(discrete=True), device="cpu")
    with pytest.raises(UsageError, match="observations of the stream"):
        WorldModelEnv(model, moving_square(), num_envs=2)


def test_image_settings_without_images_are_rejected() -> None:
    for settings in ({"objectives": ("forward", "rotation")}, {"random_shift": 2}):
        with pytest.raises(UsageError, match="expected image observations, got Box"):
            WorldModel(WorldModelConfig(**settings), linear().observation_space, linear().action_space)


def test_float64_observations_train_like_float32() -> None:
    stream, double = linear(), linear()
    double.observation = double.observation.astype(np.float64)
    double.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
    assert make_trainer(double, CONFIG).update(2) == make_trainer(stream, CONFIG).update(2)
    model = make_trainer(stream, CONFIG).ema_model
    assert np.isfinite(WorldModelTrainer(model, double, device="cpu").update()["loss"])


class Line(gym.Env):
    """A number that the action moves."""

    observation_space = spaces.Box(-9, 9, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-1, 1, 1)
        return self.position.copy(), {}

    def step(self, action):
        self.position = np.clip(self.position + 0.1 * np.asarray(action), -9, 9)
        return self.position.copy(), 0.0, False, False, {}


def record(folder: Path, episodes: int) -> Stream:
    """Record episodes of ten steps."""
    envs = gym.vector.SyncVectorEnv([lambda: gym.wrappers.TimeLimit(Line(), 10)])
    recorder = Recorder.create(envs, folder)
    recorder.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(11 * episodes - 1):
        recorder.step(random.uniform(-1, 1, (1, 1)))
    recorder.close()
    return Stream.open(folder)


def test_few_episodes_train_with_a_warning_or_are_rejected(tmp_path: Path) -> None:
    messages: list[str] = []

    class Progress(NullProgress):
        def message(self, text: str) -> None:
            messages.append(text)

    for count in range(1, 7):  # the split of an episode depends on the id of the stream
        stream = record(tmp_path / str(count), count)
        out = tmp_path / f"model{count}"
        if stream.counts["train"]:
            model = robossl.pretrain(stream, 1, CONFIG, out, device="cpu", progress=Progress())
            assert model.metadata["transitions"] == 10 * count
            assert any(f"the stream has {count} episodes" in text for text in messages)
        else:
            with pytest.raises(UsageError, match="train"):
                robossl.pretrain(stream, 1, CONFIG, out, device="cpu")
            assert not out.exists()
