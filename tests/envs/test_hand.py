"""The hand: where its fingertips are, what turning pays, when the cube is lost."""

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from robossl.envs.hand import HandAndCube, fingertip, fingertip_distances

robossl.envs.register()


def played(lanes: int = 8, steps: int = 30):
    """A batch after some random play."""
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=lanes)
    observation, _ = envs.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(steps):
        observation = envs.step(random.uniform(-1, 1, (lanes, 16)))[0]
    return envs, observation


def test_hand_fingertips_are_where_mujoco_says() -> None:
    envs, _ = played()
    simulation = envs.simulation
    geoms = simulation.batch.bind("geom_xpos").reshape(8, -1, 3)
    turns = simulation.batch.bind("geom_xmat").reshape(8, -1, 3, 3)
    simulation.batch.forward()
    for number, name in enumerate(("index", "middle", "ring", "thumb")):
        geom = simulation.model.geom(f"{name}_distal").id
        ends = geoms[:, geom] - turns[:, geom, :, 2] * simulation.model.geom_size[geom, 1]
        np.testing.assert_allclose(np.stack(fingertip(simulation.robot.qpos, number), axis=1), ends, atol=1e-6)


def test_hand_gaps_are_those_of_the_cube_however_it_lies() -> None:
    qpos = np.zeros((2, 23))
    qpos[:, 3] = 1.0
    tip = np.array(fingertip(qpos, 1))[:, 0]
    qpos[:, :3] = tip - [0.03 + 0.012 + 0.005, 0.01, -0.02]
    qpos[1, 3:7] = [0.5, 0.5, 0.5, 0.5]  # the cube's sides are the same after it
    np.testing.assert_allclose(fingertip_distances(qpos)[:, 1], 0.005, atol=1e-12)


def test_hand_observation_tells_the_pose() -> None:
    envs, observation = played()
    told, true = HandAndCube.pose(observation), envs.simulation.robot.qpos
    same = np.sign(np.sum(told[:, 3:7] * true[:, 3:7], axis=1, keepdims=True))
    told[:, 3:7] *= same
    np.testing.assert_allclose(told, true, atol=1e-5)
    rough = HandAndCube.pose(observation + np.random.default_rng(1).normal(0, 0.3, observation.shape))
    np.testing.assert_allclose(np.sum(rough[:, 3:7] ** 2, axis=1), 1)
    assert np.isfinite(HandAndCube.pose(np.zeros((3, 47)))).all()


def test_hand_turning_is_rewarded_at_the_wished_speed() -> None:
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=7)
    envs.reset(seed=0)
    task, robot = envs.simulation.task, envs.simulation.robot
    for lane, spin in enumerate((0.0, 0.5, 1.0, 3.0, -1.0)):
        robot.qvel[lane, 5] = spin  # about the cube's own upright axis, which leans by as much as the palm
    reward, success = task.reward(robot, np.zeros((7, 16))), task.success(robot)
    assert reward[0] == reward[4] == reward[5] == 0
    assert reward[2] > 0.99 > reward[1] > reward[3] >= 0
    assert success.tolist() == [False, False, True, False, False, False, False]


def test_hand_loses_the_cube_below_the_palm() -> None:
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
def test_hand_worlds_differ(name) -> None:
    envs = gym.make_vec("robossl/HandTurn-v0", num_envs=1)
    assert name in envs.simulation.randomization.randomized_parameters


def test_hand_targets_are_those_of_the_model_and_lie_within_the_joints() -> None:
    model = gym.make_vec("robossl/HandTurn-v0", num_envs=1).simulation.model
    np.testing.assert_array_equal(model.actuator_ctrlrange, HandAndCube.targets)
    joints = model.jnt_range[1:]
    assert ((HandAndCube.targets >= joints[:, :1]) & (HandAndCube.targets <= joints[:, 1:])).all()
    np.testing.assert_allclose(model.actuator_forcerange, [[-0.7, 0.7]] * 16)


def test_hand_holds_a_cube_that_is_left_alone() -> None:
    """It begins on the palm, touched by no finger, and stays there."""
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


def test_hand_fingertips_on_the_cube_are_felt() -> None:
    envs, _ = played(lanes=32)
    seen = []
    random = np.random.default_rng(1)
    for _ in range(40):
        envs.step(random.uniform(-1, 1, (32, 16)))
        touching = envs.privileged_state()["fingertip_contact"]
        assert np.array_equal(touching, fingertip_distances(envs.simulation.robot.qpos) <= 1e-3)
        seen.append(touching)
    assert 0 < np.mean(seen) < 1
