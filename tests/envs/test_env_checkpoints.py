"""Laws: save, restore elsewhere, same future; put a lane anywhere it has been."""

import copy
import pickle  # noqa: TID251 - to be sent away and received is what is tested here

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree

IDS = robossl.envs.register()


def again(env):
    """Sent away and received."""
    return pickle.loads(pickle.dumps(env))  # noqa: S301


def future(envs, steps: int = 60) -> bytes:
    """Everything the next steps bring, as bytes."""
    random = np.random.default_rng(9)
    told = []
    for _ in range(steps):
        observation, reward, terminated, truncated, infos = envs.step(
            random.uniform(-1, 1, envs.action_space.shape)
        )
        parts = observation.values() if isinstance(observation, dict) else [observation]
        told += [p.tobytes() for p in (*parts, reward, terminated, truncated, infos["is_success"])]
        told.append(envs.get_physics_state().tobytes())
    return b"".join(told)


def begun(env_id: str, steps: int, **arguments):
    envs = gym.make_vec(env_id, num_envs=4, max_episode_steps=13, **arguments)
    envs.reset(seed=5)
    future(envs, steps)
    return envs


def observed(envs) -> np.ndarray:
    observation = envs.observation()
    return (
        np.concatenate(list(observation.values()), axis=1) if isinstance(observation, dict) else observation
    )


def vector(envs) -> np.ndarray:
    """(n, D): what the robot senses, without goals."""
    observation = envs.observation()
    return observation["observation"] if isinstance(observation, dict) else observation


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("steps", [0, 13, 20])  # 13: the very step at which every lane ends
@pytest.mark.parametrize("env_id", IDS)
def test_save_then_restore_elsewhere_gives_the_same_future(env_id, steps, mode, tmp_path) -> None:
    envs = begun(env_id, steps, autoreset_mode=mode, nthread=1)
    save_tree(tmp_path / "envs.safetensors", envs.get_checkpoint())
    elsewhere = gym.make_vec(env_id, num_envs=4, max_episode_steps=13, autoreset_mode=mode, nthread=2)
    elsewhere.reset(seed=77)
    future(elsewhere, 3)
    elsewhere.set_checkpoint(load_tree(tmp_path / "envs.safetensors"))
    assert observed(elsewhere).tobytes() == observed(envs).tobytes()
    assert future(elsewhere) == future(envs)


@pytest.mark.parametrize("env_id", IDS)
def test_copies_and_pickles_live_on(env_id) -> None:
    envs = begun(env_id, 7)
    twin, clone = again(envs), copy.deepcopy(envs)
    assert twin.spec == envs.spec
    assert future(envs) == future(twin) == future(clone)


@pytest.mark.parametrize("env_id", IDS)
def test_a_single_env_lives_on_too(env_id) -> None:
    env = gym.make(env_id).unwrapped
    env.reset(seed=3)
    env.step(np.zeros(env.action_space.shape))
    twin = again(env)
    for one in (env, twin):
        one.reset()
    first, second = env.observation(), twin.observation()
    parts = zip(first.values(), second.values()) if isinstance(first, dict) else [(first, second)]
    assert all(np.array_equal(a, b) for a, b in parts)


@pytest.mark.parametrize("env_id", IDS)
def test_a_recorded_row_is_enough_to_live_through_it_again(env_id) -> None:
    """Restore the physics of step t: the same actions lead to the same bits."""
    envs = gym.make_vec(env_id, num_envs=3)
    envs.reset(seed=0)
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (30, *envs.action_space.shape))
    rows, seen = [envs.get_physics_state()], [observed(envs)]
    for action in actions:
        envs.step(action)
        rows.append(envs.get_physics_state())
        seen.append(observed(envs))
    elsewhere = gym.make_vec(env_id, num_envs=3)
    goal = envs.observation().get("desired_goal") if isinstance(envs.observation(), dict) else None
    elsewhere.set_physics_state(rows[12], goal=goal)
    assert observed(elsewhere).tobytes() == seen[12].tobytes()
    for t in range(12, 30):
        elsewhere.step(actions[t])
        assert elsewhere.get_physics_state().tobytes() == rows[t + 1].tobytes()
        assert observed(elsewhere).tobytes() == seen[t + 1].tobytes()


@pytest.mark.parametrize("env_id", IDS)
def test_restoring_some_lanes_leaves_the_others_alone(env_id) -> None:
    envs = begun(env_id, 13)  # every lane waits for its reset
    before, rows = envs.get_physics_state(), envs.get_physics_state()[[0, 1]]
    envs.set_physics_state(rows, ids=[3, 1])
    after = envs.get_physics_state()
    assert np.array_equal(after[[3, 1]], rows)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    _, reward, *_ = envs.step(np.zeros(envs.action_space.shape))
    assert (reward[[0, 2]] == 0).all(), "lanes 0 and 2 are reset"
    assert not np.array_equal(envs.get_physics_state()[1], after[1]), "lane 1 has moved on"


def test_bad_rows_are_named() -> None:
    envs = begun("robossl/Reacher-v0", 0)
    rows = envs.get_physics_state()
    for physics, ids, goal, words in [
        (rows[:, :-1], None, None, "shape"),
        (rows * np.nan, None, None, "finite"),
        (rows[:2], [1, 1], None, "distinct lanes"),
        (rows[:1], [4], None, "distinct lanes"),
        (rows[:1], [0], np.zeros((1, 3)), "goals of shape"),
    ]:
        with pytest.raises(UsageError, match=words):
            envs.set_physics_state(physics, ids=ids, goal=goal)
    cartpole = begun("robossl/CartPoleBalance-v0", 0)
    with pytest.raises(UsageError, match="has no goals"):
        cartpole.set_physics_state(cartpole.get_physics_state(), goal=np.zeros((4, 2)))
    with pytest.raises(UsageError, match="4 lanes"):
        gym.make_vec("robossl/Reacher-v0", num_envs=2).set_checkpoint(envs.get_checkpoint())


def tells_its_pose(env_id: str) -> bool:
    envs = gym.make_vec(env_id)
    envs.reset(seed=0)
    return envs.physics_from_observation(vector(envs)) is not None


POSABLE_IDS = [env_id for env_id in IDS if tells_its_pose(env_id)]


@pytest.mark.parametrize("env_id", POSABLE_IDS)
def test_an_observation_tells_the_pose_it_was_seen_in(env_id) -> None:
    """Law: a lane restored to the pose of an observation observes the same, at rest."""
    envs = gym.make_vec(env_id, num_envs=8)
    envs.reset(seed=4)
    future(envs, 20)
    seen, state = vector(envs), envs.privileged_state()
    rows = envs.physics_from_observation(seen)
    assert rows.shape == envs.get_physics_state().shape
    envs.set_physics_state(rows)
    assert (envs.simulation.robot.qvel == 0).all()
    posed = envs.privileged_state()
    for name in state:
        if "velocity" not in name:
            np.testing.assert_allclose(posed[name], state[name], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(envs.physics_from_observation(vector(envs)), rows, atol=1e-6)


def test_imagined_observations_are_posed_too() -> None:
    """A decoded cosine and sine lie off the unit circle; what is no observation at all is refused."""
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=4)
    envs.reset(seed=0)
    seen = vector(envs)
    np.testing.assert_allclose(
        envs.physics_from_observation(seen * 0.7), envs.physics_from_observation(seen), atol=1e-12
    )
    for wrong in (seen[0], seen[:, :3], np.full_like(seen, np.nan)):
        with pytest.raises(UsageError, match="finite observations of shape"):
            envs.physics_from_observation(wrong)


@pytest.mark.parametrize("env_id", IDS)
def test_success_is_known_after_restore(env_id) -> None:
    envs = begun(env_id, 5)
    infos = envs.step(np.zeros(envs.action_space.shape))[4]
    rows, goal = envs.get_physics_state(), envs.observation()
    assert np.array_equal(envs.success(), infos["is_success"])
    goal = goal["desired_goal"] if isinstance(goal, dict) else None
    elsewhere = begun(env_id, 2)
    elsewhere.set_physics_state(rows[[3, 0]], ids=[1, 2], goal=None if goal is None else goal[[3, 0]])
    assert np.array_equal(elsewhere.success()[[1, 2]], infos["is_success"][[3, 0]])
