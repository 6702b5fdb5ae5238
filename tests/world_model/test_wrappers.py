"""RepresentationWrapper: Gymnasium's contract, the features of single and vector envs, images, other RL libraries."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO

import robossl
from robossl import (
    RepresentationVectorWrapper,
    RepresentationWrapper,
    UsageError,
    WorldModel,
    WorldModelConfig,
)

SMALL = WorldModelConfig(latent_dim=6, encoder_hidden=(8,), dynamics_hidden=(8,), inverse_hidden=(8,))


class Flicker(gym.Env):
    """Random images and a number; episodes of `length` steps."""

    observation_space = gym.spaces.Dict(
        {
            "camera": gym.spaces.Box(0, 255, (44, 44, 3), np.uint8),
            "speed": gym.spaces.Box(-1, 1, (1,), np.float32),
        }
    )
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length: int = 3) -> None:
        self.length, self.time = length, 0

    def _observation(self):
        return {
            "camera": self.np_random.integers(0, 256, (44, 44, 3), np.uint8),
            "speed": self.np_random.uniform(-1, 1, 1).astype(np.float32),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._observation(), {}

    def step(self, action):
        self.time += 1
        return self._observation(), 0.0, False, self.time == self.length, {}


def model_of(env, config=SMALL):
    space = getattr(env, "single_observation_space", env.observation_space)
    return WorldModel(config, space, getattr(env, "single_action_space", env.action_space))


@pytest.fixture(scope="module")
def image_model():
    config = WorldModelConfig(
        latent_dim=6,
        encoder_hidden=(8,),
        dynamics_hidden=(8,),
        image_size=44,
        objectives=("forward", "inverse"),
    )
    return model_of(Flicker(), config)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version", "ignore:.*Box observation space")
@pytest.mark.parametrize("observed", [None, "latent"])
@pytest.mark.parametrize("env_id", ["robossl/Reacher-v0", "robossl/CartPoleSwingUp-v0"])
def test_wrapped_env_passes_gymnasiums_checker(env_id, observed):
    env = gym.make(env_id, disable_env_checker=True)
    wrapped = RepresentationWrapper(env, model_of(env), observed)
    check_env(wrapped, skip_render_check=True, skip_close_check=True)
    wrapped.close()


def test_features_are_latent_then_numbers_and_always_hold_the_goal():
    env = gym.make("robossl/Reacher-v0")
    model = model_of(env)
    observation, _ = env.reset(seed=3)
    features, _ = RepresentationWrapper(env, model).reset(seed=3)
    assert features.dtype == np.float32
    assert np.allclose(features[:6], model.encode(observation), atol=1e-6)
    assert features.shape == (6 + 8 + 4 + 4,)
    latent, _ = RepresentationWrapper(env, model, "latent").reset(seed=3)
    assert np.allclose(latent[6:], observation["desired_goal"])
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_features_equal_those_of_single_envs_from_images_in_every_autoreset_mode(mode, image_model):
    lengths = [2, 3, 5]
    envs = SyncVectorEnv([lambda n=n: Flicker(n) for n in lengths], autoreset_mode=mode)
    wrapped = RepresentationVectorWrapper(envs, image_model)
    singles = [RepresentationWrapper(Flicker(n), image_model) for n in lengths]
    batch, _ = wrapped.reset(seed=[0, 1, 2])
    expected = [single.reset(seed=seed)[0] for seed, single in enumerate(singles)]
    assert np.allclose(batch, expected, atol=1e-5)
    waiting = np.zeros(3, bool)  # NEXT_STEP: ended in the last step
    action = np.zeros((3, 1), np.float32)
    for _ in range(12):
        batch, _, _, truncated, infos = wrapped.step(action)
        final = {}
        for i, single in enumerate(singles):
            if waiting[i]:
                expected[i] = single.reset()[0]
                continue
            expected[i], _, _, done, _ = single.step(action[i])
            if done and mode == AutoresetMode.SAME_STEP:
                final[i], expected[i] = expected[i], single.reset()[0]
        waiting = truncated if mode == AutoresetMode.NEXT_STEP else np.zeros(3, bool)
        assert np.allclose(batch, expected, atol=1e-5)
        for i, features in final.items():
            assert np.allclose(infos["final_obs"][i], features, atol=1e-5)
        if mode == AutoresetMode.DISABLED and truncated.any():
            batch, _ = wrapped.reset(options={"reset_mask": truncated})
            for i in np.flatnonzero(truncated):
                expected[i] = singles[i].reset()[0]
            assert np.allclose(batch, expected, atol=1e-5)
    wrapped.close()


def test_vector_wrapper_of_a_native_batch_equals_its_single_envs():
    envs = robossl.make("robossl/Reacher-v0", num_envs=4)
    model = model_of(envs)
    wrapped = RepresentationVectorWrapper(envs, model)
    features, _ = wrapped.reset(seed=0)
    assert wrapped.observation_space.contains(features)
    observation, *_ = envs.step(np.zeros((4, 2), np.float32))
    envs.reset(seed=0)
    features, *_ = wrapped.step(np.zeros((4, 2), np.float32))
    assert np.allclose(features[:, :6], model.encode(observation), atol=1e-6)
    wrapped.close()


def test_wrapped_model_is_a_frozen_copy():
    env = gym.make("robossl/CartPoleSwingUp-v0")
    model = model_of(env)
    wrapped = RepresentationWrapper(env, model)
    assert wrapped.model is not model
    assert not any(p.requires_grad for p in wrapped.model.parameters())
    env.close()


def test_other_encoders_need_only_the_interface():
    class Doubled:
        latent_dim, version = 5, 0

        def encode(self, observation):
            return 2 * observation

    env = gym.make("robossl/CartPoleSwingUp-v0")
    features, _ = RepresentationWrapper(env, Doubled()).reset(seed=0)
    assert np.allclose(features[:5], 2 * features[5:])
    env.close()


@pytest.mark.parametrize("wrapper", [RepresentationWrapper, RepresentationVectorWrapper])
def test_model_of_another_robot_or_a_path_is_refused_in_one_line(wrapper):
    single = wrapper is RepresentationWrapper
    env = gym.make("robossl/Reacher-v0") if single else robossl.make("robossl/Reacher-v0", num_envs=2)
    other = gym.make("robossl/CartPoleSwingUp-v0")
    for model, message in ((model_of(other), "the model was made for"), ("models/reacher", "robossl.load")):
        with pytest.raises(UsageError, match=message):
            wrapper(env, model)
    twin = robossl.make("robossl/Reacher-v0", num_envs=2) if single else gym.make("robossl/Reacher-v0")
    for wrong, message in ((twin, "; wrap a "), ("robossl/Reacher-v0", "got str$")):
        with pytest.raises(UsageError, match=message):
            wrapper(wrong, model_of(other))
    for made in (env, other, twin):
        made.close()


def test_sb3_learns_on_the_features():
    env = gym.make("robossl/Reacher-v0")
    agent = PPO(
        "MlpPolicy",
        RepresentationWrapper(env, model_of(env)),
        n_steps=32,
        batch_size=32,
        n_epochs=1,
        device="cpu",
    )
    assert agent.learn(64).num_timesteps == 64
    env.close()
