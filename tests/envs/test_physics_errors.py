"""Law: a sub-environment whose physics diverges ends its episode, and the others keep their bits."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs

IDS = robossl.envs.register()


def make_pair(env_id: str):
    """Return two equal vector envs after one step."""
    pair = [gym.make_vec(env_id, num_envs=4, max_episode_steps=50) for _ in range(2)]
    for envs in pair:
        envs.reset(seed=1)
        envs.step(np.zeros(envs.action_space.shape))
    return pair


def as_array(observation) -> np.ndarray:
    return (
        np.concatenate(list(observation.values()), axis=1) if isinstance(observation, dict) else observation
    )


def check_sub_environment_2_ends(envs, healthy) -> None:
    """Check the step in which sub-environment 2 diverges, and the episode after it."""
    action = np.zeros(envs.action_space.shape)
    others = [0, 1, 3]
    observation, reward, terminated, truncated, infos = envs.step(action)
    expected = healthy.step(action)
    assert infos["physics_error"].tolist() == [False, False, True, False]
    assert truncated.tolist() == [False, False, True, False]
    assert not terminated.any()
    assert observation in envs.observation_space
    assert np.isfinite(as_array(observation)).all()
    assert np.isfinite(reward).all()
    assert np.array_equal(as_array(observation)[others], as_array(expected[0])[others])
    assert np.array_equal(reward[others], expected[1][others])
    observation, reward, _, truncated, infos = envs.step(action)
    expected = healthy.step(action)
    assert not infos["physics_error"].any()
    assert not truncated.any()
    assert reward[2] == 0
    assert np.array_equal(as_array(observation)[others], as_array(expected[0])[others])
    for _ in range(5):
        observation, *_, infos = envs.step(action)
        assert not infos["physics_error"].any()
        assert observation in envs.observation_space


@pytest.mark.parametrize("env_id", IDS)
def test_huge_velocity_ends_one_episode(env_id, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    envs, healthy = make_pair(env_id)
    envs.simulation.robot.qvel[2] = 1e12
    check_sub_environment_2_ends(envs, healthy)
    assert not list(tmp_path.iterdir()), "MuJoCo wrote a log file"


@pytest.mark.parametrize("env_id", IDS)
def test_nan_position_ends_one_episode(env_id) -> None:
    envs, healthy = make_pair(env_id)
    envs.simulation.robot.qpos[2] = np.nan
    check_sub_environment_2_ends(envs, healthy)


@pytest.mark.parametrize("env_id", IDS)
def test_mujoco_error_ends_one_episode(env_id) -> None:
    envs, healthy = make_pair(env_id)
    from mujoco.batch import SimulationError  # not at the top: the first env chooses the GL backend

    batch = envs.simulation.batch

    class FailingBatch:
        """The batch, whose next step raises for simulation 2."""

        def __getattr__(self, name):
            return getattr(batch, name)

        def step(self, env_ids, *arguments):
            envs.simulation.stepper.batch = batch
            batch.step([0, 1, 3], *arguments)
            raise SimulationError(np.array([2]), "out of memory")

    envs.simulation.stepper.batch = FailingBatch()
    check_sub_environment_2_ends(envs, healthy)


@pytest.mark.parametrize("env_id", IDS)
def test_single_env_reports_physics_error(env_id) -> None:
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


def test_log_names_sub_environment_and_reason_ten_times(caplog) -> None:
    envs = gym.make_vec("robossl/CartPoleSwingUp-v0", num_envs=4, max_episode_steps=500)
    envs.reset(seed=0)
    envs.step(np.zeros((4, 1)))
    envs.simulation.robot.qpos[2] = np.nan
    envs.step(np.zeros((4, 1)))
    (message,) = caplog.messages
    assert message.startswith("CartPoleSwingUp, sub-environment 2, at 0.02 s: ")
    assert "position that is not finite" in message
    for _ in range(20):
        envs.reset()
        envs.simulation.robot.qvel[1] = 1e12
        envs.step(np.zeros((4, 1)))
    assert len(caplog.messages) == 10
    assert "further physics errors are not logged" in caplog.messages[-1]


def test_physics_errors_print_no_warning_of_mujoco(tmp_path, capfd) -> None:
    path = tmp_path / "light.xml"
    path.write_text(
        """<mujoco><option timestep=".05"/><worldbody><body><joint name="j" axis="0 1 0"/>
        <geom size=".1" mass=".001" pos=".1 0 0"/></body></worldbody>
        <actuator><motor joint="j" ctrlrange="-1 1" gear="1e12"/></actuator></mujoco>"""
    )
    envs = gym.make_vec("robossl/Mjcf-v0", num_envs=4, model=str(path))
    envs.reset(seed=0)
    errors = sum(int(envs.step(np.ones((4, 1)))[4]["physics_error"].sum()) for _ in range(20))
    assert errors > 0
    assert "WARNING" not in capfd.readouterr().err
