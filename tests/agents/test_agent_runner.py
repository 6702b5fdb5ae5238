"""AgentRunner and loading: agents with their own loop, agent.json, settings, representations of the user."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agent_toys import Line
from gymnasium.spaces import Box
from sb3_runs import NUM_ENVS, QUICK, make_line

from robossl import registry
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import Agent, NullProgress
from robossl.core.io import load_tree, read_json, save_tree, write_json
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.rollout import StepLoop
from robossl.streams import Recorder, Stream
from robossl.training.agent_loading import load_from
from robossl.training.agent_runner import AgentRunner


class HillClimber:
    """An agent with its own loop: keeps a random change of its constant action if the reward rises."""

    def __init__(
        self,
        envs: Any,
        representation: Any = None,
        seed: int = 0,
        device: str = "auto",
        step_size: float = 0.1,
    ) -> None:
        self.loop, self.random = StepLoop(envs, seed), generator(seed, "climber")
        self.step_size, self.representation = step_size, representation
        self.action, self.best = np.full(envs.single_action_space.shape, 1.0, np.float32), -np.inf

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        if self.representation is not None:
            assert (
                np.asarray(self.representation.encode(observation)).shape[1] == self.representation.latent_dim
            )
        return np.repeat(self.action[None], len(observation), 0)

    def reset(self, mask: np.ndarray | None = None) -> None:
        pass

    def learn(self, envs: Any, steps: int, progress: Any = None, logger: Any = None) -> None:
        for step in self.loop.steps(self, steps, progress):
            if step.reward.mean() > self.best:
                self.best = float(step.reward.mean())
            change = self.step_size * self.random.standard_normal(self.action.shape)
            self.action = np.clip(self.action + change, -1, 3).astype(np.float32)
            if logger is not None:
                logger.scalars(self.loop.num_steps, {"agent/best": self.best})

    def set_representation(self, representation: Any) -> None:
        self.representation = representation

    def reset_envs(self, envs: Any) -> None:
        self.loop.reset_envs()

    def get_checkpoint(self) -> Any:
        return {
            "action": self.action.copy(),
            "best": self.best,
            "generator": generator_state(self.random),
            "loop": self.loop.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Any) -> None:
        self.action, self.best = np.array(tree["action"]), float(tree["best"])
        restore_generator(self.random, tree["generator"])
        self.loop.set_checkpoint(tree["loop"])

    def save(self, folder: Any) -> None:
        write_json(folder / "climber.json", {"action": self.action.tolist(), "step_size": self.step_size})

    @classmethod
    def load(cls, folder: Any, envs: Any, device: str = "auto") -> HillClimber:
        saved = read_json(folder / "climber.json")
        agent = cls(envs, step_size=saved["step_size"])
        agent.action = np.array(saved["action"], np.float32)
        return agent


@pytest.fixture(autouse=True)
def climber(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the agent for one test."""
    monkeypatch.setattr(registry, "_added", {})
    registry.register("agents", "climber", HillClimber)
    return


def make_runner(
    path: Any, name: str = "climber", stream: Stream | None = None, **settings: Any
) -> AgentRunner:
    envs = make_line(name)
    recorder = Recorder.create(envs, path) if stream is None else Recorder(envs, stream)
    return AgentRunner(name, recorder, 3, **settings)


def test_agent_with_its_own_loop_learns_records_and_logs(tmp_path):
    logged = []
    runner = make_runner(tmp_path / "s", step_size=0.5)
    assert isinstance(runner.agent, Agent)
    runner.learn(
        40, NullProgress(), SimpleNamespace(scalars=lambda step, values: logged.append((step, values)))
    )
    runner.recorder.finish()
    assert runner.recorder.stream.transitions == 40
    assert [step for step, _ in logged] == list(range(NUM_ENVS, 41, NUM_ENVS))


def test_resumed_agent_with_its_own_loop_continues_to_the_bit(tmp_path):
    runner = make_runner(tmp_path / "one")
    runner.learn(30)
    save_tree(
        tmp_path / "checkpoint",
        {"runner": runner.get_checkpoint(), "stream": runner.recorder.stream.offset()},
    )
    runner.recorder.stream.close()
    (tmp_path / "two").mkdir()
    for file in (tmp_path / "one").iterdir():
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    runner.learn(30)
    tree, stream = load_tree(tmp_path / "checkpoint"), Stream.open(tmp_path / "two")
    stream.truncate(tree["stream"])
    fresh = make_runner(tmp_path / "two", stream=stream)
    fresh.set_checkpoint(tree["runner"], NullProgress())
    fresh.learn(30)
    for path, each in (("a", runner), ("b", fresh)):
        save_tree(tmp_path / path, each.get_checkpoint())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", ["climber", "sac", "ppo"])
def test_framework_writes_agent_json_and_loads_by_name(tmp_path, name):
    settings = {} if name == "climber" else {"device": "cpu", **QUICK}
    runner = make_runner(tmp_path / "s", name, **settings)
    runner.learn(40)
    runner.save(tmp_path / "agent")
    content = read_json(tmp_path / "agent" / "agent.json")
    assert content["agent"] == name
    envs = Line(5)
    loaded = load_from(tmp_path / "agent", envs, "cpu")
    observation, _ = envs.reset(seed=1)
    expected = runner.agent.act(observation, explore=False)
    np.testing.assert_array_equal(loaded.act(observation, explore=False), expected)


def test_agent_of_other_spaces_or_name_is_not_loaded(tmp_path):
    make_runner(tmp_path / "s").save(tmp_path / "agent")
    with pytest.raises(UsageError, match=r"was trained for actions Box.*this env has Discrete"):
        load_from(tmp_path / "agent", make_line("dqn"))
    wider = make_line("climber")
    wider.single_observation_space = Box(-1, 1, (3,), np.float32)
    with pytest.raises(UsageError, match="was trained for observations Box"):
        load_from(tmp_path / "agent", wider)
    path = tmp_path / "agent" / "agent.json"
    content = read_json(path)
    for change, error, message in [
        ({"format": 99}, UsageError, "expected an agent of format 2"),
        ({"agent": 3}, CorruptedFileError, "agent: expected str, got 3"),
        ({"agent": "climbre"}, UsageError, "climber"),
        ({"observation_space": {"type": "Car"}}, UsageError, "Car"),
    ]:
        write_json(path, {**content, **change})
        with pytest.raises(error, match=message):
            load_from(tmp_path / "agent", make_line("climber"))


def test_unknown_settings_are_rejected_before_the_agent_exists(tmp_path):
    with pytest.raises(UsageError, match=r"'step_siz'.*step_size"):
        make_runner(tmp_path / "a", step_siz=3)
    with pytest.raises(UsageError, match=r"'learning_rat'.*learning_rate"):
        make_runner(tmp_path / "b", "sac", learning_rat=3)


def test_callbacks_need_an_sb3_agent(tmp_path):
    with pytest.raises(UsageError, match="expected an SB3 agent, got climber"):
        make_runner(tmp_path / "a").learn(10, callbacks=[object()])  # type: ignore[list-item]


class Magnitudes:
    """A representation of the user: any object with these three members."""

    latent_dim, version = 3, 0

    def encode(self, observation: Any) -> np.ndarray:
        values = np.asarray(observation)
        return np.concatenate([np.abs(values), values[..., :1] ** 2], -1).astype(np.float32)


@pytest.mark.parametrize("name", ["climber", "sac", "td3", "ppo", "dqn"])
def test_any_object_with_encode_is_a_representation(tmp_path, name):
    settings = {} if name == "climber" else {"device": "cpu", **QUICK}
    runner = make_runner(tmp_path / "s", name, representation=Magnitudes(), **settings)
    runner.learn(40)
    newer = Magnitudes()
    newer.version = 1
    runner.agent.set_representation(newer)
    runner.learn(10)
    if name != "climber":
        assert runner.agent.features.size == 3 + 2  # type: ignore[attr-defined]
        assert runner.agent.features.representation is newer  # type: ignore[attr-defined]


def test_envs_that_cannot_be_restored_start_new_episodes(tmp_path):
    class Messages(NullProgress):
        texts: tuple[str, ...] = ()

        def message(self, text: str) -> None:
            self.texts += (text,)

    class Unseeded(gym.Env):
        observation_space, action_space = Box(-10, 10, (2,), np.float32), Box(-1, 3, (1,), np.float32)

        def reset(self, **kwargs: Any) -> tuple:
            return np.random.default_rng().random(2).astype(np.float32), {}

        def step(self, action: Any) -> tuple:
            return *self.reset()[:1], 0.0, False, False, {}

    envs = gym.vector.SyncVectorEnv([Unseeded] * 2, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    runner = AgentRunner("climber", Recorder.create(envs, tmp_path / "s"), 0)
    runner.learn(10)
    tree, progress = runner.get_checkpoint(), Messages()
    runner.set_checkpoint(tree, progress)
    assert len(progress.texts) == 1
    assert "cannot be restored" in progress.texts[0]
    runner.learn(10)
