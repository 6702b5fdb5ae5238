"""Reward shaping, the reacher and the cartpole."""

import math

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.cartpole import CartPoleSwingUp
from robossl.envs.reacher import Reacher, ReacherHard, fingertip, joint_error
from robossl.envs.shared.reward_shaping import tolerance

robossl.envs.register()


def test_tolerance_is_one_inside_and_a_tenth_at_the_margin() -> None:
    values = np.linspace(-5, 5, 1001)
    rewards = tolerance(values, lower=-1, upper=2, margin=0.5)
    assert (rewards[(values >= -1) & (values <= 2)] == 1).all()
    assert tolerance(2.5, -1, 2, 0.5) == pytest.approx(0.1)
    assert tolerance(-1.5, -1, 2, 0.5) == pytest.approx(0.1)
    assert (np.diff(rewards[values > 2]) < 0).all()
    assert (np.diff(rewards[values < -1]) > 0).all()
    assert tolerance(np.array([0.0, 1.0, 3.0]), 0, 1).tolist() == [1, 1, 0]


def test_reacher_fingertip_matches_mujoco() -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=32)
    envs.reset(seed=0)
    batch = envs.simulation.batch
    tips = batch.site("fingertip").xpos
    batch.forward()
    np.testing.assert_allclose(envs.privileged_state()["fingertip"], tips[:, :2], atol=1e-12)


def test_reacher_compares_angles_modulo_two_pi() -> None:
    def goal(*joints: float) -> np.ndarray:
        return np.concatenate([np.cos(joints), np.sin(joints)])

    error = joint_error(goal(math.pi - 0.03, 1.0), goal(-math.pi + 0.04, 1.0))
    np.testing.assert_allclose(error, [0.07, 0.0], atol=1e-12)
    task = Reacher()
    assert task.is_success(goal(math.pi - 0.03, 1.0), goal(-math.pi + 0.04, 1.0))
    assert not task.is_success(goal(0.0, 1.0), goal(0.11, 1.0))
    offsets = np.random.default_rng(0).uniform(-math.pi, math.pi, (200, 2))
    wrapped = joint_error(
        np.stack([goal(0.3, -0.2)] * 200), np.stack([goal(0.3 + a, -0.2 + b) for a, b in offsets])
    )
    np.testing.assert_allclose(wrapped, offsets, atol=1e-9)


def test_reacher_elbow_is_limited_and_shoulder_is_not() -> None:
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=1)
    envs.reset(seed=0)
    angles = []
    for _ in range(150):
        envs.step(np.array([[1.0, 1.0]]))
        angles.append(envs.simulation.robot.qpos[0].copy())
    assert np.max(angles, axis=0)[0] > 2 * math.pi
    assert math.radians(140) < np.max(angles, axis=0)[1] < math.radians(170)


def test_reacher_hard_goal_pose_puts_the_fingertip_at_the_goal() -> None:
    task, random = ReacherHard(), np.random.default_rng(0)
    goals = np.stack([task.sample_goal(random) for _ in range(300)])
    poses = task.goal_pose(goals)
    np.testing.assert_allclose(fingertip(poses) / 0.24, goals, atol=1e-9)
    assert (np.abs(poses[:, 1]) <= math.radians(160)).all()


@pytest.mark.parametrize("env_id", ["robossl/Reacher-v0", "robossl/ReacherHard-v0"])
def test_reacher_goal_is_reached_and_kept_by_pd_control(env_id) -> None:
    """A PD controller succeeds from half of the episode to its end."""
    envs = gym.make_vec(env_id, num_envs=32)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    target = envs.simulation.task.goal_pose(goal)
    success = np.zeros((200, 32), bool)
    for t in range(199):
        robot = envs.simulation.robot
        error = target - robot.qpos
        error[:, 0] = np.arctan2(np.sin(error[:, 0]), np.cos(error[:, 0]))
        success[t] = envs.step(2.0 * error - 0.15 * robot.qvel)[4]["is_success"]
    assert success[100:199].all()


def test_reacher_marker_is_at_the_goal() -> None:
    for task in (Reacher(), ReacherHard()):
        goal = task.sample_goal(np.random.default_rng(4))
        tip = fingertip(task.goal_pose(goal[None])[0])
        np.testing.assert_allclose(task.markers(goal)[-1].position[:2], tip, atol=1e-9)


def test_cartpole_reward_is_one_upright_and_zero_hanging() -> None:
    envs = gym.make_vec("robossl/CartPoleSwingUp-v0", num_envs=2)
    envs.reset(seed=0)
    robot = envs.simulation.robot
    robot.qpos[:], robot.qvel[:] = [[0, 0], [0, math.pi]], 0
    _, reward, *_, infos = envs.step(np.zeros((2, 1)))
    assert reward[0] > 0.99
    assert reward[1] < 0.01
    assert infos["is_success"].tolist() == [True, False]
    assert isinstance(envs.simulation.task, CartPoleSwingUp)


def test_uncontrolled_pole_falls_and_force_moves_the_cart() -> None:
    envs = gym.make_vec("robossl/CartPoleBalance-v0", num_envs=8)
    envs.reset(seed=0)
    fallen = np.zeros(8, bool)
    for _ in range(200):
        fallen |= ~envs.step(np.zeros((8, 1)))[4]["is_success"]
    assert fallen.all()
    before = envs.privileged_state()["cart_position"]
    for _ in range(20):
        envs.step(np.ones((8, 1)))
    assert (envs.privileged_state()["cart_position"] > before + 0.3).all()


def test_cached_values_are_cleared_after_a_step() -> None:
    envs = gym.make_vec("robossl/CartPoleBalance-v0", num_envs=3)
    robot = envs.unwrapped.simulation.robot
    envs.reset(seed=0)
    envs.step(np.zeros((3, 1)))
    for angle in (0.0, 1.0, 2.0):
        robot.qpos[:, 1] = angle
        assert np.array_equal(robot.upright(), np.full(3, np.cos(angle)))
        assert np.array_equal(envs.observation()[:, 1], np.full(3, np.cos(angle), np.float32))
