"""Pointmaze and PushT: geometry, contacts, rewards and reachable goals."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.pointmaze import PointMaze, TwoRoom, shortest_path_length, wall_distance
from robossl.envs.pusht import PushT, block_distance, pose_error

robossl.envs.register()
MAZES = ["robossl/TwoRoom-v0", "robossl/PointMaze-v0"]
HALF, DOOR, RADIUS = 0.5, (0.1, 0.3), 0.0286  # [m] as in the model of the maze
TABLE, PUSHER, UNIT = 0.2, 0.015, 0.03  # [m] as in the model of the table


def shortest_path(start: np.ndarray, end: np.ndarray) -> float:
    """Return the path length [m] by trying 10,001 points of the door; straight within a room."""
    if start[0] * end[0] >= 0:
        return float(np.hypot(*(end - start)))
    y = np.linspace(DOOR[0] + RADIUS, DOOR[1] - RADIUS, 10_001)
    return float((np.hypot(start[0], y - start[1]) + np.hypot(end[0], y - end[1])).min())


def roll_through_door(envs, target: np.ndarray) -> np.ndarray:
    """Return actions (n, 2) toward targets (n, 2) [m]: first to the door, then through it."""
    ball = envs.simulation.robot
    x, y = ball.qpos.T
    waypoint = target.copy()
    other_room = x * target[:, 0] < 0
    aligned = (y > DOOR[0] + RADIUS + 0.02) & (y < DOOR[1] - RADIUS - 0.02)
    waypoint[other_room] = np.stack([np.sign(x) * 0.08, np.full(len(x), 0.2)], axis=1)[other_room]
    leaving = other_room & aligned
    waypoint[leaving] = np.stack([-np.sign(x) * 0.12, np.full(len(x), 0.2)], axis=1)[leaving]
    return 8.0 * (waypoint - ball.qpos) - 1.0 * ball.qvel


def test_shortest_path_length_matches_a_search() -> None:
    random = np.random.default_rng(0)
    ends = random.uniform(-0.45, 0.45, (300, 2, 2))
    ours = shortest_path_length(ends[:, 0], ends[:, 1])
    np.testing.assert_allclose(ours, [shortest_path(a, b) for a, b in ends], atol=1e-6)
    np.testing.assert_allclose(ours, shortest_path_length(ends[:, 1], ends[:, 0]), atol=1e-12)
    assert (ours >= np.hypot(*(ends[:, 0] - ends[:, 1]).T) - 1e-12).all()
    assert (shortest_path_length(ends, ends) == 0).all()


def test_wall_distance_matches_mujoco_contacts() -> None:
    """MuJoCo has a contact exactly where the distance is negative."""
    envs = gym.make_vec(MAZES[0], num_envs=4000)
    envs.reset(seed=0)
    robot, batch = envs.simulation.robot, envs.simulation.batch
    robot.qpos[:] = np.random.default_rng(0).uniform(-0.5, 0.5, robot.qpos.shape)
    contacts = batch.bind("ncon")
    batch.forward()
    distance = wall_distance(robot.qpos)
    assert 100 < (distance < 0).sum() < 2000
    assert np.array_equal(contacts > 0, distance < 0)


def test_ball_stays_in_the_maze_and_has_wall_contact() -> None:
    envs = gym.make_vec(MAZES[1], num_envs=64, max_episode_steps=10_000)
    envs.reset(seed=0)
    contact = []
    for angle in np.linspace(0, 8 * np.pi, 400):
        direction = angle + np.linspace(0, 2 * np.pi, 64)
        envs.step(np.stack([np.cos(direction), np.sin(direction)], axis=1))
        assert wall_distance(envs.simulation.robot.qpos).min() > -0.01
        contact.append(envs.privileged_state()["wall_contact"].mean())
    assert 0.05 < np.mean(contact) < 0.95


@pytest.mark.parametrize("env_id", MAZES)
def test_initial_positions_and_goals_are_off_the_walls(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=256)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    start = envs.simulation.robot.qpos
    assert wall_distance(start).min() > 0.009
    assert wall_distance(goal * HALF).min() > 0.009
    crossing = start[:, 0] * goal[:, 0] < 0
    assert crossing.all() if env_id == MAZES[0] else 0.4 < crossing.mean() < 0.6


@pytest.mark.parametrize("env_id", MAZES)
def test_pointmaze_goals_are_reached_by_pd_control(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=64)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    target = envs.simulation.task.goal_pose(goal)
    rewards = []
    for _ in range(199):
        _, reward, *_, infos = envs.step(roll_through_door(envs, target))
        rewards.append(reward)
    assert infos["is_success"].all()
    assert (rewards[-1] > 0.99).all()
    assert np.mean(rewards) > 0.5, "goals are reached early"


def test_goal_behind_the_wall_is_far() -> None:
    near_wall, behind = np.array([-0.06, -0.4]), np.array([0.06, -0.4])
    task = TwoRoom()
    assert task.goal_reward(near_wall / HALF, behind / HALF) < 0.1
    assert task.goal_reward(near_wall / HALF, (near_wall - [0.1, 0]) / HALF) > 0.7
    assert not task.is_success(np.array([-0.014, -0.4]) / HALF, np.array([0.014, -0.4]) / HALF)
    assert isinstance(task, PointMaze)


def make_pusht(num_envs: int):
    envs = gym.make_vec("robossl/PushT-v0", num_envs=num_envs, max_episode_steps=10_000)
    envs.reset(seed=0)
    return envs


def block_points() -> np.ndarray:
    """Return points (p, 2) [m] evenly over the T, from its center of mass; bar 4 x 1 units, stem 3 x 1."""
    grid = (np.arange(40) + 0.5) / 10
    bar = np.stack(np.meshgrid(grid - 2, grid[:10] - 0.5), axis=-1).reshape(-1, 2)
    stem = np.stack(np.meshgrid(grid[:10] - 0.5, grid[:30] - 3.5), axis=-1).reshape(-1, 2)
    points = np.concatenate([bar, stem]) * UNIT
    return points - points.mean(axis=0)


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = points.T
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


def test_block_mass_inertia_and_friction_match_its_shape() -> None:
    model = make_pusht(1).simulation.model
    np.testing.assert_allclose(model.body("block").ipos, 0, atol=1e-6)
    mass, inertia = model.body("block").mass[0], model.body_inertia[model.body("block").id].max()
    points = block_points()
    assert inertia / mass == pytest.approx((points**2).sum(axis=1).mean(), rel=0.01)
    friction = model.dof_damping[model.joint("block_angle").dofadr[0]] / model.dof_damping[2]
    assert friction == pytest.approx((points**2).sum(axis=1).mean(), rel=0.01), (
        "friction of even pressure under the block"
    )


def test_pusht_reward_uses_the_rms_distance_of_block_points() -> None:
    task, random, points = PushT(), np.random.default_rng(0), block_points()
    for _ in range(50):
        achieved, desired = task.sample_goal(random), task.sample_goal(random)
        placed = [rotate(points, np.arctan2(g[3], g[2])) + g[:2] * TABLE for g in (achieved, desired)]
        distance = np.sqrt(((placed[0] - placed[1]) ** 2).sum(axis=1).mean())
        expected = 1 / (1 + 9 * (max(distance - 0.005, 0) / 0.12) ** 2)
        assert task.goal_reward(achieved, desired) == pytest.approx(expected, rel=0.01)


def test_pusht_success_is_within_two_centimeters_and_twenty_degrees() -> None:
    def goal(x: float, degrees: float) -> np.ndarray:
        return np.array([x / TABLE, 0.1, np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])

    task = PushT()
    for x, degrees, success in [
        (0.019, 175, True),
        (0.021, 175, False),
        (0.0, -166, True),
        (0.0, -164, False),
    ]:
        assert task.is_success(goal(x, degrees), goal(0.0, 175)) == success, (x, degrees)
    distance, cosine = pose_error(goal(0.03, 60), goal(0.0, 0))
    assert (distance, cosine) == (pytest.approx(0.03), pytest.approx(0.5))


def test_block_distance_matches_mujoco_contacts() -> None:
    envs = make_pusht(4000)
    robot, batch, random = envs.simulation.robot, envs.simulation.batch, np.random.default_rng(0)
    robot.qpos[:, 2:4] = random.uniform(-0.05, 0.05, (4000, 2))
    robot.qpos[:, :2] = robot.qpos[:, 2:4] + random.uniform(-0.11, 0.11, (4000, 2))
    robot.qpos[:, 4] = random.uniform(-7, 7, 4000)
    contacts = batch.bind("ncon")
    batch.forward()
    distance = block_distance(robot.qpos[:, :2], robot.block_pose()) - PUSHER
    clear = np.abs(distance) > 1e-6
    assert 500 < (distance < 0).sum() < 3000
    assert np.array_equal((contacts > 0)[clear], (distance < 0)[clear])


def test_block_moves_only_while_it_is_pushed() -> None:
    envs = make_pusht(64)
    random, robot = np.random.default_rng(1), envs.simulation.robot
    action, pushed, moved = np.zeros((64, 2)), np.zeros(64, bool), 0.0
    for _ in range(150):
        before, contact = robot.qpos[:, 2:].copy(), envs.privileged_state()["block_contact"][:, 0] > 0
        action = 0.95 * action + 0.4 * random.normal(size=(64, 2))
        envs.step(action)
        still = (
            ~contact
            & ~(envs.privileged_state()["block_contact"][:, 0] > 0)
            & (np.abs(robot.qvel[:, 2:]).max(axis=1) < 1e-3)
        )
        step = np.abs(robot.qpos[:, 2:] - before).max(axis=1)
        pushed |= contact
        moved += step[contact].sum()
        assert step[still].max(initial=0.0) < 5e-3
        assert step[~pushed & still].max(initial=0.0) == 0.0
    assert pushed.mean() > 0.3
    assert moved > 1.0
    for _ in range(10):
        envs.step(-np.sign(robot.qpos[:, 2:4] - robot.qpos[:, :2]))  # away from the block
    assert np.abs(robot.qvel[:, 2:]).max() < 0.05, "the released block stops"


def test_pusher_and_block_stay_on_the_table() -> None:
    envs = make_pusht(64)
    robot = envs.simulation.robot
    for phase in np.linspace(0, 5 * np.pi, 250):
        toward_block = robot.qpos[:, 2:4] - robot.qpos[:, :2]
        envs.step(np.where(np.cos(phase) > 0, 1, -1) * np.sign(toward_block))
        assert np.abs(robot.qpos[:, :4]).max() < TABLE
        assert np.abs(robot.qvel).max() < 20


def test_initial_and_goal_poses_leave_space_for_the_pusher() -> None:
    envs = make_pusht(256)
    robot = envs.simulation.robot
    assert (block_distance(robot.qpos[:, :2], robot.block_pose()) > PUSHER + 0.004).all()
    assert np.abs(robot.qpos[:, :2]).max() < TABLE - PUSHER
    goal = envs.observation()["desired_goal"].astype(np.float64)
    robot.qpos[:] = envs.simulation.task.goal_pose(goal)
    assert (block_distance(robot.qpos[:, :2], robot.block_pose()) > PUSHER + 0.004).all()
    for position in (goal[:, :2], robot.block_pose()[:, :2] / TABLE):
        assert np.abs(position).max() <= 0.5 + 1e-6
    envs.step(np.zeros((256, 2)))
    assert envs.success().all()


def test_straight_push_brings_the_block_to_a_goal_ahead() -> None:
    """The pusher starts behind the middle of the bar and moves straight; the block hardly turns."""
    envs = make_pusht(8)
    robot = envs.simulation.robot
    robot.qpos[:] = [0.0, 0.08, 0.0, 0.03, 0.0]
    robot.qvel[:] = 0
    goal = np.tile([0.0, -0.06 / TABLE, 1.0, 0.0], (8, 1))
    envs.set_physics_state(envs.get_physics_state(), goal=goal)
    first = envs.step(np.zeros((8, 2)))[1]
    best = np.max([envs.step(np.tile([0.0, -0.5], (8, 1)))[1] for _ in range(25)], axis=0)
    assert (first < 0.25).all()
    assert (best > 0.9).all()


@pytest.mark.slow
def test_planning_reaches_a_goal_pose() -> None:
    """Cross-entropy planning in the simulator brings the block to its goal and keeps it there."""
    env, plans, random = make_pusht(1), make_pusht(128), np.random.default_rng(0)
    goal_of_env = env.reset(seed=1)[0]["desired_goal"]
    goals, mean, rewards = np.repeat(goal_of_env, 128, axis=0), np.zeros((5, 2)), []
    for step in range(120):
        if step % 5 == 0:
            std = np.full((5, 2), 0.8)
            for _ in range(2):
                sampled = np.clip(mean + std * random.normal(size=(128, 5, 2)), -1, 1)
                plans.set_physics_state(np.repeat(env.get_physics_state(), 128, axis=0), goal=goals)
                rewards_ahead = [plans.step(sampled[:, t // 6])[1] for t in range(30)]
                pusher, block = plans.simulation.robot.qpos[:, :2], plans.simulation.robot.qpos[:, 2:4]
                away = np.maximum(np.hypot(*(pusher - block).T) - 0.06, 0) / 0.1
                best = np.argsort(-(np.sum(rewards_ahead, axis=0) + 30 * rewards_ahead[-1] - 1.5 * away))[:12]
                mean, std = sampled[best].mean(axis=0), sampled[best].std(axis=0) + 0.1
            action = sampled[best[0], :1]
            mean = np.concatenate([mean[1:], mean[-1:]])
        _, reward, *_, infos = env.step(action)
        rewards.append(reward[0])
    assert infos["is_success"].all()
    assert np.mean(rewards[60:]) > 0.9
