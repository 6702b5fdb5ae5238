"""What the ball in its house and the pushed block promise beyond what all tasks do."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.pointmaze import PointMaze, TwoRoom, shortest_path_length, wall_gap
from robossl.envs.pusht import PushT, block_gap, pose_error

robossl.envs.register()
MAZES = ["robossl/TwoRoom-v0", "robossl/PointMaze-v0"]
HALF, DOOR, RADIUS = 0.5, (0.1, 0.3), 0.0286  # [m] as the model of the house has them
TABLE, PUSHER, UNIT = 0.2, 0.015, 0.03  # [m] as the model of the table has them


def shortest(start: np.ndarray, end: np.ndarray) -> float:
    """[m] by trying ten thousand places to cross a thin wall; straight within a room."""
    if start[0] * end[0] >= 0:
        return float(np.hypot(*(end - start)))
    y = np.linspace(DOOR[0] + RADIUS, DOOR[1] - RADIUS, 10_001)
    return float((np.hypot(start[0], y - start[1]) + np.hypot(end[0], y - end[1])).min())


def rolled_through_the_door(envs, target: np.ndarray) -> np.ndarray:
    """An action (n, 2) towards targets (n, 2) [m]: first in front of the door, then through it."""
    ball = envs.simulation.robot
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
    ours = shortest_path_length(ends[:, 0], ends[:, 1])
    np.testing.assert_allclose(ours, [shortest(a, b) for a, b in ends], atol=1e-6)
    np.testing.assert_allclose(ours, shortest_path_length(ends[:, 1], ends[:, 0]), atol=1e-12)
    assert (ours >= np.hypot(*(ends[:, 0] - ends[:, 1]).T) - 1e-12).all()
    assert (shortest_path_length(ends, ends) == 0).all()


def test_the_wall_is_where_mujoco_says() -> None:
    """Where the gap is negative MuJoCo has a contact that deep, and elsewhere none."""
    envs = gym.make_vec(MAZES[0], num_envs=4000)
    envs.reset(seed=0)
    robot, batch = envs.simulation.robot, envs.simulation.batch
    robot.qpos[:] = np.random.default_rng(0).uniform(-0.5, 0.5, robot.qpos.shape)
    contacts = batch.bind("ncon")
    batch.forward()
    gap = wall_gap(robot.qpos)
    assert 100 < (gap < 0).sum() < 2000
    assert np.array_equal(contacts > 0, gap < 0)


def test_the_ball_stays_in_the_house_and_feels_its_walls() -> None:
    envs = gym.make_vec(MAZES[1], num_envs=64, max_episode_steps=10_000)
    envs.reset(seed=0)
    felt = []
    for angle in np.linspace(0, 8 * np.pi, 400):
        turn = angle + np.linspace(0, 2 * np.pi, 64)
        envs.step(np.stack([np.cos(turn), np.sin(turn)], axis=1))
        assert wall_gap(envs.simulation.robot.qpos).min() > -0.01
        felt.append(envs.privileged_state()["wall_contact"].mean())
    assert 0.05 < np.mean(felt) < 0.95


@pytest.mark.parametrize("env_id", MAZES)
def test_lives_and_goals_are_clear_of_the_walls(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=256)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    start = envs.simulation.robot.qpos
    assert wall_gap(start).min() > 0.009
    assert wall_gap(goal * HALF).min() > 0.009
    crossing = start[:, 0] * goal[:, 0] < 0
    assert crossing.all() if env_id == MAZES[0] else 0.4 < crossing.mean() < 0.6


@pytest.mark.parametrize("env_id", MAZES)
def test_every_place_can_be_rolled_to_and_held(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=64)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    target = envs.simulation.task.goal_pose(goal)
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
    assert not task.is_success(np.array([-0.014, -0.4]) / HALF, np.array([0.014, -0.4]) / HALF)
    assert isinstance(task, PointMaze)


def made(lanes: int):
    envs = gym.make_vec("robossl/PushT-v0", num_envs=lanes, max_episode_steps=10_000)
    envs.reset(seed=0)
    return envs


def points_of_the_block() -> np.ndarray:
    """(p, 2) [m] evenly over the T, from its centre of mass: bar 4 x 1 units, stem 3 x 1."""
    grid = (np.arange(40) + 0.5) / 10
    bar = np.stack(np.meshgrid(grid - 2, grid[:10] - 0.5), axis=-1).reshape(-1, 2)
    stem = np.stack(np.meshgrid(grid[:10] - 0.5, grid[:30] - 3.5), axis=-1).reshape(-1, 2)
    points = np.concatenate([bar, stem]) * UNIT
    return points - points.mean(axis=0)


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = points.T
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


def test_the_block_is_balanced_where_its_place_is_told() -> None:
    model = made(1).simulation.model
    np.testing.assert_allclose(model.body("block").ipos, 0, atol=1e-6)
    mass, inertia = model.body("block").mass[0], model.body_inertia[model.body("block").id].max()
    points = points_of_the_block()
    assert inertia / mass == pytest.approx((points**2).sum(axis=1).mean(), rel=0.01)
    friction = model.dof_damping[model.joint("block_angle").dofadr[0]] / model.dof_damping[2]
    assert friction == pytest.approx((points**2).sum(axis=1).mean(), rel=0.01), (
        "even friction under the block"
    )


def test_the_reward_is_that_of_the_way_its_points_have_to_go() -> None:
    task, random, points = PushT(), np.random.default_rng(0), points_of_the_block()
    for _ in range(50):
        here, there = task.sample_goal(random), task.sample_goal(random)
        placed = [turned(points, np.arctan2(g[3], g[2])) + g[:2] * TABLE for g in (here, there)]
        distance = np.sqrt(((placed[0] - placed[1]) ** 2).sum(axis=1).mean())
        expected = 1 / (1 + 9 * (max(distance - 0.005, 0) / 0.12) ** 2)
        assert task.goal_reward(here, there) == pytest.approx(expected, rel=0.01)


def test_a_pose_is_reached_within_two_centimetres_and_twenty_degrees() -> None:
    def goal(x: float, degrees: float) -> np.ndarray:
        return np.array([x / TABLE, 0.1, np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])

    task = PushT()
    for x, degrees, reached in [
        (0.019, 175, True),
        (0.021, 175, False),
        (0.0, -166, True),
        (0.0, -164, False),
    ]:
        assert task.is_success(goal(x, degrees), goal(0.0, 175)) == reached, (x, degrees)
    distance, cosine = pose_error(goal(0.03, 60), goal(0.0, 0))
    assert (distance, cosine) == (pytest.approx(0.03), pytest.approx(0.5))


def test_the_block_is_felt_where_mujoco_says() -> None:
    envs = made(4000)
    robot, batch, random = envs.simulation.robot, envs.simulation.batch, np.random.default_rng(0)
    robot.qpos[:, 2:4] = random.uniform(-0.05, 0.05, (4000, 2))
    robot.qpos[:, :2] = robot.qpos[:, 2:4] + random.uniform(-0.11, 0.11, (4000, 2))
    robot.qpos[:, 4] = random.uniform(-7, 7, 4000)
    contacts = batch.bind("ncon")
    batch.forward()
    gap = block_gap(robot.qpos[:, :2], robot.block_pose()) - PUSHER
    clear = np.abs(gap) > 1e-6
    assert 500 < (gap < 0).sum() < 3000
    assert np.array_equal((contacts > 0)[clear], (gap < 0)[clear])


def test_a_block_moves_only_while_it_is_pushed() -> None:
    envs = made(64)
    random, robot = np.random.default_rng(1), envs.simulation.robot
    action, pushed, moved = np.zeros((64, 2)), np.zeros(64, bool), 0.0
    for _ in range(150):
        before, touched = robot.qpos[:, 2:].copy(), envs.privileged_state()["block_contact"][:, 0] > 0
        action = 0.95 * action + 0.4 * random.normal(size=(64, 2))
        envs.step(action)
        still = (
            ~touched
            & ~(envs.privileged_state()["block_contact"][:, 0] > 0)
            & (np.abs(robot.qvel[:, 2:]).max(axis=1) < 1e-3)
        )
        step = np.abs(robot.qpos[:, 2:] - before).max(axis=1)
        pushed |= touched
        moved += step[touched].sum()
        assert step[still].max(initial=0.0) < 5e-3
        assert step[~pushed & still].max(initial=0.0) == 0.0
    assert pushed.mean() > 0.3
    assert moved > 1.0
    for _ in range(10):
        envs.step(-np.sign(robot.qpos[:, 2:4] - robot.qpos[:, :2]))  # away from the block
    assert np.abs(robot.qvel[:, 2:]).max() < 0.05, "let go, it stops"


def test_everything_stays_on_the_table() -> None:
    envs = made(64)
    robot = envs.simulation.robot
    for turn in np.linspace(0, 5 * np.pi, 250):
        towards = robot.qpos[:, 2:4] - robot.qpos[:, :2]
        envs.step(np.where(np.cos(turn) > 0, 1, -1) * np.sign(towards))
        assert np.abs(robot.qpos[:, :4]).max() < TABLE
        assert np.abs(robot.qvel).max() < 20


def test_lives_and_goals_leave_room_to_push() -> None:
    envs = made(256)
    robot = envs.simulation.robot
    assert (block_gap(robot.qpos[:, :2], robot.block_pose()) > PUSHER + 0.004).all()
    assert np.abs(robot.qpos[:, :2]).max() < TABLE - PUSHER
    goal = envs.observation()["desired_goal"].astype(np.float64)
    robot.qpos[:] = envs.simulation.task.goal_pose(goal)
    assert (block_gap(robot.qpos[:, :2], robot.block_pose()) > PUSHER + 0.004).all()
    for place in (goal[:, :2], robot.block_pose()[:, :2] / TABLE):
        assert np.abs(place).max() <= 0.5 + 1e-6
    envs.step(np.zeros((256, 2)))
    assert envs.success().all()


def test_pushing_brings_the_block_to_a_goal_ahead() -> None:
    """The pusher behind the middle of the bar drives straight on; the block follows without turning much."""
    envs = made(8)
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
def test_a_goal_pose_is_within_reach_of_planning() -> None:
    """Sampling plans on the true physics brings the block into its pose and keeps it there."""
    env, plans, random = made(1), made(128), np.random.default_rng(0)
    row_goal = env.reset(seed=1)[0]["desired_goal"]
    goals, mean, rewards = np.repeat(row_goal, 128, axis=0), np.zeros((5, 2)), []
    for step in range(120):
        if step % 5 == 0:
            spread = np.full((5, 2), 0.8)
            for _ in range(2):
                drawn = np.clip(mean + spread * random.normal(size=(128, 5, 2)), -1, 1)
                plans.set_physics_state(np.repeat(env.get_physics_state(), 128, axis=0), goal=goals)
                ahead = [plans.step(drawn[:, t // 6])[1] for t in range(30)]
                pusher, block = plans.simulation.robot.qpos[:, :2], plans.simulation.robot.qpos[:, 2:4]
                away = np.maximum(np.hypot(*(pusher - block).T) - 0.06, 0) / 0.1
                best = np.argsort(-(np.sum(ahead, axis=0) + 30 * ahead[-1] - 1.5 * away))[:12]
                mean, spread = drawn[best].mean(axis=0), drawn[best].std(axis=0) + 0.1
            action = drawn[best[0], :1]
            mean = np.concatenate([mean[1:], mean[-1:]])
        _, reward, *_, infos = env.step(action)
        rewards.append(reward[0])
    assert infos["is_success"].all()
    assert np.mean(rewards[60:]) > 0.9
