"""Agents that learn from labeled steps: protocol, resumption to the bit, and bad input before the work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agent_toys import Line, model_of
from robossl.agents.imagination_sac import ImaginationSac
from robossl.agents.mpc import MpcAgent
from robossl.agents.noise import RandomPolicy

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.env_checker.agent_under_test import make_envs, make_world_model
from robossl.env_checker.check_agent import check_agent
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.training.agent_streams import takes_stream

TINY = {
    "reward_updates": 20, "hidden": [8], "num_critics": 2, "num_imagined_envs": 8, "batch_size": 16,
    "learning_starts": 60, "fit_interval": 300, "updates_per_step": 0.1,
}  # fmt: skip
TINY_MPC = {**TINY, "samples": 8, "iterations": 2, "policy_samples": 2}
AGENTS: Any = pytest.mark.parametrize(
    ("factory", "settings"), [(ImaginationSac, TINY), (MpcAgent, TINY_MPC)], ids=["imagination-sac", "mpc"]
)
KINDS = pytest.mark.parametrize("env_kind", ["continuous", "goals"])


def recorded(folder: Path, env_kind: str = "continuous", steps: int = 600) -> Stream:
    """Return a stream of random actions."""
    recorder = Recorder.create(make_envs(4, env_kind), folder)
    collect_steps(recorder, RandomPolicy(recorder.single_action_space, 4), steps, 0, NullProgress())
    recorder.finish()
    return Stream.open(folder)


def observations(env_kind: str, num_envs: int = 5) -> Any:
    return make_envs(num_envs, env_kind).reset(seed=7)[0]


@pytest.mark.parametrize(("name", "settings"), [("imagination-sac", TINY), ("mpc", TINY_MPC)])
def test_agents_pass_all_checks(name: str, settings: dict[str, Any]) -> None:
    results = check_agent(name, 120, None, **settings)
    assert [r.message for r in results if r.ok is False] == []


@AGENTS
@KINDS
def test_offline_learning_in_two_calls_equals_one(factory, settings, env_kind, tmp_path) -> None:
    stream, actions = recorded(tmp_path / "stream", env_kind), []
    for calls in ((6,), (2, 4)):
        agent = factory(make_envs(5, env_kind), make_world_model(env_kind), 0, "cpu", stream, **settings)
        for updates in calls:
            agent.learn_offline(updates)
        actions.append(agent.act(observations(env_kind), explore=False))
    assert actions[0].tobytes() == actions[1].tobytes()


@AGENTS
@KINDS
def test_interrupted_offline_learning_continues_to_the_same_bits(
    factory, settings, env_kind, tmp_path
) -> None:
    stream = recorded(tmp_path / "stream", env_kind)

    def make() -> Any:
        return factory(
            make_envs(5, env_kind),
            make_world_model(env_kind),
            0,
            "cpu",
            stream,
            labeled_steps=200,
            **settings,
        )

    agent, resumed = make(), make()
    agent.learn_offline(4)
    save_tree(tmp_path / "checkpoint.safetensors", agent.get_checkpoint())
    resumed.set_checkpoint(load_tree(tmp_path / "checkpoint.safetensors"))
    for continued in (agent, resumed):
        continued.learn_offline(4)
    for _ in range(2):
        first, second = (a.act(observations(env_kind)) for a in (agent, resumed))
        assert first.tobytes() == second.tobytes()


@AGENTS
def test_online_steps_follow_offline_learning(factory, settings, tmp_path) -> None:
    stream = recorded(tmp_path / "stream")
    recorder = Recorder.create(make_envs(3, "continuous"), tmp_path / "own")
    agent = factory(recorder, make_world_model("continuous"), 0, "cpu", stream, **settings)
    agent.learn_offline(3)
    agent.learn(recorder, 30)
    assert len(agent.learner.sources) >= 1
    agent.learn(recorder, 300)
    assert [source.labeled_steps for source in agent.learner.sources] == [None, None]
    assert agent.learner.sources[1].stream is recorder.stream


def test_only_the_requested_number_of_rewards_is_used(tmp_path) -> None:
    stream, settings = recorded(tmp_path / "stream"), {**TINY, "labeled_steps": 150}
    agent = ImaginationSac(
        make_envs(5, "continuous"), make_world_model("continuous"), 0, "cpu", stream, **settings
    )
    labeled = agent.learner.read_labels(agent._offline)
    assert len(labeled.reward) == 150
    agent.learn_offline(2)
    assert agent.learner.reward.num_labeled == 150
    batch = agent.learner._replay(agent.learner.sources[0], 32)
    predicted = agent.learner.reward.of_latents(batch.state, batch.action)
    torch.testing.assert_close(batch.reward, predicted)


def test_known_reward_replaces_the_recorded_one(tmp_path) -> None:
    def reward(observation, action, next_observation):
        return 5 * next_observation[:, 0] - action[:, 1]

    stream = recorded(tmp_path / "stream")
    agent = ImaginationSac(
        make_envs(5, "continuous"), make_world_model("continuous"), 0, "cpu", stream, reward, **TINY
    )
    agent.learn_offline(2)
    rewards = agent.learner._replay(agent.learner.sources[0], 400).reward
    assert float(rewards.max()) > 0  # the recorded ones are negative distances
    expected = stream.windows(2000, 1, np.random.default_rng(0), split=None)
    mean = reward(None, expected.action[:, 0], expected.observation[:, 1]).mean()
    assert float(rewards.mean()) == pytest.approx(mean, abs=1.0)


def test_search_without_value_needs_no_gradient_steps(tmp_path) -> None:
    stream = recorded(tmp_path / "stream")
    settings = {**TINY_MPC, "value": False, "policy_samples": 0, "horizon": 4}
    agent = MpcAgent(make_envs(5, "continuous"), make_world_model("continuous"), 0, "cpu", stream, **settings)
    before = [p.clone() for p in agent.learner.actor_critic.actor.parameters()]
    agent.learn_offline(50)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.learner.actor_critic.actor.parameters()))
    assert agent.act(observations("continuous"), explore=False).shape == (5, 2)


@pytest.mark.slow
def test_search_without_value_passes_all_checks_also_with_discrete_actions() -> None:
    settings = {**TINY_MPC, "value": False, "policy_samples": 0}
    results = check_agent("mpc", 120, None, **settings)
    assert [r.message for r in results if r.ok is False] == []
    assert "discrete" in results[0].message


def test_discrete_actions_are_searched_without_value(tmp_path) -> None:
    stream, settings = (
        recorded(tmp_path / "stream", "discrete"),
        {**TINY_MPC, "value": False, "policy_samples": 0},
    )
    envs = make_envs(5, "discrete")
    agent = MpcAgent(envs, make_world_model("discrete"), 0, "cpu", stream, **settings)
    agent.learn_offline(1)
    for explore in (False, True):
        actions = agent.act(observations("discrete"), explore)
        assert all(envs.single_action_space.contains(action) for action in actions)


class Constant(Line):
    """`Line` with the same reward everywhere."""

    def step(self, actions: np.ndarray) -> tuple:
        observation, reward, terminated, truncated, infos = super().step(actions)
        return observation, np.zeros_like(reward), terminated, truncated, infos


def test_bad_input_is_reported_before_the_work_starts(tmp_path) -> None:
    envs, model = make_envs(4, "continuous"), make_world_model("continuous")
    stream = recorded(tmp_path / "stream")

    def refused(match: str, *args: Any, **settings: Any) -> None:
        with pytest.raises(UsageError, match=match) as caught:
            ImaginationSac(*args, **settings)
        assert "\n" not in str(caught.value)

    refused("expected --representation MODEL, got none", envs)
    refused("use a model that was trained with this env", envs, make_world_model("goals"), 0, "cpu", stream)
    refused("use a model that was trained with this env", envs, model_of(Line(1)), 0, "cpu", stream)
    refused(
        "expected Box actions with bounds, got Discrete",
        make_envs(4, "discrete"),
        make_world_model("discrete"),
    )
    refused("labeled_steps: expected at least 100, got 99", envs, model, 0, "cpu", stream, labeled_steps=99)
    refused("labeled_steps: expected at most", envs, model, 0, "cpu", stream, labeled_steps=100_000)
    refused("updates_per_step: expected more than 0 and at most 4", envs, model, updates_per_step=5)
    refused("real_share: expected 0 to 1", envs, model, real_share=1.5)
    recorder = Recorder.create(Constant(4), tmp_path / "constant")
    collect_steps(recorder, RandomPolicy(recorder.single_action_space, 4), 300, 0, NullProgress())
    recorder.finish()
    line = model_of(recorder)
    refused(
        "expected rewards that vary, got 0 in all",
        recorder,
        line,
        0,
        "cpu",
        Stream.open(tmp_path / "constant"),
    )
    with pytest.raises(UsageError, match="policy_samples: expected at least 0 and less than samples"):
        MpcAgent(envs, model, policy_samples=64)
    agent = ImaginationSac(envs, model)
    with pytest.raises(UsageError, match="expected a stream to learn offline"):
        agent.learn_offline(1)
    with pytest.raises(UsageError, match="needs a Recorder"):
        agent.learn(envs, 10)


@AGENTS
def test_training_requests_pass_the_stream_on(factory, settings) -> None:
    assert takes_stream(registry.agent(factory.name))
    assert factory.needs_reward


def test_constant_reward_online_postpones_learning(tmp_path) -> None:
    recorder = Recorder.create(Constant(4), tmp_path / "stream")
    agent = ImaginationSac(recorder, model_of(recorder), 0, "cpu", **{**TINY, "fit_interval": 50})
    agent.learn(recorder, 200)
    assert agent.learner.reward is None


def test_loaded_agent_continues_to_learn(tmp_path) -> None:
    stream = recorded(tmp_path / "stream", "goals")
    agent = ImaginationSac(make_envs(5, "goals"), make_world_model("goals"), 0, "cpu", stream, **TINY)
    agent.learn_offline(2)
    agent.save(tmp_path / "agent")
    recorder = Recorder.create(make_envs(3, "goals"), tmp_path / "own")
    loaded = ImaginationSac.load(tmp_path / "agent", recorder, "cpu")
    seen = observations("goals")
    assert loaded.act(seen, explore=False).tobytes() == agent.act(seen, explore=False).tobytes()
    loaded.learn(recorder, 180)
    assert loaded.learner.reward is not None
