"""Planar robots (cheetah, hopper, walker): kinematics, initial states, stability and rewards."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.shared.planar import PlanarRobot
from robossl.envs.shared.reward_shaping import speed_reward

IDS = robossl.envs.register()
PLANAR_IDS = [i for i in IDS if issubclass(gym.make_vec(i).simulation.task.robot, PlanarRobot)]
ROBOT_IDS = list(
    {gym.make_vec(i).simulation.task.robot: i for i in PLANAR_IDS}.values()
)  # one task per robot


def make_envs(env_id: str, num_envs: int = 16):
    envs = gym.make_vec(env_id, num_envs=num_envs)
    envs.reset(seed=0)
    return envs


def set_state(envs, **values) -> None:
    """Set all robots at rest on their feet, then height [m], pitch [rad], speed [m/s] and spin [rad/s] if given."""
    robot = envs.simulation.robot
    robot.qpos[:] = robot.pose_on_floor(0.0, np.zeros(len(robot.joint_limits)))
    robot.qvel[:] = 0.0
    for name, value in values.items():
        columns = {
            "height": robot.qpos[:, 1],
            "pitch": robot.qpos[:, 2],
            "speed": robot.qvel[:, 0],
            "spin": robot.qvel[:, 2],
        }
        columns[name][:] = value


def reward(envs) -> np.ndarray:
    return envs.simulation.task.reward(envs.simulation.robot, np.zeros(envs.action_space.shape))


def step_randomly(envs, steps: int, change: float, seed: int = 0):
    """Yield the results of steps with actions -1 and 1 that change their sign with probability `change`."""
    random = np.random.default_rng(seed)
    action = np.sign(random.uniform(-1, 1, envs.action_space.shape))
    for _ in range(steps):
        action = np.where(random.random(action.shape) < change, -action, action)
        yield envs.step(action)


def mujoco_clearance(envs) -> np.ndarray:
    """Return (n, contact points) [m] the clearance of both ends of every capsule, from MuJoCo's geometry."""
    model, batch = envs.simulation.model, envs.simulation.batch
    batch.bind("geom_xpos"), batch.bind("geom_xmat")
    batch.forward()
    capsules = [g for g in range(model.ngeom) if model.geom_contype[g] and model.geom_size[g, 1]]
    center = batch.geom_xpos[:, capsules, 2]
    along = batch.geom_xmat.reshape(envs.num_envs, -1, 3, 3)[:, capsules, 2, 2]
    half, radius = model.geom_size[capsules, 1], model.geom_size[capsules, 0]
    ends = np.concatenate([center - along * half, center + along * half], axis=1)
    return ends - np.concatenate([radius, radius])


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_floor_clearance_matches_mujoco(env_id) -> None:
    envs = make_envs(env_id)
    for _ in step_randomly(envs, 30, change=0.2):
        pass
    ours, mujoco_gaps = (
        envs.simulation.robot.floor_clearance(envs.simulation.robot.qpos),
        mujoco_clearance(envs),
    )
    for env_index in range(16):
        difference = np.abs(ours[env_index][:, None] - mujoco_gaps[env_index][None])
        assert difference.min(axis=1).max() < 1e-9, "every contact point is the end of a capsule"
        assert difference.min(axis=0).max() < 1e-9, "every end of a capsule is a contact point"


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_joint_limits_match_the_model(env_id) -> None:
    envs = make_envs(env_id)
    model, robot = envs.simulation.model, envs.simulation.robot
    np.testing.assert_allclose(model.jnt_range[3:], robot.joint_limits, atol=1e-9)
    assert model.nq == len(robot.links) + 2
    assert [model.joint(j).name for j in range(3)] == ["x", "z", "pitch"]
    assert model.nu == len(robot.joint_limits)
    assert list(model.actuator_trnid[:, 0]) == list(range(3, model.njnt))


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_foot_contact_depends_on_floor_clearance(env_id) -> None:
    envs = make_envs(env_id)
    set_state(envs)
    assert (envs.privileged_state()["foot_contact"].max(axis=1) == 1).all(), (
        "on the floor, a foot is in contact"
    )
    envs.simulation.robot.qpos[:, 1] += 0.1
    assert (envs.privileged_state()["foot_contact"] == 0).all()


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_random_actions_keep_the_state_bounded(env_id) -> None:
    """Fifteen minutes of full torques, changing fast and slowly: speeds and heights stay bounded."""
    envs = gym.make_vec(env_id, num_envs=32, max_episode_steps=100_000)
    envs.reset(seed=0)
    robot = envs.simulation.robot
    for change in (0.5, 0.1):
        for t, (*_, infos) in enumerate(step_randomly(envs, 350, change, seed=1)):
            assert not infos["physics_error"].any()
            assert np.abs(robot.qvel[:, :2]).max() < 25
            assert np.abs(robot.qvel[:, 2:]).max() < 120
            assert robot.qpos[:, 1].max() < 4 * robot.standing_height
            assert t % 5 or robot.floor_clearance(robot.qpos).min() > -0.12, "below the floor"
        excess = np.maximum(
            robot.qpos[:, 3:] - robot.joint_limits[:, 1], robot.joint_limits[:, 0] - robot.qpos[:, 3:]
        )
        assert excess.max() < 0.5, "beyond a joint limit"


@pytest.mark.parametrize("env_id", PLANAR_IDS)
def test_initial_state_touches_the_floor(env_id) -> None:
    envs = make_envs(env_id, 64)
    robot = envs.simulation.robot
    np.testing.assert_allclose(robot.floor_clearance(robot.qpos).min(axis=1), 0, atol=1e-9)
    joints = robot.qpos[:, 3:]
    assert ((joints >= robot.joint_limits[:, 0]) & (joints <= robot.joint_limits[:, 1])).all()
    if "Stand" not in env_id:
        assert (robot.upright() > 0.99).all()
        np.testing.assert_allclose(
            robot.torso_height(), robot.standing_height, atol=0.15 * robot.standing_height
        )


@pytest.mark.parametrize("env_id", PLANAR_IDS)
def test_robot_comes_to_rest_with_zero_action(env_id) -> None:
    envs = make_envs(env_id)
    for _ in range(200):
        _, rewards, *_ = envs.step(np.zeros(envs.action_space.shape))
    assert np.abs(envs.simulation.robot.qvel).max() < 1.0
    assert rewards.max() < 0.5


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_position_along_the_track_changes_nothing(env_id) -> None:
    near, far = make_envs(env_id), make_envs(env_id)
    far.simulation.robot.qpos[:, 0] += 1024.0
    for one, other in zip(step_randomly(near, 20, 0.3), step_randomly(far, 20, 0.3)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-4)


def test_speed_reward_rises_from_rest_to_the_target() -> None:
    speed = np.linspace(-5, 15, 401)
    fraction = speed_reward(speed, 10.0)
    assert (fraction[speed <= 0] == 0).all()
    assert (fraction[speed >= 10] == 1).all()
    between = np.diff(fraction[(speed > 0) & (speed < 10)])
    assert (between > 0).all()
    assert between.max() < 1.5 * 0.05 / 10, "slope near that of a straight line"


@pytest.mark.parametrize(
    ("env_id", "target"), [("robossl/CheetahRun-v0", 10), ("robossl/CheetahBackward-v0", -6)]
)
def test_cheetah_reward_needs_speed_and_upright(env_id, target) -> None:
    envs = make_envs(env_id, 5)
    set_state(envs, speed=[0, target, target / 2, -target, target], pitch=[0, 0, 0, 0, np.pi])
    np.testing.assert_allclose(reward(envs), [0, 1, 0.48, 0, 0], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [False, True, False, False, False]


def test_walker_stand_reward() -> None:
    envs = make_envs("robossl/WalkerStand-v0", 4)
    set_state(envs, pitch=[0, np.pi / 2, 0, np.pi], height=[1.3, 0.1, 0.6, 1.3])
    np.testing.assert_allclose(reward(envs), [1, 0.013, 0.1, 0], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("env_id", "target"), [("robossl/WalkerWalk-v0", 1), ("robossl/WalkerRun-v0", 8)])
def test_walker_reward_needs_speed_and_standing(env_id, target) -> None:
    envs = make_envs(env_id, 4)
    set_state(
        envs, speed=[0, target, target / 2, target], pitch=[0, 0, 0, np.pi / 2], height=[1.3, 1.3, 1.3, 0.1]
    )
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 0.013], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [False, True, False, False]


def test_walker_flip_reward_needs_forward_spin_above_the_floor() -> None:
    envs = make_envs("robossl/WalkerFlip-v0", 5)
    set_state(
        envs, spin=[5, 5, 0, -5, 5], pitch=[np.pi, 0, np.pi, np.pi, np.pi / 2], height=[1, 1, 1, 1, 0.1]
    )
    np.testing.assert_allclose(reward(envs), [1, 1 / 3, 0, 0, 0.044], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [True, False, False, False, False]


def test_hopper_stand_reward() -> None:
    envs = make_envs("robossl/HopperStand-v0", 4)
    set_state(envs, pitch=[0, np.pi / 2, 0, np.pi], height=[0.84, 0.07, 0.2, 0.84])
    np.testing.assert_allclose(reward(envs), [1, 0.03, 0.1, 0], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [True, False, False, False]


def test_hopper_reward_needs_speed_and_standing() -> None:
    envs = make_envs("robossl/HopperHop-v0", 4)
    set_state(envs, speed=[0, 2, 1, 2], pitch=[0, 0, 0, np.pi / 2], height=[0.84, 0.84, 0.84, 0.07])
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 0.03], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [False, True, False, False]


# the smallest reward per step of an open-loop plan that a short search finds: (steps, reward)
REACHABLE_REWARD = {
    "CheetahRun": (50, 0.15),
    "CheetahBackward": (50, 0.2),
    "HopperStand": (50, 0.35),
    "HopperHop": (50, 0.25),
    "WalkerStand": (50, 0.4),
    "WalkerWalk": (50, 0.7),
    "WalkerRun": (50, 0.2),
    "WalkerFlip": (30, 0.28),
}


def search_reward(envs, steps: int, iterations: int) -> float:
    """Return the best reward per step of open-loop actions, by cross-entropy search in the simulator."""
    num_envs, joints = envs.action_space.shape
    knots, random = steps // 5, np.random.default_rng(0)
    mean, std = np.zeros((knots, joints)), np.full((knots, joints), 0.8)
    for _ in range(iterations):
        plans = mean + std * random.normal(size=(num_envs, knots, joints))
        envs.reset(seed=[0] * num_envs)
        total = np.zeros(num_envs)
        for t in range(steps):
            knot, fraction = divmod(t / steps * (knots - 1), 1)
            before, after = plans[:, int(knot)], plans[:, int(knot) + 1]
            total += envs.step(before * (1 - fraction) + after * fraction)[1]
        best = np.argsort(-total)[:10]
        mean = 0.2 * mean + 0.8 * plans[best].mean(axis=0)
        std = 0.2 * std + 0.8 * plans[best].std(axis=0) + 0.03
    return total.max() / steps


@pytest.mark.slow
@pytest.mark.parametrize("name", REACHABLE_REWARD)
def test_reward_can_be_earned_within_two_seconds(name) -> None:
    steps, minimum = REACHABLE_REWARD[name]
    per_step = search_reward(gym.make_vec(f"robossl/{name}-v0", num_envs=96), steps, iterations=30)
    assert per_step > minimum, per_step
