"""Laws of every task: the env checkers of Gymnasium and SB3 pass, spaces, rewards, goals and rendering."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env, data_equivalence
from robossl.envs.engine.task import GoalTask
from robossl.envs.engine.vector_env import MujocoVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

IDS = robossl.envs.register()
GOAL_IDS = [i for i in IDS if isinstance(gym.make_vec(i).simulation.task, GoalTask)]


def step_randomly(envs, steps: int, seed: int = 0):
    """Step with random actions and yield the transitions."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        yield envs.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_checker_passes(env_id) -> None:
    check_env(gym.make(env_id).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_sb3_checker_passes(env_id) -> None:
    sb3_check_env(gym.make(env_id).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_id_has_time_limit_rate_action_space_and_cameras(env_id) -> None:
    env = gym.make(env_id)
    assert env.spec.max_episode_steps
    assert env.metadata["render_fps"] == pytest.approx(1 / env.unwrapped.simulation.control_step)
    assert env.action_space == spaces.Box(-1, 1, env.action_space.shape, np.float32)
    assert env.unwrapped.simulation.model.ncam == 2
    for leaf in env.observation_space.values() if isinstance(env.observation_space, spaces.Dict) else ():
        assert leaf.dtype == np.float32
    assert gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json())).spec.id == env_id


@pytest.mark.parametrize("env_id", IDS)
def test_observations_rewards_and_infos_fit_their_spaces(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=16, max_episode_steps=25)
    observation, infos = envs.reset(seed=1)
    keys = set(infos)
    assert keys == {"is_success", "_is_success", "physics_error", "_physics_error"}
    assert observation in envs.observation_space
    rewards = []
    for observation, reward, terminated, truncated, infos in step_randomly(envs, 80):
        assert observation in envs.observation_space
        assert set(infos) == keys
        assert infos["is_success"].dtype == bool
        assert infos["is_success"].shape == (16,)
        assert reward.shape == terminated.shape == truncated.shape == (16,)
        assert ((reward >= 0) & (reward <= 1)).all()
        assert not infos["physics_error"].any()
        rewards.append(reward)
    assert np.ptp(rewards) > 0.01


@pytest.mark.parametrize("env_id", IDS)
def test_step_that_resets_has_no_reward(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=3, max_episode_steps=4)
    envs.reset(seed=1)
    steps = list(step_randomly(envs, 5))
    assert steps[3][3].all()
    assert not steps[4][3].any()
    assert (steps[4][1] == 0).all()


@pytest.mark.parametrize("env_id", IDS)
def test_observations_have_about_unit_scale(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=32)
    envs.reset(seed=0)
    observations = [
        step[0]["observation"] if isinstance(step[0], dict) else step[0] for step in step_randomly(envs, 200)
    ]
    scale = np.abs(np.concatenate(observations)).max(axis=0)
    assert 0.5 < scale.max() < 6, scale


@pytest.mark.parametrize("env_id", IDS)
def test_privileged_state_has_named_copies_of_shape_n_k(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=4)
    envs.reset(seed=0)
    state = envs.privileged_state()
    assert state
    for name, value in state.items():
        assert (value.shape[0], value.ndim, value.dtype) == (4, 2, np.float64), name
    before = {name: value.copy() for name, value in state.items()}
    list(step_randomly(envs, 3))
    assert all(np.array_equal(state[name], before[name]) for name in state), (
        "privileged_state() must return copies"
    )
    assert any(not np.array_equal(envs.privileged_state()[name], before[name]) for name in state)


@pytest.mark.parametrize("env_id", GOAL_IDS)
def test_compute_reward_equals_the_step_reward(env_id) -> None:
    """Law for hindsight relabeling, for one pair of goals and any batch of them."""
    envs = gym.make_vec(env_id, num_envs=6)
    envs.reset(seed=0)
    for observation, reward, *_ in step_randomly(envs, 20):
        achieved, desired = observation["achieved_goal"], observation["desired_goal"]
        assert np.array_equal(envs.compute_reward(achieved, desired, {}), reward)
        assert np.array_equal(envs.compute_reward(achieved[None], desired[None], {})[0], reward)
        assert envs.compute_reward(achieved[0], desired[0], {}) == reward[0]
        assert np.array_equal(envs.compute_reward(achieved, achieved, {}), np.ones(6))


@pytest.mark.parametrize("env_id", IDS)
def test_returned_arrays_are_never_overwritten(env_id) -> None:
    """Includes a reset and a physics error."""
    envs = gym.make_vec(env_id, num_envs=3, max_episode_steps=6)
    envs.reset(seed=0)
    returned, copies = [], []
    for t, step in enumerate(step_randomly(envs, 10)):
        returned.append(step)
        copies.append(copy.deepcopy(step))
        if t == 2:
            envs.simulation.robot.qvel[1] = 1e12
    assert data_equivalence(returned, copies)


@pytest.mark.parametrize("env_id", GOAL_IDS)
def test_achieved_goal_equals_the_tasks_achieved(env_id) -> None:
    """Holds for `achieved_slice`, for `achieved`, and for a subclass that overrides `achieved`."""
    envs = gym.make_vec(env_id, num_envs=5)
    envs.reset(seed=0)
    task = envs.simulation.task
    for observation, *_ in step_randomly(envs, 5):
        achieved = task.achieved(envs.simulation.robot)
        assert np.array_equal(observation["achieved_goal"], achieved.astype(np.float32))

    class Halved(type(task)):
        def achieved(self, robot):
            return super().achieved(robot) / 2

    other = MujocoVectorEnv(Halved, num_envs=5)
    halved = other.set_physics_state(envs.get_physics_state(), goal=observation["desired_goal"])
    assert np.array_equal(halved["achieved_goal"], (achieved / 2).astype(np.float32))


@pytest.mark.parametrize("env_id", GOAL_IDS)
def test_goal_pose_has_full_reward_success_and_the_goal_observation(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=8)
    goal = envs.reset(seed=0)[0]["desired_goal"]
    task, robot = envs.simulation.task, envs.simulation.robot
    rows = envs.get_physics_state()
    scratch = gym.make_vec(env_id, num_envs=8)
    scratch.reset(seed=1)
    scratch.simulation.batch.reset()
    scratch.simulation.robot.qpos[:] = task.goal_pose(goal)
    assert scratch.get_physics_state().shape == rows.shape
    observation = envs.set_physics_state(scratch.get_physics_state(), goal=goal)
    np.testing.assert_allclose(observation["achieved_goal"], goal, atol=1e-5)
    np.testing.assert_array_equal(observation["observation"], envs.goal_observation(goal))
    _, reward, *_, infos = envs.step(np.zeros(envs.action_space.shape))
    assert (reward > 0.95).all()
    assert infos["is_success"].all()
    assert robot is envs.simulation.robot


@pytest.mark.parametrize("env_id", GOAL_IDS)
def test_goals_differ_and_lie_in_their_space(env_id) -> None:
    envs = gym.make_vec(env_id, num_envs=64)
    goals = envs.reset(seed=0)[0]["desired_goal"]
    assert len(np.unique(goals, axis=0)) == 64
    assert goals in envs.observation_space["desired_goal"]
    assert np.ptp(goals, axis=0).min() > 0.5


@pytest.mark.parametrize("env_id", IDS)
def test_random_actions_rarely_succeed(env_id) -> None:
    if env_id == "robossl/CartPoleBalance-v0":
        return  # its episodes start in success
    envs = gym.make_vec(env_id, num_envs=32)
    envs.reset(seed=0)
    rate = np.mean([step[4]["is_success"].mean() for step in step_randomly(envs, 200)])
    assert rate < 0.02, rate


@pytest.mark.parametrize("env_id", IDS)
def test_frames_show_the_state_of_each_sub_environment(env_id, gl) -> None:
    envs = gym.make_vec(env_id, num_envs=2, render_mode="rgb_array", render_size=(48, 64))
    envs.reset(seed=0)
    frames = envs.render()
    assert len(frames) == 2
    for frame in frames:
        assert frame.shape == (48, 64, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 5
    again = envs.render()
    assert np.array_equal(frames[0], again[0])
    list(step_randomly(envs, 20))
    assert not np.array_equal(envs.render()[0], frames[0])
    envs.close()


@pytest.mark.parametrize("env_id", GOAL_IDS)
def test_goal_is_in_the_frame_and_not_in_the_physics(env_id, gl) -> None:
    envs = gym.make_vec(env_id, num_envs=1, render_mode="rgb_array", render_size=(64, 64))
    envs.reset(seed=0)
    rows, goals = (
        envs.get_physics_state(),
        np.stack([envs.simulation.task.sample_goal(np.random.default_rng(i)) for i in (1, 2)]),
    )
    frames = []
    for goal in goals:
        envs.set_physics_state(rows, goal=goal[None])
        frames.append(envs.render()[0])
    assert not np.array_equal(*frames)
    assert np.array_equal(envs.get_physics_state(), rows)
    envs.close()
