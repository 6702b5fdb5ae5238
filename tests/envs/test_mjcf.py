"""Envs of MJCF files: joints are observed, actuators act, and a wrong file is refused with its reason."""

import pickle  # noqa: TID251 - the tests check that envs can be pickled

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from robossl.core.errors import UsageError

robossl.envs.register()
ID = "robossl/Mjcf-v0"
ROBOT = """<mujoco model="example">
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="2 2 .1"/>
    <body name="drone" pos="0 0 1"><freejoint/><geom size=".1"/>
      <body name="arm" pos=".1 0 0"><joint name="bend" axis="0 1 0" range="-60 120" damping=".1"/>
        <geom type="capsule" fromto="0 0 0 .2 0 0" size=".02"/>
        <body name="wheel" pos=".2 0 0"><joint name="spin" axis="0 1 0"/><geom size=".03"/></body>
      </body>
    </body>
    <body name="head" pos="1 0 1"><joint type="ball" damping=".01"/><geom pos=".1 0 0" size=".1"/></body>
    <body name="lift" pos="-1 0 1"><joint type="slide" axis="0 0 1"/><geom size=".1"/></body>
  </worldbody>
  <actuator>
    <position name="bend" joint="bend" kp="2" ctrlrange="-1 2"/>
    <motor name="spin" joint="spin" gear=".01"/>
  </actuator>
</mujoco>"""


@pytest.fixture
def robot(tmp_path) -> str:
    path = tmp_path / "my_robot.xml"
    path.write_text(ROBOT)
    return str(path)


def test_env_checkers_pass(robot) -> None:
    env = gym.make(ID, model=robot).unwrapped
    check_env(env, skip_render_check=True)
    sb3_check_env(env, skip_render_check=True, warn=False)  # it warns about large limits of free positions


def test_joints_are_observed_and_actuators_act(robot) -> None:
    envs = gym.make_vec(ID, num_envs=3, model=robot)
    observation, infos = envs.reset(seed=0)
    assert observation.shape == (3, 1 + 2 + 7 + 4 + 1 + 12)  # bend, spin, drone, head, lift, all speeds
    assert envs.single_action_space.shape == (2,)
    assert set(infos) == {"physics_error", "_physics_error"}, "no success"
    assert envs.success() is None
    assert envs.metadata["render_fps"] == 50
    robot, control = envs.simulation.robot, envs.simulation.batch.bind("ctrl")
    _, reward, terminated, truncated, _ = envs.step(np.array([[1.0, 1.0], [-1, -1], [0, 0]]))
    np.testing.assert_allclose(control, [[2, 1], [-1, -1], [0.5, 0]])
    assert (reward == 0).all()
    assert not (terminated | truncated).any()
    bend = np.radians(30) + envs.observation()[:, 0] * np.radians(90)
    np.testing.assert_allclose(bend, robot.qpos[:, 7], atol=1e-6)
    assert bend[0] > bend[2] > bend[1]


def test_episodes_start_near_the_pose_of_the_file(robot, tmp_path) -> None:
    envs = gym.make_vec(ID, num_envs=16, model=robot)
    envs.reset(seed=0)
    robot = envs.simulation.robot
    assert 0.01 < np.ptp(robot.qpos[:, 7]) < 0.11
    np.testing.assert_array_equal(robot.qpos[:, :7], np.tile([0, 0, 1, 1, 0, 0, 0], (16, 1)))
    assert (robot.qvel == 0).all()
    home = tmp_path / "home.xml"
    keyframe = '<keyframe><key qpos="0 0 2 1 0 0 0 1.5 0 1 0 0 0 0"/></keyframe></mujoco>'
    home.write_text(ROBOT.replace("</mujoco>", keyframe))
    envs = gym.make_vec(ID, num_envs=2, model=str(home))
    envs.reset(seed=0)
    np.testing.assert_allclose(envs.simulation.robot.qpos[:, [2, 7]], [[2, 1.5]] * 2, atol=0.05)


def test_vector_env_equals_single_envs_and_its_pickle(robot) -> None:
    settings = {"model": robot, "max_episode_steps": 6, "randomization": "train"}
    native = gym.make_vec(ID, num_envs=2, **settings)
    sync = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", **settings)
    ours, theirs = native.reset(seed=1)[0], sync.reset(seed=1)[0]
    for t in range(20):
        np.testing.assert_array_equal(ours, theirs)
        ours, theirs = (envs.step(np.full((2, 2), np.sin(t), np.float32))[0] for envs in (native, sync))
    unpickled = pickle.loads(pickle.dumps(native))  # noqa: S301
    np.testing.assert_array_equal(*(envs.step(np.ones((2, 2)))[0] for envs in (native, unpickled)))


def test_physics_from_observation_reproduces_the_pose(robot) -> None:
    envs = gym.make_vec(ID, num_envs=4, model=robot)
    envs.reset(seed=0)
    for t in range(30):
        envs.step(np.full((4, 2), np.sin(0.3 * t)))
    before, observation = envs.privileged_state(), envs.observation()
    envs.set_physics_state(envs.physics_from_observation(observation))
    for name, value in envs.privileged_state().items():
        if name != "joint_velocity":
            np.testing.assert_allclose(value, before[name], atol=1e-5, err_msg=name)
    imagined = observation.copy()
    imagined[:, 3 + 3 : 3 + 7] = 0  # a zero quaternion
    assert np.isfinite(envs.physics_from_observation(imagined)).all()


def test_model_without_camera_and_light_is_rendered(robot, gl) -> None:
    envs = gym.make_vec(ID, num_envs=1, model=robot, render_mode="rgb_array", render_size=(64, 64))
    envs.reset(seed=0)
    assert envs.render()[0].std() > 5


def test_substeps_set_the_control_step(robot) -> None:
    assert gym.make_vec(ID, model=robot, substeps=20).metadata["render_fps"] == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROBOT.replace("<geom size", "<geo size", 1),
            r"my_robot.xml does not compile: XML Error: .*'geo'.* line 5",
        ),
        ("not XML", "my_robot.xml does not compile"),
        *(
            (f"<mujoco><option timestep='{step}'/></mujoco>", f"expected a timestep of .*, got {got}$")
            for step, got in (("0", "0"), ("nan", "nan"), ("1e-30", "1e-30"), ("-1", "-1"))
        ),
        (ROBOT[: ROBOT.index("<actuator>")] + "</mujoco>", r"my_robot.xml, which has no actuators"),
        ("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>", "has no joints"),
    ],
)
def test_file_without_a_valid_robot_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "my_robot.xml"
    path.write_text(text)
    for make in (gym.make, gym.make_vec):
        with pytest.raises(UsageError, match=message) as error:
            make(ID, model=str(path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"give model='my_robot\.xml'"),
        ({"model": "nowhere.xml"}, "no MJCF file"),
        ({"model": "folder"}, "no MJCF file"),
    ],
)
def test_missing_file_is_refused(arguments, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        gym.make(ID, **arguments)
