"""The arm: kinematics, servo tracking, grasping and lifting, and pose reconstruction."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.arm import ArmLift, ArmPush, ArmReach, inverse_kinematics
from robossl.envs.engine.task import GoalTask
from robossl.envs.shared.rotations import distance_to_cube, lowest_corner, quaternion_from_6d, rotation_6d

from benchmarks.references.arm import LiftController

robossl.envs.register()
CUBE_HALF = 0.025  # [m] height of the center of a cube on the tray


def make_envs(task: str = "ArmLift", num_envs: int = 4, seed: int = 0):
    envs = gym.make_vec(f"robossl/{task}-v0", num_envs=num_envs, autoreset_mode="Disabled")
    envs.reset(seed=seed)
    return envs


def test_zero_action_keeps_arm_and_cube_in_place() -> None:
    envs = make_envs(num_envs=8)
    robot = envs.simulation.robot
    joints, cube = robot.qpos[:, :7].copy(), robot.cube_position().copy()
    for _ in range(50):
        *_, infos = envs.step(np.zeros((8, 8)))
        assert not infos["physics_error"].any()
    assert np.abs(robot.qpos[:, :7] - joints).max() < 1e-3
    assert np.abs(robot.cube_position() - cube).max() < 1e-3
    assert (envs.privileged_state()["table_contact"] == 1).all()
    assert (envs.privileged_state()["finger_contact"] == 0).all()


@pytest.mark.parametrize("seconds", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_full_speed_actions_keep_speeds_and_cube_bounded(seconds: int) -> None:
    """Each action is -1 or 1 for half a second on average."""
    envs = gym.make_vec("robossl/ArmLift-v0", num_envs=16, max_episode_steps=10**6)
    envs.reset(seed=1)
    random, robot = np.random.default_rng(1), envs.simulation.robot
    action = np.zeros((16, 8))
    for _ in range(25 * seconds):
        changed = random.random((16, 8)) < 0.08
        action = np.where(changed, np.sign(random.normal(size=(16, 8))), action)
        observation, *_, infos = envs.step(action)
        assert observation in envs.observation_space
        assert not infos["physics_error"].any()
        assert np.abs(robot.qvel[:, :4]).max() < 2.175, "within the machine's speed limit"
        assert np.abs(robot.qvel[:, 4:7]).max() < 10, "the wrist is pushed back where the arm hits the table"
        assert (np.abs(robot.cube_position() - [0.5, 0.0, 0.3]) < [0.6, 0.8, 0.8]).all()


def test_joint_limits_match_the_panda() -> None:
    model = make_envs().simulation.model
    limits = [[-166, 166], [-101, 101], [-166, 166], [-176, -4], [-166, 166], [-1, 215], [-166, 166]]
    np.testing.assert_allclose(np.degrees(model.jnt_range[:7]), limits, atol=1e-9)
    assert model.actuator_forcerange[:7, 1].tolist() == [87] * 4 + [12] * 3
    np.testing.assert_allclose(2 * model.actuator_ctrlrange[:7, 1], [2.175] * 4 + [2.61] * 3, rtol=0.02)


def test_joint_speeds_track_the_action() -> None:
    """Within 0.1 rad/s in 95 % of cases, three steps after a change of the action, away from joint limits."""
    envs = make_envs("ArmReach", num_envs=16)
    model, robot, random = envs.simulation.model, envs.simulation.robot, np.random.default_rng(0)
    low, high = model.jnt_range[:7].T
    errors = []
    for _ in range(30):
        action = random.uniform(-1, 1, (16, 8))
        for _ in range(3):
            envs.step(action)
        joints = robot.qpos[:, :7]
        free = (joints > low + 0.1) & (joints < high - 0.1)
        error = robot.qvel[:, :7] - action[:, :7] * model.actuator_ctrlrange[:7, 1]
        errors.append(np.where(free, np.abs(error), np.nan))
    assert (np.nanquantile(errors, 0.95, axis=(0, 1)) < 0.1).all()


def test_gripper_position_matches_mujoco() -> None:
    import mujoco

    envs = make_envs("ArmReach", num_envs=8)
    random = np.random.default_rng(0)
    for _ in range(10):
        envs.step(random.uniform(-1, 1, (8, 8)))
    model, robot = envs.simulation.model, envs.simulation.robot
    data, site = mujoco.MjData(model), model.site("grip").id
    for env_index in range(8):
        data.qpos[:] = robot.qpos[env_index]
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(robot.gripper_position()[env_index], data.site_xpos[site], atol=1e-12)


def test_inverse_kinematics_reaches_every_goal_pointing_down() -> None:
    """The gripper is at the goal to rounding, within the joint limits, with the requested yaw."""
    import mujoco

    model, task, random = make_envs().simulation.model, ArmReach(), np.random.default_rng(0)
    position = task.goal_position(np.stack([task.sample_goal(random) for _ in range(300)]))
    position[0], position[1] = task._GOAL_BOX[1], task._GOAL_BOX[0]  # the farthest and the nearest goal
    yaw = random.uniform(-np.pi, np.pi, 300)
    data = mujoco.MjData(model)
    for joints, target, target_yaw in zip(inverse_kinematics(position, yaw), position, yaw):
        assert ((joints >= model.jnt_range[:7, 0]) & (joints <= model.jnt_range[:7, 1])).all()
        data.qpos[:7] = joints
        mujoco.mj_kinematics(model, data)
        frame = data.site("grip").xmat.reshape(3, 3)
        np.testing.assert_allclose(data.site("grip").xpos, target, atol=1e-9)
        np.testing.assert_allclose(frame[:, 2], [0, 0, -1], atol=1e-9)
        assert abs(frame[:2, 1] @ [-np.sin(target_yaw), np.cos(target_yaw)]) == pytest.approx(1)


@pytest.mark.parametrize("task", [ArmReach, ArmPush, ArmLift])
def test_initial_and_goal_poses_have_no_penetration(task) -> None:
    import mujoco

    model, random = make_envs().simulation.model, np.random.default_rng(0)
    poses = [task().sample_initial_state(random)[0] for _ in range(100)]
    if issubclass(task, GoalTask):
        poses += list(task().goal_pose(np.stack([task().sample_goal(random) for _ in range(100)])))
    data = mujoco.MjData(model)
    for pose in poses:
        data.qpos[:] = pose
        mujoco.mj_forward(model, data)
        assert min((contact.dist for contact in data.contact), default=0.0) > -1e-9


def test_lifted_cube_is_held_with_zero_action() -> None:
    """The scripted controller lifts the cube; then the gripper holds it for 4 s with the zero action."""
    envs = make_envs(num_envs=3)
    robot, controller = envs.simulation.robot, LiftController(envs)
    controller.reset(np.ones(3, bool))
    for _ in range(110):
        *_, infos = envs.step(controller.act(None))
    assert infos["is_success"].all()
    assert (envs.privileged_state()["finger_contact"] == 1).all()
    assert (envs.privileged_state()["table_contact"] == 0).all()
    lifted = robot.cube_position().copy()
    for _ in range(100):
        *_, infos = envs.step(np.zeros((3, 8)))
    assert np.abs(robot.cube_position() - lifted).max() < 0.01
    assert infos["is_success"].all()
    for _ in range(40):
        *_, infos = envs.step(np.eye(8)[[7] * 3])
    assert not infos["is_success"].any(), "the cube falls when the gripper opens"
    assert (envs.privileged_state()["table_contact"] == 1).all()


def test_lift_reward_grows_with_height_only_near_the_gripper() -> None:
    envs = make_envs(num_envs=3)
    robot, task = envs.simulation.robot, envs.simulation.task
    robot.qpos[:, 9:12] = robot.gripper_position() * [1, 1, 0] + [0, 0, CUBE_HALF]
    robot.qpos[1, 9:12] = robot.gripper_position()[1] * [1, 1, 0] + [0, 0, CUBE_HALF + 0.2]
    robot.qpos[1, :7] = inverse_kinematics(robot.cube_position()[1], np.array(0.0))
    robot.qpos[2, 9:12] = [0.5, 0.25, CUBE_HALF + 0.2]
    envs.simulation.batch.forward()
    reward = task.reward(robot, np.zeros((3, 8)))
    assert reward[1] == pytest.approx(1)
    assert reward[0] < 0.2
    assert reward[2] < 0.5
    assert task.success(robot).tolist() == [False, True, False]


def test_pose_is_reconstructed_from_the_observation() -> None:
    envs = make_envs(num_envs=8)
    random = np.random.default_rng(2)
    for _ in range(20):
        envs.step(random.uniform(-1, 1, (8, 8)))
    observation = envs.observation()
    reconstructed = make_envs(num_envs=8, seed=9).set_physics_state(
        envs.physics_from_observation(observation)
    )
    np.testing.assert_allclose(reconstructed[:, :21], observation[:, :21], atol=1e-5)
    assert np.isfinite(envs.physics_from_observation(observation * 1.1)).all(), "axes need not have length 1"
    assert np.isfinite(envs.physics_from_observation(observation * 0.0)).all()


def test_6d_rotation_and_quaternion_are_inverse() -> None:
    quaternions = np.random.default_rng(0).normal(size=(500, 4))
    quaternions[:4] = np.eye(4)
    quaternions /= np.sqrt((quaternions**2).sum(axis=1, keepdims=True))
    recovered = quaternion_from_6d(rotation_6d(quaternions))
    np.testing.assert_allclose(np.abs((recovered * quaternions).sum(axis=1)), 1, atol=1e-12)
    assert (recovered[:, 0] >= 0).all()


def test_distance_to_cube_and_lowest_corner() -> None:
    upright = np.array([1.0, 0, 0, 0, 1, 0])
    points, center = np.array([[0.0, 0, 0], [3, 0, 0], [4, 5, 0]]), np.zeros(3)
    np.testing.assert_allclose(distance_to_cube(points, center, upright, 1.0), [0, 2, 5])
    on_edge = rotation_6d(np.array([np.cos(np.pi / 8), np.sin(np.pi / 8), 0, 0]))
    assert lowest_corner(np.array([0, 0, 3.0]), upright, 1.0) == pytest.approx(2)
    assert lowest_corner(np.array([0, 0, 3.0]), on_edge, 1.0) == pytest.approx(3 - np.sqrt(2))
