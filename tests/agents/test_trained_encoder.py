"""Encoder modes of SB3 agents: which loss trains the encoder, its schedule, images, resume, saving."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import SMALL, Line, model_of
from gymnasium.spaces import Box, Dict, Discrete
from robossl.agents.sb3.encoder_modes import resolve_encoder
from robossl.agents.sb3.features import FeatureBuilder
from robossl.agents.sb3.trained_encoder import EncoderSchedule, TrainedEncoder
from sb3_runs import NUM_ENVS, SETTINGS, AgentRun, make_agent, make_line, random_stream
from test_sb3_agent import check_resume

import robossl
from robossl.core.agent_observation import ENCODERS
from robossl.core.errors import UsageError
from robossl.streams import Recorder
from robossl.world_model import WorldModel

TRAINED = ("finetune", "scratch")
EAGER = {"encoder_frozen_updates": 0}  # train the encoder from the first update


class Camera(Line):
    """The line as images with the position as a bright column, alone or beside the numbers."""

    def __init__(self, num_envs: int, discrete: bool = False, numbers: bool = False) -> None:
        super().__init__(num_envs, discrete)
        self.numbers = numbers
        vector, image = self.single_observation_space, Box(0, 255, (44, 44, 3), np.uint8)
        self.single_observation_space = Dict(joints=vector, camera=image) if numbers else image
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)

    def observe(self, state: np.ndarray) -> Any:
        images = np.zeros((self.num_envs, 44, 44, 3), np.uint8)
        column = np.clip(22 + 9 * state[:, 0], 0, 43).astype(int)
        images[np.arange(self.num_envs), :, column] = 255
        return {"joints": state, "camera": images} if self.numbers else images

    def reset(self, **kwargs: Any) -> tuple:
        state, infos = super().reset(**kwargs)
        return self.observe(state), infos

    def step(self, actions: np.ndarray) -> tuple:
        state, *rest = super().step(actions)
        return self.observe(state), *rest


def start(path: Any, name: str, mode: str, envs: Any = None, **settings: Any) -> AgentRun:
    envs = envs or make_line(name)
    model = model_of(envs) if mode in ("frozen", "finetune", "cotrain") else None
    if mode == "cotrain":
        settings = {"old": random_stream(path.with_name(f"{path.name}-old"), envs), **settings}
    return AgentRun(path, name, envs, representation=model, encoder=mode, **settings)


def encoder_of(run: AgentRun) -> TrainedEncoder:
    """Return the encoder that the loss trains."""
    algorithm: Any = run.agent.algorithm
    owner = {"ppo": algorithm.policy, "dqn": getattr(algorithm, "q_net", None)}.get(
        run.agent.name
    ) or algorithm.critic
    assert isinstance(owner.features_extractor, TrainedEncoder)
    return owner.features_extractor


def without_layers(extractor: TrainedEncoder) -> TrainedEncoder:
    """Return the extractor without the layers for latent and numbers: its features are its inputs."""
    extractor.layers = None
    return extractor


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("mode", TRAINED)
def test_loss_of_the_agent_trains_the_encoder(tmp_path, name, mode):
    run = start(tmp_path / "s", name, mode, **EAGER)
    before = weights(encoder_of(run).encoder)
    run.learn(96)
    after = weights(encoder_of(run).encoder)
    assert not equal(before, after)
    assert all(torch.isfinite(value).all() for value in after.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_finetuning_starts_with_the_encoder_of_the_model(tmp_path, name):
    run = start(tmp_path / "s", name, "finetune")
    model = run.agent.encoder.initial
    assert equal(weights(encoder_of(run).encoder), weights(model.encoder))
    observation = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    frozen = FeatureBuilder(run.envs.single_observation_space, model)(observation)
    with torch.no_grad():
        features = without_layers(encoder_of(run))(torch.from_numpy(observation))
    np.testing.assert_allclose(features, frozen, atol=1e-6)


def test_scratch_starts_with_fresh_weights_and_the_normalizer_of_the_model(tmp_path):
    envs = make_line("sac")
    model = model_of(envs)
    model.observation_processor.mean += 3.0
    run = AgentRun(tmp_path / "s", "sac", envs, representation=model, encoder="scratch")
    encoder = encoder_of(run)
    assert encoder.encoder.state_dict().keys() == model.encoder.state_dict().keys()
    assert not equal(weights(encoder.encoder), weights(model.encoder))
    assert torch.equal(encoder.processor.mean, model.observation_processor.mean)


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_critic_loss_alone_trains_the_encoder(tmp_path, name):
    run = start(tmp_path / "s", name, "scratch")
    run.learn(40)
    algorithm: Any = run.agent.algorithm
    own = {id(parameter) for parameter in encoder_of(run).parameters()}
    assert not own & {id(parameter) for parameter in algorithm.actor.parameters()}
    assert not own & {id(p) for group in algorithm.actor.optimizer.param_groups for p in group["params"]}
    assert own <= {id(p) for group in algorithm.critic.optimizer.param_groups for p in group["params"]}
    batch = algorithm.replay_buffer.sample(16)
    algorithm.critic.optimizer.zero_grad()
    actions = algorithm.actor(batch.observations)
    torch.cat(algorithm.critic(batch.observations, actions), 1).mean().backward()  # the actor loss
    assert all(parameter.grad is None for parameter in encoder_of(run).parameters())
    assert any(parameter.grad is not None for parameter in algorithm.actor.parameters())
    torch.cat(algorithm.critic(batch.observations, batch.actions), 1).mean().backward()  # the critic loss
    assert any(parameter.grad is not None for parameter in encoder_of(run).parameters())


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_actor_receives_the_encoding_of_the_critic(tmp_path, name):
    run = start(tmp_path / "s", name, "scratch")
    run.learn(60)
    algorithm: Any = run.agent.algorithm
    observation = torch.randn(4, 2)
    assert torch.equal(algorithm.actor.features_extractor(observation), encoder_of(run)(observation))
    assert not algorithm.actor.features_extractor(observation).requires_grad


def test_encoder_of_the_target_critic_follows_by_polyak_averaging(tmp_path):
    run = start(tmp_path / "s", "sac", "scratch", tau=0.25, updates_per_step=0.5)
    algorithm: Any = run.agent.algorithm
    target = algorithm.critic_target.features_extractor
    assert target is not encoder_of(run)
    run.learn(24)  # the first burst is one update
    before = weights(target)
    algorithm.train(1, 16)
    for name, value in target.named_parameters():
        expected = 0.75 * before[name] + 0.25 * dict(encoder_of(run).named_parameters())[name]
        torch.testing.assert_close(value, expected)


def test_schedule_of_the_encoder_freezes_then_slows():
    schedule = EncoderSchedule(frozen_updates=2, slow_updates=5, slow=0.1, fast=0.3)
    assert [schedule.factor(n) for n in range(7)] == [0, 0, 0.1, 0.1, 0.1, 0.3, 0.3]
    with pytest.raises(UsageError, match="expected values of 0 or more"):
        EncoderSchedule(slow=-1)


def test_encoder_is_frozen_for_the_first_updates_of_finetuning(tmp_path):
    run = start(tmp_path / "s", "sac", "finetune", encoder_frozen_updates=6, updates_per_step=1.0)
    before = weights(encoder_of(run).encoder)
    run.learn(20)
    algorithm: Any = run.agent.algorithm
    critic = weights(algorithm.critic.qf0)
    while algorithm.critic.optimizer.num_updates < 6:
        assert equal(before, weights(encoder_of(run).encoder))
        algorithm.train(1, 16)
    assert equal(before, weights(encoder_of(run).encoder))
    assert not equal(critic, weights(algorithm.critic.qf0))
    algorithm.train(1, 16)
    assert not equal(before, weights(encoder_of(run).encoder))


def test_learning_rate_of_the_encoder_is_scaled(tmp_path):
    changes = []
    for n, factors in enumerate([(1.0, 1.0), (0.1, 0.1)]):
        run = start(tmp_path / str(n), "sac", "scratch", encoder_lr_factors=factors, seed=1)
        run.learn(20)
        before = weights(encoder_of(run).encoder)
        run.agent.algorithm.train(1, 16)
        after = weights(encoder_of(run).encoder)
        changes.append(max((after[name] - before[name]).abs().max().item() for name in before))
    assert changes[1] == pytest.approx(0.1 * changes[0], rel=0.02)


@pytest.mark.parametrize("mode", ENCODERS)
@pytest.mark.parametrize("numbers", [False, True])
def test_every_mode_learns_from_images(tmp_path, mode, numbers):
    if mode == "none" and not numbers:
        with pytest.raises(UsageError, match="images only; expected encoder random, frozen, finetune"):
            start(tmp_path / "s", "sac", mode, Camera(NUM_ENVS))
        return
    run = start(tmp_path / "s", "sac", mode, Camera(NUM_ENVS, numbers=numbers), **EAGER)
    before = weights(encoder_of(run).encoder) if mode in TRAINED else None
    run.learn(40)
    assert run.agent.algorithm._n_updates > 0
    if before is not None:
        assert not equal(before, weights(encoder_of(run).encoder))
        space = run.agent.algorithm.observation_space
        assert isinstance(space, Dict)
        assert [s.shape for s in space.spaces.values() if s.dtype == np.uint8] == [(6, 44, 44)]


@pytest.mark.parametrize("name", ["dqn", "ppo", "td3"])
def test_other_algorithms_train_an_encoder_of_images(tmp_path, name):
    run = start(tmp_path / "s", name, "scratch", Camera(NUM_ENVS, discrete=name == "dqn"))
    before = weights(encoder_of(run).encoder)
    run.learn(48)
    assert not equal(before, weights(encoder_of(run).encoder))


def test_trained_encoder_of_images_equals_the_frozen_one_at_the_start(tmp_path):
    run = start(tmp_path / "s", "sac", "finetune", Camera(NUM_ENVS, numbers=True))
    observation, _ = run.envs.reset(seed=0)
    space = run.envs.single_observation_space
    frozen = FeatureBuilder(space, run.agent.encoder.initial)(observation)
    inputs = run.agent.features(observation)
    tensors = {key: torch.from_numpy(value).float() for key, value in inputs.items()}
    with torch.no_grad():
        np.testing.assert_allclose(without_layers(encoder_of(run))(tensors), frozen, atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("mode", ["random", *TRAINED])
def test_resumed_agent_with_an_encoder_continues_to_the_bit(tmp_path, name, mode):
    model = model_of(make_line(name)) if mode == "finetune" else None
    check_resume(
        tmp_path, name, lambda: make_line(name), 64, 64,
        representation=model, encoder=mode, seed=4, encoder_frozen_updates=8,
    )  # fmt: skip


def test_resumed_agent_on_images_continues_to_the_bit(tmp_path):
    check_resume(tmp_path, "sac", lambda: Camera(NUM_ENVS), 32, 32, encoder="scratch")


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("mode", ["random", *TRAINED])
def test_loaded_agent_with_an_encoder_acts_the_same(tmp_path, name, mode):
    run = start(tmp_path / "s", name, mode, **EAGER)
    run.learn(64)
    run.agent.save(tmp_path / "agent")
    other = Line(5, discrete=name == "dqn")
    loaded = type(run.agent).load(tmp_path / "agent", other, "cpu")
    observation, _ = other.reset(seed=3)
    np.testing.assert_array_equal(
        loaded.act(observation, explore=False), run.agent.act(observation, explore=False)
    )
    assert loaded.encoder.mode == mode


@pytest.mark.parametrize("mode", ["none", "random", *TRAINED])
def test_new_representation_is_ignored_by_the_other_modes(tmp_path, mode):
    run = start(tmp_path / "s", "sac", mode)
    run.learn(40)
    observation = np.ones((2, 2), np.float32)
    before = run.agent.act(observation, explore=False)
    run.agent.set_representation(model_of(run.envs, seed=5))
    np.testing.assert_array_equal(run.agent.act(observation, explore=False), before)


def test_modes_need_a_fitting_representation():
    envs = make_line("sac")
    model = model_of(envs)
    assert resolve_encoder(None, None, envs, 0).mode == "none"
    assert resolve_encoder(None, model, envs, 0).mode == "frozen"
    for mode, representation, message in [
        ("frosen", None, "no 'frosen' among the encoders; did you mean 'frozen'"),
        ("none", model, "encoder none uses no representation"),
        ("frozen", None, "encoder frozen needs a representation"),
        ("finetune", None, "encoder finetune needs a WorldModel, got NoneType"),
        ("finetune", object(), "encoder finetune needs a WorldModel, got object"),
    ]:
        with pytest.raises(UsageError, match=message):
            resolve_encoder(mode, representation, envs, 0)
    other = WorldModel(SMALL, Box(-1, 1, (3,), np.float32), Box(-1, 1, (1,), np.float32)).frozen_copy()
    with pytest.raises(UsageError, match="this env"):
        resolve_encoder("frozen", other, envs, 0)


def test_random_encoder_is_drawn_from_the_seed(tmp_path):
    envs = make_line("sac")
    one, same, other = (resolve_encoder("random", model_of(envs), envs, seed).frozen for seed in (1, 1, 2))
    assert isinstance(one, WorldModel)
    assert one.config == SMALL
    assert equal(weights(one.encoder), weights(same.encoder))
    assert not equal(weights(one.encoder), weights(other.encoder))
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_one_hot_and_goals_are_encoded_and_kept(tmp_path):
    space = Dict(
        observation=Box(-1, 1, (3,), np.float32),
        achieved_goal=Box(-1, 1, (2,)),
        desired_goal=Box(-1, 1, (2,)),
    )
    categories = Dict(arm=Box(-1, 1, (2,), np.float32), tool=Discrete(3, start=5))
    for each in (space, categories):
        model = WorldModel(SMALL, each, Box(-1, 1, (1,), np.float32))
        builder = FeatureBuilder(each, keep_images=True)
        encoder = TrainedEncoder(
            builder.observation_space,
            model,
            builder.encoder_inputs(),
            EncoderSchedule(),
        )
        observation = gym.vector.utils.batch_space(each, 6).sample()
        frozen = FeatureBuilder(each, model.frozen_copy())(observation)
        with torch.no_grad():
            np.testing.assert_allclose(encoder(torch.from_numpy(builder(observation))), frozen, atol=1e-5)


@pytest.mark.parametrize("mode", ["frozen", "random", *TRAINED])
def test_latent_alone_equals_the_frozen_latent_in_every_mode(tmp_path, mode):
    run = start(tmp_path / "s", "sac", mode, observe="latent")
    agent, observation = run.agent, np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    with torch.no_grad():
        features = agent.algorithm.critic.features_extractor(torch.from_numpy(agent.features(observation)))
    encoder = agent.encoder.initial or agent.encoder.frozen
    np.testing.assert_allclose(features, encoder.encode(observation), atol=1e-5)
    agent.save(tmp_path / "agent")
    assert type(agent).load(tmp_path / "agent", run.envs, "cpu").features.observed == "latent"


def test_goals_are_relabeled_with_a_trained_encoder(tmp_path):
    envs = robossl.make("robossl/Reacher-v0", NUM_ENVS, 1, autoreset_mode=gym.vector.AutoresetMode.DISABLED)
    recorder = Recorder.create(envs, tmp_path / "s")
    agent = make_agent("sac", recorder, encoder="scratch", **SETTINGS["sac"])
    agent.learn(recorder, 40)
    assert agent.algorithm.replay_buffer._hindsight is not None
    assert agent.algorithm._n_updates > 0


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_custom_encoder_of_the_user_is_frozen_or_finetuned(tmp_path, mode):
    module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh())
    envs = make_line("sac")
    spaces = envs.single_observation_space, envs.single_action_space
    model = WorldModel(SMALL, *spaces, 0, encoder=module).frozen_copy()
    run = AgentRun(tmp_path / "s", "sac", envs, representation=model, encoder=mode, encoder_frozen_updates=0)
    before = weights(model.encoder)
    run.learn(60)
    assert equal(before, weights(model.encoder))
    if mode == "finetune":
        assert not equal(before, weights(encoder_of(run).encoder))
    run.agent.save(tmp_path / "agent")
    with pytest.raises(UsageError, match="which is not saved with it"):
        type(run.agent).load(tmp_path / "agent", envs, "cpu")
    loaded = type(run.agent).load(tmp_path / "agent", envs, "cpu", representation=model)
    observation, _ = envs.reset(seed=1)
    expected = run.agent.act(observation, explore=False)
    np.testing.assert_array_equal(loaded.act(observation, explore=False), expected)
