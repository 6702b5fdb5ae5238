"""Legged robots (quadruped, humanoid): kinematics, initial states, stability and rewards."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.shared.legged import LeggedRobot

IDS = robossl.envs.register()
LEGGED_IDS = [i for i in IDS if issubclass(gym.make_vec(i).simulation.task.robot, LeggedRobot)]
ROBOT_IDS = list(
    {gym.make_vec(i).simulation.task.robot: i for i in LEGGED_IDS}.values()
)  # one task per robot
STAND_IDS = [i for i in LEGGED_IDS if "Stand" in i]


def make_envs(env_id: str, num_envs: int = 16, **arguments):
    envs = gym.make_vec(env_id, num_envs=num_envs, **arguments)
    envs.reset(seed=0)
    return envs


def rotation(axis: int, angle: float) -> np.ndarray:
    """Return the quaternion (4,) of a rotation [rad] about x (0), y (1) or z (2)."""
    quaternion = np.zeros(4)
    quaternion[0], quaternion[1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
    return quaternion


def set_state(envs, height: list[float], rotations: list[np.ndarray], speed: list[float]) -> None:
    """Set height [m], orientation and speed [m/s] along x of each robot; all else is at rest."""
    robot = envs.simulation.robot
    robot.qpos[:], robot.qvel[:] = 0.0, 0.0
    robot.qpos[:, 2], robot.qpos[:, 3:7], robot.qvel[:, 0] = height, rotations, speed


def reward(envs) -> np.ndarray:
    return envs.simulation.task.reward(envs.simulation.robot, np.zeros(envs.action_space.shape))


def success(envs) -> list[bool]:
    return envs.simulation.task.success(envs.simulation.robot).tolist()


def step_randomly(envs, steps: int, change: float, seed: int = 0):
    """Yield the results of steps with random actions, each sampled again with probability `change`."""
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, envs.action_space.shape)
    for _ in range(steps):
        sampled = random.uniform(-1, 1, action.shape)
        action = np.where(random.random(action.shape) < change, sampled, action)
        yield envs.step(action)


def mujoco_clearance(envs) -> np.ndarray:
    """Return (n, points) [m] the clearance of every capsule end, box corner and sphere, from MuJoCo's geometry."""
    import mujoco

    model, batch = envs.simulation.model, envs.simulation.batch
    batch.bind("geom_xpos"), batch.bind("geom_xmat")
    batch.forward()
    gaps = []
    for geom in np.flatnonzero(model.geom_contype & 1):
        center = batch.geom_xpos[:, geom, 2]
        rise = batch.geom_xmat.reshape(envs.num_envs, -1, 3, 3)[:, geom, 2]  # (n, 3) of the geom's own axes
        size, kind = model.geom_size[geom], int(model.geom_type[geom])
        if kind == int(mujoco.mjtGeom.mjGEOM_BOX):
            signs = np.stack(np.meshgrid(*[(-1, 1)] * 3), axis=-1).reshape(-1, 3)
            gaps += [center + rise @ (sign * size) for sign in signs]
        elif kind == int(mujoco.mjtGeom.mjGEOM_CAPSULE):
            gaps += [center + end * rise[:, 2] * size[1] - size[0] for end in (-1, 1)]
        else:
            assert kind == int(mujoco.mjtGeom.mjGEOM_SPHERE)
            gaps.append(center - size[0])
    return np.stack(gaps, axis=1)


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
        assert difference.min(axis=1).max() < 1e-9, "every contact point is on a collision geom"
        assert difference.min(axis=0).max() < 1e-9, "every collision geom has contact points"


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_up_direction_and_velocity_match_mujoco(env_id) -> None:
    envs = make_envs(env_id)
    for _ in step_randomly(envs, 30, change=0.2):
        pass
    batch, state = envs.simulation.batch, envs.privileged_state()
    batch.bind("xmat")
    batch.forward()
    torso = batch.xmat.reshape(16, -1, 3, 3)[:, 1]
    velocity = np.einsum("nij,ni->nj", torso, envs.simulation.robot.qvel[:, :3])
    np.testing.assert_allclose(state["torso_up"], torso[:, 2], atol=1e-12)
    np.testing.assert_allclose(state["torso_velocity"], velocity, atol=1e-12)
    np.testing.assert_allclose(envs.simulation.robot.upright(), torso[:, 2, 2], atol=1e-12)


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_joint_limits_match_the_model(env_id) -> None:
    envs = make_envs(env_id)
    model, robot = envs.simulation.model, envs.simulation.robot
    np.testing.assert_allclose(model.jnt_range[1:], robot.joint_limits, atol=1e-9)
    assert model.nq == len(robot.links) - 1 + 7
    assert model.nu == len(robot.joint_limits)
    assert list(model.actuator_trnid[:, 0]) == list(range(1, model.njnt))
    assert (model.actuator_ctrlrange[:, 0] >= robot.joint_limits[:, 0] - 1e-9).all()
    assert (model.actuator_ctrlrange[:, 1] <= robot.joint_limits[:, 1] + 1e-9).all()
    assert model.actuator_forcelimited.all()


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_position_and_heading_change_nothing(env_id) -> None:
    """Observations and rewards are equal while both simulations agree to rounding."""
    original, moved = make_envs(env_id), make_envs(env_id)
    for _ in step_randomly(original, 10, 0.3):
        pass  # the initial clearance is exactly zero, where rounding decides about contact
    moved.set_physics_state(original.get_physics_state())
    robot, angle = moved.simulation.robot, 2.0
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
    np.testing.assert_allclose(original.observation(), moved.observation(), atol=1e-6)
    for one, other in zip(step_randomly(original, 6, 0.3), step_randomly(moved, 6, 0.3)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-3)
        np.testing.assert_allclose(one[1], other[1], atol=1e-3)


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_pose_is_reconstructed_from_the_observation(env_id) -> None:
    envs = make_envs(env_id)
    for _ in step_randomly(envs, 30, change=0.2):
        pass
    observation, joints = envs.observation(), len(envs.simulation.robot.joint_limits)
    reconstructed = make_envs(env_id).set_physics_state(envs.physics_from_observation(observation))
    np.testing.assert_allclose(reconstructed[:, : 4 + joints], observation[:, : 4 + joints], atol=1e-5)
    assert (reconstructed[:, 4 + joints :] == 0).all()
    physics = envs.physics_from_observation(observation * 1.1)
    assert np.isfinite(physics).all(), "the up direction need not have length 1"


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_foot_contact_depends_on_floor_clearance(env_id) -> None:
    envs = make_envs(env_id)
    robot = envs.simulation.robot
    robot.qpos[:] = robot.pose_on_floor(
        rotation(0, 0.0), np.clip(np.zeros(len(robot.joint_limits)), *robot.joint_limits.T)
    )
    assert (envs.privileged_state()["foot_contact"] == 1).all(), "on the floor, every foot is in contact"
    robot.qpos[:, 2] += 0.1
    assert (envs.privileged_state()["foot_contact"] == 0).all()


@pytest.mark.parametrize("env_id", LEGGED_IDS)
def test_initial_state_touches_the_floor(env_id) -> None:
    envs = make_envs(env_id, 256)
    robot, batch = envs.simulation.robot, envs.simulation.batch
    np.testing.assert_allclose(robot.floor_clearance(robot.qpos).min(axis=1), 0, atol=1e-9)
    joints = robot.qpos[:, 7:]
    assert ((joints >= robot.joint_limits[:, 0]) & (joints <= robot.joint_limits[:, 1])).all()
    np.testing.assert_allclose((robot.qpos[:, 3:7] ** 2).sum(axis=1), 1, atol=1e-9)
    if env_id in STAND_IDS:
        assert robot.upright().min() > 0.2, "no robot starts on its back"
        assert envs.success().mean() < 0.1  # some start with their feet below the trunk
    else:
        assert (robot.upright() > 0.98).all()
        assert (envs.privileged_state()["foot_contact"].max(axis=1) == 1).all()
    assert np.abs(batch.bind("qpos") - robot.qpos).max() == 0


@pytest.mark.parametrize("env_id", STAND_IDS)
def test_initial_states_have_little_self_penetration(env_id) -> None:
    """Few initial states have contacts between the robot's own links, and none deeper than 5 cm."""
    import mujoco

    envs = make_envs(env_id, 256)
    model = envs.simulation.model
    data, deepest, count = mujoco.MjData(model), 0.0, 0
    for physics in envs.get_physics_state():
        mujoco.mj_setState(model, data, physics, int(mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_forward(model, data)
        self_contacts = [
            c.dist for c in data.contact if 0 not in (model.geom_bodyid[c.geom1], model.geom_bodyid[c.geom2])
        ]
        count += bool(self_contacts)
        deepest = min([deepest, *self_contacts])
    assert count < 0.1 * 256, count
    assert deepest > -0.05, deepest


def check_stability(env_id: str, seconds: float, num_envs: int) -> None:
    """Assert that speeds, heights and joints stay bounded under random actions that change fast, then slowly."""
    envs = make_envs(env_id, num_envs, max_episode_steps=10**6)
    robot, steps = envs.simulation.robot, int(seconds / envs.simulation.control_step / 2)
    for change in (1.0, 0.1):
        for t, (observation, rewards, *_, infos) in enumerate(step_randomly(envs, steps, change, seed=1)):
            assert not infos["physics_error"].any()
            if t % 5:
                continue
            assert observation in envs.observation_space
            assert ((rewards >= 0) & (rewards <= 1)).all()
            assert np.abs(robot.qvel[:, :3]).max() < 15
            assert np.abs(robot.qvel[:, 3:]).max() < 120
            assert robot.qpos[:, 2].max() < 4 * robot.standing_height
            assert robot.floor_clearance(robot.qpos).min() > -0.1, "below the floor"
            excess = np.maximum(
                robot.qpos[:, 7:] - robot.joint_limits[:, 1], robot.joint_limits[:, 0] - robot.qpos[:, 7:]
            )
            assert excess.max() < 0.5, "beyond a joint limit"


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_random_actions_keep_the_state_bounded(env_id) -> None:
    """Ten minutes over 64 sub-environments."""
    check_stability(env_id, seconds=600 / 64, num_envs=64)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_random_actions_keep_the_state_bounded_for_ten_minutes_each(env_id) -> None:
    check_stability(env_id, seconds=600, num_envs=64)


UPRIGHT, SIDE, OVER = rotation(0, 0.0), rotation(0, np.pi / 2), rotation(1, np.pi)


def test_quadruped_stand_reward() -> None:
    envs = make_envs("robossl/QuadrupedStand-v0", 4)
    set_state(envs, height=[0.3, 0.1, 0.16, 0.3], rotations=[UPRIGHT, SIDE, UPRIGHT, OVER], speed=[0] * 4)
    np.testing.assert_allclose(reward(envs), [1, 0.023, 0.1, 0], atol=0.01)
    assert success(envs) == [True, False, False, False]


@pytest.mark.parametrize(
    ("env_id", "target"), [("robossl/QuadrupedWalk-v0", 1), ("robossl/QuadrupedRun-v0", 3)]
)
def test_quadruped_reward_needs_speed_in_its_heading(env_id, target) -> None:
    envs = make_envs(env_id, 5)
    speed = [0, target, target / 2, target, target]
    set_state(
        envs,
        height=[0.3] * 4 + [0.06],
        rotations=[UPRIGHT] * 3 + [rotation(2, np.pi / 2), UPRIGHT],
        speed=speed,
    )
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 1 / 6, 0.03], atol=0.01)
    assert success(envs) == [False, True, False, False, False]


def test_quadruped_jump_reward_grows_with_height() -> None:
    envs = make_envs("robossl/QuadrupedJump-v0", 4)
    set_state(envs, height=[0.3, 0.6, 0.45, 0.6], rotations=[UPRIGHT, UPRIGHT, UPRIGHT, OVER], speed=[0] * 4)
    np.testing.assert_allclose(reward(envs), [0, 1, 0.48, 0], atol=0.01)
    assert success(envs) == [False, True, False, False]


def test_humanoid_stand_reward_uses_the_head_height() -> None:
    envs = make_envs("robossl/HumanoidStand-v0", 4)
    set_state(envs, height=[1.28, 0.2, 0.43, 1.28], rotations=[UPRIGHT, SIDE, UPRIGHT, OVER], speed=[0] * 4)
    np.testing.assert_allclose(envs.simulation.robot.head_height(), [1.65, 0.2, 0.8, 0.91], atol=1e-9)
    np.testing.assert_allclose(reward(envs), [1, 0.016, 0.1, 0], atol=0.01)
    assert success(envs) == [True, False, False, False]


def test_humanoid_reward_needs_speed_in_its_heading() -> None:
    envs = make_envs("robossl/HumanoidWalk-v0", 5)
    rotations = [UPRIGHT] * 3 + [rotation(2, np.pi / 2), UPRIGHT]
    set_state(envs, height=[1.28] * 4 + [0.43], rotations=rotations, speed=[0, 1, 0.5, 1, 1])
    np.testing.assert_allclose(reward(envs), [1 / 6, 1, 0.57, 1 / 6, 0.1], atol=0.01)
    assert success(envs) == [False, True, False, False, False]


@pytest.mark.parametrize("env_id", LEGGED_IDS)
def test_zero_action_earns_little_reward(env_id) -> None:
    envs = make_envs(env_id, 32)
    for _ in range(250):
        _, rewards, *_, infos = envs.step(np.zeros(envs.action_space.shape))
    assert rewards.mean() < 0.2
    assert infos["is_success"].mean() < 0.02


@pytest.mark.parametrize("env_id", ROBOT_IDS)
def test_robot_has_physical_and_visual_randomization(env_id) -> None:
    factors = make_envs(env_id, 1).randomized_parameters.values()
    assert sum(not factor.visual for factor in factors) >= 6
    assert sum(factor.visual for factor in factors) >= 4
    envs = make_envs(env_id, 32, randomization="test")
    for *_, infos in step_randomly(envs, 60, 0.3):
        assert not infos["physics_error"].any()
