"""What the ball in its house and the pushed block promise beyond what all tasks do."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.pointmaze import PointMaze, TwoRoom, wall_gap, way

robossl.envs.register()
MAZES = ["robossl/TwoRoom-v0", "robossl/PointMaze-v0"]
HALF, DOOR, RADIUS = 0.5, (0.1, 0.3), 0.0286  # [m] as the model has them


def shortest(start: np.ndarray, end: np.ndarray) -> float:
    """[m] by trying ten thousand places to cross a thin wall; straight within a room."""
    if start[0] * end[0] >= 0:
        return float(np.hypot(*(end - start)))
    y = np.linspace(DOOR[0] + RADIUS, DOOR[1] - RADIUS, 10_001)
    return float((np.hypot(start[0], y - start[1]) + np.hypot(end[0], y - end[1])).min())


def rolled_through_the_door(envs, target: np.ndarray) -> np.ndarray:
    """An action (n, 2) towards targets (n, 2) [m]: first in front of the door, then through it."""
    ball = envs.simulation.body
    x, y = ball.qpos.T
    waypoint = target.copy()
    elsewhere = x * target[:, 0] < 0
    aligned = (y > DOOR[0] + RADIUS + 0.02) & (y < DOOR[1] - RADIUS - 0.02)
    waypoint[elsewhere] = np.stack([np.sign(x) * 0.08, np.full(len(x), 0.2)], axis=1)[elsewhere]
    leaving = elsewhere & aligned
    waypoint[leaving] = np.stack([-np.sign(x) * 0.12, np.full(len(x), 0.2)], axis=1)[leaving]
    return 8.0 * (waypoint - ball.qpos) - 1.0 * ball.qvel


def test_the_way_is_the_shortest_one() -> None:
    random = np.random.default_rng(0)
    ends = random.uniform(-0.45, 0.45, (300, 2, 2))
    ours = way(ends[:, 0], ends[:, 1])
    np.testing.assert_allclose(ours, [shortest(a, b) for a, b in ends], atol=1e-6)
    np.testing.assert_allclose(ours, way(ends[:, 1], ends[:, 0]), atol=1e-12)
    assert (ours >= np.hypot(*(ends[:, 0] - ends[:, 1]).T) - 1e-12).all()
    assert (way(ends, ends) == 0).all()


def test_the_wall_is_where_mujoco_says() -> None:
    """Where the gap is negative MuJoCo has a contact that deep, and elsewhere none."""
    envs = gym.make_vec(MAZES[0], num_envs=4000)
    envs.reset(seed=0)
    body, batch = envs.simulation.body, envs.simulation.batch
    body.qpos[:] = np.random.default_rng(0).uniform(-0.5, 0.5, body.qpos.shape)
    contacts = batch.bind("ncon")
    batch.forward()
    gap = wall_gap(body.qpos)
    assert 100 < (gap < 0).sum() < 2000
    assert np.array_equal(contacts > 0, gap < 0)


def test_the_ball_stays_in_the_house_and_feels_its_walls() -> None:
    envs = gym.make_vec(MAZES[1], num_envs=64, max_episode_steps=10_000)
    envs.reset(seed=0)
    felt = []
    for angle in np.linspace(0, 20 * np.pi, 1000):
        turn = angle + np.linspace(0, 2 * np.pi, 64)
        envs.step(np.stack([np.cos(turn), np.sin(turn)], axis=1))
        assert wall_gap(envs.simulation.body.qpos).min() > -0.01
        felt.append(envs.state()["wall_contact"].mean())
    assert 0.05 < np.mean(felt) < 0.95


@pytest.mark.parametrize("env_id", MAZES)
def test_lives_and_goals_are_clear_of_the_walls(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=256)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    start = envs.simulation.body.qpos
    assert wall_gap(start).min() > 0.009
    assert wall_gap(goal * HALF).min() > 0.009
    crossing = start[:, 0] * goal[:, 0] < 0
    assert crossing.all() if env_id == MAZES[0] else 0.4 < crossing.mean() < 0.6


@pytest.mark.parametrize("env_id", MAZES)
def test_every_place_can_be_rolled_to_and_held(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=64)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    target = envs.simulation.task.pose_at(goal)
    rewards = []
    for _ in range(199):
        _, reward, *_, infos = envs.step(rolled_through_the_door(envs, target))
        rewards.append(reward)
    assert infos["is_success"].all()
    assert (rewards[-1] > 0.99).all()
    assert np.mean(rewards) > 0.5, "and does not take all day"


def test_a_place_behind_the_wall_is_far() -> None:
    near_wall, behind = np.array([-0.06, -0.4]), np.array([0.06, -0.4])
    task = TwoRoom()
    assert task.goal_reward(near_wall / HALF, behind / HALF) < 0.1
    assert task.goal_reward(near_wall / HALF, (near_wall - [0.1, 0]) / HALF) > 0.7
    assert not task.reached(np.array([-0.014, -0.4]) / HALF, np.array([0.014, -0.4]) / HALF)
    assert isinstance(task, PointMaze)
