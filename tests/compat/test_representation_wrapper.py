"""TorchRL and scripts of CleanRL, unmodified, read the envs of RepresentationWrapper and train in them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import robossl

torchrl_envs = pytest.importorskip("torchrl.envs", reason="make compat installs TorchRL")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
SCRIPT = Path(__file__).with_name("cleanrl_script.py")
EPISODE = 200  # [steps]
RANDOM_RETURN = 22.0  # of random actions, docs/environments.md


def latent_env() -> gym.Env:
    """Return the two-link arm, observed through its pretrained world model."""
    return robossl.RepresentationWrapper(gym.make("robossl/Reacher-v0"), robossl.from_pretrained("reacher"))


def test_specs_of_a_wrapped_env_and_of_a_wrapped_vector_env() -> None:
    model = robossl.from_pretrained("reacher")
    env = torchrl_envs.GymWrapper(latent_env())
    torchrl_envs.check_env_specs(env, seed=0)
    assert env.rollout(12)["observation"].shape == (12, env.observation_spec["observation"].shape[0])
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3, nthread=1, autoreset_mode="SameStep")
    batch = torchrl_envs.GymWrapper(robossl.RepresentationVectorWrapper(envs, model))
    assert batch.rollout(12, break_when_any_done=False).batch_size == (3, 12)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(find_spec("cleanrl") is None, reason="make compat installs CleanRL")
@pytest.mark.parametrize(
    ("name", "arguments", "steps", "gain"),
    [
        ("ddpg_continuous_action", ("--learning-starts", "1000"), 5000, 2.0),
        ("ppo_continuous_action", ("--num-steps", "512", "--num-envs", "4"), 8192, 0.0),
    ],
)
def test_script_of_cleanrl_learns_from_latents(name, arguments, steps, gain, tmp_path) -> None:
    """DDPG gets a multiple of the return of random actions; PPO needs more steps than a minute has, so it only runs."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name, "--total-timesteps", str(steps), "--cuda", "False", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    returns = [float(text) for text in re.findall(r"episodic_return=\[?([-\d.e]+)", done.stdout)]
    assert len(returns) >= steps // EPISODE - 1
    assert np.isfinite(returns).all()
    assert np.mean(returns[-5:]) > gain * RANDOM_RETURN


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sac_of_torchrl_trains_on_latents_with_its_own_collector_buffer_and_loss() -> None:
    """Its parts run together on the env; a minute of SAC is too short to be compared with random actions."""
    from tensordict.nn import NormalParamExtractor, TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
    from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import SACLoss, SoftUpdate

    torch.manual_seed(0)
    env = torchrl_envs.TransformedEnv(torchrl_envs.GymWrapper(latent_env()), torchrl_envs.RewardSum())
    env.set_seed(0)
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    network = nn.Sequential(
        MLP(size, 2 * actions, num_cells=[128, 128], activation_class=nn.ReLU), NormalParamExtractor()
    )
    actor = ProbabilisticActor(
        TensorDictModule(network, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.action_spec,
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    critic = ValueOperator(
        MLP(size + actions, 1, num_cells=[128, 128], activation_class=nn.ReLU), ["action", "observation"]
    )
    loss = SACLoss(actor, critic, num_qvalue_nets=2, alpha_init=0.1)
    loss.make_value_estimator(gamma=0.98)
    targets = SoftUpdate(loss, eps=0.99)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=128)
    collector = Collector(
        env,
        actor,
        frames_per_batch=EPISODE,
        total_frames=14 * EPISODE,
        init_random_frames=4 * EPISODE,
        auto_register_policy_transforms=True,
    )
    returns = []
    before = next(network.parameters()).detach().clone()
    for batch in collector:
        buffer.extend(batch.reshape(-1))
        returns += batch["next", "episode_reward"][batch["next", "done"]].tolist()
        if len(buffer) < 4 * EPISODE:
            continue
        for _ in range(EPISODE):
            losses = loss(buffer.sample())
            total = losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            targets.step()
    collector.shutdown()
    assert len(returns) == 14
    assert np.isfinite(returns).all()
    assert all(torch.isfinite(value).all() for value in loss.parameters())
    assert not torch.equal(before, next(network.parameters()))
