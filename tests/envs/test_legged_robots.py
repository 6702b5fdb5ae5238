"""What the bodies on legs in space promise beyond what all tasks do."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.shared.legged import LeggedRobot

IDS = robossl.envs.register()
LEGGED_IDS = [i for i in IDS if issubclass(gym.make_vec(i).simulation.task.robot, LeggedRobot)]
BODY_IDS = list({gym.make_vec(i).simulation.task.robot: i for i in LEGGED_IDS}.values())  # one task a body
STAND_IDS = [i for i in LEGGED_IDS if "Stand" in i]


def made(env_id: str, lanes: int = 16, **arguments):
    envs = gym.make_vec(env_id, num_envs=lanes, **arguments)
    envs.reset(seed=0)
    return envs


def turn(axis: int, angle: float) -> np.ndarray:
    """(4,) the quaternion of a turn [rad] about x (0), y (1) or z (2)."""
    quaternion = np.zeros(4)
    quaternion[0], quaternion[1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
    return quaternion


def put(envs, height: list[float], turns: list[np.ndarray], speed: list[float]) -> None:
    """Lane by lane: the torso at a height [m], turned, moving along x at a speed [m/s]; all else at rest."""
    robot = envs.simulation.robot
    robot.qpos[:], robot.qvel[:] = 0.0, 0.0
    robot.qpos[:, 2], robot.qpos[:, 3:7], robot.qvel[:, 0] = height, turns, speed


def reward(envs) -> np.ndarray:
    return envs.simulation.task.reward(envs.simulation.robot, np.zeros(envs.action_space.shape))


def success(envs) -> list[bool]:
    return envs.simulation.task.success(envs.simulation.robot).tolist()


def played(envs, steps: int, change: float, seed: int = 0):
    """Actions at random, each drawn anew with probability `change`; yields what each step returned."""
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, envs.action_space.shape)
    for _ in range(steps):
        drawn = random.uniform(-1, 1, action.shape)
        action = np.where(random.random(action.shape) < change, drawn, action)
        yield envs.step(action)


def lowest(envs) -> np.ndarray:
    """(n, points) [m] what MuJoCo says of the gap below every end of a capsule, corner of a box and sphere."""
    import mujoco

    model, batch = envs.simulation.model, envs.simulation.batch
    batch.bind("geom_xpos"), batch.bind("geom_xmat")
    batch.forward()
    gaps = []
    for geom in np.flatnonzero(model.geom_contype & 1):
        centre = batch.geom_xpos[:, geom, 2]
        rise = batch.geom_xmat.reshape(envs.num_envs, -1, 3, 3)[:, geom, 2]  # (n, 3) of the geom's own axes
        size, kind = model.geom_size[geom], int(model.geom_type[geom])
        if kind == int(mujoco.mjtGeom.mjGEOM_BOX):
            signs = np.stack(np.meshgrid(*[(-1, 1)] * 3), axis=-1).reshape(-1, 3)
            gaps += [centre + rise @ (sign * size) for sign in signs]
        elif kind == int(mujoco.mjtGeom.mjGEOM_CAPSULE):
            gaps += [centre + end * rise[:, 2] * size[1] - size[0] for end in (-1, 1)]
        else:
            assert kind == int(mujoco.mjtGeom.mjGEOM_SPHERE)
            gaps.append(centre - size[0])
    return np.stack(gaps, axis=1)


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_the_gap_to_the_floor_is_what_mujoco_says(env_id) -> None:
    envs = made(env_id)
    for _ in played(envs, 30, change=0.2):
        pass
    ours, theirs = envs.simulation.robot.clearance(envs.simulation.robot.qpos), lowest(envs)
    for lane in range(16):
        near = np.abs(ours[lane][:, None] - theirs[lane][None])
        assert near.min(axis=1).max() < 1e-9, "every tip is where the body may touch"
        assert near.min(axis=0).max() < 1e-9, "everything that may touch is a tip"


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_up_and_velocity_are_what_mujoco_says(env_id) -> None:
    envs = made(env_id)
    for _ in played(envs, 30, change=0.2):
        pass
    batch, state = envs.simulation.batch, envs.privileged_state()
    batch.bind("xmat")
    batch.forward()
    torso = batch.xmat.reshape(16, -1, 3, 3)[:, 1]
    velocity = np.einsum("nij,ni->nj", torso, envs.simulation.robot.qvel[:, :3])
    np.testing.assert_allclose(state["torso_up"], torso[:, 2], atol=1e-12)
    np.testing.assert_allclose(state["torso_velocity"], velocity, atol=1e-12)
    np.testing.assert_allclose(envs.simulation.robot.torso_upright(), torso[:, 2, 2], atol=1e-12)


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_the_limits_and_joints_are_those_of_the_model(env_id) -> None:
    envs = made(env_id)
    model, robot = envs.simulation.model, envs.simulation.robot
    np.testing.assert_allclose(model.jnt_range[1:], robot.limits, atol=1e-9)
    assert model.nq == len(robot.limbs) - 1 + 7
    assert model.nu == len(robot.limits)
    assert list(model.actuator_trnid[:, 0]) == list(range(1, model.njnt))
    assert (model.actuator_ctrlrange[:, 0] >= robot.limits[:, 0] - 1e-9).all()
    assert (model.actuator_ctrlrange[:, 1] <= robot.limits[:, 1] + 1e-9).all()
    assert model.actuator_forcelimited.all()


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_where_it_is_and_which_way_it_faces_changes_nothing(env_id) -> None:
    """The observation and the reward, as long as the two lives run side by side to rounding."""
    here, there = made(env_id), made(env_id)
    for _ in played(here, 10, 0.3):
        pass  # a life begins with a gap of exactly nothing, where rounding decides who touches
    there.set_physics_state(here.get_physics_state())
    robot, angle = there.simulation.robot, 2.0
    cosine, sine = np.cos(angle), np.sin(angle)
    w, x, y, z = robot.qpos[:, 3:7].T.copy()
    half = np.cos(angle / 2), np.sin(angle / 2)
    robot.qpos[:, 3:7] = np.stack(
        [
            half[0] * w - half[1] * z,
            half[0] * x - half[1] * y,
            half[0] * y + half[1] * x,
            half[0] * z + half[1] * w,
        ],
        axis=1,
    )
    vx, vy = robot.qvel[:, 0].copy(), robot.qvel[:, 1].copy()
    robot.qvel[:, 0], robot.qvel[:, 1] = cosine * vx - sine * vy, sine * vx + cosine * vy
    robot.qpos[:, :2] += 64.0
    np.testing.assert_allclose(here.observation(), there.observation(), atol=1e-6)
    for one, other in zip(played(here, 6, 0.3), played(there, 6, 0.3)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-3)
        np.testing.assert_allclose(one[1], other[1], atol=1e-3)


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_an_observation_tells_the_pose(env_id) -> None:
    envs = made(env_id)
    for _ in played(envs, 30, change=0.2):
        pass
    seen, joints = envs.observation(), len(envs.simulation.robot.limits)
    again = made(env_id).set_physics_state(envs.physics_from_observation(seen))
    np.testing.assert_allclose(again[:, : 4 + joints], seen[:, : 4 + joints], atol=1e-5)
    assert (again[:, 4 + joints :] == 0).all()
    dreamt = envs.physics_from_observation(seen * 1.1)
    assert np.isfinite(dreamt).all(), "an imagined up need not have length 1"


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_feet_on_the_floor_are_felt(env_id) -> None:
    envs = made(env_id)
    robot = envs.simulation.robot
    robot.qpos[:] = robot.grounded(turn(0, 0.0), np.clip(np.zeros(len(robot.limits)), *robot.limits.T))
    assert (envs.privileged_state()["foot_contact"] == 1).all(), "grounded: every foot touches"
    robot.qpos[:, 2] += 0.1
    assert (envs.privileged_state()["foot_contact"] == 0).all()


@pytest.mark.parametrize("env_id", LEGGED_IDS)
def test_a_life_begins_on_the_floor(env_id) -> None:
    envs = made(env_id, 256)
    robot, batch = envs.simulation.robot, envs.simulation.batch
    np.testing.assert_allclose(robot.clearance(robot.qpos).min(axis=1), 0, atol=1e-9)
    joints = robot.qpos[:, 7:]
    assert ((joints >= robot.limits[:, 0]) & (joints <= robot.limits[:, 1])).all()
    np.testing.assert_allclose((robot.qpos[:, 3:7] ** 2).sum(axis=1), 1, atol=1e-9)
    if env_id in STAND_IDS:
        assert robot.torso_upright().min() > 0.2, "not on its back"
        assert envs.success().mean() < 0.1  # with its feet below it, a moment long
    else:
        assert (robot.torso_upright() > 0.98).all()
        assert (envs.privileged_state()["foot_contact"].max(axis=1) == 1).all()
    assert np.abs(batch.bind("qpos") - robot.qpos).max() == 0


@pytest.mark.parametrize("env_id", STAND_IDS)
def test_no_life_begins_with_limbs_inside_each_other(env_id) -> None:
    """Contacts between parts of the body itself push it apart by no more than this."""
    import mujoco

    envs = made(env_id, 256)
    model = envs.simulation.model
    data, deepest, many = mujoco.MjData(model), 0.0, 0
    for row in envs.get_physics_state():
        mujoco.mj_setState(model, data, row, int(mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_forward(model, data)
        own = [
            c.dist for c in data.contact if 0 not in (model.geom_bodyid[c.geom1], model.geom_bodyid[c.geom2])
        ]
        many += bool(own)
        deepest = min([deepest, *own])
    assert many < 0.1 * 256, many
    assert deepest > -0.05, deepest


def survives(env_id: str, seconds: float, lanes: int) -> None:
    """Random play, quick and slow, half of the time each: no speed, height or joint runs away, none is lost."""
    envs = made(env_id, lanes, max_episode_steps=10**6)
    robot, steps = envs.simulation.robot, int(seconds / envs.simulation.control_step / 2)
    for change in (1.0, 0.1):
        for t, (observation, rewards, *_, infos) in enumerate(played(envs, steps, change, seed=1)):
            assert not infos["physics_error"].any()
            if t % 5:
                continue
            assert observation in envs.observation_space
            assert ((rewards >= 0) & (rewards <= 1)).all()
            assert np.abs(robot.qvel[:, :3]).max() < 15
            assert np.abs(robot.qvel[:, 3:]).max() < 120
            assert robot.qpos[:, 2].max() < 4 * robot.stature
            assert robot.clearance(robot.qpos).min() > -0.1, "sunk into the floor"
            excess = np.maximum(robot.qpos[:, 7:] - robot.limits[:, 1], robot.limits[:, 0] - robot.qpos[:, 7:])
            assert excess.max() < 0.5, "bent past a limit"


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_nothing_explodes(env_id) -> None:
    """Ten minutes over 64 lanes."""
    survives(env_id, seconds=600 / 64, lanes=64)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", BODY_IDS)
def test_nothing_explodes_in_ten_minutes_of_each_lane(env_id) -> None:
    survives(env_id, seconds=600, lanes=64)


UPRIGHT, SIDE, OVER = turn(0, 0.0), turn(0, np.pi / 2), turn(1, np.pi)


def test_the_quadruped_is_rewarded_for_standing() -> None:
    envs = made("robossl/QuadrupedStand-v0", 4)
    put(envs, height=[0.3, 0.1, 0.16, 0.3], turns=[UPRIGHT, SIDE, UPRIGHT, OVER], speed=[0] * 4)
    np.testing.assert_allclose(reward(envs), [1, 0.023, 0.1, 0], atol=0.01)
    assert success(envs) == [True, False, False, False]


@pytest.mark.parametrize(
    ("env_id", "target"), [("robossl/QuadrupedWalk-v0", 1), ("robossl/QuadrupedRun-v0", 3)]
)
def test_the_quadruped_is_rewarded_for_speed_the_way_it_faces(env_id, target) -> None:
    envs = made(env_id, 5)
    speed = [0, target, target / 2, target, target]
    put(envs, height=[0.3] * 4 + [0.06], turns=[UPRIGHT] * 3 + [turn(2, np.pi / 2), UPRIGHT], speed=speed)
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 1 / 6, 0.03], atol=0.01)
    assert success(envs) == [False, True, False, False, False]


def test_the_quadruped_is_rewarded_for_being_high_up() -> None:
    envs = made("robossl/QuadrupedJump-v0", 4)
    put(envs, height=[0.3, 0.6, 0.45, 0.6], turns=[UPRIGHT, UPRIGHT, UPRIGHT, OVER], speed=[0] * 4)
    np.testing.assert_allclose(reward(envs), [0, 1, 0.48, 0], atol=0.01)
    assert success(envs) == [False, True, False, False]


def test_the_humanoid_is_rewarded_for_standing_with_its_head_up() -> None:
    envs = made("robossl/HumanoidStand-v0", 4)
    put(envs, height=[1.28, 0.2, 0.43, 1.28], turns=[UPRIGHT, SIDE, UPRIGHT, OVER], speed=[0] * 4)
    np.testing.assert_allclose(envs.simulation.robot.head_height(), [1.65, 0.2, 0.8, 0.91], atol=1e-9)
    np.testing.assert_allclose(reward(envs), [1, 0.016, 0.1, 0], atol=0.01)
    assert success(envs) == [True, False, False, False]


def test_the_humanoid_is_rewarded_for_speed_the_way_it_faces() -> None:
    envs = made("robossl/HumanoidWalk-v0", 5)
    turns = [UPRIGHT] * 3 + [turn(2, np.pi / 2), UPRIGHT]
    put(envs, height=[1.28] * 4 + [0.43], turns=turns, speed=[0, 1, 0.5, 1, 1])
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 1 / 6, 0.1], atol=0.01)
    assert success(envs) == [False, True, False, False, False]


@pytest.mark.parametrize("env_id", LEGGED_IDS)
def test_left_alone_it_neither_stands_nor_moves(env_id) -> None:
    envs = made(env_id, 32)
    for _ in range(250):
        _, rewards, *_, infos = envs.step(np.zeros(envs.action_space.shape))
    assert rewards.mean() < 0.2
    assert infos["is_success"].mean() < 0.02


@pytest.mark.parametrize("env_id", BODY_IDS)
def test_worlds_vary_in_physics_and_in_looks(env_id) -> None:
    factors = made(env_id, 1).randomized_parameters.values()
    assert sum(not factor.look for factor in factors) >= 6
    assert sum(factor.look for factor in factors) >= 4
    envs = made(env_id, 32, randomization="test")
    for *_, infos in played(envs, 60, 0.3):
        assert not infos["physics_error"].any()
