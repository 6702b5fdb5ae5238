"""Stacked training: agents of other seeds, rows and tasks learn as one network what each learns alone."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
import torch
from gymnasium.vector import AutoresetMode
from robossl.agents.offline_td3 import OfflineTd3Agent
from robossl.agents.sb3.stacked_td3 import train_stacked, train_together

import robossl
from robossl.core.errors import UsageError
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.baselines import baseline_config

robossl.envs.register()
ENV = "robossl/CartPoleSwingUp-v0"
SMALL = {"batch_size": 32, "policy_kwargs": {"net_arch": [16, 16]}}
CONFIG = WorldModelConfig(latent_dim=8, encoder_hidden=(16,), dynamics_hidden=(16,))
LATENT = {"encoder": "frozen", "observe": "latent"}
BOTH = {"encoder": "frozen", "observe": "latent_observation"}


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacked")
    return robossl.collect(ENV, "colored_noise", 600, folder / "stream", num_envs=4, threads=1)


@pytest.fixture
def make(tmp_path, stream):
    """Return a function that makes an agent in a recorded env."""
    recorders = []

    def make_agent(seed=0, representation=None, **settings):
        envs = gym.make_vec(ENV, num_envs=1, nthread=1, autoreset_mode=AutoresetMode.DISABLED)
        recorders.append(Recorder.create(envs, tmp_path / f"own{len(recorders)}"))
        settings = {**SMALL, **settings}
        return OfflineTd3Agent(recorders[-1], representation, seed, "cpu", stream=stream, **settings)

    yield make_agent
    for recorder in recorders:
        recorder.close()


def representation(stream, name, latent_dim=8):
    """Return an untrained baseline."""
    config = baseline_config(name, replace(CONFIG, latent_dim=latent_dim), stream.observation_space)
    return WorldModel(config, stream.observation_space, stream.action_space).frozen_copy()


def weights(agent):
    policy = agent.algorithm.policy
    moments = {
        f"{kind}.{number}.{name}": value.clone()
        for kind, optimizer in (("actor", policy.actor.optimizer), ("critic", policy.critic.optimizer))
        for number, parameter in enumerate(optimizer.param_groups[0]["params"])
        for name, value in optimizer.state[parameter].items()
    }
    return {**{name: value.clone() for name, value in policy.state_dict().items()}, **moments}


def close(first, second, tolerance=2e-5) -> bool:
    assert first.keys() == second.keys()
    return all(torch.allclose(first[name], second[name], atol=tolerance, rtol=1e-4) for name in first)


def assert_learn_the_same(alone, stacked, train=train_stacked) -> None:
    for agent in alone:
        agent.learn_offline(7)
        agent.learn_offline(6)
    train(stacked, 7)  # not a multiple of the policy delay
    train(stacked, 6)
    for first, second in zip(alone, stacked):
        assert close(weights(first), weights(second))
        assert first.algorithm._n_updates == second.algorithm._n_updates == 13
        first.learn_offline(4)  # from the optimizer states that the stack has written
        second.learn_offline(4)
        assert close(weights(first), weights(second))


@pytest.mark.parametrize("settings", [{}, {"behavior_cloning": 2.5}, {"critic_pretraining": 3}])
def test_stacked_agents_learn_what_each_learns_alone(make, settings) -> None:
    alone, stacked = ([make(seed, **settings) for seed in range(3)] for _ in range(2))
    assert_learn_the_same(alone, stacked)
    assert not close(weights(stacked[0]), weights(stacked[1]), 1e-3)


def test_rows_of_other_observations_are_padded_and_learn_what_each_learns_alone(make, stream) -> None:
    models = [representation(stream, "random"), representation(stream, "scrambled", 12)]
    alone, stacked = ([make(0), make(1, models[0], **LATENT), make(1, models[1], **LATENT)] for _ in "ab")
    assert len({agent.algorithm.observation_space.shape for agent in alone}) == 3
    assert_learn_the_same(alone, stacked)


def test_latents_beside_numbers_are_stacked_with_their_layers(make, stream) -> None:
    models = [representation(stream, "random"), representation(stream, "noise", 12)]
    alone, stacked = ([make(2, model, **BOTH) for model in models] for _ in "ab")
    assert_learn_the_same(alone, stacked)


def test_any_agents_learn_together_what_each_learns_alone(make, stream) -> None:
    model = representation(stream, "random")

    def all_rows():
        tuned = make(1, model, encoder="finetune", observe="latent", self_supervised_every=0)
        wide = make(2, policy_kwargs={"net_arch": [8, 8]})
        return [make(0), tuned, make(1, model, **LATENT), wide, make(3, model, **BOTH)]

    assert_learn_the_same(all_rows(), all_rows(), OfflineTd3Agent.learn_offline_stacked)


def test_a_long_stack_has_the_batches_of_each_agent(make) -> None:
    alone, stacked = ([make(seed) for seed in range(2)] for _ in "ab")
    for agent in alone:
        agent.learn_offline(60)
    train_together(stacked, 60)
    for first, second in zip(alone, stacked):
        drawn = [agent.offline_buffer.recorded.sample(8).observations for agent in (first, second)]
        assert torch.equal(*drawn)
        assert np.isclose(
            *[float(a.algorithm.policy.actor.mu[0].weight.detach().norm()) for a in (first, second)]
        )


def test_agents_of_other_shape_or_progress_are_not_stacked(make) -> None:
    wide, first, second = make(policy_kwargs={"net_arch": [8, 8]}), make(), make()
    with pytest.raises(UsageError, match="equal shape"):
        train_stacked([first, wide], 1)
    with pytest.raises(UsageError, match="equal shape"):
        train_stacked([first, make(behavior_cloning=1.0)], 1)
    second.learn_offline(2)
    with pytest.raises(UsageError, match="n_updates"):
        train_stacked([first, second], 1)
