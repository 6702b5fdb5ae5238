"""Self-supervised loss on an encoder that the critic also trains: which loss moves which weights, data, resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from agent_toys import model_of
from robossl.agents.sb3.self_supervision import OldAndRecentStream
from sb3_runs import NUM_ENVS, AgentRun, make_agent, make_line, random_stream
from test_sb3_agent import check_resume

from robossl.core.errors import UsageError
from robossl.streams import Recorder
from robossl.world_model import WorldModel

EAGER = {"encoder_frozen_updates": 0, "self_supervised_every": 1}


def start(tmp_path: Any, name: str, mode: str = "cotrain", **settings: Any) -> AgentRun:
    envs = make_line(name)
    old = random_stream(tmp_path / "old", envs)
    model = model_of(envs)
    return AgentRun(
        tmp_path / "s", name, envs, old=old, representation=model, encoder=mode, **{**EAGER, **settings}
    )


def parts(run: AgentRun) -> dict[str, torch.nn.Module]:
    """Return all networks by what may train them."""
    algorithm: Any = run.agent.algorithm
    owner = algorithm.policy.encoder_owner
    model = run.agent._self_supervision.trainer.model
    networks = {
        "encoder": owner.features_extractor.encoder,
        "dynamics": model.dynamics,
        "inverse": model.inverse,
    }
    if run.agent.name == "dqn":
        return {**networks, "critic": owner.q_net, "target": algorithm.q_net_target}
    critic = torch.nn.ModuleList(owner.q_networks)
    return {**networks, "critic": critic, "actor": algorithm.actor, "target": algorithm.critic_target}


def moved(run: AgentRun, step: Any) -> set[str]:
    """Return the networks that a step changes."""
    before = {
        name: [value.clone() for value in network.state_dict().values()]
        for name, network in parts(run).items()
    }
    step()
    return {
        name
        for name, network in parts(run).items()
        if any(not torch.equal(a, b) for a, b in zip(before[name], network.state_dict().values()))
    }


def critic_step(run: AgentRun) -> None:
    """Take a step of the optimizer on a loss of the critic alone."""
    algorithm: Any = run.agent.algorithm
    batch = algorithm.replay_buffer.sample(16)
    owner = algorithm.policy.encoder_owner
    optimizer = algorithm.policy.optimizer if run.agent.name == "dqn" else owner.optimizer
    optimizer.after_step = None
    inputs = (batch.observations,) if run.agent.name == "dqn" else (batch.observations, batch.actions)
    values = owner(*inputs)
    loss = values if isinstance(values, torch.Tensor) else torch.cat(values, 1)
    optimizer.zero_grad()
    (loss - batch.rewards).square().mean().backward()
    optimizer.step()


def actor_step(run: AgentRun) -> None:
    """Take a step of the optimizer on a loss of the actor alone."""
    algorithm: Any = run.agent.algorithm
    batch = algorithm.replay_buffer.sample(16)
    actions = algorithm.actor(batch.observations)
    algorithm.actor.optimizer.zero_grad()
    (-torch.cat(algorithm.critic(batch.observations, actions), 1)).mean().backward()
    algorithm.actor.optimizer.step()


@pytest.mark.parametrize("name", ["sac", "td3", "dqn"])
def test_each_loss_moves_its_own_weights_and_two_of_them_the_encoder(tmp_path, name):
    run = start(tmp_path, name)
    run.learn(48)
    assert moved(run, run.agent._self_supervision.trainer.update) == {"encoder", "dynamics", "inverse"}
    assert moved(run, lambda: critic_step(run)) == {"encoder", "critic"}
    if name != "dqn":
        assert moved(run, lambda: actor_step(run)) == {"actor"}


@pytest.mark.parametrize("name", ["sac", "dqn"])
def test_target_network_has_a_copy_of_the_shared_encoder_that_follows(tmp_path, name):
    run = start(tmp_path, name)
    algorithm: Any = run.agent.algorithm
    target = algorithm.q_net_target if name == "dqn" else algorithm.critic_target
    own, copied = algorithm.policy.encoder_owner.features_extractor, target.features_extractor
    assert own.encoder is run.agent._self_supervision.trainer.model.encoder
    assert copied.encoder is not own.encoder
    before = [value.clone() for value in copied.encoder.state_dict().values()]
    run.learn(96)
    assert any(not torch.equal(a, b) for a, b in zip(before, copied.encoder.state_dict().values()))


def test_self_supervised_updates_follow_the_updates_of_the_critic(tmp_path):
    run = start(tmp_path, "sac", self_supervised_every=3)
    run.learn(120)
    updates = run.agent.algorithm.critic.optimizer.num_updates
    assert run.agent._self_supervision.trainer.updates == updates // 3 > 0


def test_batches_are_half_recent_and_half_old(tmp_path):
    envs = make_line("sac")
    old = random_stream(tmp_path / "old", envs)
    recorder = Recorder.create(envs, tmp_path / "new")
    rng = np.random.default_rng(0)
    both, only_old = (
        OldAndRecentStream(recorder.stream, 0, NUM_ENVS, old, recent) for recent in (True, False)
    )
    assert both.old_transitions()
    assert not OldAndRecentStream(recorder.stream, 0, NUM_ENVS, None, True).old_transitions()
    lengths = map(int, old.lengths)
    recorded = {
        row.tobytes() for lane, n in enumerate(lengths) for row in old.read(lane, 0, n)["observation"]
    }

    def num_old(stream: OldAndRecentStream) -> int:
        window = stream.windows(20, 2, rng)
        assert window.observation.shape == (20, 3, 2)
        return sum(row.tobytes() in recorded for row in window.observation[:, 0])

    assert num_old(both) == 20  # nothing else is recorded yet
    recorder.reset(seed=1)
    for _ in range(20):
        _, _, terminated, truncated, _ = recorder.step(envs.action_space.sample())
        if (done := terminated | truncated).any():
            recorder.reset(options={"reset_mask": done})
    assert num_old(both) == 10
    assert num_old(only_old) == 20


@pytest.mark.parametrize(("name", "mode"), [("sac", "cotrain"), ("dqn", "cotrain"), ("td3", "finetune")])
def test_resumed_agent_with_a_self_supervised_loss_continues_to_the_bit(tmp_path, name, mode):
    old, model = random_stream(tmp_path / "old", make_line(name)), model_of(make_line(name))
    settings = {"old": old, "representation": model, "encoder": mode, "seed": 4, **EAGER}
    check_resume(tmp_path, name, lambda: make_line(name), 48, 48, **settings)


def test_saved_agent_contains_the_world_model_that_it_trained(tmp_path):
    run = start(tmp_path, "sac")
    run.learn(64)
    run.agent.save(tmp_path / "agent")
    model = WorldModel.load(tmp_path / "agent" / "representation", "cpu")
    observation = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    shared = run.agent._self_supervision.trainer.model
    np.testing.assert_array_equal(model.encode(observation), shared.encode(observation))
    loaded = type(run.agent).load(tmp_path / "agent", make_line("sac"), "cpu")
    assert loaded.encoder.mode == "cotrain"
    np.testing.assert_array_equal(
        loaded.act(observation, explore=False), run.agent.act(observation, explore=False)
    )


def test_finetuning_has_the_self_supervised_loss_only_if_there_are_recorded_time_steps(tmp_path):
    run = start(tmp_path, "sac", "finetune")
    run.learn(48)
    assert run.agent._self_supervision.trainer.updates > 0
    other = AgentRun(
        tmp_path / "t", "sac", make_line("sac"), representation=model_of(run.envs), encoder="finetune"
    )
    assert other.agent._self_supervision is None


def test_requests_that_do_not_fit_are_refused_with_one_line(tmp_path):
    envs = make_line("sac")
    model, old = model_of(envs), random_stream(tmp_path / "old", envs)
    recorder = Recorder.create(make_line("sac"), tmp_path / "s")
    with pytest.raises(UsageError, match="cotrain needs time steps recorded before the agent"):
        make_agent("sac", recorder, model, encoder="cotrain").learn(recorder, 8)
    for name, settings, message in [
        ("ppo", {"encoder": "cotrain"}, "ppo cannot train an encoder on the self-supervised loss"),
        ("sac", {"encoder": "frozen", "stream": old}, "encoder frozen learns from no recorded stream"),
        ("sac", {"encoder": "cotrain", "self_supervised_every": 0}, "expected 1 or more for encoder cotrain"),
        ("sac", {"encoder": "frozen", "self_supervised_every": 2}, "expected encoder finetune or cotrain"),
        ("sac", {"encoder": "cotrain", "self_supervised_lr": 0.0}, "positive rate"),
        ("sac", {"encoder": "cotrain", "random_shift": 2}, "random_shift: expected images"),
        ("sac", {"encoder": "frozen", "n_steps": 0}, "n_steps: expected 1 or more"),
    ]:
        with pytest.raises(UsageError, match=message):
            make_agent(name, recorder, model, **settings)
    with pytest.raises(UsageError, match="encoder cotrain needs a WorldModel, got NoneType"):
        make_agent("sac", recorder, None, encoder="cotrain")
