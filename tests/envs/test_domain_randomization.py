"""Laws of domain randomization: bounds, disjoint train and test ranges, independent sub-environments."""

import pickle  # noqa: TID251 - the tests check that envs can be pickled

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from robossl.envs.engine.randomized_parameter import randomized_parameters
from robossl.envs.engine.visual_randomizer import hue_rotation
from robossl.envs.reacher import ReacherRobot

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree

robossl.envs.register()
REACHER, CARTPOLE = "robossl/Reacher-v0", "robossl/CartPoleSwingUp-v0"
BOTH = [REACHER, CARTPOLE]
PARAMETERS = {env_id: gym.make_vec(env_id).randomized_parameters for env_id in BOTH}
EVERY = [(env_id, name) for env_id in BOTH for name in PARAMETERS[env_id]]


def numbers(observation) -> np.ndarray:
    return observation["observation"] if isinstance(observation, dict) else observation


def rollout(envs, steps: int = 40, seed: int | None = 3, **reset) -> dict[str, np.ndarray]:
    """Return observations, physics states and rewards of `steps` steps with fixed random actions."""
    random = np.random.default_rng(0)
    observations = [numbers(envs.reset(seed=seed, **reset)[0])]
    physics, rewards = [envs.get_physics_state()], []
    for _ in range(steps):
        action = random.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, reward, *_ = envs.step(action)
        observations.append(numbers(observation))
        physics.append(envs.get_physics_state())
        rewards.append(reward)
    return {
        "observations": np.stack(observations),
        "physics": np.stack(physics),
        "rewards": np.stack(rewards),
    }


def same(a, b) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def make(env_id: str, spec=None, num_envs: int = 3, **arguments):
    return gym.make_vec(
        env_id, num_envs=num_envs, randomization=spec, **{"max_episode_steps": 12} | arguments
    )


@pytest.mark.parametrize("env_id", robossl.envs.register())
def test_every_robot_has_parameters_with_disjoint_ranges(env_id) -> None:
    parameters = gym.make_vec(env_id, num_envs=1).randomized_parameters.values()
    assert sum(not parameter.visual for parameter in parameters) >= 6
    assert sum(parameter.visual for parameter in parameters) >= 4
    for parameter in parameters:
        for low, high in parameter.train:
            assert all(high < start or end < low for start, end in parameter.test), parameter.name


@pytest.mark.parametrize("env_id", BOTH)
def test_nominal_values_equal_no_randomization(env_id) -> None:
    """Equal to the bit, also after other values, and beside randomized sub-environments."""
    plain = rollout(make(env_id))
    nominal = {name: parameter.nominal for name, parameter in PARAMETERS[env_id].items()}
    assert same(rollout(make(env_id, {})), plain)
    assert same(rollout(make(env_id, nominal)), plain)
    envs = make(env_id, "test")
    assert not same(rollout(envs), plain)
    assert same(rollout(envs, options={"randomization": None}), plain)
    mixed = rollout(make(env_id, ["test", None, "train"]))
    for name, value in plain.items():
        assert np.array_equal(mixed[name][:, 1], value[:, 1])
        assert not np.array_equal(mixed["observations"][:, [0, 2]], plain["observations"][:, [0, 2]])


@pytest.mark.parametrize(("env_id", "name"), EVERY)
def test_parameter_changes_physics_or_observations(env_id, name) -> None:
    parameter = PARAMETERS[env_id][name]
    plain, randomized = rollout(make(env_id)), rollout(make(env_id, {name: parameter.bounds[1]}))
    assert randomized["physics"][0].tobytes() == plain["physics"][0].tobytes(), "initial states are equal"
    moves = not parameter.visual and name != "sensor_noise"
    assert np.array_equal(randomized["physics"], plain["physics"]) is not moves
    assert np.array_equal(randomized["observations"], plain["observations"]) is parameter.visual


@pytest.mark.parametrize("env_id", BOTH)
def test_ranges_are_bounded_and_disjoint(env_id) -> None:
    for name, parameter in PARAMETERS[env_id].items():
        low, high = parameter.bounds
        assert low <= parameter.nominal <= high
        assert all(low <= start <= end <= high for start, end in (*parameter.train, *parameter.test))
        assert any(start <= parameter.nominal <= end for start, end in parameter.train), name
        for start, end in parameter.train:
            assert all(end < other or other_end < start for other, other_end in parameter.test), name
        assert parameter.unit
        assert parameter.description


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize("env_id", BOTH)
def test_values_are_sampled_from_their_ranges_in_each_episode(env_id, which) -> None:
    envs = make(env_id, which, num_envs=64)
    envs.reset(seed=0)
    first, second = envs.randomized_values(), (envs.reset(), envs.randomized_values())[1]
    for name, parameter in PARAMETERS[env_id].items():
        ranges = getattr(parameter, which)
        for values in (first[name], second[name]):
            inside = [(start <= values) & (values <= end) for start, end in ranges]
            assert np.any(inside, axis=0).all(), name
            assert all(within.any() for within in inside), name
        assert (first[name] != second[name]).any()
        if parameter.integer:
            assert set(first[name]) == set(range(int(ranges[0][0]), int(ranges[0][1]) + 1))
        else:
            assert len(np.unique(first[name])) == 64


@pytest.mark.parametrize("env_id", BOTH)
def test_initial_states_and_goals_do_not_depend_on_randomization(env_id) -> None:
    """Holds over several episodes, so that randomized envs can be compared episode by episode."""
    results = []
    for spec in (None, "train", {"sensor_noise": 0.1}):
        envs = make(env_id, spec, max_episode_steps=4)
        physics = rollout(envs, 15)["physics"]
        goals = envs.observation()["desired_goal"] if env_id == REACHER else ()
        results.append((physics[[0, 5, 10]], goals))
    for physics, goals in results[1:]:
        np.testing.assert_array_equal(physics, results[0][0])
        np.testing.assert_array_equal(goals, results[0][1])


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", BOTH)
def test_randomized_vector_env_equals_single_envs(env_id, mode) -> None:
    native = make(env_id, "test", autoreset_mode=mode)
    sync = make(env_id, "test", vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    random = np.random.default_rng(0)
    ours, theirs = native.reset(seed=5), sync.reset(seed=5)
    for t in range(60):
        np.testing.assert_array_equal(numbers(ours[0]), numbers(theirs[0]))
        action = random.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        ours, theirs = native.step(action), sync.step(action)
        np.testing.assert_array_equal(ours[1], theirs[1])
        ended = ours[2] | ours[3]
        if mode == AutoresetMode.DISABLED and ended.any():
            options = {"reset_mask": ended} | ({"randomization": {"link_mass": 2.0}} if t > 30 else {})
            ours, theirs = native.reset(options=options), sync.reset(options=dict(options))


def test_values_do_not_depend_on_num_envs() -> None:
    few, many = (make(REACHER, "test", num_envs=n) for n in (2, 4))
    observations = [numbers(envs.reset(seed=1)[0])[:2] for envs in (few, many)]
    for t in range(30):
        np.testing.assert_array_equal(*observations)
        action = np.full((4, 2), np.sin(t))
        observations = [numbers(few.step(action[:2])[0]), numbers(many.step(action)[0])[:2]]
    for name, values in few.randomized_values().items():
        np.testing.assert_array_equal(values, many.randomized_values()[name][:2])


@pytest.mark.parametrize("env_id", BOTH)
def test_scaled_fields_give_the_physics_of_mujoco(env_id) -> None:
    """A plain mj_step loop on a model with these masses, dampings and gains gives the same trajectory."""
    spec = {"link_mass": 1.5, "joint_damping": 3.0, "actuator_gain": 0.6}
    envs = make(env_id, spec, num_envs=1, max_episode_steps=100)
    envs.reset(seed=0)
    import mujoco

    model = envs.simulation.model.__copy__()
    model.body_mass[:] *= 1.5
    model.body_inertia[:] *= 1.5
    model.dof_damping[:] *= 3.0
    model.actuator_gainprm[:] *= 0.6
    data = mujoco.MjData(model)
    mujoco.mj_setConst(model, data)
    mujoco.mj_setState(model, data, envs.get_physics_state()[0], int(mujoco.mjtState.mjSTATE_INTEGRATION))
    for t in range(50):
        action = np.sin(0.3 * t + np.arange(model.nu))
        envs.step(action[None])
        data.ctrl[:] = action
        mujoco.mj_step(model, data, envs.simulation.task.robot.substeps)
        np.testing.assert_allclose(envs.simulation.robot.qpos[0], data.qpos, rtol=0, atol=1e-12)


def test_delayed_actions_take_effect_later() -> None:
    """With a delay of 3 an action has the effect that it has without delay 3 steps earlier."""
    late, prompt = make(REACHER, {"action_delay": 3}, 2), make(REACHER, None, 2)
    late.reset(seed=0), prompt.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 2, 2))
    for t, action in enumerate(actions):
        late.step(action)
        prompt.step(actions[t - 3] if t >= 3 else np.zeros((2, 2)))
        assert late.get_physics_state().tobytes() == prompt.get_physics_state().tobytes()


def test_sensor_noise_has_its_std_and_leaves_rewards_unchanged() -> None:
    quiet, noisy = (rollout(make(REACHER, spec, 32), 10) for spec in (None, {"sensor_noise": 0.05}))
    error = (noisy["observations"] - quiet["observations"])[
        ..., 4:6
    ]  # velocities, which are far from their limits
    assert 0.045 < error.std() < 0.055
    assert abs(error.mean()) < 0.01
    assert noisy["rewards"].tobytes() == quiet["rewards"].tobytes()
    envs = make(REACHER, {"sensor_noise": 0.05})
    observation = envs.reset(seed=0)[0]["observation"]
    np.testing.assert_array_equal(envs.observation()["observation"], observation)


@pytest.mark.parametrize("env_id", BOTH)
def test_restored_randomized_envs_give_the_same_future(env_id, tmp_path) -> None:
    envs = make(env_id, ["test", {"action_delay": 2, "link_mass": [0.5, 0.9]}, None])
    rollout(envs, 5)
    save_tree(tmp_path / "envs", envs.get_checkpoint())
    elsewhere = make(env_id, "train")
    elsewhere.reset(seed=9)
    elsewhere.set_checkpoint(load_tree(tmp_path / "envs"))
    unpickled = pickle.loads(pickle.dumps(envs))  # noqa: S301
    for other in (elsewhere, unpickled):
        np.testing.assert_array_equal(numbers(other.observation()), numbers(envs.observation()))
        for name, values in envs.randomized_values().items():
            np.testing.assert_array_equal(other.randomized_values()[name], values)
    futures = []
    for one in (envs, elsewhere, unpickled):
        random = np.random.default_rng(1)
        steps = [one.step(random.uniform(-1, 1, one.action_space.shape)) for _ in range(30)]
        futures.append(np.stack([numbers(s[0]) for s in steps]).tobytes() + one.get_physics_state().tobytes())
    assert futures[0] == futures[1] == futures[2]
    plain = make(env_id)
    plain.reset(seed=0)
    elsewhere.set_checkpoint(plain.get_checkpoint())
    assert same(rollout(elsewhere, seed=None), rollout(plain, seed=None))


def test_set_physics_state_keeps_the_randomized_values() -> None:
    envs = make(REACHER, {"link_mass": 2.5}, 2)
    envs.reset(seed=0)
    start = envs.get_physics_state()
    end = five_steps(envs)
    envs.set_physics_state(start)
    assert five_steps(envs).tobytes() == end.tobytes()
    assert (envs.randomized_values()["link_mass"] == 2.5).all()


def five_steps(envs) -> np.ndarray:
    """Return the physics state after five steps."""
    for _ in range(5):
        envs.step(np.ones(envs.action_space.shape))
    return envs.get_physics_state()


def test_spec_stays_until_replaced_in_the_masked_sub_environments() -> None:
    envs = make(REACHER, None, 3, max_episode_steps=3)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False, True]), "randomization": {"link_mass": 2.0}}
    envs.reset(options=options)
    for _ in range(9):
        envs.step(np.zeros((3, 2)))
    assert envs.randomized_values()["link_mass"].tolist() == [2, 1, 2]
    envs.reset()
    assert envs.randomized_values()["link_mass"].tolist() == [2, 1, 2]
    envs.reset(options={"randomization": {}})
    assert envs.randomized_values()["link_mass"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"link_mas": 1.5}, "did you mean 'link_mass'"),
        ({"link_mass": 9}, r"expected link_mass as numbers from 0.4 to 2.5 \[x nominal\]"),
        ({"link_mass": [1.5, 0.5]}, "lowest, highest"),
        ({"link_mass": float("nan")}, "expected link_mass as numbers"),
        ({"link_mass": [1, 2, 3]}, "expected link_mass as numbers"),
        ({"link_mass": "trian"}, "'train' or 'test'"),
        ({"action_delay": 1.5}, "whole numbers from 0 to 4"),
        ("trian", "'train', 'test' or a dict"),
        ([None], "expected 3 randomization"),
        (7, "'train', 'test' or a dict"),
    ],
)
def test_wrong_spec_is_refused(spec, message) -> None:
    with pytest.raises(UsageError, match=message):
        make(REACHER, spec)
    envs = make(REACHER)
    with pytest.raises(UsageError, match=message):
        envs.reset(options={"randomization": spec})


def test_parameters_without_effect_are_missing() -> None:
    """Reacher moves in a horizontal plane without contacts; gravity acts on the pole of CartPole."""
    assert not {"gravity", "friction"} & set(PARAMETERS[REACHER])
    assert {"gravity", "pole_mass"} <= set(PARAMETERS[CARTPOLE])
    import mujoco

    box = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body name="lower" pos="0 0 1"><freejoint/>
        <geom size=".1"/></body></worldbody></mujoco>"""
    found = randomized_parameters(ReacherRobot, mujoco.MjModel.from_xml_string(box))
    assert {"gravity", "friction"} <= set(found)
    assert "joint_damping" not in found


def test_colors_rotate_about_gray() -> None:
    np.testing.assert_allclose(hue_rotation(120) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(hue_rotation(-75) @ hue_rotation(75), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(hue_rotation(50) @ [0.3, 0.3, 0.3], [0.3, 0.3, 0.3], atol=1e-12)


@pytest.mark.parametrize("name", [n for n, f in PARAMETERS[CARTPOLE].items() if f.visual])
def test_visual_parameters_change_images_of_one_sub_environment(name, gl) -> None:
    parameter = PARAMETERS[CARTPOLE][name]
    envs = make(CARTPOLE, [None, {name: parameter.bounds[0]}], 2, pixels=(48, 48), render_mode="rgb_array")
    images = envs.reset(seed=[4, 4])[0]
    frames = envs.render()
    nominal = make(CARTPOLE, None, 2, pixels=(48, 48)).reset(seed=[4, 4])[0]
    assert np.array_equal(images[0], nominal[0])
    assert not np.array_equal(images[1], nominal[1])
    assert not np.array_equal(*frames)
    again = make(CARTPOLE, {name: parameter.bounds[0]}, 1, pixels=(48, 48)).reset(seed=4)[0]
    assert np.array_equal(again[0], images[1])


def test_goal_observation_has_the_visuals_of_its_sub_environment(gl) -> None:
    envs = make(REACHER, [None, {"color_hue": 120}], 2, pixels=(32, 32))
    goal = envs.reset(seed=[1, 1])[0]["desired_goal"]
    images = envs.goal_observation(goal, env_ids=np.array([0, 1]))
    assert np.array_equal(images[:1], envs.goal_observation(goal[:1]))
    assert not np.array_equal(*images)
