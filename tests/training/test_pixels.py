"""Image observations by one setting, `pixels`: learning, evaluation of the run, and envs that have no images."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from resume_helpers import tiny

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.streams import Stream
from robossl.training import agent_loading

ENV, EDGE = "thirdparty/Dot-v0", 44


class Dot(gym.Env):
    """A dot on a line that actions push; observed as its position, or as an image with `pixels`."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, pixels: tuple[int, int] | None = None) -> None:
        self.pixels, self.position = pixels, 0.0
        self.action_space = Box(-1, 1, (1,), np.float32)
        vector = Box(-1, 1, (1,), np.float32)
        self.observation_space = vector if pixels is None else Box(0, 255, (*pixels, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.position = float(self.np_random.uniform(-1, 1))
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple:
        self.position = float(np.clip(self.position + 0.2 * float(action[0]), -1, 1))
        return self.observe(), 1 - abs(self.position), False, False, {}

    def observe(self) -> np.ndarray:
        if self.pixels is None:
            return np.array([self.position], np.float32)
        image = np.zeros((*self.pixels, 3), np.uint8)
        column = int((self.position + 1) / 2 * (self.pixels[1] - 4))
        image[18:26, column : column + 4] = 255
        return image


if ENV not in gym.registry:
    gym.register(ENV, Dot, max_episode_steps=12)


@pytest.fixture(autouse=True)
def few_windows(monkeypatch):
    """Let the diagnostics of the world model read few images."""
    for name in ("_WINDOWS", "_REFERENCE"):
        monkeypatch.setattr(f"robossl.world_model.diagnostics.{name}", 16)


def test_learn_observes_images_and_trains_the_baseline_end_to_end(tmp_path):
    config = tiny(
        ENV, pixels=EDGE, steps=520, explore__fraction=0.7, agent__num_iterations=1, agent__learning_starts=40,
        agent__settings__batch_size=8, world_model__image_size=EDGE, world_model__batch_size=8,
        pretrain__updates=2, pretrain__updates_per_iteration=1,
    )  # fmt: skip
    run = tmp_path / "run"
    report = robossl.learn(config, run, progress=NullProgress())
    assert {"latent", "observation"} <= set(report["control"]["rows"])
    assert read_json(run / "observation-agent" / "sb3.json")["settings"]["encoder"] == "scratch"
    assert Stream.open(run / "stream").observation_space.shape == (EDGE, EDGE, 3)
    assert f"pixels = {EDGE}" in (run / "config.toml").read_text()
    assert agent_loading.env_settings(run) == {"pixels": [EDGE, EDGE]}
    evaluated = robossl.evaluate(
        run,
        episodes=1,
        goal_trials=1,
        head_updates=0,
        videos=False,
        out=tmp_path / "again",
        progress=NullProgress(),
    )
    assert evaluated["control"]["rows"].keys() >= {"latent", "observation"}


def test_single_steps_observe_images(tmp_path):
    stream = robossl.collect(ENV, steps=200, num_envs=2, threads=1, pixels=EDGE, out=tmp_path / "s")
    assert stream.observation_space.shape == (EDGE, EDGE, 3)
    agent = robossl.train(
        ENV, "sac", encoder="scratch", steps=24, num_envs=2, threads=1, pixels=EDGE, device="cpu",
        out=tmp_path / "a", settings={"learning_starts": 16, "batch_size": 8},
    )  # fmt: skip
    assert agent.encoder.mode == "scratch"
    report = robossl.evaluate(tmp_path / "a", episodes=1, videos=False, out=tmp_path / "e")
    assert "observation" in report["control"]["rows"]


def test_pixels_are_the_edge_or_the_height_and_width():
    for pixels, shape in [(0, (1,)), (None, (1,)), (EDGE, (EDGE, EDGE, 3)), ((44, 60), (44, 60, 3))]:
        envs = registry.make_envs(ENV, 1, pixels=pixels)
        assert envs.single_observation_space.shape == shape
        envs.close()


def test_env_without_images_is_refused_with_one_line(tmp_path):
    requests = [
        lambda: robossl.collect("Pendulum-v1", steps=20, pixels=EDGE, out=tmp_path / "s"),
        lambda: robossl.train("Pendulum-v1", steps=20, pixels=EDGE, out=tmp_path / "a"),
        lambda: robossl.learn(tiny("Pendulum-v1", pixels=EDGE), tmp_path / "r", progress=NullProgress()),
    ]
    for request in requests:
        with pytest.raises(UsageError, match="Pendulum-v1 has no image observations") as error:
            request()
        assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())
    with pytest.raises(UsageError, match="pixels: expected 0 or more, got -1"):
        tiny(ENV, pixels=-1)
