"""Offline TD3: learns from a recorded stream alone, then with more and more of its own steps."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
import torch
from gymnasium.vector import AutoresetMode
from robossl.agents.offline_td3 import OfflineTd3Agent
from robossl.agents.sb3 import offline_replay
from robossl.agents.sb3.critic_pretraining import pretrain_critics
from robossl.agents.sb3.offline_replay import CachedReplay

import robossl
from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelConfig

robossl.envs.register()
ENV = "robossl/CartPoleSwingUp-v0"
SMALL = {"batch_size": 32, "policy_kwargs": {"net_arch": [16, 16]}}


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline")
    return robossl.collect(ENV, "colored_noise", 600, folder / "stream", num_envs=4, threads=1)


@pytest.fixture
def make(tmp_path, stream):
    """Return a function that makes an agent in recorded envs."""
    recorders = []

    def make_agent(seed=0, representation=None, env=ENV, recorded=stream, **settings):
        envs = gym.make_vec(env, num_envs=2, nthread=1, autoreset_mode=AutoresetMode.DISABLED)
        recorder = Recorder.create(envs, tmp_path / f"own{len(recorders)}")
        recorders.append(recorder)
        settings = {**SMALL, **settings}
        return OfflineTd3Agent(recorder, representation, seed, "cpu", stream=recorded, **settings), recorder

    yield make_agent
    for recorder in recorders:
        recorder.close()


def weights(agent):
    return {name: value.clone() for name, value in agent.algorithm.policy.state_dict().items()}


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def close(first, second, tolerance=2e-5) -> bool:
    return all(torch.allclose(first[name], second[name], atol=tolerance, rtol=1e-4) for name in first)


def test_two_calls_equal_one_and_take_no_env_step(make) -> None:
    (one, recorder), (two, _) = make(), make()
    one.learn_offline(12)
    two.learn_offline(5)
    two.learn_offline(7)
    assert same(weights(one), weights(two))
    assert recorder.stream.rows == 0


def test_the_first_activation_is_a_layer_norm_and_a_tanh(make) -> None:
    policy = make()[0].algorithm.policy
    for network in (policy.actor.mu, *policy.critic.q_networks, *policy.critic_target.q_networks):
        assert [type(layer).__name__ for layer in network][:3] == ["Linear", "LayerNorm", "Tanh"]
    assert {id(p) for network in policy.critic.q_networks for p in network.parameters()} == {
        id(p) for p in policy.critic.parameters()
    }


def test_cached_transitions_are_those_of_the_stream(make, stream) -> None:
    agent = make()[0]
    replay = agent.offline_buffer.recorded
    assert isinstance(replay, CachedReplay)
    data = replay.transitions
    assert len(data.row) == stream.transitions
    lane = 2
    first = int(stream.lengths[:lane].sum())
    rows = stream.read(lane, 0, int(stream.lengths[lane]))
    inside = (data.row >= first) & (data.row < first + len(rows["reward"]))
    position = (data.row[inside] - first).numpy()
    assert np.array_equal(position, np.flatnonzero(rows["valid"]))
    assert np.array_equal(data.features[data.row[inside] + 1].numpy(), rows["observation"][position + 1])
    assert np.allclose(data.action[inside].numpy(), np.clip(rows["action"][position], -1, 1), atol=1e-6)
    assert np.array_equal(data.reward[inside, 0].numpy(), rows["reward"][position])


@pytest.mark.parametrize(("full_share_steps", "share"), [(40, 16), (80, 8), (5000, 0)])
def test_the_share_of_own_steps_grows_to_half_of_a_batch(
    make, stream, monkeypatch, full_share_steps, share
) -> None:
    monkeypatch.setattr(offline_replay, "_FULL_SHARE_STEPS", full_share_steps)
    agent, recorder = make()
    agent.learn_offline(2)
    agent.learn(recorder, 40)
    buffer, own = agent.offline_buffer, recorder.stream
    recorded = {row.tobytes() for lane in range(4) for row in stream.read(lane, 0, 100)["observation"]}
    batch = buffer.sample(32).observations.numpy()
    all_own = {
        row.tobytes() for lane in range(2) for row in own.read(lane, 0, int(own.lengths[lane]))["observation"]
    }
    assert all(row.tobytes() in all_own for row in batch[:share])
    assert not any(row.tobytes() in all_own for row in batch[share:])
    assert recorded - all_own


def test_the_first_env_steps_are_those_of_the_trained_policy(make) -> None:
    agent, recorder = make(action_noise=0.0)
    agent.learn_offline(2)
    agent.learn(recorder, 2)
    observation = recorder.stream.read(0, 0, 1)["observation"]
    expected = agent.algorithm.predict(observation, deterministic=True)[0]
    assert np.allclose(recorder.stream.read(0, 0, 1)["action"], expected, atol=0.05)  # 2 updates later


def test_save_load_and_checkpoint_continue_to_the_same_bits(make, tmp_path) -> None:
    agent, recorder = make()
    agent.learn_offline(6)
    save_tree(tmp_path / "tree", agent.get_checkpoint())
    agent.save(tmp_path / "agent")
    agent.learn_offline(6)
    resumed = make()[0]
    resumed.set_checkpoint(load_tree(tmp_path / "tree"))
    resumed.learn_offline(6)
    assert same(weights(agent), weights(resumed))
    loaded = OfflineTd3Agent.load(tmp_path / "agent", recorder)
    assert loaded.algorithm._n_updates == 6
    with pytest.raises(UsageError, match="recorded stream"):
        loaded.learn_offline(1)


def test_behavior_cloning_keeps_actions_near_the_recorded_ones(make, stream) -> None:
    distance = []
    for weight in (0.0, 0.05):
        agent = make(behavior_cloning=weight, learning_rate=3e-3)[0]
        agent.learn_offline(150)
        batch = agent.offline_buffer.recorded.sample(256)
        distance.append(
            float((agent.algorithm.actor(batch.observations) - batch.actions).square().mean().detach())
        )
    assert distance[1] < 0.9 * distance[0]


def test_a_pretrained_critic_predicts_the_change_and_draws_nothing_global(make) -> None:
    agent = make()[0]
    replay, before = agent.offline_buffer.recorded, torch.get_rng_state()
    networks = list(agent.algorithm.critic.q_networks)
    values = [network[-1].weight.clone() for network in networks]
    losses = pretrain_critics(
        networks, lambda: replay.sample(64), 200, 3e-3, torch.Generator().manual_seed(0)
    )
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])
    assert all(torch.equal(v, network[-1].weight) for v, network in zip(values, networks))
    assert torch.equal(before, torch.get_rng_state())


def test_a_frozen_encoder_is_applied_once_and_again_for_a_new_version(make, stream) -> None:
    config = WorldModelConfig(
        latent_dim=6,
        encoder_hidden=(8,),
        dynamics_hidden=(8,),
        inverse_hidden=(8,),
        decoder_hidden=(8,),
        ensemble_size=2,
    )
    models = [
        WorldModel(config, stream.observation_space, stream.action_space, seed).frozen_copy()
        for seed in (0, 1)
    ]
    agent = make(representation=models[0])[0]
    replay = agent.offline_buffer.recorded
    first = replay.transitions
    assert replay.transitions is first
    assert first.features.shape[1] == 6 + stream.observation_space.shape[0]
    agent.set_representation(models[1])
    assert not torch.equal(replay.transitions.features, first.features)
    agent.learn_offline(2)


@pytest.mark.parametrize("env", ["robossl/Reacher-v0"])
def test_goal_tasks_learn_with_hindsight(make, tmp_path, env) -> None:
    recorded = robossl.collect(env, "colored_noise", 200, tmp_path / "goals", num_envs=4, threads=1)
    agent, recorder = make(env=env, recorded=recorded)
    agent.learn_offline(3)
    agent.learn(recorder, 12)


def test_misfits_are_refused_in_one_line(tmp_path, stream) -> None:
    balance = "robossl/CartPoleBalance-v0"
    cases = [
        ({"env": ENV, "steps": 8}, "learns from a recorded stream"),
        ({"env": balance, "stream": stream}, "stream relabel"),
        ({"env": ENV, "stream": stream, "settings": {"behavior_cloning": -1}}, "0 or more"),
        ({"env": ENV, "stream": stream, "settings": {"behaviour": 1}}, "behavior_cloning|no 'behaviour'"),
        (
            {"env": ENV, "stream": stream, "settings": {"critic_pretraining": 5}, "encoder": "scratch"},
            "expected encoder",
        ),
        ({"env": "CartPole-v1", "stream": stream}, "offline-td3|expected"),
    ]
    for arguments, match in cases:
        with pytest.raises(UsageError, match=match) as caught:
            robossl.train(agent="offline-td3", out=tmp_path / "out", **{"steps": 0, **arguments})
        assert "\n" not in str(caught.value)


def test_train_on_a_relabeled_stream_alone(tmp_path, stream) -> None:
    balance = "robossl/CartPoleBalance-v0"
    relabeled = robossl.relabel(stream, balance, tmp_path / "balance")
    settings = {**SMALL, "encoder_frozen_updates": 0}
    agent = robossl.train(
        balance, "offline-td3", steps=0, stream=relabeled, offline_updates=3, out=tmp_path / "agent", threads=1,
        encoder="scratch", settings=settings,
    )  # fmt: skip
    assert agent.algorithm._n_updates == 3
    assert agent.algorithm.num_timesteps == 0
