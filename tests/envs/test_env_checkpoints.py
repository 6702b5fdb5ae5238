"""Laws of checkpoints and physics states: restored envs continue to the same bits."""

import copy
import pickle  # noqa: TID251 - the tests check that envs can be pickled

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree

IDS = robossl.envs.register()


def pickle_and_load(env):
    """Return a copy of an env made by pickle."""
    return pickle.loads(pickle.dumps(env))  # noqa: S301


def future(envs, steps: int = 60) -> bytes:
    """Return the results of the next steps with fixed random actions, as bytes."""
    random = np.random.default_rng(9)
    results = []
    for _ in range(steps):
        observation, reward, terminated, truncated, infos = envs.step(
            random.uniform(-1, 1, envs.action_space.shape)
        )
        parts = observation.values() if isinstance(observation, dict) else [observation]
        results += [p.tobytes() for p in (*parts, reward, terminated, truncated, infos["is_success"])]
        results.append(envs.get_physics_state().tobytes())
    return b"".join(results)


def make(env_id: str, steps: int, **arguments):
    """Return envs after some steps."""
    envs = gym.make_vec(env_id, num_envs=4, max_episode_steps=13, **arguments)
    envs.reset(seed=5)
    future(envs, steps)
    return envs


def observe(envs) -> np.ndarray:
    observation = envs.observation()
    return (
        np.concatenate(list(observation.values()), axis=1) if isinstance(observation, dict) else observation
    )


def observe_numbers(envs) -> np.ndarray:
    """Return the observation (n, D) without goals."""
    observation = envs.observation()
    return observation["observation"] if isinstance(observation, dict) else observation


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("steps", [0, 13, 20])  # 13: the step in which every episode ends
@pytest.mark.parametrize("env_id", IDS)
def test_restored_checkpoint_gives_the_same_future(env_id, steps, mode, tmp_path) -> None:
    envs = make(env_id, steps, autoreset_mode=mode, nthread=1)
    save_tree(tmp_path / "envs.safetensors", envs.get_checkpoint())
    elsewhere = gym.make_vec(env_id, num_envs=4, max_episode_steps=13, autoreset_mode=mode, nthread=2)
    elsewhere.reset(seed=77)
    future(elsewhere, 3)
    elsewhere.set_checkpoint(load_tree(tmp_path / "envs.safetensors"))
    assert observe(elsewhere).tobytes() == observe(envs).tobytes()
    assert future(elsewhere) == future(envs)


@pytest.mark.parametrize("env_id", IDS)
def test_copies_and_pickles_give_the_same_future(env_id) -> None:
    envs = make(env_id, 7)
    unpickled, copied = pickle_and_load(envs), copy.deepcopy(envs)
    assert unpickled.spec == envs.spec
    assert future(envs) == future(unpickled) == future(copied)


@pytest.mark.parametrize("env_id", IDS)
def test_pickled_single_env_continues(env_id) -> None:
    env = gym.make(env_id).unwrapped
    env.reset(seed=3)
    env.step(np.zeros(env.action_space.shape))
    unpickled = pickle_and_load(env)
    env.reset()
    unpickled.reset()
    first, second = env.observation(), unpickled.observation()
    parts = zip(first.values(), second.values()) if isinstance(first, dict) else [(first, second)]
    assert all(np.array_equal(a, b) for a, b in parts)


@pytest.mark.parametrize("env_id", IDS)
def test_physics_state_and_actions_reproduce_a_trajectory(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=3)
    envs.reset(seed=0)
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (30, *envs.action_space.shape))
    rows, observations = [envs.get_physics_state()], [observe(envs)]
    for action in actions:
        envs.step(action)
        rows.append(envs.get_physics_state())
        observations.append(observe(envs))
    elsewhere = gym.make_vec(env_id, num_envs=3)
    goal = envs.observation().get("desired_goal") if isinstance(envs.observation(), dict) else None
    elsewhere.set_physics_state(rows[12], goal=goal)
    assert observe(elsewhere).tobytes() == observations[12].tobytes()
    for t in range(12, 30):
        elsewhere.step(actions[t])
        assert elsewhere.get_physics_state().tobytes() == rows[t + 1].tobytes()
        assert observe(elsewhere).tobytes() == observations[t + 1].tobytes()


@pytest.mark.parametrize("env_id", IDS)
def test_set_physics_state_changes_only_the_given_env_ids(env_id) -> None:
    envs = make(env_id, 13)  # every sub-environment is due for a reset
    before, rows = envs.get_physics_state(), envs.get_physics_state()[[0, 1]]
    envs.set_physics_state(rows, env_ids=[3, 1])
    after = envs.get_physics_state()
    assert np.array_equal(after[[3, 1]], rows)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    _, reward, *_ = envs.step(np.zeros(envs.action_space.shape))
    assert (reward[[0, 2]] == 0).all(), "sub-environments 0 and 2 are reset"
    assert not np.array_equal(envs.get_physics_state()[1], after[1]), "sub-environment 1 has moved"


def test_wrong_physics_states_are_refused() -> None:
    envs = make("robossl/Reacher-v0", 0)
    rows = envs.get_physics_state()
    for physics, ids, goal, words in [
        (rows[:, :-1], None, None, "shape"),
        (rows * np.nan, None, None, "finite"),
        (rows[:2], [1, 1], None, "distinct env_ids"),
        (rows[:1], [4], None, "distinct env_ids"),
        (rows[:1], [0], np.zeros((1, 3)), "goals of shape"),
    ]:
        with pytest.raises(UsageError, match=words):
            envs.set_physics_state(physics, env_ids=ids, goal=goal)
    cartpole = make("robossl/CartPoleBalance-v0", 0)
    with pytest.raises(UsageError, match="has no goals"):
        cartpole.set_physics_state(cartpole.get_physics_state(), goal=np.zeros((4, 2)))
    with pytest.raises(UsageError, match="expected a checkpoint of 2 sub-environments, got 4"):
        gym.make_vec("robossl/Reacher-v0", num_envs=2).set_checkpoint(envs.get_checkpoint())


def has_pose(env_id: str) -> bool:
    envs = gym.make_vec(env_id)
    envs.reset(seed=0)
    return envs.physics_from_observation(observe_numbers(envs)) is not None


POSE_IDS = [env_id for env_id in IDS if has_pose(env_id)]


@pytest.mark.parametrize("env_id", POSE_IDS)
def test_physics_from_observation_reproduces_the_observation(env_id) -> None:
    """Law: a robot put into the pose of an observation observes the same, at rest."""
    envs = gym.make_vec(env_id, num_envs=8)
    envs.reset(seed=4)
    future(envs, 20)
    observations, state = observe_numbers(envs), envs.privileged_state()
    rows = envs.physics_from_observation(observations)
    assert rows.shape == envs.get_physics_state().shape
    envs.set_physics_state(rows)
    assert (envs.simulation.robot.qvel == 0).all()
    restored = envs.privileged_state()
    for name in state:
        if "velocity" not in name:
            np.testing.assert_allclose(restored[name], state[name], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(envs.physics_from_observation(observe_numbers(envs)), rows, atol=1e-6)


def test_physics_from_observation_accepts_decoded_observations() -> None:
    """A decoded cosine and sine may lie off the unit circle; other shapes and NaN are refused."""
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=4)
    envs.reset(seed=0)
    observations = observe_numbers(envs)
    np.testing.assert_allclose(
        envs.physics_from_observation(observations * 0.7),
        envs.physics_from_observation(observations),
        atol=1e-12,
    )
    for wrong in (observations[0], observations[:, :3], np.full_like(observations, np.nan)):
        with pytest.raises(UsageError, match="finite observations of shape"):
            envs.physics_from_observation(wrong)


@pytest.mark.parametrize("env_id", IDS)
def test_success_is_available_after_set_physics_state(env_id) -> None:
    envs = make(env_id, 5)
    infos = envs.step(np.zeros(envs.action_space.shape))[4]
    rows, goal = envs.get_physics_state(), envs.observation()
    assert np.array_equal(envs.success(), infos["is_success"])
    goal = goal["desired_goal"] if isinstance(goal, dict) else None
    elsewhere = make(env_id, 2)
    elsewhere.set_physics_state(rows[[3, 0]], env_ids=[1, 2], goal=None if goal is None else goal[[3, 0]])
    assert np.array_equal(elsewhere.success()[[1, 2]], infos["is_success"][[3, 0]])
