"""Law: where the physics of one lane breaks, that lane ends, and the others never notice."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs

IDS = robossl.envs.register()


def twins(env_id: str):
    pair = [gym.make_vec(env_id, num_envs=4, max_episode_steps=50) for _ in range(2)]
    for envs in pair:
        envs.reset(seed=1)
        envs.step(np.zeros(envs.action_space.shape))
    return pair


def tables(observation) -> np.ndarray:
    return (
        np.concatenate(list(observation.values()), axis=1) if isinstance(observation, dict) else observation
    )


def check_lane_two_broke(envs, healthy) -> None:
    """The step in which lane 2 breaks, and the life after it."""
    action = np.zeros(envs.action_space.shape)
    others = [0, 1, 3]
    observation, reward, terminated, truncated, infos = envs.step(action)
    expected = healthy.step(action)
    assert infos["physics_error"].tolist() == [False, False, True, False]
    assert truncated.tolist() == [False, False, True, False]
    assert not terminated.any()
    assert observation in envs.observation_space
    assert np.isfinite(tables(observation)).all()
    assert np.isfinite(reward).all()
    assert np.array_equal(tables(observation)[others], tables(expected[0])[others])
    assert np.array_equal(reward[others], expected[1][others])
    observation, reward, _, truncated, infos = envs.step(action)
    expected = healthy.step(action)
    assert not infos["physics_error"].any()
    assert not truncated.any()
    assert reward[2] == 0
    assert np.array_equal(tables(observation)[others], tables(expected[0])[others])
    for _ in range(5):
        observation, *_, infos = envs.step(action)
        assert not infos["physics_error"].any()
        assert observation in envs.observation_space


@pytest.mark.parametrize("env_id", IDS)
def test_a_lane_that_runs_away_ends(env_id, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    envs, healthy = twins(env_id)
    envs.simulation.robot.qvel[2] = 1e12
    check_lane_two_broke(envs, healthy)
    assert not list(tmp_path.iterdir()), "MuJoCo left a log file behind"


@pytest.mark.parametrize("env_id", IDS)
def test_a_lane_that_is_not_a_number_ends(env_id) -> None:
    envs, healthy = twins(env_id)
    envs.simulation.robot.qpos[2] = np.nan
    check_lane_two_broke(envs, healthy)


@pytest.mark.parametrize("env_id", IDS)
def test_a_lane_in_which_mujoco_gives_up_ends(env_id) -> None:
    envs, healthy = twins(env_id)
    from mujoco.batch import SimulationError  # not above: an env made first chooses how pictures are drawn

    batch = envs.simulation.batch

    class GivesUpOnce:
        """The batch, but the next step raises for simulation 2."""

        def __getattr__(self, name):
            return getattr(batch, name)

        def step(self, ids, *arguments):
            envs.simulation.batch = batch
            batch.step([0, 1, 3], *arguments)
            raise SimulationError(np.array([2]), "out of memory")

    envs.simulation.batch = GivesUpOnce()
    check_lane_two_broke(envs, healthy)


@pytest.mark.parametrize("env_id", IDS)
def test_a_single_env_says_so_too(env_id) -> None:
    env = gym.make(env_id)
    env.reset(seed=0)
    env.unwrapped.simulation.robot.qvel[:] = 1e12
    observation, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape))
    assert truncated
    assert not terminated
    assert info["physics_error"] is True
    assert observation in env.observation_space
    assert np.isfinite(reward)
    env.reset()
    assert env.step(np.zeros(env.action_space.shape))[4]["physics_error"] is False


def test_the_log_says_which_lane_broke_and_why_a_few_times(caplog) -> None:
    envs = gym.make_vec("robossl/CartPoleSwingUp-v0", num_envs=4, max_episode_steps=500)
    envs.reset(seed=0)
    envs.step(np.zeros((4, 1)))
    envs.simulation.robot.qpos[2] = np.nan
    envs.step(np.zeros((4, 1)))
    (said,) = caplog.messages
    assert said.startswith("CartPoleSwingUp, lane 2, at 0.02 s: ")
    assert "position that is no number" in said
    for _ in range(20):
        envs.reset()
        envs.simulation.robot.qvel[1] = 1e12
        envs.step(np.zeros((4, 1)))
    assert len(caplog.messages) == 10
    assert "further ones are not said" in caplog.messages[-1]
