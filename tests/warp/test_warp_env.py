"""Episodes of MuJoCo Warp: autoreset modes, seeds, physics errors, states, images, and numpy arrays."""

import logging

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from robossl.envs.cartpole import CartPoleSwingUp
from robossl.envs.warp.warp_vector_env import WarpVectorEnv
from warp_pairs import follow, make_c, make_warp, numbers

from robossl.core.errors import UsageError
from robossl.core.interfaces import Checkpointable, FinalStateEnv, PhysicsStateEnv, StateOutcomeEnv

pytestmark = pytest.mark.slow

STEPS = 12


def _actions(envs, seed=0):
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, envs.action_space.shape).astype(np.float32) for _ in range(STEPS)]


def _roll(envs, seed=0):
    """Return observations, rewards, ends, and the last observations of episodes, of a few steps."""
    rows, finals = [], []
    observation, _ = envs.reset(seed=seed)
    for action in _actions(envs):
        observation, reward, terminated, truncated, infos = envs.step(action)
        ended = terminated | truncated
        if envs.autoreset_mode is AutoresetMode.DISABLED and ended.any():
            finals.append(numbers(observation))
            observation, _ = envs.reset(options={"reset_mask": ended})
        elif "final_obs" in infos:
            finals.append(
                np.stack(
                    [
                        np.zeros(len(numbers(observation)[0])) if o is None else numbers(o)
                        for o in infos["final_obs"]
                    ]
                )
            )
        rows.append((numbers(observation), reward, terminated, truncated, infos["physics_error"]))
    return rows, finals


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", ["CartPoleSwingUp", "Reacher"])
def test_autoreset_equals_that_of_c(name, mode):
    settings = {"max_episode_steps": 5, "autoreset_mode": mode, "num_envs": 3}
    rows, finals = _roll(make_warp(name, arrays="numpy", **settings))
    own_rows, own_finals = _roll(make_c(name, **settings))
    assert len(finals) == len(own_finals)
    for row, own in zip([*rows, *finals], [*own_rows, *own_finals]):
        for value, expected in zip(row, own):
            np.testing.assert_allclose(value, expected, atol=2e-4)


def test_episodes_of_a_seed_do_not_depend_on_the_batch():
    small, large = make_warp("CartPoleSwingUp", 2), make_warp("CartPoleSwingUp", 5)
    small.reset(seed=3)
    large.reset(seed=2)
    starts = [small.get_physics_state()[0], large.get_physics_state()[1]]
    assert torch.equal(*starts)


def test_starts_go_on_where_the_generators_were():
    """More resets than starts drawn in advance, with seeds and masks in between."""
    warp, own = make_warp("Reacher", 2), make_c("Reacher", 2)
    for number in range(20):
        seed = 7 if number == 12 else None
        options = {"reset_mask": np.array([True, number % 3 == 0])}
        first = number == 0
        for envs in (warp, own):
            envs.reset(seed=5) if first else envs.reset(seed=seed, options=options)
        np.testing.assert_allclose(warp.get_physics_state().numpy(), own.get_physics_state(), atol=1e-6)
        assert torch.equal(
            warp.observation()["desired_goal"], torch.from_numpy(own.observation()["desired_goal"])
        )


def test_tensors_in_and_out():
    envs = make_warp("Reacher", 3)
    observation, infos = envs.reset(seed=0)
    observation, reward, terminated, truncated, infos = envs.step(torch.zeros(3, 2))
    values = [*observation.values(), reward, terminated, truncated, *infos.values()]
    assert all(isinstance(value, torch.Tensor) and value.shape[0] == 3 for value in values)
    assert observation["observation"].dtype == reward.dtype == torch.float32
    before = reward.clone()
    envs.step(torch.ones(3, 2))
    assert torch.equal(reward, before)  # results are not overwritten by the next step
    assert envs.compute_reward(observation["achieved_goal"], observation["desired_goal"]).allclose(reward)


@pytest.mark.parametrize("what", ["action", "velocity"])
def test_number_that_is_not_finite_is_a_physics_error(what, caplog):
    envs = make_warp("CartPoleSwingUp", 3)
    envs.reset(seed=0)
    envs.step(torch.zeros(3, 1))
    before, action = envs.get_physics_state(), torch.zeros(3, 1)
    if what == "action":
        action[1] = float("nan")
    else:
        envs.simulation.batch.parts["qvel"][1] = float("nan")
    with caplog.at_level(logging.WARNING):
        observation, reward, terminated, truncated, infos = envs.step(action)
    assert infos["physics_error"].tolist() == truncated.tolist() == [False, True, False]
    assert not terminated.any()
    assert torch.isfinite(observation).all()
    assert torch.isfinite(reward).all()
    if what == "action":
        assert torch.equal(envs.get_physics_state()[1], before[1])  # the step is undone
    assert envs.num_physics_errors == 1
    assert f"{what} is not finite" in caplog.text
    assert "sub-environment 1" in caplog.text
    _, _, _, truncated, infos = envs.step(torch.zeros(3, 1))  # a new episode begins
    assert not truncated.any()
    assert not infos["physics_error"].any()


@pytest.mark.parametrize("works", [True, False])
def test_graph_of_the_step_gives_the_same_results(works, monkeypatch, caplog):
    """With a stand-in for CUDA's graph, which repeats the step and writes into the tensors of the capture."""

    class Graph:
        def __init__(self, work, outputs):
            self.work, self.outputs = work, outputs

        def replay(self):
            for name, value in self.work().items():
                self.outputs[name].copy_(value)

    def capture(work, device):
        work()
        outputs = work()
        if not works:
            raise RuntimeError("operation not permitted when stream is capturing")
        return Graph(work, outputs), outputs

    monkeypatch.setattr("robossl.envs.warp.warp_step.capture", capture)
    plain, graph = make_warp("Reacher", 2, max_episode_steps=5), make_warp("Reacher", 2, max_episode_steps=5)
    graph.batch_step.uses_graph = True
    for envs in (plain, graph):
        envs.reset(seed=0)
    kept = []
    for action in _actions(plain):
        one, other = plain.step(torch.from_numpy(action)), graph.step(torch.from_numpy(action))
        kept.append((one[0]["observation"], other[0]["observation"]))
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[3], other[3])
    assert all(torch.equal(*pair) for pair in kept)  # also those of earlier steps
    assert ("cannot be captured" in caplog.text) is not works


def test_lost_contacts_are_a_physics_error(caplog):
    envs = make_warp("HopperStand", 2, max_contacts=16, max_constraints=1)
    envs.reset(seed=0)
    truncated = torch.zeros(2, dtype=torch.bool)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            truncated |= envs.step(torch.zeros(2, 4))[3]
    assert truncated.all()
    assert envs.num_physics_errors >= 2
    assert "more constraints than njmax" in caplog.text
    assert "max_constraints=1" in caplog.text


def test_checkpoint_continues_to_the_same_bits():
    envs = make_warp("Reacher", 3, max_episode_steps=5, randomization="train")
    envs.reset(seed=0)
    actions = [torch.from_numpy(action) for action in _actions(envs)]
    for action in actions[:4]:
        envs.step(action)
    tree = envs.get_checkpoint()
    expected = [envs.step(action) for action in actions[4:]]
    other = make_warp("Reacher", 3, max_episode_steps=5, randomization="train")
    for restored in (envs, other):
        restored.set_checkpoint(tree)
        for action, (observation, reward, _, truncated, _) in zip(actions[4:], expected):
            result = restored.step(action)
            assert all(torch.equal(result[0][key], value) for key, value in observation.items())
            assert torch.equal(result[1], reward)
            assert torch.equal(result[3], truncated)


@pytest.mark.parametrize("goal", [np.zeros(4), np.zeros((3, 5)), np.full((3, 4), np.nan)])
def test_goals_that_do_not_fit_are_refused_before_the_state_changes(goal):
    envs = make_warp("Reacher", 3)
    envs.reset(seed=0)
    before = envs.get_physics_state()
    with pytest.raises(UsageError, match=r"expected finite goals of shape \(3, 4\)"):
        envs.set_physics_state(torch.zeros_like(before), goal=goal)
    assert torch.equal(envs.get_physics_state(), before)


def test_goal_of_a_task_without_goals_is_refused_before_the_state_changes():
    envs = make_warp("CartPoleSwingUp", 2)
    envs.reset(seed=0)
    before = envs.get_physics_state()
    with pytest.raises(UsageError, match="has no goals"):
        envs.set_physics_state(torch.zeros_like(before), goal=np.zeros((2, 2)))
    assert torch.equal(envs.get_physics_state(), before)


@pytest.mark.parametrize("actions", [None, np.full((2, 1), "a"), [object()]])
def test_actions_that_are_no_numbers_are_refused(actions):
    envs = make_warp("CartPoleSwingUp", 2)
    envs.reset(seed=0)
    with pytest.raises(UsageError, match="expected actions that are numbers"):
        envs.step(actions)


def test_checkpoint_of_another_robot_is_refused():
    envs, other = make_warp("CartPoleSwingUp", 2), make_warp("Reacher", 2)
    for made in (envs, other):
        made.reset(seed=0)
    before = envs.get_physics_state()
    with pytest.raises(
        UsageError, match=r"expected a checkpoint with physics states \(2, 28\) of this robot"
    ):
        envs.set_checkpoint(other.get_checkpoint())
    assert torch.equal(envs.get_physics_state(), before)


def test_numpy_env_has_the_interfaces_of_c():
    envs, own = make_warp("Reacher", 3, arrays="numpy"), make_c("Reacher", 3)
    for interface in (PhysicsStateEnv, StateOutcomeEnv, FinalStateEnv, Checkpointable):
        assert isinstance(envs, interface)
    for made in (envs, own):
        made.reset(seed=0)
        made.step(np.ones((3, 2), np.float32))
        with pytest.raises(UsageError, match="no episode has ended"):
            made.final_state()
    assert envs.model_digest() == own.model_digest()
    state, expected = envs.privileged_state(), own.privileged_state()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, atol=1e-5)
    physics, action = own.get_physics_state(), np.ones((3, 2), np.float32)
    outcome, own_outcome = envs.outcome_of(physics, action), own.outcome_of(physics, action)
    np.testing.assert_allclose(outcome.reward, own_outcome.reward, atol=1e-5)
    goals = own.observation()["desired_goal"]
    np.testing.assert_allclose(envs.goal_observation(goals), own.goal_observation(goals), atol=1e-6)


def test_randomized_physics_is_that_of_c():
    spec = {"gravity": "train", "link_mass": "train", "friction": "train", "action_delay": "train"}
    warp, own = make_warp("HopperHop", 3, randomization=spec), make_c("HopperHop", 3, randomization=spec)
    warp.reset(seed=0)
    own.reset(seed=0)
    for name, value in own.randomized_values().items():
        np.testing.assert_allclose(warp.randomized_values()[name].numpy(), value, rtol=1e-6)
    own.simulation.batch.bind("qpos")[:] = warp.simulation.batch.parts["qpos"].numpy()
    for action in _actions(warp)[:5]:
        one, other = warp.step(torch.from_numpy(action)), own.step(action)
    np.testing.assert_allclose(one[0].numpy(), other[0], atol=1e-3)
    assert len(set(warp.randomized_values()["gravity"].tolist())) == 3


def test_sensor_noise_is_normal_and_repeats():
    envs = make_warp("CartPoleSwingUp", 64, randomization={"sensor_noise": 0.1})
    clean = make_warp("CartPoleSwingUp", 64)
    noise = []
    for _ in range(2):
        envs.reset(seed=0)
        clean.reset(seed=0)
        values = [envs.observation() - clean.observation()]
        for _ in range(8):
            values.append(envs.step(torch.zeros(64, 1))[0] - clean.step(torch.zeros(64, 1))[0])
        noise.append(torch.stack(values)[..., [0, 3, 4]])  # the cosine and sine are clipped
    assert torch.equal(*noise)
    assert abs(float(noise[0].mean())) < 0.01
    assert abs(float(noise[0].std()) - 0.1) < 0.01
    assert not torch.allclose(noise[0][0], noise[0][1])


def test_images_are_of_the_state_of_each_sub_environment():
    envs = make_warp("CartPoleSwingUp", 2, pixels=(24, 32), proprioception=True)
    assert envs.single_observation_space["pixels"].shape == (24, 32, 3)
    first, _ = envs.reset(seed=0)
    assert first["pixels"].shape == (2, 24, 32, 3)
    assert first["pixels"].dtype == torch.uint8
    for _ in range(20):
        last = envs.step(torch.tensor([[1.0], [-1.0]]))[0]
    assert (last["pixels"][0] != first["pixels"][0]).any()
    assert (last["pixels"][0] != last["pixels"][1]).any()
    assert envs.metadata["render_backend"] == "mujoco_warp"


def test_own_robot_file_with_reward_and_sensors(tmp_path):
    file = tmp_path / "robot.xml"
    file.write_text(
        '<mujoco><worldbody><geom type="plane" size="2 2 .1"/><body name="torso" pos="0 0 .5"><freejoint/>'
        '<geom size=".1"/><body name="arm" pos=".1 0 0"><joint name="hinge" axis="0 1 0" range="-60 60"/>'
        '<geom type="capsule" fromto="0 0 0 .2 0 0" size=".03"/></body></body></worldbody>'
        '<actuator><motor joint="hinge"/></actuator><sensor><jointpos name="angle" joint="hinge"/></sensor></mujoco>'
    )
    settings = {"model": str(file), "sensors": "all", "reward": "height=0.5 + 0.2*upright + 0.1*effort"}
    warp, own = make_warp("Mjcf", 2, **settings), make_c("Mjcf", 2, **settings)
    warp.reset(seed=0)
    own.reset(seed=0)
    own.set_physics_state(warp.get_physics_state().numpy().astype(np.float64))
    for action in _actions(warp):
        one, other = warp.step(torch.from_numpy(action)), own.step(action)
        np.testing.assert_allclose(one[0].numpy(), other[0], atol=2e-3)
        np.testing.assert_allclose(one[1].numpy(), other[1], atol=1e-3)


MOVED_BY_MOCAP = """
<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="3 3 .1"/>
<body name="target" mocap="true" pos=".3 0 .5"><geom type="sphere" size=".03" contype="0" conaffinity="0"/></body>
<body name="a" pos="0 0 .6"><joint name="h1" axis="0 1 0" range="-90 90"/>
 <geom type="capsule" fromto="0 0 0 .2 0 0" size=".03" mass="1"/>
 <body name="b" pos=".2 0 0"><joint name="h2" axis="0 1 0" range="-90 90" damping=".1"/>
  <geom type="capsule" fromto="0 0 0 .2 0 0" size=".03" mass=".5"/><site name="tip" pos=".2 0 0"/></body></body>
</worldbody>
<equality><joint joint1="h1" joint2="h2" polycoef="0 0.5 0 0 0"/></equality>
<actuator><position joint="h1" kp="20" ctrlrange="-1 1"/>
<general joint="h2" dyntype="filter" dynprm=".1" gainprm="5" ctrlrange="-1 1"/></actuator>
<sensor><framepos objtype="site" objname="tip"/><jointvel joint="h2"/></sensor>
<keyframe><key name="home" qpos="0.2 0.4" ctrl="0.1 0"/></keyframe></mujoco>
"""


def test_robot_file_with_mocap_equality_and_activation_follows_c(tmp_path):
    file = tmp_path / "robot.xml"
    file.write_text(MOVED_BY_MOCAP)
    settings = {
        "model": str(file),
        "sensors": "all",
        "mocap": "pose",
        "reward": "reach.tip.target + 0.1*effort",
    }
    warp, own = make_warp("Mjcf", 3, **settings), make_c("Mjcf", 3, **settings)
    np.testing.assert_allclose(warp.reset(seed=0)[0].numpy(), own.reset(seed=0)[0], atol=1e-6)
    apart, rewards, ends, own_ends = follow(warp, own, 60)
    assert apart.max() < 1e-3
    assert rewards.max() < 1e-4
    np.testing.assert_array_equal(ends, own_ends)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "gpu"}, "unknown backend 'gpu'; available: mujoco, warp"),
        ({"device": "tpu"}, "available: auto, cpu"),
        ({"render_mode": "rgb_array"}, "backend='mujoco'"),
        ({"nonsense": 1}, "does not take nonsense"),
        ({"arrays": "jax"}, "'torch' or 'numpy'"),
        ({"num_envs": 10**9}, "num_envs: expected at most about .*, got 1,000,000,000"),
        ({"max_contacts": -1, "max_constraints": 5}, "max_contacts: expected 0 or more, got -1"),
        ({"max_contacts": 4}, "both of max_contacts and max_constraints"),
    ],
)
def test_bad_argument_is_one_line(settings, message):
    with pytest.raises(UsageError, match=message) as error:
        make_warp("CartPoleSwingUp", **settings)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_one_line():
    with pytest.raises(UsageError, match="got 'cuda'; available: auto, cpu"):
        make_warp("CartPoleSwingUp", device="cuda")


def test_device_without_warp_is_refused():
    with pytest.raises(UsageError, match="backend='warp' with device='cuda'"):
        gymnasium.make_vec("robossl/CartPoleSwingUp-v0", num_envs=2, device="cuda")


def test_feature_that_warp_lacks_is_named(tmp_path):
    file = tmp_path / "robot.xml"
    file.write_text(
        '<mujoco><option solver="PGS"/><worldbody><body><joint name="hinge"/><geom size=".1"/></body></worldbody>'
        '<actuator><motor joint="hinge"/></actuator></mujoco>'
    )
    with pytest.raises(UsageError, match="PGS"):
        make_warp("Mjcf", model=str(file))


def test_robot_code_without_an_implementation_on_a_device_is_named():
    class Sorted(CartPoleSwingUp):
        def reward(self, robot, action):
            return np.sort(super().reward(robot, action))

    with pytest.raises(
        UsageError, match=r"Sorted that run on a device .* numpy\.sort has no implementation"
    ) as error:
        WarpVectorEnv(Sorted, 2, device="cpu")
    assert "\n" not in str(error.value)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mujoco_warp", None)
    with pytest.raises(UsageError, match=r"pip install 'robossl\[warp\]'"):
        make_warp("CartPoleSwingUp")
