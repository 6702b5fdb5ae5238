"""What the planar runners promise beyond what all tasks do."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.shared.planar import PlanarRobot
from robossl.envs.shared.reward_shaping import speed_reward

IDS = robossl.envs.register()
RUNNER_IDS = [i for i in IDS if issubclass(gym.make_vec(i).simulation.task.robot, PlanarRobot)]
BODY_IDS = list({gym.make_vec(i).simulation.task.robot: i for i in RUNNER_IDS}.values())  # one task a body


def made(env_id: str, lanes: int = 16):
    envs = gym.make_vec(env_id, num_envs=lanes)
    envs.reset(seed=0)
    return envs


def put(envs, **columns) -> None:
    """Every lane at rest on its feet, then what is named: height [m], pitch [rad], speed [m/s], spin [rad/s]."""
    robot = envs.simulation.robot
    robot.qpos[:] = robot.grounded(0.0, np.zeros(len(robot.limits)))
    robot.qvel[:] = 0.0
    for name, value in columns.items():
        where = {
            "height": robot.qpos[:, 1],
            "pitch": robot.qpos[:, 2],
            "speed": robot.qvel[:, 0],
            "spin": robot.qvel[:, 2],
        }
        where[name][:] = value


def reward(envs) -> np.ndarray:
    return envs.simulation.task.reward(envs.simulation.robot, np.zeros(envs.action_space.shape))


def played(envs, steps: int, change: float, seed: int = 0):
    """Full torques, each changing its sign with probability `change`; yields what each step returned."""
    random = np.random.default_rng(seed)
    action = np.sign(random.uniform(-1, 1, envs.action_space.shape))
    for _ in range(steps):
        action = np.where(random.random(action.shape) < change, -action, action)
        yield envs.step(action)


def lies(envs) -> np.ndarray:
    """(n, tips) [m] what MuJoCo says of the gap below every tip, from the ends of its capsules."""
    model, batch = envs.simulation.model, envs.simulation.batch
    batch.bind("geom_xpos"), batch.bind("geom_xmat")
    batch.forward()
    capsules = [g for g in range(model.ngeom) if model.geom_contype[g] and model.geom_size[g, 1]]
    centre = batch.geom_xpos[:, capsules, 2]
    along = batch.geom_xmat.reshape(envs.num_envs, -1, 3, 3)[:, capsules, 2, 2]
    half, radius = model.geom_size[capsules, 1], model.geom_size[capsules, 0]
    ends = np.concatenate([centre - along * half, centre + along * half], axis=1)
    return ends - np.concatenate([radius, radius])


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_the_gap_to_the_floor_is_what_mujoco_says(env_id) -> None:
    envs = made(env_id)
    for _ in played(envs, 30, change=0.2):
        pass
    ours, theirs = envs.simulation.robot.clearance(envs.simulation.robot.qpos), lies(envs)
    for lane in range(16):
        near = np.abs(ours[lane][:, None] - theirs[lane][None])
        assert near.min(axis=1).max() < 1e-9, "every tip is the end of a capsule"
        assert near.min(axis=0).max() < 1e-9, "every end of a capsule is a tip"


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_the_limits_and_joints_are_those_of_the_model(env_id) -> None:
    envs = made(env_id)
    model, robot = envs.simulation.model, envs.simulation.robot
    np.testing.assert_allclose(model.jnt_range[3:], robot.limits, atol=1e-9)
    assert model.nq == len(robot.limbs) + 2
    assert [model.joint(j).name for j in range(3)] == ["x", "z", "pitch"]
    assert model.nu == len(robot.limits)
    assert list(model.actuator_trnid[:, 0]) == list(range(3, model.njnt))


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_feet_on_the_floor_are_felt(env_id) -> None:
    envs = made(env_id)
    put(envs)
    assert (envs.privileged_state()["foot_contact"].max(axis=1) == 1).all(), "grounded: a foot touches"
    envs.simulation.robot.qpos[:, 1] += 0.1
    assert (envs.privileged_state()["foot_contact"] == 0).all()


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_nothing_explodes(env_id) -> None:
    """Fifteen minutes of full torques in both directions, quick and slow: no speed or height runs away."""
    envs = gym.make_vec(env_id, num_envs=32, max_episode_steps=100_000)
    envs.reset(seed=0)
    robot = envs.simulation.robot
    for change in (0.5, 0.1):
        for t, (*_, infos) in enumerate(played(envs, 350, change, seed=1)):
            assert not infos["physics_error"].any()
            assert np.abs(robot.qvel[:, :2]).max() < 25
            assert np.abs(robot.qvel[:, 2:]).max() < 120
            assert robot.qpos[:, 1].max() < 4 * robot.stature
            assert t % 5 or robot.clearance(robot.qpos).min() > -0.12, "sunk into the floor"
        excess = np.maximum(robot.qpos[:, 3:] - robot.limits[:, 1], robot.limits[:, 0] - robot.qpos[:, 3:])
        assert excess.max() < 0.5, "bent past a limit"


@pytest.mark.parametrize("env_id", RUNNER_IDS)
def test_a_life_begins_on_the_floor(env_id) -> None:
    envs = made(env_id, 64)
    robot = envs.simulation.robot
    np.testing.assert_allclose(robot.clearance(robot.qpos).min(axis=1), 0, atol=1e-9)
    joints = robot.qpos[:, 3:]
    assert ((joints >= robot.limits[:, 0]) & (joints <= robot.limits[:, 1])).all()
    if "Stand" not in env_id:
        assert (robot.upright() > 0.99).all()
        np.testing.assert_allclose(robot.torso_height(), robot.stature, atol=0.15 * robot.stature)


@pytest.mark.parametrize("env_id", RUNNER_IDS)
def test_left_alone_it_comes_to_rest(env_id) -> None:
    envs = made(env_id)
    for _ in range(200):
        _, rewards, *_ = envs.step(np.zeros(envs.action_space.shape))
    assert np.abs(envs.simulation.robot.qvel).max() < 1.0
    assert rewards.max() < 0.5


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_where_along_the_track_changes_nothing(env_id) -> None:
    here, there = made(env_id), made(env_id)
    there.simulation.robot.qpos[:, 0] += 1024.0
    for one, other in zip(played(here, 20, 0.3), played(there, 20, 0.3)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-4)


def test_pace_rises_from_rest_to_the_target() -> None:
    speed = np.linspace(-5, 15, 401)
    share = speed_reward(speed, 10.0)
    assert (share[speed <= 0] == 0).all()
    assert (share[speed >= 10] == 1).all()
    between = np.diff(share[(speed > 0) & (speed < 10)])
    assert (between > 0).all()
    assert between.max() < 1.5 * 0.05 / 10, "nowhere much steeper than a straight line"


@pytest.mark.parametrize(
    ("env_id", "target"), [("robossl/CheetahRun-v0", 10), ("robossl/CheetahBackward-v0", -6)]
)
def test_the_cheetah_is_rewarded_for_speed_on_its_feet(env_id, target) -> None:
    envs = made(env_id, 5)
    put(envs, speed=[0, target, target / 2, -target, target], pitch=[0, 0, 0, 0, np.pi])
    np.testing.assert_allclose(reward(envs), [0, 1, 0.48, 0, 0], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [False, True, False, False, False]


def test_the_walker_is_rewarded_for_standing() -> None:
    envs = made("robossl/WalkerStand-v0", 4)
    put(envs, pitch=[0, np.pi / 2, 0, np.pi], height=[1.3, 0.1, 0.6, 1.3])
    np.testing.assert_allclose(reward(envs), [1, 0.013, 0.1, 0], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("env_id", "target"), [("robossl/WalkerWalk-v0", 1), ("robossl/WalkerRun-v0", 8)])
def test_the_walker_is_rewarded_for_speed_while_it_stands(env_id, target) -> None:
    envs = made(env_id, 4)
    put(envs, speed=[0, target, target / 2, target], pitch=[0, 0, 0, np.pi / 2], height=[1.3, 1.3, 1.3, 0.1])
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 0.013], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [False, True, False, False]


def test_the_walker_is_rewarded_for_turning_over_in_the_air() -> None:
    envs = made("robossl/WalkerFlip-v0", 5)
    put(envs, spin=[5, 5, 0, -5, 5], pitch=[np.pi, 0, np.pi, np.pi, np.pi / 2], height=[1, 1, 1, 1, 0.1])
    np.testing.assert_allclose(reward(envs), [1, 1 / 3, 0, 0, 0.044], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [True, False, False, False, False]


def test_the_hopper_is_rewarded_for_standing() -> None:
    envs = made("robossl/HopperStand-v0", 4)
    put(envs, pitch=[0, np.pi / 2, 0, np.pi], height=[0.84, 0.07, 0.2, 0.84])
    np.testing.assert_allclose(reward(envs), [1, 0.03, 0.1, 0], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [True, False, False, False]


def test_the_hopper_is_rewarded_for_speed_while_it_stands() -> None:
    envs = made("robossl/HopperHop-v0", 4)
    put(envs, speed=[0, 2, 1, 2], pitch=[0, 0, 0, np.pi / 2], height=[0.84, 0.84, 0.84, 0.07])
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 0.03], atol=0.01)
    assert envs.simulation.task.success(envs.simulation.robot).tolist() == [False, True, False, False]


# What an open-loop burst found by a few rounds of search brings at least: (steps, reward per step)
WITHIN_REACH = {
    "CheetahRun": (50, 0.15),
    "CheetahBackward": (50, 0.2),
    "HopperStand": (50, 0.35),
    "HopperHop": (50, 0.25),
    "WalkerStand": (50, 0.4),
    "WalkerWalk": (50, 0.7),
    "WalkerRun": (50, 0.2),
    "WalkerFlip": (30, 0.28),
}


def found(envs, steps: int, rounds: int) -> float:
    """Best reward per step of open-loop actions from one start: the cross-entropy method on the true physics."""
    lanes, joints = envs.action_space.shape
    knots, random = steps // 5, np.random.default_rng(0)
    mean, spread = np.zeros((knots, joints)), np.full((knots, joints), 0.8)
    for _ in range(rounds):
        plans = mean + spread * random.normal(size=(lanes, knots, joints))
        envs.reset(seed=[0] * lanes)
        total = np.zeros(lanes)
        for t in range(steps):
            knot, share = divmod(t / steps * (knots - 1), 1)
            here, then = plans[:, int(knot)], plans[:, int(knot) + 1]
            total += envs.step(here * (1 - share) + then * share)[1]
        best = np.argsort(-total)[:10]
        mean = 0.2 * mean + 0.8 * plans[best].mean(axis=0)
        spread = 0.2 * spread + 0.8 * plans[best].std(axis=0) + 0.03
    return total.max() / steps


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHIN_REACH)
def test_reward_is_within_reach(name) -> None:
    steps, least = WITHIN_REACH[name]
    per_step = found(gym.make_vec(f"robossl/{name}-v0", num_envs=96), steps, rounds=30)
    assert per_step > least, per_step
