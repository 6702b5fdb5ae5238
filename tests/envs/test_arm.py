"""What the arm with its gripper and its cube promises beyond what all bodies do."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.arm import ArmLift, ArmPush, ArmReach, inverse_kinematics
from robossl.envs.engine.task import GoalTask
from robossl.envs.shared.rotations import box_gap, lowest_corner, quaternion_of, rotation_6d

from benchmarks.references.arm import LiftController

robossl.envs.register()
TABLE_HALF = 0.025  # [m] height of the middle of a cube that lies


def made(task: str = "ArmLift", lanes: int = 4, seed: int = 0):
    envs = gym.make_vec(f"robossl/{task}-v0", num_envs=lanes, autoreset_mode="Disabled")
    envs.reset(seed=seed)
    return envs


def test_with_no_action_arm_and_cube_stay_where_they_are() -> None:
    envs = made(lanes=8)
    robot = envs.simulation.robot
    joints, cube = robot.qpos[:, :7].copy(), robot.cube().copy()
    for _ in range(50):
        *_, infos = envs.step(np.zeros((8, 8)))
        assert not infos["physics_error"].any()
    assert np.abs(robot.qpos[:, :7] - joints).max() < 1e-3
    assert np.abs(robot.cube() - cube).max() < 1e-3
    assert (envs.privileged_state()["table_contact"] == 1).all()
    assert (envs.privileged_state()["finger_contact"] == 0).all()


@pytest.mark.parametrize("seconds", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_hard_play_does_not_throw_the_cube_out_nor_the_arm_about(seconds: int) -> None:
    """Full speed one way or the other, for half a second on average."""
    envs = gym.make_vec("robossl/ArmLift-v0", num_envs=16, max_episode_steps=10**6)
    envs.reset(seed=1)
    random, robot = np.random.default_rng(1), envs.simulation.robot
    action = np.zeros((16, 8))
    for _ in range(25 * seconds):
        drawn = random.random((16, 8)) < 0.08
        action = np.where(drawn, np.sign(random.normal(size=(16, 8))), action)
        observation, *_, infos = envs.step(action)
        assert observation in envs.observation_space
        assert not infos["physics_error"].any()
        assert np.abs(robot.qvel[:, :4]).max() < 2.175, "no faster than the machine may"
        assert np.abs(robot.qvel[:, 4:7]).max() < 10, "the wrist gives way where the arm strikes the table"
        assert (np.abs(robot.cube() - [0.5, 0.0, 0.3]) < [0.6, 0.8, 0.8]).all()


def test_the_limits_are_those_of_the_machine() -> None:
    model = made().simulation.model
    limits = [[-166, 166], [-101, 101], [-166, 166], [-176, -4], [-166, 166], [-1, 215], [-166, 166]]
    np.testing.assert_allclose(np.degrees(model.jnt_range[:7]), limits, atol=1e-9)
    assert model.actuator_forcerange[:7, 1].tolist() == [87] * 4 + [12] * 3
    np.testing.assert_allclose(2 * model.actuator_ctrlrange[:7, 1], [2.175] * 4 + [2.61] * 3, rtol=0.02)


def test_the_joints_move_at_the_wished_speeds_without_rattling() -> None:
    """Three steps after any jump of the action, but where a limit stops them: within 0.1 rad/s, 19 times out of 20."""
    envs = made("ArmReach", lanes=16)
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


def test_the_gripper_is_where_mujoco_says_after_a_step() -> None:
    import mujoco

    envs = made("ArmReach", lanes=8)
    random = np.random.default_rng(0)
    for _ in range(10):
        envs.step(random.uniform(-1, 1, (8, 8)))
    model, robot = envs.simulation.model, envs.simulation.robot
    data, site = mujoco.MjData(model), model.site("grip").id
    for lane in range(8):
        data.qpos[:] = robot.qpos[lane]
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(robot.grip()[lane], data.site_xpos[site], atol=1e-12)


def test_the_joints_that_reach_a_place_reach_it_pointing_down() -> None:
    """Wherever goals are: the place to rounding, within the limits, and the fingers turned as wished."""
    import mujoco

    model, task, random = made().simulation.model, ArmReach(), np.random.default_rng(0)
    place = task.goal_position(np.stack([task.sample_goal(random) for _ in range(300)]))
    place[0], place[1] = task._REACH[1], task._REACH[0]  # the farthest and the nearest there are
    yaw = random.uniform(-np.pi, np.pi, 300)
    data = mujoco.MjData(model)
    for joints, wanted, turn in zip(inverse_kinematics(place, yaw), place, yaw):
        assert ((joints >= model.jnt_range[:7, 0]) & (joints <= model.jnt_range[:7, 1])).all()
        data.qpos[:7] = joints
        mujoco.mj_kinematics(model, data)
        frame = data.site("grip").xmat.reshape(3, 3)
        np.testing.assert_allclose(data.site("grip").xpos, wanted, atol=1e-9)
        np.testing.assert_allclose(frame[:, 2], [0, 0, -1], atol=1e-9)
        assert abs(frame[:2, 1] @ [-np.sin(turn), np.cos(turn)]) == pytest.approx(1)


@pytest.mark.parametrize("task", [ArmReach, ArmPush, ArmLift])
def test_no_life_begins_inside_anything(task) -> None:
    """Neither lives nor the poses in which goals are met."""
    import mujoco

    model, random = made().simulation.model, np.random.default_rng(0)
    poses = [task().sample_initial_state(random)[0] for _ in range(100)]
    if issubclass(task, GoalTask):
        poses += list(task().goal_pose(np.stack([task().sample_goal(random) for _ in range(100)])))
    data = mujoco.MjData(model)
    for pose in poses:
        data.qpos[:] = pose
        mujoco.mj_forward(model, data)
        assert min((contact.dist for contact in data.contact), default=0.0) > -1e-9


def test_the_cube_can_be_lifted_and_is_held() -> None:
    """The scripted controller lifts it; then, with no action, the gripper holds it for four seconds."""
    envs = made(lanes=3)
    robot, controller = envs.simulation.robot, LiftController(envs)
    controller.reset(np.ones(3, bool))
    for _ in range(110):
        *_, infos = envs.step(controller.act(None))
    assert infos["is_success"].all()
    assert (envs.privileged_state()["finger_contact"] == 1).all()
    assert (envs.privileged_state()["table_contact"] == 0).all()
    lifted = robot.cube().copy()
    for _ in range(100):
        *_, infos = envs.step(np.zeros((3, 8)))
    assert np.abs(robot.cube() - lifted).max() < 0.01
    assert infos["is_success"].all()
    for _ in range(40):
        *_, infos = envs.step(np.eye(8)[[7] * 3])
    assert not infos["is_success"].any(), "let go, it falls"
    assert (envs.privileged_state()["table_contact"] == 1).all()


def test_lifting_pays_with_the_height_and_only_between_the_fingers() -> None:
    envs = made(lanes=3)
    robot, task = envs.simulation.robot, envs.simulation.task
    robot.qpos[:, 9:12] = robot.grip() * [1, 1, 0] + [0, 0, TABLE_HALF]
    robot.qpos[1, 9:12] = robot.grip()[1] * [1, 1, 0] + [0, 0, TABLE_HALF + 0.2]
    robot.qpos[1, :7] = inverse_kinematics(robot.cube()[1], np.array(0.0))
    robot.qpos[2, 9:12] = [0.5, 0.25, TABLE_HALF + 0.2]
    envs.simulation.batch.forward()
    reward = task.reward(robot, np.zeros((3, 8)))
    assert reward[1] == pytest.approx(1)
    assert reward[0] < 0.2
    assert reward[2] < 0.5
    assert task.success(robot).tolist() == [False, True, False]


def test_what_is_observed_tells_the_pose() -> None:
    envs = made(lanes=8)
    random = np.random.default_rng(2)
    for _ in range(20):
        envs.step(random.uniform(-1, 1, (8, 8)))
    seen = envs.observation()
    again = made(lanes=8, seed=9).set_physics_state(envs.physics_from_observation(seen))
    np.testing.assert_allclose(again[:, :21], seen[:, :21], atol=1e-5)
    assert np.isfinite(envs.physics_from_observation(seen * 1.1)).all(), (
        "imagined axes need not have length 1"
    )
    assert np.isfinite(envs.physics_from_observation(seen * 0.0)).all()


def test_axes_and_quaternions_are_each_others_inverse() -> None:
    turns = np.random.default_rng(0).normal(size=(500, 4))
    turns[:4] = np.eye(4)
    turns /= np.sqrt((turns**2).sum(axis=1, keepdims=True))
    again = quaternion_of(rotation_6d(turns))
    np.testing.assert_allclose(np.abs((again * turns).sum(axis=1)), 1, atol=1e-12)
    assert (again[:, 0] >= 0).all()


def test_the_gap_to_a_cube_and_its_lowest_corner() -> None:
    upright = np.array([1.0, 0, 0, 0, 1, 0])
    points, centre = np.array([[0.0, 0, 0], [3, 0, 0], [4, 5, 0]]), np.zeros(3)
    np.testing.assert_allclose(box_gap(points, centre, upright, 1.0), [0, 2, 5])
    on_edge = rotation_6d(np.array([np.cos(np.pi / 8), np.sin(np.pi / 8), 0, 0]))
    assert lowest_corner(np.array([0, 0, 3.0]), upright, 1.0) == pytest.approx(2)
    assert lowest_corner(np.array([0, 0, 3.0]), on_edge, 1.0) == pytest.approx(3 - np.sqrt(2))
