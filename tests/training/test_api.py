"""The few functions, as the product page shows them, and what they leave in their folders."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs
from resume_helpers import TINY

import robossl
from robossl.core.errors import UsageError
from robossl.core.io import read_json
from robossl.training import output_dirs
from robossl.training.config import LearnConfig
from robossl.training.config_validation import validate_config
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import PIXEL_CONFIG
from robossl.world_model.env import WorldModelEnv

WORLD = robossl.WorldModelConfig(
    **{
        name.removeprefix("world_model."): value
        for name, value in TINY.items()
        if name.startswith("world_model.")
    }
)
CHEAP: dict[str, Any] = {"num_envs": 4, "learning_starts": 40, "threads": 1, "device": "cpu"}
REPRODUCES = {"kind", "format", "command", "versions", "devices", "render"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stream and a model."""
    folder = tmp_path_factory.mktemp("house")
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=8)
    stream = robossl.collect(envs, policy="colored_noise", steps=3300, out=folder / "stream")
    robossl.pretrain(stream, updates=20, config=WORLD, out=folder / "model", device="cpu", threads=1)
    envs.close()
    return folder


def test_the_example_of_the_product(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=8)
    stream = robossl.collect(envs, policy="colored_noise", steps=3300, out="streams/reacher")
    held_out = robossl.collect(envs, policy="random", steps=1600, out="streams/held", seed=1)
    model = robossl.pretrain(stream, updates=20, config=WORLD, out="models/reacher", threads=1)
    observation, _ = envs.reset(seed=0)  # collecting leaves the envs open
    action = envs.action_space.sample()
    z = model.encode(observation)
    z_next = model.predict(z, action)
    assert z.shape == z_next.shape == (8, model.latent_dim)
    assert model.infer_action(z, z_next).shape == action.shape
    dream = WorldModelEnv(model, stream, num_envs=16)
    assert isinstance(dream, gym.vector.VectorEnv)
    imagined, _ = dream.reset(seed=0)
    dream.step(dream.action_space.sample())
    assert dream.single_observation_space == envs.single_observation_space
    assert imagined in dream.observation_space
    agent = robossl.train(
        "robossl/Reacher-v0", agent="sac", representation=model, mode="frozen", steps=200, out="a", **CHEAP
    )
    assert agent.act(observation, explore=False).shape == action.shape
    report = robossl.evaluate(model, stream=held_out, pairs=2, offset=10, out="e", threads=1, videos=False)
    assert report["world"]["rows"] == held_out.transitions
    assert "no agent was given" in report["absent"]["control"]
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "e", "models", "streams"]
    envs.close()


def test_what_lies_in_a_folder_says_how_it_was_made(house):
    made = {name: read_json(house / name / "manifest.json") for name in ("stream", "model")}
    for name, mark in made.items():
        assert mark.keys() >= REPRODUCES, name
        assert mark["env"] == "robossl/Reacher-v0"
        assert mark["seed"] == 0
        assert mark["versions"].keys() >= {
            "python",
            "robossl",
            "mujoco",
            "gymnasium",
            "torch",
            "stable-baselines3",
        }
    settings = tomllib.loads((house / "model" / "config.toml").read_text())
    assert settings["world"]["latent"] == WORLD.latent_dim
    assert settings["pretrain"]["updates"] == 20
    assert tomllib.loads((house / "stream" / "config.toml").read_text())["policy"] == "colored_noise"


@pytest.mark.parametrize("out", [None, "there"])
def test_nothing_is_written_over(out, tmp_path, monkeypatch):
    """A folder that was named is refused where it is not empty; a default gets a number."""
    monkeypatch.chdir(tmp_path)
    robossl.collect("robossl/Reacher-v0", steps=16, out=out)
    if out is not None:
        with pytest.raises(UsageError, match="there exists and is not empty"):
            robossl.collect("robossl/Reacher-v0", steps=16, out=out)
    else:
        assert robossl.collect("robossl/Reacher-v0", steps=16).path == Path("streams/reacher-2")


def test_a_collection_is_decided_by_its_seed(tmp_path):
    streams = [
        robossl.collect("CartPole-v1", steps=320, out=tmp_path / str(i), seed=seed)
        for i, seed in enumerate((3, 3, 4))
    ]
    first, again, other = (s.read(0, 0, 10)["observation"] for s in streams)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_agent_can_collect_what_a_model_is_judged_on(house, tmp_path):
    """Held-out behaviour is that of another policy: here, of an agent's folder."""
    robossl.train(
        "robossl/Reacher-v0", representation=house / "model", steps=120, out=tmp_path / "a", **CHEAP
    )
    stream = robossl.collect("robossl/Reacher-v0", policy=str(tmp_path / "a"), steps=3200, out=tmp_path / "s")
    report = robossl.evaluate(
        house / "model", stream=stream, pairs=2, offset=10, out=tmp_path / "e", threads=1, videos=False
    )
    assert report["world"]["rows"] == stream.transitions
    mark = output_dirs.read_manifest(tmp_path / "a", "agent")
    assert (mark["agent"], mark["steps"]) == ("sac", 120)


def test_an_object_with_act_and_reset_is_a_policy_too(tmp_path):
    class Left:
        def act(self, observation, explore=True):
            return np.full((16, 2), -0.5, np.float32)

        def reset(self, mask=None):
            pass

    stream = robossl.collect("robossl/Reacher-v0", policy=Left(), steps=160, out=tmp_path / "s")
    assert stream.header["policy"] == "Left"
    assert (stream.read(0, 0, 9)["action"] == -0.5).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            lambda house, out: robossl.collect("robossl/Reecher-v0", out=out),
            "did you mean 'robossl/Reacher-v0'",
        ),
        (
            lambda house, out: robossl.collect("CartPole-v1", policy="colored_noize", out=out),
            "did you mean 'colored_noise'",
        ),
        (lambda house, out: robossl.collect("CartPole-v1", steps=0, out=out), "steps is 0"),
        (lambda house, out: robossl.pretrain(house / "nowhere", out=out), "no stream in"),
        (lambda house, out: robossl.pretrain(house / "stream", device="tpu", out=out), "no device 'tpu'"),
        (lambda house, out: robossl.train("CartPole-v1", "sacc", out=out), "did you mean 'sac'"),
        (lambda house, out: robossl.train("CartPole-v1", "sac", out=out), "sac needs"),
        (
            lambda house, out: robossl.train("CartPole-v1", representation=house / "model", out=out),
            "this env has",
        ),
        (lambda house, out: robossl.train("CartPole-v1", mode="frosen", out=out), "did you mean 'frozen'"),
        (lambda house, out: robossl.evaluate(WorldModel.load(house / "model"), out=out), "give a stream"),
        (lambda house, out: robossl.evaluate(house / "stream", out=out), "is a stream folder"),
        (
            lambda house, out: robossl.evaluate(house / "model", stream="nowhere", out=out),
            "no stream in nowhere",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(wrong, words, house, tmp_path):
    with pytest.raises(UsageError, match=words) as told:
        wrong(house, tmp_path / "new" / "out")
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_strangers_env_has_what_a_vector_env_has(tmp_path):
    thirdparty_envs.register_thirdparty_envs()
    envs = robossl.make("thirdparty/Good-v0", num_envs=3)
    stream = robossl.collect(envs, "random", steps=240, out=tmp_path / "s")
    assert stream.lanes == 3
    assert stream.transitions >= 240
    envs.close()


def test_a_run_from_python_takes_the_recipe_for_pictures_unless_told_how_to_learn() -> None:
    thirdparty_envs.register_thirdparty_envs()
    assert validate_config(LearnConfig(env="thirdparty/ImageObservation-v0")).world_model == PIXEL_CONFIG
    assert validate_config(LearnConfig(env="thirdparty/Good-v0")).world_model == WorldModelConfig()
    told = LearnConfig(env="thirdparty/ImageObservation-v0", world_model=WorldModelConfig(latent_dim=16))
    assert validate_config(told) == told
