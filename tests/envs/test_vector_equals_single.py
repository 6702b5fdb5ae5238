"""Law: the native vector env equals Gymnasium's SyncVectorEnv over the single env, to the bit."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
import torch
from gymnasium.vector import AutoresetMode
from robossl.envs.cartpole import CartPoleSwingUp
from robossl.envs.engine.backends import make_vector

from robossl.core.errors import UsageError

IDS = robossl.envs.register()
SEED = 2**40 + 5  # beyond 32 bits


def check_same(a, b, where="") -> None:
    """Check equal types, shapes and bits, also inside dicts and object arrays."""
    assert type(a) is type(b), (where, type(a), type(b))
    if isinstance(a, dict):
        assert set(a) == set(b), (where, sorted(a), sorted(b))
        for key in a:
            check_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            check_same(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            check_same(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert a.tobytes() == b.tobytes(), (where, a, b)
    else:
        assert a == b, where


def make_pair(env_id: str, n: int, nthread: int, mode: AutoresetMode, limit: int):
    native = gym.make_vec(env_id, num_envs=n, max_episode_steps=limit, nthread=nthread, autoreset_mode=mode)
    sync = gym.make_vec(
        env_id,
        num_envs=n,
        max_episode_steps=limit,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
    )
    return native, sync


@pytest.mark.parametrize(
    ("mode", "n", "nthread"),
    [
        (AutoresetMode.NEXT_STEP, 3, 2),
        (AutoresetMode.NEXT_STEP, 8, 1),
        (AutoresetMode.SAME_STEP, 8, 2),
        (AutoresetMode.DISABLED, 1, 1),
    ],
)
@pytest.mark.parametrize("env_id", IDS)
def test_equal_to_the_bit(env_id, n, nthread, mode) -> None:
    check_rollouts(env_id, n, nthread, mode, steps=55)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("n", "nthread"), [(1, 1), (3, 2), (8, 1), (8, 2)])
@pytest.mark.parametrize("env_id", IDS)
def test_equal_to_the_bit_over_1000_steps(env_id, n, nthread, mode) -> None:
    check_rollouts(env_id, n, nthread, mode, steps=1000)


def check_rollouts(env_id, n, nthread, mode, steps: int) -> None:
    native, sync = make_pair(env_id, n, nthread, mode, limit=17)
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    assert native.single_observation_space == sync.single_observation_space
    assert native.metadata["autoreset_mode"] == sync.metadata["autoreset_mode"]
    assert native.metadata["render_fps"] == sync.metadata["render_fps"]
    random = np.random.default_rng(0)
    check_same(native.reset(seed=SEED), sync.reset(seed=SEED), "reset")
    resets = 0
    for t in range(steps):
        action = random.uniform(-1.2, 1.2, (n, *native.single_action_space.shape)).astype(np.float32)
        ours, theirs = native.step(action), sync.step(action)
        check_same(ours, theirs, f"step {t}")
        ended = ours[2] | ours[3]
        resets += int(ended.sum())
        if mode == AutoresetMode.DISABLED and ended.any():
            check_same(
                native.reset(options={"reset_mask": ended}),
                sync.reset(options={"reset_mask": ended}),
                f"masked reset {t}",
            )
    assert resets >= steps // 18 * n
    native.close()
    sync.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", IDS)
def test_equal_when_episodes_end_at_different_times(env_id, mode) -> None:
    """Resets in the middle of an episode give the sub-environments different elapsed steps."""
    native, sync = make_pair(env_id, 5, 2, mode, limit=11)
    random = np.random.default_rng(1)
    seeds = [3, None, 2**63, 0, 7]
    native.reset(seed=seeds), sync.reset(seed=seeds)
    subset = np.array([False, True, False, True, False])
    again = [1, 2, 3, 4, 5]
    check_same(native.reset(seed=again), sync.reset(seed=again))
    for t in range(50):
        action = random.uniform(-1, 1, (5, *native.single_action_space.shape)).astype(np.float32)
        ours, theirs = native.step(action), sync.step(action)
        check_same(ours, theirs, f"step {t}")
        mask = ours[2] | ours[3] if mode == AutoresetMode.DISABLED else np.zeros(5, bool)
        if t in (3, 20, 22):
            mask = mask | subset
        if mask.any():
            check_same(native.reset(options={"reset_mask": mask}), sync.reset(options={"reset_mask": mask}))


@pytest.mark.parametrize("env_id", IDS)
def test_trajectory_does_not_depend_on_num_envs(env_id) -> None:
    trajectories = []
    for n in (2, 6):
        envs = gym.make_vec(env_id, num_envs=n, max_episode_steps=9)
        observation = envs.reset(seed=SEED)[0]
        random = np.random.default_rng(2)
        trajectory = [observation]
        for _ in range(30):
            action = random.uniform(-1, 1, (6, *envs.single_action_space.shape))[:n]
            trajectory.append(envs.step(action)[0])
        first = [o["observation"][:2] if isinstance(o, dict) else o[:2] for o in trajectory]
        trajectories.append(np.stack(first))
    assert trajectories[0].tobytes() == trajectories[1].tobytes()
    assert not np.array_equal(trajectories[0][:, 0], trajectories[0][:, 1])


@pytest.mark.parametrize("device", [None, "auto", "cpu", torch.device("cpu")])
def test_device_of_the_cpu_needs_no_backend(device) -> None:
    make_vector(CartPoleSwingUp, 1, device=device).close()


@pytest.mark.parametrize("device", ["cuda", torch.device("cuda")])
def test_other_device_needs_a_backend(device) -> None:
    with pytest.raises(UsageError, match="backend='warp' with device='cuda'"):
        make_vector(CartPoleSwingUp, 1, device=device)
