"""The hand: fingertip kinematics, reward of turning, termination and contacts."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.hand import HandRobot, fingertip_distances, fingertip_position

robossl.envs.register()


def step_randomly(num_envs: int = 8, steps: int = 30):
    """Return a batch after random steps, and its last observation."""
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=num_envs)
    observation, _ = envs.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(steps):
        observation = envs.step(random.uniform(-1, 1, (num_envs, 16)))[0]
    return envs, observation


def test_hand_fingertip_positions_match_mujoco() -> None:
    envs, _ = step_randomly()
    simulation = envs.simulation
    geoms = simulation.batch.bind("geom_xpos").reshape(8, -1, 3)
    rotations = simulation.batch.bind("geom_xmat").reshape(8, -1, 3, 3)
    simulation.batch.forward()
    for finger_index, name in enumerate(("index", "middle", "ring", "thumb")):
        geom = simulation.model.geom(f"{name}_distal").id
        ends = geoms[:, geom] - rotations[:, geom, :, 2] * simulation.model.geom_size[geom, 1]
        np.testing.assert_allclose(
            np.stack(fingertip_position(simulation.robot.qpos, finger_index), axis=1), ends, atol=1e-6
        )


def test_hand_fingertip_distance_is_independent_of_a_cube_symmetry() -> None:
    qpos = np.zeros((2, 23))
    qpos[:, 3] = 1.0
    tip = np.array(fingertip_position(qpos, 1))[:, 0]
    qpos[:, :3] = tip - [0.03 + 0.012 + 0.005, 0.01, -0.02]
    qpos[1, 3:7] = [0.5, 0.5, 0.5, 0.5]  # a rotation that maps the cube to itself
    np.testing.assert_allclose(fingertip_distances(qpos)[:, 1], 0.005, atol=1e-12)


def test_hand_pose_is_reconstructed_from_the_observation() -> None:
    envs, observation = step_randomly()
    pose, true = HandRobot.pose_from_observation(observation), envs.simulation.robot.qpos
    sign = np.sign(np.sum(pose[:, 3:7] * true[:, 3:7], axis=1, keepdims=True))
    pose[:, 3:7] *= sign
    np.testing.assert_allclose(pose, true, atol=1e-5)
    noisy = HandRobot.pose_from_observation(
        observation + np.random.default_rng(1).normal(0, 0.3, observation.shape)
    )
    np.testing.assert_allclose(np.sum(noisy[:, 3:7] ** 2, axis=1), 1)
    assert np.isfinite(HandRobot.pose_from_observation(np.zeros((3, 47)))).all()


def test_hand_reward_is_largest_at_the_target_spin() -> None:
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=7)
    envs.reset(seed=0)
    task, robot = envs.simulation.task, envs.simulation.robot
    for env_index, spin in enumerate((0.0, 0.5, 1.0, 3.0, -1.0)):
        robot.qvel[env_index, 5] = spin  # about the cube's z axis, which is tilted as the palm
    reward, success = task.reward(robot, np.zeros((7, 16))), task.success(robot)
    assert reward[0] == reward[4] == reward[5] == 0
    assert reward[2] > 0.99 > reward[1] > reward[3] >= 0
    assert success.tolist() == [False, False, True, False, False, False, False]


def test_hand_terminates_when_the_cube_falls_below_the_palm() -> None:
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=2)
    envs.reset(seed=0)
    envs.simulation.robot.qpos[0, 1] = 0.15
    ended = np.zeros(2, bool)
    for _ in range(8):
        ended |= envs.step(np.zeros((2, 16)))[2]
    assert ended.tolist() == [True, False]


@pytest.mark.parametrize(
    "name", ["cube_mass", "friction", "gravity", "joint_damping", "actuator_gain", "link_mass"]
)
def test_hand_randomizes_parameter(name) -> None:
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=1)
    assert name in envs.unwrapped.randomized_parameters


def test_hand_target_range_matches_the_model_and_joint_limits() -> None:
    model = gym.make_vec("robossl/HandTurn-v0", num_envs=1).simulation.model
    np.testing.assert_array_equal(model.actuator_ctrlrange, HandRobot.target_range)
    joints = model.jnt_range[1:]
    assert ((HandRobot.target_range >= joints[:, :1]) & (HandRobot.target_range <= joints[:, 1:])).all()
    np.testing.assert_allclose(model.actuator_forcerange, [[-0.7, 0.7]] * 16)


def test_hand_keeps_the_cube_with_zero_action() -> None:
    """The cube starts on the palm without finger contact and stays there."""
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=32)
    envs.reset(seed=1)
    robot = envs.simulation.robot
    assert (fingertip_distances(robot.qpos) > 0).all()
    before = robot.qpos[:, :3].copy()
    for _ in range(60):
        _, reward, terminated, *_ = envs.step(np.zeros((32, 16)))
        assert (reward < 0.01).all()
        assert not terminated.any()
    assert np.abs(robot.qpos[:, :3] - before).max() < 1e-3


def test_hand_fingertip_contact_matches_the_distance() -> None:
    envs, _ = step_randomly(num_envs=32)
    contacts = []
    random = np.random.default_rng(1)
    for _ in range(40):
        envs.step(random.uniform(-1, 1, (32, 16)))
        contact = envs.privileged_state()["fingertip_contact"]
        assert np.array_equal(contact, fingertip_distances(envs.simulation.robot.qpos) <= 1e-3)
        contacts.append(contact)
    assert 0 < np.mean(contacts) < 1
