"""SB3's algorithms as agents: they go on to the bit, save and load, and adopt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import Line, model_of
from gymnasium.vector import AutoresetMode
from robossl.agents import Sb3Agent
from sb3_runs import LANES, SETTINGS, Life, line
from stable_baselines3.common.callbacks import BaseCallback

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder, Stream


def taken_up(tmp_path: Path, name: str, make: Any, before: int, after: int, **given: Any) -> None:
    """An uninterrupted life, and one that was saved, ended and taken up in fresh objects, end with the same bytes."""
    life = Life(tmp_path / "one", name, make(), **given)
    life.learn(before)
    life.save(tmp_path / "checkpoint")
    life.recorder.stream.close()
    (tmp_path / "two").mkdir()
    for file in (tmp_path / "one").iterdir():
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    life.learn(after)
    torch.rand(7), np.random.rand(7)  # noqa: NPY002 - the rest of the process goes its own way
    stream = Stream.open(tmp_path / "two")
    stream.truncate(load_tree(tmp_path / "checkpoint")["mark"])
    fresh = Life(tmp_path / "two", name, make(), stream, **given)
    fresh.set(tmp_path / "checkpoint")
    fresh.learn(after)
    np.testing.assert_equal(fresh.lived(), life.lived())
    save_tree(tmp_path / "a", life.agent.get_checkpoint())
    save_tree(tmp_path / "b", fresh.agent.get_checkpoint())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert fresh.agent.algorithm._n_updates > 0


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("encoded", [False, True])
def test_an_agent_goes_on_to_the_bit(tmp_path, name, encoded):
    model = model_of(line(name)) if encoded else None
    taken_up(tmp_path, name, lambda: line(name), 64, 64, representation=model, seed=4)


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_an_agent_in_a_native_env_goes_on_to_the_bit(tmp_path, name):
    def make() -> gym.vector.VectorEnv:
        return robossl.make("robossl/CartPoleSwingUp-v0", LANES, 1, autoreset_mode=AutoresetMode.DISABLED)

    taken_up(tmp_path, name, make, 48, 48)


def test_an_agent_goes_on_before_its_first_update(tmp_path):
    taken_up(tmp_path, "sac", lambda: line("sac"), 14, 40)


@pytest.mark.parametrize("name", SETTINGS)
def test_learning_twice_is_learning_once_for_longer(tmp_path, name):
    one, two = (Life(tmp_path / n, name, line(name), seed=1) for n in ("one", "two"))
    one.learn(101)
    for steps in (37, 1, 63):
        two.learn(steps)
    assert two.agent.algorithm.num_timesteps == one.agent.algorithm.num_timesteps >= 101
    for life in (one, two):
        save_tree(tmp_path / f"{life is one}", life.agent.get_checkpoint())
    assert (tmp_path / "True").read_bytes() == (tmp_path / "False").read_bytes()


def test_seeds_make_different_agents_and_the_same_seed_the_same(tmp_path):
    weights = []
    for n, seed in enumerate((0, 0, 1)):
        life = Life(tmp_path / str(n), "sac", line("sac"), seed=seed)
        life.learn(60)
        weights.append(life.agent.get_checkpoint()["learned"]["policy"])
    np.testing.assert_equal(weights[0], weights[1])
    assert any((weights[0][name] != weights[2][name]).any() for name in weights[0])


def test_the_rest_of_the_process_draws_what_it_would_have_drawn(tmp_path):
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
    life = Life(tmp_path / "s", "sac", line("sac"))
    life.learn(40)
    life.agent.act(np.zeros((2, 2), np.float32))
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_a_checkpoint_in_memory_stays_what_it_was(tmp_path):
    life = Life(tmp_path / "s", "sac", line("sac"))
    life.learn(60)
    tree = life.agent.get_checkpoint()
    save_tree(tmp_path / "before", tree)
    life.learn(20)
    save_tree(tmp_path / "after", tree)
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


def test_agents_keep_the_contract(tmp_path):
    assert isinstance(Life(tmp_path / "s", "sac", line("sac")).agent, Agent)


@pytest.mark.parametrize("lanes", [1, 4, 8])
@pytest.mark.parametrize("pace", [0.25, 1.0, 2.0])
def test_updates_follow_env_steps_whatever_the_number_of_lanes(tmp_path, lanes, pace):
    recorder = Recorder.create(Line(lanes), tmp_path / "s")
    agent = Sb3Agent("sac", recorder, **{**SETTINGS["sac"], "learning_starts": 16}, updates_per_step=pace)
    agent.learn(recorder, 80)
    assert agent.algorithm._n_updates / (agent.algorithm.num_timesteps - 16) == pytest.approx(pace, rel=0.1)


def test_new_episodes_begin_where_the_env_could_not_be_taken_up(tmp_path):
    life = Life(tmp_path / "one", "sac", line("sac"), representation=model_of(line("sac")))
    life.learn(40)
    before = life.lived()
    life.agent.reset_envs(life.recorder)
    life.agent.set_representation(model_of(line("sac"), 1))
    life.learn(4)
    for old, new in zip(before, life.lived()):
        begun = len(old["is_first"]) + 1  # after the row that the reset ended the old episode with
        assert new["is_last"][begun - 1]
        assert new["is_first"][begun]
        assert new["observation"][begun].tolist() not in old["observation"].tolist(), "was lived before"


@pytest.mark.parametrize("learning_starts", [0, 1, 3])
def test_it_learns_as_soon_as_there_is_something_to_learn_from(tmp_path, learning_starts):
    life = Life(tmp_path / "s", "sac", line("sac"), learning_starts=learning_starts, updates_per_step=1.0)
    life.learn(10)
    assert life.agent.algorithm._n_updates == 3 * LANES  # after steps 3, 4 and 5


def test_it_waits_for_rows_where_its_own_are_lost(tmp_path):
    life = Life(tmp_path / "one", "sac", line("sac"), updates_per_step=1.0)
    life.learn(40)
    tree = life.agent.get_checkpoint()
    fresh = Life(tmp_path / "two", "sac", line("sac"), updates_per_step=1.0)
    fresh.agent.set_checkpoint(tree)
    fresh.agent.reset_envs(fresh.recorder)
    fresh.learn(10)
    assert fresh.agent.algorithm._n_updates == life.agent.algorithm._n_updates + 3 * LANES


# --- acting


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("encoded", [False, True])
def test_a_saved_agent_acts_the_same(tmp_path, name, encoded):
    model = model_of(line(name)) if encoded else None
    life = Life(tmp_path / "stream", name, line(name), representation=model, seed=2)
    life.learn(64)
    life.agent.save(tmp_path / "agent")
    other = Line(5, discrete=name == "dqn")
    loaded = Sb3Agent.load(tmp_path / "agent", other, "cpu")
    seen, _ = other.reset(seed=3)
    actions = loaded.act(seen, explore=False)
    np.testing.assert_array_equal(actions, life.agent.act(seen, explore=False))
    assert all(other.single_action_space.contains(action) for action in loaded.act(seen))
    assert loaded.settings == life.agent.settings
    assert (loaded.features.representation is not None) == encoded


def test_acting_without_exploring_draws_nothing(tmp_path):
    agent = Life(tmp_path / "s", "sac", line("sac")).agent
    seen = np.ones((2, 2), np.float32)
    before = agent.get_checkpoint()
    one, two = agent.act(seen, explore=False), agent.act(seen, explore=False)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_equal(agent.get_checkpoint(), before)
    assert (agent.act(seen) != agent.act(seen)).any()


def test_a_loaded_agent_goes_on_learning_from_what_it_lives(tmp_path):
    life = Life(tmp_path / "one", "sac", line("sac"))
    life.learn(60)
    life.agent.save(tmp_path / "agent")
    recorder = Recorder.create(line("sac"), tmp_path / "two")
    loaded = Sb3Agent.load(tmp_path / "agent", recorder, "cpu")
    before = loaded.get_checkpoint()["learned"]
    loaded.learn(recorder, 20)
    after = loaded.get_checkpoint()["learned"]
    assert after["counts"]["_n_updates"] > before["counts"]["_n_updates"]
    assert any((after["policy"][n] != before["policy"][n]).any() for n in after["policy"])


def test_adopting_changes_what_is_seen(tmp_path):
    old, new = (model_of(line("sac"), seed) for seed in (0, 1))
    life = Life(tmp_path / "s", "sac", line("sac"), representation=old)
    life.agent.set_representation(old)  # before the first step nothing is seen yet
    life.learn(40)
    seen = np.ones((2, 2), np.float32)
    before = life.agent.act(seen, explore=False), life.agent.algorithm._last_obs.copy()
    life.agent.set_representation(new)
    assert (life.agent.act(seen, explore=False) != before[0]).all()
    assert (life.agent.algorithm._last_obs[:, :8] != before[1][:, :8]).any()
    np.testing.assert_array_equal(life.agent.algorithm._last_obs[:, 8:], before[1][:, 8:])
    life.learn(10)
    raw = Life(tmp_path / "raw", "sac", line("sac")).agent
    with pytest.raises(UsageError, match="acts on raw observations"):
        raw.set_representation(new)


def test_the_representation_gets_no_gradient_and_does_not_change(tmp_path):
    model = model_of(line("sac"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Life(tmp_path / "s", "sac", line("sac"), representation=model).learn(60)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_goals_are_learned_in_hindsight_where_the_env_can_say(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", LANES, 1, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, tmp_path / "s")
    agent = Sb3Agent("sac", recorder, model_of(envs), **SETTINGS["sac"])
    agent.learn(recorder, 60)
    without = Sb3Agent("sac", recorder, **SETTINGS["sac"], hindsight=0.0)
    relabelled = [each.algorithm.replay_buffer.sample(300).rewards for each in (agent, without)]
    assert agent.algorithm.replay_buffer._hindsight is not None
    assert without.algorithm.replay_buffer._hindsight is None
    assert relabelled[0].mean() > relabelled[1].mean()


class Counted(BaseCallback):
    """Counts the steps it is told of."""

    def _on_step(self) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        return True


def test_progress_and_callbacks_are_told_of_every_step(tmp_path):
    class Heard(NullProgress):
        steps, figures = 0, 0

        def update(self, count: int, **figures: float) -> None:
            self.steps += count
            self.figures += "return" in figures

    progress, callback = Heard(), Counted()
    life = Life(tmp_path / "s", "sac", line("sac"))
    life.agent.learn(life.recorder, 60, progress, callback)
    assert progress.steps == 60
    assert callback.seen == 30
    assert 0 < progress.figures < 30


@pytest.mark.parametrize("lanes", [1, 3, 7, 100])
def test_ppo_fills_whole_minibatches(lanes):
    agent = Sb3Agent("ppo", Line(lanes), device="cpu")
    assert agent.algorithm.n_steps * lanes % 64 == 0
