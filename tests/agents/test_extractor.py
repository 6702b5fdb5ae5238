"""The frozen encoder as a features extractor in SB3's own policies, on `gymnasium.make` envs."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agent_toys import SMALL
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from robossl.agents import RepresentationExtractor
from robossl.agents.sb3.features import FeatureBuilder
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.preprocessing import preprocess_obs

import robossl
from robossl.core.errors import UsageError
from robossl.world_model import WorldModel

REACHER, SWING = "robossl/Reacher-v0", "robossl/CartPoleSwingUp-v0"


def model_for(space: gym.Space, seed: int = 0) -> WorldModel:
    return WorldModel(SMALL, space, Box(-1, 1, (2,), np.float32), seed)


def kwargs(model: Any, **settings: Any) -> dict[str, Any]:
    return {
        "features_extractor_class": robossl.agents.RepresentationExtractor,
        "features_extractor_kwargs": {"model": model},
        "net_arch": [16],
        **settings,
    }


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a model for Reacher."""
    model_for(gym.make(REACHER).observation_space).save(tmp_path / "reacher")
    return tmp_path / "reacher"


def test_sac_with_hindsight_learns_on_a_model_folder(tmp_path, folder):
    envs = gym.make(REACHER, max_episode_steps=20)
    agent = SAC(
        "MultiInputPolicy", envs, learning_starts=50, batch_size=16, device="cpu", seed=0,
        replay_buffer_class=HerReplayBuffer, policy_kwargs=kwargs(str(folder)),
    )  # fmt: skip
    extractors = [each.features_extractor for each in (agent.actor, agent.critic, agent.critic_target)]
    shared = {id(extractor._shared) for extractor in extractors}
    before = weights(extractors[0]._shared.model)
    first = agent.actor.latent_pi[0].weight.clone()
    agent.learn(90)
    assert len(shared) == 1, "actor, critic and target share one encoder"
    model = extractors[0]._shared.model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert (agent.actor.latent_pi[0].weight != first).any()
    names = agent.policy.state_dict().keys()
    own = {
        name.partition("features_extractor.")[2].partition(".")[0] for name in names if "extractor" in name
    }
    assert own == {"fingerprint", "layers"}
    agent.save(tmp_path / "agent.zip")
    loaded = SAC.load(tmp_path / "agent.zip", env=envs, device="cpu")
    observation, _ = envs.reset(seed=1)
    np.testing.assert_array_equal(
        *(each.predict(observation, deterministic=True)[0] for each in (agent, loaded))
    )


def test_policy_does_not_load_with_another_model(tmp_path, folder):
    envs = gym.make(REACHER)
    agent = SAC("MultiInputPolicy", envs, policy_kwargs=kwargs(folder), device="cpu", buffer_size=10)
    agent.save(tmp_path / "agent.zip")
    model_for(envs.observation_space, seed=1).save(folder)
    with pytest.raises(UsageError, match="representation that the policy was trained on"):
        SAC.load(tmp_path / "agent.zip", device="cpu")


def test_ppo_does_not_change_the_encoder():
    envs = gym.make(SWING)  # a plain Box
    model = model_for(envs.observation_space)
    before = weights(model)
    agent = PPO("MlpPolicy", envs, n_steps=32, batch_size=16, device="cpu", policy_kwargs=kwargs(model))
    agent.learn(64)
    shared = agent.policy.features_extractor._shared.model
    for name, value in shared.state_dict().items():
        assert torch.equal(value, before[name]), "SB3 initializes all submodules of a policy"


SPACES = {
    "box": Box(-1, 1, (3,), np.float32),
    "double": Box(-1, 1, (2, 2), np.float64),
    "discrete": Discrete(4, start=2),
    "bits": MultiBinary(3),
    "dict": Dict(arm=Box(-1, 1, (2,), np.float32), touch=Discrete(3, start=-1)),
    "goal": Dict(
        observation=Box(-1, 1, (3,), np.float32),
        achieved_goal=Box(-1, 1, (2,)),
        desired_goal=Box(-1, 1, (2,)),
    ),
}


@pytest.mark.parametrize("kind", SPACES)
def test_inputs_equal_the_features_of_the_feature_builder(kind):
    space = SPACES[kind]
    model = model_for(space)
    extractor = RepresentationExtractor(space, model)
    observation = gym.vector.utils.batch_space(space, 6).sample()
    start = {path: getattr(leaf, "start", 0) for path, leaf in getattr(space, "spaces", {"": space}).items()}
    if isinstance(observation, dict):  # SB3 ignores the start of Discrete
        raw: Any = {name: torch.as_tensor(values - start[name]) for name, values in observation.items()}
    else:
        raw = torch.as_tensor(observation - start[""])
    prepared = preprocess_obs(raw, space)
    assert extractor(prepared).shape == (6, extractor.features_dim)
    inputs = torch.cat(extractor.inputs(prepared), 1)
    assert not inputs.requires_grad
    np.testing.assert_allclose(inputs, FeatureBuilder(space, model.frozen_copy())(observation), atol=1e-6)


def test_copy_shares_the_encoder():
    extractor = RepresentationExtractor(SPACES["box"], model_for(SPACES["box"]))
    other = copy.deepcopy(extractor)
    assert other is not extractor
    assert other._shared is extractor._shared
    assert {name.partition(".")[0] for name, _ in extractor.named_parameters()} == {"layers"}


def test_equal_models_are_shared(tmp_path):
    space = SPACES["box"]
    model, other = model_for(space), model_for(space, seed=1)
    model.save(tmp_path / "model")
    one = RepresentationExtractor(space, model)
    assert RepresentationExtractor(space, tmp_path / "model")._shared is one._shared
    assert RepresentationExtractor(space, other)._shared is not one._shared
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1.0)  # as training would
    assert RepresentationExtractor(space, model)._shared is not one._shared


def test_unsupported_observations_are_rejected(tmp_path):
    with pytest.raises(UsageError, match=r"model for observations Discrete.*got one for Box"):
        RepresentationExtractor(SPACES["discrete"], model_for(SPACES["box"]))
    with pytest.raises(UsageError, match="no file"):
        RepresentationExtractor(SPACES["box"], tmp_path)
    image = Box(0, 255, (48, 48, 3), np.uint8)
    nested = Dict(arm=Dict(joints=Box(-1, 1, (2,))))
    for space in (image, MultiDiscrete([2, 3]), nested, Tuple((image,))):
        with pytest.raises(UsageError, match="expected Box, Discrete, MultiBinary or a flat Dict"):
            RepresentationExtractor(space, model_for(SPACES["box"]))
