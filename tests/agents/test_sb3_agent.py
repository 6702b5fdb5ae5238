"""SB3 agents: bit-exact resume, seeds, update rate, saving and loading, representations, hindsight."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import Line, model_of
from gymnasium.vector import AutoresetMode
from sb3_runs import NUM_ENVS, SETTINGS, AgentRun, make_agent, make_line

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder, Stream


def check_resume(tmp_path: Path, name: str, make: Any, before: int, after: int, **settings: Any) -> None:
    """Check that an uninterrupted run and one resumed in new objects end with the same bytes."""
    run = AgentRun(tmp_path / "one", name, make(), **settings)
    run.learn(before)
    run.save(tmp_path / "checkpoint")
    run.recorder.stream.close()
    (tmp_path / "two").mkdir()
    for file in (tmp_path / "one").iterdir():
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    run.learn(after)
    torch.rand(7), np.random.rand(7)  # noqa: NPY002 - the rest of the process draws as well
    stream = Stream.open(tmp_path / "two")
    stream.truncate(load_tree(tmp_path / "checkpoint")["stream"])
    fresh = AgentRun(tmp_path / "two", name, make(), stream, **settings)
    fresh.restore(tmp_path / "checkpoint")
    fresh.learn(after)
    np.testing.assert_equal(fresh.recorded(), run.recorded())
    save_tree(tmp_path / "a", run.agent.get_checkpoint())
    save_tree(tmp_path / "b", fresh.agent.get_checkpoint())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert fresh.agent.algorithm._n_updates > 0


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("encoded", [False, True])
def test_resumed_agent_continues_to_the_bit(tmp_path, name, encoded):
    model = model_of(make_line(name)) if encoded else None
    check_resume(tmp_path, name, lambda: make_line(name), 64, 64, representation=model, seed=4)


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_resumed_agent_in_a_native_env_continues_to_the_bit(tmp_path, name):
    def make() -> gym.vector.VectorEnv:
        return robossl.make("robossl/CartPoleSwingUp-v0", NUM_ENVS, 1, autoreset_mode=AutoresetMode.DISABLED)

    check_resume(tmp_path, name, make, 48, 48)


def test_agent_can_be_resumed_before_its_first_update(tmp_path):
    check_resume(tmp_path, "sac", lambda: make_line("sac"), 14, 40)


@pytest.mark.parametrize("name", SETTINGS)
def test_learning_in_parts_equals_learning_at_once(tmp_path, name):
    one, two = (AgentRun(tmp_path / n, name, make_line(name), seed=1) for n in ("one", "two"))
    one.learn(101)
    for steps in (37, 1, 63):
        two.learn(steps)
    assert two.agent.algorithm.num_timesteps == one.agent.algorithm.num_timesteps >= 101
    for run in (one, two):
        save_tree(tmp_path / f"{run is one}", run.agent.get_checkpoint())
    assert (tmp_path / "True").read_bytes() == (tmp_path / "False").read_bytes()


def test_same_seed_gives_the_same_weights_and_others_differ(tmp_path):
    weights = []
    for n, seed in enumerate((0, 0, 1)):
        run = AgentRun(tmp_path / str(n), "sac", make_line("sac"), seed=seed)
        run.learn(60)
        weights.append(run.agent.get_checkpoint()["training"]["policy"])
    np.testing.assert_equal(weights[0], weights[1])
    assert any((weights[0][name] != weights[2][name]).any() for name in weights[0])


def test_agent_does_not_change_global_random_generators(tmp_path):
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"))
    run.learn(40)
    run.agent.act(np.zeros((2, 2), np.float32))
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_checkpoint_in_memory_is_a_copy(tmp_path):
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"))
    run.learn(60)
    tree = run.agent.get_checkpoint()
    save_tree(tmp_path / "before", tree)
    run.learn(20)
    save_tree(tmp_path / "after", tree)
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


def test_agents_implement_the_protocol(tmp_path):
    assert isinstance(AgentRun(tmp_path / "s", "sac", make_line("sac")).agent, Agent)


@pytest.mark.parametrize("num_envs", [1, 4, 8])
@pytest.mark.parametrize("rate", [0.25, 1.0, 2.0])
def test_updates_per_env_step_do_not_depend_on_num_envs(tmp_path, num_envs, rate):
    recorder = Recorder.create(Line(num_envs), tmp_path / "s")
    agent = make_agent("sac", recorder, **{**SETTINGS["sac"], "learning_starts": 16}, updates_per_step=rate)
    agent.learn(recorder, 80)
    assert agent.algorithm._n_updates / (agent.algorithm.num_timesteps - 16) == pytest.approx(rate, rel=0.1)


def test_new_episodes_begin_where_the_env_could_not_be_check_resume(tmp_path):
    run = AgentRun(tmp_path / "one", "sac", make_line("sac"), representation=model_of(make_line("sac")))
    run.learn(40)
    before = run.recorded()
    run.agent.reset_envs(run.recorder)
    run.agent.set_representation(model_of(make_line("sac"), 1))
    run.learn(4)
    for old, new in zip(before, run.recorded()):
        begun = len(old["is_first"]) + 1  # after the time step that ends the old episode
        assert new["is_last"][begun - 1]
        assert new["is_first"][begun]
        assert new["observation"][begun].tolist() not in old["observation"].tolist(), "a new episode"


@pytest.mark.parametrize("learning_starts", [0, 1, 3])
def test_updates_start_with_the_first_transition(tmp_path, learning_starts):
    run = AgentRun(
        tmp_path / "s", "sac", make_line("sac"), learning_starts=learning_starts, updates_per_step=1.0
    )
    run.learn(10)
    assert run.agent.algorithm._n_updates == 3 * NUM_ENVS  # after steps 3, 4 and 5


def test_updates_wait_if_the_lanes_are_empty_again(tmp_path):
    run = AgentRun(tmp_path / "one", "sac", make_line("sac"), updates_per_step=1.0)
    run.learn(40)
    tree = run.agent.get_checkpoint()
    fresh = AgentRun(tmp_path / "two", "sac", make_line("sac"), updates_per_step=1.0)
    fresh.agent.set_checkpoint(tree)
    fresh.agent.reset_envs(fresh.recorder)
    fresh.learn(10)
    assert fresh.agent.algorithm._n_updates == run.agent.algorithm._n_updates + 3 * NUM_ENVS


# --- acting


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("encoded", [False, True])
def test_loaded_agent_acts_the_same(tmp_path, name, encoded):
    model = model_of(make_line(name)) if encoded else None
    run = AgentRun(tmp_path / "stream", name, make_line(name), representation=model, seed=2)
    run.learn(64)
    run.agent.save(tmp_path / "agent")
    other = Line(5, discrete=name == "dqn")
    loaded = type(run.agent).load(tmp_path / "agent", other, "cpu")
    observation, _ = other.reset(seed=3)
    actions = loaded.act(observation, explore=False)
    np.testing.assert_array_equal(actions, run.agent.act(observation, explore=False))
    assert all(other.single_action_space.contains(action) for action in loaded.act(observation))
    assert loaded.settings == run.agent.settings
    assert (loaded.features.representation is not None) == encoded


def test_deterministic_actions_draw_nothing(tmp_path):
    agent = AgentRun(tmp_path / "s", "sac", make_line("sac")).agent
    observation = np.ones((2, 2), np.float32)
    before = agent.get_checkpoint()
    one, two = agent.act(observation, explore=False), agent.act(observation, explore=False)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_equal(agent.get_checkpoint(), before)
    assert (agent.act(observation) != agent.act(observation)).any()


def test_loaded_agent_learns_from_new_steps(tmp_path):
    run = AgentRun(tmp_path / "one", "sac", make_line("sac"))
    run.learn(60)
    run.agent.save(tmp_path / "agent")
    recorder = Recorder.create(make_line("sac"), tmp_path / "two")
    loaded = type(run.agent).load(tmp_path / "agent", recorder, "cpu")
    before = loaded.get_checkpoint()["training"]
    loaded.learn(recorder, 20)
    after = loaded.get_checkpoint()["training"]
    assert after["counters"]["_n_updates"] > before["counters"]["_n_updates"]
    assert any((after["policy"][n] != before["policy"][n]).any() for n in after["policy"])


def test_new_representation_changes_the_observations_of_the_agent(tmp_path):
    old, new = (model_of(make_line("sac"), seed) for seed in (0, 1))
    run = AgentRun(tmp_path / "s", "sac", make_line("sac"), representation=old)
    run.agent.set_representation(old)  # also before the first step
    run.learn(40)
    observation = np.ones((2, 2), np.float32)
    before = run.agent.act(observation, explore=False), run.agent.algorithm._last_obs.copy()
    run.agent.set_representation(new)
    assert (run.agent.act(observation, explore=False) != before[0]).all()
    assert (run.agent.algorithm._last_obs[:, :8] != before[1][:, :8]).any()
    np.testing.assert_array_equal(run.agent.algorithm._last_obs[:, 8:], before[1][:, 8:])
    run.learn(10)
    with pytest.raises(UsageError, match="latent_dim 8, got 5"):
        run.agent.set_representation(SimpleNamespace(latent_dim=5, version=1))


def test_frozen_representation_gets_no_gradient_and_does_not_change(tmp_path):
    model = model_of(make_line("sac"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    AgentRun(tmp_path / "s", "sac", make_line("sac"), representation=model).learn(60)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_goals_are_relabeled_if_the_env_computes_rewards(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", NUM_ENVS, 1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, tmp_path / "s")
    agent = make_agent("sac", recorder, model_of(envs), **SETTINGS["sac"])
    agent.learn(recorder, 60)
    without = make_agent("sac", recorder, **SETTINGS["sac"], hindsight=0.0)
    rewards = [each.algorithm.replay_buffer.sample(300).rewards for each in (agent, without)]
    assert agent.algorithm.replay_buffer._hindsight is not None
    assert without.algorithm.replay_buffer._hindsight is None
    assert rewards[0].mean() > rewards[1].mean()


@pytest.mark.parametrize("num_envs", [1, 3, 7, 100])
def test_ppo_fills_whole_minibatches(num_envs):
    agent = make_agent("ppo", Line(num_envs))
    assert agent.algorithm.n_steps * num_envs % 64 == 0
