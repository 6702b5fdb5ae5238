"""The Python functions collect, pretrain, train and evaluate, and the folders they write."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs
from resume_helpers import TINY, tiny
from stable_baselines3.common.callbacks import BaseCallback

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.logging.sinks.jsonl import read_metrics
from robossl.training import output_dirs
from robossl.training.config import LearnConfig
from robossl.training.config_validation import validate_config
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelEnv
from robossl.world_model.config import PIXEL_CONFIG

MODEL_CONFIG = robossl.WorldModelConfig(
    **{
        name.removeprefix("world_model."): value
        for name, value in TINY.items()
        if name.startswith("world_model.")
    }
)
SMALL: dict[str, Any] = {"num_envs": 4, "threads": 1, "device": "cpu", "settings": {"learning_starts": 40}}
MANIFEST_KEYS = {"kind", "format", "command", "versions", "devices", "render"}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stream and a model."""
    folder = tmp_path_factory.mktemp("artifacts")
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=8)
    stream = robossl.collect(envs, policy="colored_noise", steps=3300, out=folder / "stream")
    robossl.pretrain(stream, updates=20, config=MODEL_CONFIG, out=folder / "model", device="cpu", threads=1)
    envs.close()
    return folder


def test_functions_work_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=8)
    stream = robossl.collect(envs, policy="colored_noise", steps=3300, out="streams/reacher")
    held_out = robossl.collect(envs, policy="random", steps=1600, out="streams/held", seed=1)
    model = robossl.pretrain(stream, updates=20, config=MODEL_CONFIG, out="models/reacher", threads=1)
    observation, _ = envs.reset(seed=0)  # collecting leaves the envs open
    action = envs.action_space.sample()
    z = model.encode(observation)
    z_next = model.predict(z, action)
    assert z.shape == z_next.shape == (8, model.latent_dim)
    assert model.infer_action(z, z_next).shape == action.shape
    imagined_envs = WorldModelEnv(model, stream, num_envs=16)
    assert isinstance(imagined_envs, gym.vector.VectorEnv)
    imagined, _ = imagined_envs.reset(seed=0)
    imagined_envs.step(imagined_envs.action_space.sample())
    assert imagined_envs.single_observation_space == envs.single_observation_space
    assert imagined in imagined_envs.observation_space
    agent = robossl.train(
        "robossl/Reacher-v0", agent="sac", representation=model, encoder="frozen", steps=200, out="a", **SMALL
    )
    assert agent.act(observation, explore=False).shape == action.shape
    report = robossl.evaluate(
        model,
        stream=held_out,
        goal_trials=2,
        goal_horizons=(10,),
        episodes=2,
        out="e",
        threads=1,
        videos=False,
    )
    assert report["world_model"]["transitions"] == held_out.transitions
    assert list(report["control"]["rows"]) == ["planner", "inverse_policy", "random", "zero_action"]
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "e", "models", "streams"]
    envs.close()


def test_manifest_has_what_reproduces_the_folder(artifacts):
    manifests = {name: read_json(artifacts / name / "manifest.json") for name in ("stream", "model")}
    for name, manifest in manifests.items():
        assert manifest.keys() >= MANIFEST_KEYS, name
        assert manifest["env"] == "robossl/Reacher-v0"
        assert manifest["seed"] == 0
        assert manifest["versions"].keys() >= {
            "python",
            "robossl",
            "mujoco",
            "gymnasium",
            "torch",
            "stable-baselines3",
        }
    settings = tomllib.loads((artifacts / "model" / "config.toml").read_text())
    assert settings["world_model"]["latent_dim"] == MODEL_CONFIG.latent_dim
    assert settings["pretrain"]["updates"] == 20
    assert tomllib.loads((artifacts / "stream" / "config.toml").read_text())["policy"] == "colored_noise"


@pytest.mark.parametrize("out", [None, "folder"])
def test_existing_files_are_not_overwritten(out, tmp_path, monkeypatch):
    """A given folder must be empty; a default folder gets a number."""
    monkeypatch.chdir(tmp_path)
    robossl.collect("robossl/Reacher-v0", steps=16, out=out)
    if out is not None:
        with pytest.raises(UsageError, match="folder exists and is not empty"):
            robossl.collect("robossl/Reacher-v0", steps=16, out=out)
    else:
        assert robossl.collect("robossl/Reacher-v0", steps=16).path == Path("streams/reacher-2")


def test_seed_determines_the_collected_stream(tmp_path):
    streams = [
        robossl.collect("CartPole-v1", steps=320, out=tmp_path / str(i), seed=seed)
        for i, seed in enumerate((3, 3, 4))
    ]
    first, again, other = (s.read(0, 0, 10)["observation"] for s in streams)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_agent_folder_is_a_policy_for_collect(artifacts, tmp_path):
    """A model can be evaluated on the behavior of an agent."""
    robossl.train(
        "robossl/Reacher-v0", representation=artifacts / "model", steps=120, out=tmp_path / "a", **SMALL
    )
    stream = robossl.collect("robossl/Reacher-v0", policy=str(tmp_path / "a"), steps=3200, out=tmp_path / "s")
    report = robossl.evaluate(
        artifacts / "model",
        stream=stream,
        goal_trials=2,
        goal_horizons=(10,),
        episodes=1,
        out=tmp_path / "e",
        threads=1,
        videos=False,
    )
    assert report["world_model"]["transitions"] == stream.transitions
    manifest = output_dirs.read_manifest(tmp_path / "a", "agent")
    assert (manifest["agent"], manifest["steps"]) == ("sac", 120)


def test_object_with_act_and_reset_is_a_policy(tmp_path):
    class Left:
        def act(self, observation, explore=True):
            return np.full((16, 2), -0.5, np.float32)

        def reset(self, mask=None):
            pass

    stream = robossl.collect("robossl/Reacher-v0", policy=Left(), steps=160, out=tmp_path / "s")
    assert stream.header["policy"] == "Left"
    assert (stream.read(0, 0, 9)["action"] == -0.5).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda artifacts, out: robossl.collect("robossl/Reecher-v0", out=out),
            "did you mean 'robossl/Reacher-v0'",
        ),
        (
            lambda artifacts, out: robossl.collect("CartPole-v1", policy="colored_noize", out=out),
            "did you mean 'colored_noise'",
        ),
        (
            lambda artifacts, out: robossl.collect("CartPole-v1", steps=0, out=out),
            "steps: expected 1 or more",
        ),
        (lambda artifacts, out: robossl.pretrain(artifacts / "nowhere", out=out), "no stream in"),
        (
            lambda artifacts, out: robossl.pretrain(artifacts / "stream", device="tpu", out=out),
            "expected a device, got 'tpu'",
        ),
        (lambda artifacts, out: robossl.train("CartPole-v1", "sacc", out=out), "did you mean 'sac'"),
        (lambda artifacts, out: robossl.train("CartPole-v1", "sac", out=out), "sac needs"),
        (
            lambda artifacts, out: robossl.train("CartPole-v1", representation=artifacts / "model", out=out),
            "observations of this env",
        ),
        (
            lambda artifacts, out: robossl.train("CartPole-v1", encoder="frosen", out=out),
            "none, random, frozen",
        ),
        (
            lambda artifacts, out: robossl.evaluate(WorldModel.load(artifacts / "model"), out=out),
            "give a stream",
        ),
        (lambda artifacts, out: robossl.evaluate(artifacts / "stream", out=out), "got a stream folder"),
        (
            lambda artifacts, out: robossl.evaluate(artifacts / "model", stream="nowhere", out=out),
            "no stream in nowhere",
        ),
    ],
)
def test_invalid_request_is_one_line_and_writes_nothing(call, message, artifacts, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        call(artifacts, tmp_path / "new" / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: robossl.load(None), "expected a folder of robossl .*, got None"),
        (lambda: robossl.from_pretrained(5), "one of arm, .*, got 5"),
        (lambda: robossl.pretrain(None), "expected a stream or the folder of one, got None"),
        (lambda: robossl.relabel(5, "robossl/WalkerRun-v0"), "expected a stream or the folder of one, got 5"),
        (lambda: robossl.evaluate({}), "expected a world model, or the folder of .*, got dict"),
        (lambda: robossl.collect("CartPole-v1", out=5), "expected a folder to write, got 5"),
        (lambda: robossl.learn("CartPole-v1"), "config: expected a LearnConfig, got str"),
        (lambda: robossl.learn(resume=5), "expected a folder, got 5"),
        (lambda: robossl.train("CartPole-v1", representation=5), "representation: expected a world model"),
        (lambda: robossl.make("CartPole-v1", num_envs="4"), "num_envs: expected a number, got '4'"),
    ],
)
def test_argument_of_another_type_is_one_line_and_writes_nothing(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_third_party_env_can_be_collected(tmp_path):
    thirdparty_envs.register_thirdparty_envs()
    envs = robossl.make("thirdparty/Good-v0", num_envs=3)
    stream = robossl.collect(envs, "random", steps=240, out=tmp_path / "s")
    assert stream.lanes == 3
    assert stream.transitions >= 240
    envs.close()


def test_default_world_model_depends_on_the_observations() -> None:
    thirdparty_envs.register_thirdparty_envs()
    assert validate_config(LearnConfig(env="thirdparty/ImageObservation-v0")).world_model == PIXEL_CONFIG
    assert validate_config(LearnConfig(env="thirdparty/Good-v0")).world_model == WorldModelConfig()
    config = LearnConfig(env="thirdparty/ImageObservation-v0", world_model=WorldModelConfig(latent_dim=16))
    assert validate_config(config).world_model == config.world_model


@pytest.mark.parametrize("encoder", ["none", "random", "finetune", "scratch"])
def test_train_with_every_encoder_writes_metrics(encoder, artifacts, tmp_path):
    representation = artifacts / "model" if encoder != "none" else None
    robossl.train(
        "robossl/Reacher-v0",
        representation=representation,
        encoder=encoder,
        steps=120,
        out=tmp_path / "a",
        **SMALL,
    )
    manifest = output_dirs.read_manifest(tmp_path / "a", "agent")
    rows = {"none": "observation", "random": "random_latent"}
    assert (manifest["encoder"], manifest["row"]) == (encoder, rows.get(encoder, "latent_observation"))
    records = read_metrics(tmp_path / "a")
    names = {name for record in records for name in record}
    assert {"agent/train/critic_loss", "agent/episodes", "time/steps_per_second", "memory/rss_mib"} <= names
    assert records[-1]["step"] == 120


def test_pretrain_writes_losses_and_diagnostics(artifacts):
    records = read_metrics(artifacts / "model")
    names = {name for record in records for name in record}
    assert {"world_model/forward", "world_model/inverse", "time/updates_per_second"} <= names
    assert "diagnostics/effective_rank" in names
    assert [record["step"] for record in records] == [20, 20]  # gradient steps: no env step is taken


def test_agent_settings_reach_sb3(tmp_path):
    settings = {"learning_rate": 0.002, "policy_kwargs": {"net_arch": [8]}, "learning_starts": 40}
    agent = robossl.train(
        "robossl/Reacher-v0", "sac", steps=80, out=tmp_path / "a", num_envs=4, device="cpu", settings=settings
    )
    assert agent.algorithm.learning_rate == 0.002
    assert agent.algorithm.policy.net_arch == [8]
    assert tomllib.loads((tmp_path / "a" / "config.toml").read_text())["agent"]["settings"] == settings


def test_sb3_callbacks_see_every_step(tmp_path):
    class CountSteps(BaseCallback):
        count = 0

        def _on_step(self) -> bool:
            self.count += 1
            return True

    callback = CountSteps()
    robossl.train("robossl/Reacher-v0", "sac", steps=80, out=tmp_path / "a", callbacks=[callback], **SMALL)
    assert callback.count == 80 / SMALL["num_envs"]


class UnclosedEnvs:
    """Counts vector envs that were made and not closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open: list[gym.vector.VectorEnv] = []
        make_envs = registry.make_envs

        def make(*args, **kwargs):
            envs = make_envs(*args, **kwargs)
            self.open.append(envs)
            close = envs.close

            def close_and_count(**options):
                if envs in self.open:
                    self.open.remove(envs)
                close(**options)

            envs.close = close_and_count
            return envs

        monkeypatch.setattr(registry, "make_envs", make)


@pytest.mark.parametrize(
    "call",
    [
        lambda out: robossl.collect("robossl/Reacher-v0", steps=16, out=out / "s"),
        lambda out: robossl.collect("robossl/Reacher-v0", policy="colored_noize", steps=16, out=out / "s"),
        lambda out: robossl.train("robossl/Reacher-v0", steps=80, out=out / "a", **SMALL),
        lambda out: robossl.train("CartPole-v1", "sac", out=out / "a"),
        lambda out: robossl.train("robossl/Reacher-v0", settings={"gama": 1}, out=out / "a"),
        lambda out: robossl.learn(tiny(agent__settings__gama=1), out / "r", progress=NullProgress()),
    ],
)
def test_envs_are_closed_also_after_an_error(call, tmp_path, monkeypatch):
    unclosed = UnclosedEnvs(monkeypatch)
    with contextlib.suppress(UsageError):
        call(tmp_path)
    assert unclosed.open == []


_SLOW = [pytest.param(encoder, marks=pytest.mark.slow) for encoder in ("none", "scratch")]


@pytest.mark.parametrize("encoder", ["random", "finetune", *_SLOW])
def test_learn_names_its_rows_by_what_the_agent_observes_and_closes_its_envs(encoder, tmp_path, monkeypatch):
    unclosed = UnclosedEnvs(monkeypatch)
    config = tiny(
        agent__encoder=encoder,
        agent__num_iterations=1,
        agent__learning_starts=40,
        goals__trials=0,
        steps=1840,
    )
    report = robossl.learn(config, tmp_path / "run", progress=NullProgress())
    agent_row = {"none": "observation", "random": "random_latent"}.get(encoder, "latent_observation")
    assert set(report["control"]["rows"]) == {agent_row, "observation", "random", "zero_action"}
    assert "control" not in report["missing"]
    assert unclosed.open == []
