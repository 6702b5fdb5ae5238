"""Laws of varied worlds: bounded, drawn apart for training and testing, each lane its own, nothing else touched."""

import pickle  # noqa: TID251 - to be sent away and received is what is tested here

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from robossl.envs.engine.randomized_parameter import factors_of
from robossl.envs.engine.visual_randomizer import turned
from robossl.envs.reacher import ReacherArm

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree

robossl.envs.register()
REACHER, CARTPOLE = "robossl/Reacher-v0", "robossl/CartPoleSwingUp-v0"
BOTH = [REACHER, CARTPOLE]
FACTORS = {env_id: gym.make_vec(env_id).randomized_parameters for env_id in BOTH}
EVERY = [(env_id, name) for env_id in BOTH for name in FACTORS[env_id]]


def numbers(observation) -> np.ndarray:
    return observation["observation"] if isinstance(observation, dict) else observation


def life(envs, steps: int = 40, seed: int | None = 3, **reset) -> dict[str, np.ndarray]:
    """What is observed, rewarded and true in so many steps."""
    random = np.random.default_rng(0)
    seen = [numbers(envs.reset(seed=seed, **reset)[0])]
    rows, rewards = [envs.get_physics_state()], []
    for _ in range(steps):
        action = random.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, reward, *_ = envs.step(action)
        seen.append(numbers(observation))
        rows.append(envs.get_physics_state())
        rewards.append(reward)
    return {"seen": np.stack(seen), "rows": np.stack(rows), "rewards": np.stack(rewards)}


def same(a, b) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def make(env_id: str, rule=None, num_envs: int = 3, **arguments):
    return gym.make_vec(env_id, num_envs=num_envs, randomization=rule, **{"max_episode_steps": 12} | arguments)


@pytest.mark.parametrize("env_id", robossl.envs.register())
def test_every_body_has_many_worlds_and_none_of_training_is_one_of_testing(env_id) -> None:
    factors = gym.make_vec(env_id, num_envs=1).randomized_parameters.values()
    assert sum(not factor.look for factor in factors) >= 6
    assert sum(factor.look for factor in factors) >= 4
    for factor in factors:
        for low, high in factor.train:
            assert all(high < start or end < low for start, end in factor.test), factor.name


@pytest.mark.parametrize("env_id", BOTH)
def test_the_nominal_world_is_the_one_without_variations(env_id) -> None:
    """To the bit, also in lanes that lived in other worlds before, and beside lanes that do."""
    plain = life(make(env_id))
    nominal = {name: factor.nominal for name, factor in FACTORS[env_id].items()}
    assert same(life(make(env_id, {})), plain)
    assert same(life(make(env_id, nominal)), plain)
    envs = make(env_id, "test")
    assert not same(life(envs), plain)
    assert same(life(envs, options={"randomization": None}), plain)
    mixed = life(make(env_id, ["test", None, "train"]))
    for name, value in plain.items():
        assert np.array_equal(mixed[name][:, 1], value[:, 1])
        assert not np.array_equal(mixed["seen"][:, [0, 2]], plain["seen"][:, [0, 2]])


@pytest.mark.parametrize(("env_id", "name"), EVERY)
def test_every_factor_changes_what_it_should(env_id, name) -> None:
    factor = FACTORS[env_id][name]
    plain, varied = life(make(env_id)), life(make(env_id, {name: factor.bounds[1]}))
    assert varied["rows"][0].tobytes() == plain["rows"][0].tobytes(), "lives begin the same"
    moves = not factor.look and name != "sensor_noise"
    assert np.array_equal(varied["rows"], plain["rows"]) is not moves
    assert np.array_equal(varied["seen"], plain["seen"]) is factor.look


@pytest.mark.parametrize("env_id", BOTH)
def test_every_span_is_bounded_and_training_never_meets_testing(env_id) -> None:
    for name, factor in FACTORS[env_id].items():
        low, high = factor.bounds
        assert low <= factor.nominal <= high
        assert all(low <= start <= end <= high for start, end in (*factor.train, *factor.test))
        assert any(start <= factor.nominal <= end for start, end in factor.train), name
        for start, end in factor.train:
            assert all(end < other or other_end < start for other, other_end in factor.test), name
        assert factor.unit
        assert factor.about


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize("env_id", BOTH)
def test_worlds_are_drawn_from_their_spans_anew_for_each_life(env_id, which) -> None:
    envs = make(env_id, which, num_envs=64)
    envs.reset(seed=0)
    first, second = envs.randomized_values(), (envs.reset(), envs.randomized_values())[1]
    for name, factor in FACTORS[env_id].items():
        spans = getattr(factor, which)
        for values in (first[name], second[name]):
            inside = [(start <= values) & (values <= end) for start, end in spans]
            assert np.any(inside, axis=0).all(), name
            assert all(span.any() for span in inside), name
        assert (first[name] != second[name]).any()
        if factor.whole:
            assert set(first[name]) == set(range(int(spans[0][0]), int(spans[0][1]) + 1))
        else:
            assert len(np.unique(first[name])) == 64


@pytest.mark.parametrize("env_id", BOTH)
def test_the_same_seed_begins_the_same_lives_in_any_world(env_id) -> None:
    """Starts and goals are paired, so worlds can be compared life by life, over several episodes."""
    told = []
    for rule in (None, "train", {"sensor_noise": 0.1}):
        envs = make(env_id, rule, max_episode_steps=4)
        rows = life(envs, 15)["rows"]
        goals = envs.observation()["desired_goal"] if env_id == REACHER else ()
        told.append((rows[[0, 5, 10]], goals))
    for rows, goals in told[1:]:
        np.testing.assert_array_equal(rows, told[0][0])
        np.testing.assert_array_equal(goals, told[0][1])


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", BOTH)
def test_vector_equals_single_in_varied_worlds(env_id, mode) -> None:
    native = make(env_id, "test", autoreset_mode=mode)
    sync = make(env_id, "test", vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    random = np.random.default_rng(0)
    ours, theirs = native.reset(seed=5), sync.reset(seed=5)
    for t in range(60):
        np.testing.assert_array_equal(numbers(ours[0]), numbers(theirs[0]))
        action = random.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        ours, theirs = native.step(action), sync.step(action)
        np.testing.assert_array_equal(ours[1], theirs[1])
        over = ours[2] | ours[3]
        if mode == AutoresetMode.DISABLED and over.any():
            options = {"reset_mask": over} | ({"randomization": {"link_mass": 2.0}} if t > 30 else {})
            ours, theirs = native.reset(options=options), sync.reset(options=dict(options))


def test_a_lane_lives_in_the_same_world_whatever_the_number_of_lanes() -> None:
    few, many = (make(REACHER, "test", num_envs=n) for n in (2, 4))
    seen = [numbers(envs.reset(seed=1)[0])[:2] for envs in (few, many)]
    for t in range(30):
        np.testing.assert_array_equal(*seen)
        action = np.full((4, 2), np.sin(t))
        seen = [numbers(few.step(action[:2])[0]), numbers(many.step(action)[0])[:2]]
    for name, values in few.randomized_values().items():
        np.testing.assert_array_equal(values, many.randomized_values()[name][:2])


@pytest.mark.parametrize("env_id", BOTH)
def test_a_scaled_world_is_the_one_mujoco_computes(env_id) -> None:
    """A plain mj_step loop on a model with these masses, dampings and gains takes the same path."""
    asked = {"link_mass": 1.5, "joint_damping": 3.0, "actuator_gain": 0.6}
    envs = make(env_id, asked, num_envs=1, max_episode_steps=100)
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


def test_a_delayed_action_arrives_late() -> None:
    """Actions sent to a lane with a delay of 3 do what they would have done 3 steps earlier."""
    late, prompt = make(REACHER, {"action_delay": 3}, 2), make(REACHER, None, 2)
    late.reset(seed=0), prompt.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 2, 2))
    for t, action in enumerate(actions):
        late.step(action)
        prompt.step(actions[t - 3] if t >= 3 else np.zeros((2, 2)))
        assert late.get_physics_state().tobytes() == prompt.get_physics_state().tobytes()


def test_noise_is_as_loud_as_asked_and_only_observed() -> None:
    quiet, noisy = (life(make(REACHER, rule, 32), 10) for rule in (None, {"sensor_noise": 0.05}))
    error = (noisy["seen"] - quiet["seen"])[..., 4:6]  # velocities, which are far from their bounds
    assert 0.045 < error.std() < 0.055
    assert abs(error.mean()) < 0.01
    assert noisy["rewards"].tobytes() == quiet["rewards"].tobytes()
    envs = make(REACHER, {"sensor_noise": 0.05})
    seen = envs.reset(seed=0)[0]["observation"]
    np.testing.assert_array_equal(envs.observation()["observation"], seen)


@pytest.mark.parametrize("env_id", BOTH)
def test_a_varied_life_is_saved_and_taken_up_elsewhere(env_id, tmp_path) -> None:
    envs = make(env_id, ["test", {"action_delay": 2, "link_mass": [0.5, 0.9]}, None])
    life(envs, 5)
    save_tree(tmp_path / "envs", envs.get_checkpoint())
    elsewhere = make(env_id, "train")
    elsewhere.reset(seed=9)
    elsewhere.set_checkpoint(load_tree(tmp_path / "envs"))
    twin = pickle.loads(pickle.dumps(envs))  # noqa: S301
    for other in (elsewhere, twin):
        np.testing.assert_array_equal(numbers(other.observation()), numbers(envs.observation()))
        for name, values in envs.randomized_values().items():
            np.testing.assert_array_equal(other.randomized_values()[name], values)
    futures = []
    for one in (envs, elsewhere, twin):
        random = np.random.default_rng(1)
        steps = [one.step(random.uniform(-1, 1, one.action_space.shape)) for _ in range(30)]
        futures.append(np.stack([numbers(s[0]) for s in steps]).tobytes() + one.get_physics_state().tobytes())
    assert futures[0] == futures[1] == futures[2]
    plain = make(env_id)
    plain.reset(seed=0)
    elsewhere.set_checkpoint(plain.get_checkpoint())
    assert same(life(elsewhere, seed=None), life(plain, seed=None))


def test_a_restored_lane_keeps_its_world() -> None:
    """The row says where a lane is; in which world it lives is told by its variations."""
    envs = make(REACHER, {"link_mass": 2.5}, 2)
    envs.reset(seed=0)
    rows = envs.get_physics_state()
    ahead = life_of(envs)
    envs.set_physics_state(rows)
    assert life_of(envs).tobytes() == ahead.tobytes()
    assert (envs.randomized_values()["link_mass"] == 2.5).all()


def life_of(envs) -> np.ndarray:
    for _ in range(5):
        envs.step(np.ones(envs.action_space.shape))
    return envs.get_physics_state()


def test_a_rule_lasts_until_the_next_and_only_for_its_lanes() -> None:
    envs = make(REACHER, None, 3, max_episode_steps=3)
    envs.reset(seed=0)
    some = {"reset_mask": np.array([True, False, True]), "randomization": {"link_mass": 2.0}}
    envs.reset(options=some)
    for _ in range(9):
        envs.step(np.zeros((3, 2)))
    assert envs.randomized_values()["link_mass"].tolist() == [2, 1, 2]
    envs.reset()
    assert envs.randomized_values()["link_mass"].tolist() == [2, 1, 2]
    envs.reset(options={"randomization": {}})
    assert envs.randomized_values()["link_mass"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"link_mas": 1.5}, "did you mean 'link_mass'"),
        ({"link_mass": 9}, r"link_mass is 9; expected numbers from 0.4 to 2.5 \[x nominal\]"),
        ({"link_mass": [1.5, 0.5]}, "lowest, highest"),
        ({"link_mass": float("nan")}, "expected numbers"),
        ({"link_mass": [1, 2, 3]}, "expected numbers"),
        ({"link_mass": "trian"}, "'train' or 'test'"),
        ({"action_delay": 1.5}, "whole numbers from 0 to 4"),
        ("trian", "'train', 'test' or a dict"),
        ([None], "expected 3 randomization"),
        (7, "'train', 'test' or a dict"),
    ],
)
def test_wrong_rules_are_answered(rule, words) -> None:
    with pytest.raises(UsageError, match=words):
        make(REACHER, rule)
    envs = make(REACHER)
    with pytest.raises(UsageError, match=words):
        envs.reset(options={"randomization": rule})


def test_a_factor_is_there_where_it_matters() -> None:
    """Nothing touches and nothing falls in the reacher's plane; the pole of a cartpole falls."""
    assert not {"gravity", "friction"} & set(FACTORS[REACHER])
    assert {"gravity", "pole_mass"} <= set(FACTORS[CARTPOLE])
    import mujoco

    box = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body name="lower" pos="0 0 1"><freejoint/>
        <geom size=".1"/></body></worldbody></mujoco>"""
    found = factors_of(ReacherArm, mujoco.MjModel.from_xml_string(box))
    assert {"gravity", "friction"} <= set(found)
    assert "joint_damping" not in found


def test_colours_turn_about_grey() -> None:
    np.testing.assert_allclose(turned(120) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned(-75) @ turned(75), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turned(50) @ [0.3, 0.3, 0.3], [0.3, 0.3, 0.3], atol=1e-12)


@pytest.mark.parametrize("name", [n for n, f in FACTORS[CARTPOLE].items() if f.look])
def test_looks_change_pictures_lane_by_lane(name, gl) -> None:
    factor = FACTORS[CARTPOLE][name]
    envs = make(CARTPOLE, [None, {name: factor.bounds[0]}], 2, pixels=(48, 48), render_mode="rgb_array")
    pictures = envs.reset(seed=[4, 4])[0]
    shown = envs.render()
    nominal = make(CARTPOLE, None, 2, pixels=(48, 48)).reset(seed=[4, 4])[0]
    assert np.array_equal(pictures[0], nominal[0])
    assert not np.array_equal(pictures[1], nominal[1])
    assert not np.array_equal(*shown)
    again = make(CARTPOLE, {name: factor.bounds[0]}, 1, pixels=(48, 48)).reset(seed=4)[0]
    assert np.array_equal(again[0], pictures[1])


def test_a_goal_looks_as_the_world_of_its_lane(gl) -> None:
    envs = make(REACHER, [None, {"color_hue": 120}], 2, pixels=(32, 32))
    goal = envs.reset(seed=[1, 1])[0]["desired_goal"]
    pictures = envs.goal_observation(goal, lanes=np.array([0, 1]))
    assert np.array_equal(pictures[:1], envs.goal_observation(goal[:1]))
    assert not np.array_equal(*pictures)
