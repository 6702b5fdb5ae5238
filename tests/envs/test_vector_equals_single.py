"""Law: the native vector env is Gymnasium's SyncVectorEnv over the single env, to the last bit."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode

IDS = robossl.envs.register()
SEED = 2**40 + 5  # beyond 32 bits


def same(a, b, where="") -> None:
    """Equal type, layout and bits, through dicts and object arrays."""
    assert type(a) is type(b), (where, type(a), type(b))
    if isinstance(a, dict):
        assert set(a) == set(b), (where, sorted(a), sorted(b))
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert a.tobytes() == b.tobytes(), (where, a, b)
    else:
        assert a == b, where


def pair(env_id: str, n: int, nthread: int, mode: AutoresetMode, limit: int):
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
    live_side_by_side(env_id, n, nthread, mode, steps=55)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("n", "nthread"), [(1, 1), (3, 2), (8, 1), (8, 2)])
@pytest.mark.parametrize("env_id", IDS)
def test_equal_to_the_bit_for_long(env_id, n, nthread, mode) -> None:
    live_side_by_side(env_id, n, nthread, mode, steps=1000)


def live_side_by_side(env_id, n, nthread, mode, steps: int) -> None:
    native, sync = pair(env_id, n, nthread, mode, limit=17)
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    assert native.single_observation_space == sync.single_observation_space
    assert native.metadata["autoreset_mode"] == sync.metadata["autoreset_mode"]
    assert native.metadata["render_fps"] == sync.metadata["render_fps"]
    random = np.random.default_rng(0)
    same(native.reset(seed=SEED), sync.reset(seed=SEED), "reset")
    resets = 0
    for t in range(steps):
        action = random.uniform(-1.2, 1.2, (n, *native.single_action_space.shape)).astype(np.float32)
        ours, theirs = native.step(action), sync.step(action)
        same(ours, theirs, f"step {t}")
        over = ours[2] | ours[3]
        resets += int(over.sum())
        if mode == AutoresetMode.DISABLED and over.any():
            same(
                native.reset(options={"reset_mask": over}),
                sync.reset(options={"reset_mask": over}),
                f"masked reset {t}",
            )
    assert resets >= steps // 18 * n
    native.close()
    sync.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", IDS)
def test_equal_when_lanes_end_at_different_times(env_id, mode) -> None:
    """Lanes fall out of step when some are reset in the middle of an episode."""
    native, sync = pair(env_id, 5, 2, mode, limit=11)
    random = np.random.default_rng(1)
    seeds = [3, None, 2**63, 0, 7]
    native.reset(seed=seeds), sync.reset(seed=seeds)
    some = np.array([False, True, False, True, False])
    both = {"seed": [1, 2, 3, 4, 5]}
    same(native.reset(**both), sync.reset(**both))
    for t in range(50):
        action = random.uniform(-1, 1, (5, *native.single_action_space.shape)).astype(np.float32)
        ours, theirs = native.step(action), sync.step(action)
        same(ours, theirs, f"step {t}")
        mask = ours[2] | ours[3] if mode == AutoresetMode.DISABLED else np.zeros(5, bool)
        if t in (3, 20, 22):
            mask = mask | some
        if mask.any():
            same(native.reset(options={"reset_mask": mask}), sync.reset(options={"reset_mask": mask}))


@pytest.mark.parametrize("env_id", IDS)
def test_a_lane_lives_the_same_life_whatever_the_number_of_lanes(env_id) -> None:
    lives = []
    for n in (2, 6):
        envs = gym.make_vec(env_id, num_envs=n, max_episode_steps=9)
        observation = envs.reset(seed=SEED)[0]
        random = np.random.default_rng(2)
        life = [observation]
        for _ in range(30):
            action = random.uniform(-1, 1, (6, *envs.single_action_space.shape))[:n]
            life.append(envs.step(action)[0])
        first = [o["observation"][:2] if isinstance(o, dict) else o[:2] for o in life]
        lives.append(np.stack(first))
    assert lives[0].tobytes() == lives[1].tobytes()
    assert not np.array_equal(lives[0][:, 0], lives[0][:, 1])
