"""The self-predictive agent: its schedule of updates, its replay, its stream, its settings, and that it learns."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from agent_toys import Counter, CountingGoals, Line
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from robossl.agents.self_predictive.learner import Learner
from robossl.agents.self_predictive.presets import PRESETS
from robossl.agents.self_predictive.prioritized_replay import FadedPriority, multi_step_return
from robossl.agents.self_predictive.self_predictive_agent import SelfPredictiveAgent
from self_predictive_toys import SMALL, weights

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullLogger, NullProgress, OfflineAgent
from robossl.core.io import load_tree, save_tree
from robossl.env_checker.check_agent import check_agent
from robossl.evaluation.control import evaluate_returns
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream


def record(make, path, steps: int = 60, seed: int = 0) -> Stream:
    """Record random actions in two sub-environments."""
    envs = make()
    recorder = Recorder.create(envs, path)
    policy = registry.policy("random")(envs.single_action_space, envs.num_envs, seed=seed)
    collect_steps(recorder, policy, steps, seed, NullProgress())
    recorder.close()
    return Stream.open(path)


def counters(kind=Counter, num_envs: int = 2) -> SyncVectorEnv:
    return SyncVectorEnv([partial(kind, i) for i in range(num_envs)], autoreset_mode=AutoresetMode.DISABLED)


# --- schedule


class _Calls(Learner):
    """Learner that keeps the order of its calls."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.calls: list[str] = []

    def copy_targets(self, reward_scale: float) -> None:
        self.calls.append("copy")
        super().copy_targets(reward_scale)
        assert np.array_equal(weights(self.online), weights(self.target))

    def update_embedding(self, batch):
        self.calls.append("embedding")
        return super().update_embedding(batch)

    def update_actor_critic(self, batch, noise):
        self.calls.append("actor critic")
        return super().update_actor_critic(batch, noise)


def test_targets_are_copied_at_every_interval_and_as_many_embedding_updates_follow(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("robossl.agents.self_predictive.self_predictive_agent.Learner", _Calls)
    recorder = Recorder.create(Line(2), tmp_path / "stream")
    agent = SelfPredictiveAgent(recorder, device="cpu", **SMALL)
    agent.learn(recorder, 24)
    assert agent.training.learner.calls == []
    agent.learn(recorder, 12)
    interval = ["copy", *["embedding"] * 4, *["actor critic"] * 4]
    assert agent.training.learner.calls == (interval * 2)[: len(interval) + 7]  # 6 updates of 12 steps


def test_the_default_interval_is_250() -> None:
    assert {config.target_update_interval for config in PRESETS.values()} == {250}


# --- replay


def test_returns_over_several_steps_never_cross_an_episode(tmp_path) -> None:
    stream = record(counters, tmp_path / "stream", 400)
    window = stream.windows(200, 3, np.random.default_rng(0), split=None)
    returned, discount, steps = multi_step_return(window.reward, window.terminated, window.mask, 0.5)
    for b in range(200):
        _, episode, count = window.observation[b, 0]
        lane = window.observation[b, 0, 0]
        length = Counter(int(lane)).length(int(episode))
        expected_steps = min(3, length - int(count))
        rewards = [100 * episode + count + 1 + t for t in range(expected_steps)]
        assert returned[b] == pytest.approx(sum(r * 0.5**t for t, r in enumerate(rewards)))
        assert steps[b] == expected_steps
        assert window.observation[b, steps[b]].tolist() == [lane, episode, count + expected_steps]
        ends = count + expected_steps == length and Counter(0).ends(int(episode))
        assert discount[b] == (0.0 if ends else 0.5**expected_steps)


def test_rows_are_sampled_by_error_and_age() -> None:
    sampler = FadedPriority(np.array([1]), exponent=0.5, decay=0.9, floor=0.3)
    random, limits = np.random.default_rng(0), np.array([0, 40])
    sampler.propose(random, 1, limits)
    errors = np.where(np.arange(40) % 2, 16.0, 0.5)  # the smaller ones count as 1
    sampler.update(np.ones(40, int), np.arange(40), errors)
    lane, position = (
        np.concatenate(x) for x in zip(*(sampler.propose(random, 500, limits) for _ in range(80)))
    )
    assert (lane == 1).all()
    weight = np.maximum(errors, 1) ** 0.5 * np.maximum(0.3, 0.9 ** (39 - np.arange(40)))
    share = np.bincount(position, minlength=40) / len(position)
    np.testing.assert_allclose(share, weight / weight.sum(), atol=0.004)


def test_only_the_lanes_of_the_agent_are_replayed(tmp_path) -> None:
    stream = Recorder.create(counters(num_envs=2), tmp_path / "stream", lanes=4).stream
    policies = [registry.policy("random")(counters().single_action_space, 2, seed=0) for _ in range(2)]
    for first, policy in zip((0, 2), policies):
        collect_steps(Recorder(counters(), stream, first), policy, 40, 0, NullProgress())
    agent = SelfPredictiveAgent(Recorder(counters(), stream, 2), device="cpu", **SMALL)
    assert set(agent.training.own.sample(200, 3, np.random.default_rng(0)).lane) == {2, 3}


def test_hindsight_relabels_every_step_of_a_window(tmp_path) -> None:
    def make():
        return counters(CountingGoals)

    recorder = Recorder(make(), record(make, tmp_path / "stream", 300))
    agent = SelfPredictiveAgent(recorder, device="cpu", hindsight=1.0, **SMALL)
    part = agent.training.own.sample(100, 3, np.random.default_rng(0))
    achieved, desired = (
        part.inputs[..., 4],
        part.inputs[..., 6],
    )  # [step, of the goal], after 3 observed numbers
    assert (desired > achieved[:, :1]).all()
    expected = desired[:, 1:] - achieved[:, 1:]
    np.testing.assert_allclose(part.reward[part.mask], expected[part.mask])


def test_actions_are_replayed_in_units_of_their_range(tmp_path) -> None:
    recorder = Recorder(counters(), record(counters, tmp_path / "stream"))  # actions from -2 to 4
    agent = SelfPredictiveAgent(recorder, device="cpu", **SMALL)
    window = agent.training.own.sample(50, 3, np.random.default_rng(0))
    assert recorder.stream is not None
    raw = recorder.stream.gather(window.lane, window.start, ["action"])["action"]
    np.testing.assert_allclose(window.action[:, 0], (raw - 1) / 3, rtol=1e-5, atol=1e-6)
    assert np.abs(window.action).max() <= 1


# --- with a recorded stream


def make_line() -> Line:
    return Line(2)


def with_stream(path, name: str, **settings) -> SelfPredictiveAgent:
    stream = (
        Stream.open(path / "recorded")
        if (path / "recorded").exists()
        else record(make_line, path / "recorded")
    )
    settings = {**SMALL, **settings}
    return SelfPredictiveAgent(
        Recorder.create(make_line(), path / name), device="cpu", stream=stream, **settings
    )


def test_a_stream_without_rewards_trains_the_embedding_alone(tmp_path) -> None:
    assert issubclass(SelfPredictiveAgent, OfflineAgent)
    agent = with_stream(tmp_path, "own", stream_reward=False)
    before = {name: weights(network) for name, network in agent.training.learner.online.items()}
    agent.learn_offline(5)
    networks = agent.training.learner.online
    changed = {name for name, network in networks.items() if (weights(network) != before[name]).any()}
    assert changed == {"embedding"}
    assert agent.training.num_updates == 0


def test_a_stream_of_the_same_env_has_rewards_and_trains_all_networks(tmp_path) -> None:
    agent = with_stream(tmp_path, "own")
    before = {name: weights(network) for name, network in agent.training.learner.online.items()}
    agent.learn_offline(5)
    networks = agent.training.learner.online
    assert all((weights(network) != before[name]).any() for name, network in networks.items())
    other = Recorder.create(counters(), tmp_path / "other")
    stream = record(counters, tmp_path / "zero")
    stream.header["env"] = "other/Env-v0"
    assert not SelfPredictiveAgent(other, device="cpu", stream=stream, **SMALL).training.has_reward


def test_a_stream_replaces_the_random_steps(tmp_path) -> None:
    settings = {**SMALL, "learning_starts": None}
    assert SelfPredictiveAgent(make_line(), device="cpu", **settings)._starts == 10_000
    assert with_stream(tmp_path, "a", learning_starts=None)._starts == 0
    assert with_stream(tmp_path, "b", learning_starts=None, stream_reward=False)._starts == 1000
    assert with_stream(tmp_path, "c", learning_starts=7)._starts == 7


def test_batches_are_half_from_the_stream_and_half_from_the_own_steps(tmp_path) -> None:
    agent = with_stream(tmp_path, "own")
    training = agent.training
    assert training._rewarded() == [training.recorded]
    agent.learn(agent.envs, 30)
    assert training._rewarded() == training._usable() == [training.own, training.recorded]
    assert [len(part.lane) for part in training._sample(training._usable(), 3)] == [8, 8]
    unlabeled = with_stream(tmp_path, "other", stream_reward=False)
    unlabeled.learn(unlabeled.envs, 30)
    assert unlabeled.training._rewarded() == [unlabeled.training.own]


class _ListLogger(NullLogger):
    """Keeps all metrics."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def scalars(self, step: int, values) -> None:
        self.lines.append((step, dict(values)))


def test_losses_are_logged_over_the_updates_and_over_the_env_steps(tmp_path) -> None:
    agent, logger = with_stream(tmp_path, "own", stream_reward=False), _ListLogger()
    agent.learn_offline(6, logger=logger)
    assert [step for step, _ in logger.lines] == [4, 6]
    assert "train/next_z" in logger.lines[0][1]
    assert "train/value" not in logger.lines[0][1]
    logger.lines.clear()
    agent.learn(agent.envs, 24 + 6, logger=logger)  # 3 updates
    assert [step for step, _ in logger.lines] == [30]
    assert {"train/value", "train/policy", "train/next_z", "train/reward_scale"} <= logger.lines[0][1].keys()


@pytest.mark.parametrize("labeled", [True, False])
def test_learning_offline_and_online_in_two_parts_equals_one(tmp_path, labeled: bool) -> None:
    one, two = (with_stream(tmp_path, name, stream_reward=labeled) for name in ("one", "two"))
    one.learn_offline(9)
    two.learn_offline(5)
    save_tree(tmp_path / "tree.safetensors", two.get_checkpoint())
    two.learn_offline(1)  # is undone
    two.set_checkpoint(load_tree(tmp_path / "tree.safetensors"))
    two.learn_offline(4)
    one.learn(one.envs, 40)
    two.learn(two.envs, 17)
    two.learn(two.envs, 23)
    assert np.array_equal(weights(one.training.learner.online), weights(two.training.learner.online))
    assert np.array_equal(weights(one.training.learner.target), weights(two.training.learner.target))


# --- the agent


def test_check_agent_passes() -> None:
    results = check_agent("self-predictive", steps=48, **SMALL)
    assert [r.name for r in results if r.ok is False] == []
    assert "continuous actions, goals" in next(r for r in results if r.name == "construction").message


def test_a_loaded_agent_continues_to_learn(tmp_path) -> None:
    recorder = Recorder.create(make_line(), tmp_path / "stream")
    agent = SelfPredictiveAgent(recorder, device="cpu", **SMALL)
    agent.learn(recorder, 40)
    (tmp_path / "agent").mkdir()
    agent.save(tmp_path / "agent")
    loaded = SelfPredictiveAgent.load(
        tmp_path / "agent", Recorder.create(make_line(), tmp_path / "new"), "cpu"
    )
    assert loaded.config == agent.config
    before = weights(loaded.training.learner.online)
    assert np.array_equal(before, weights(agent.training.learner.online))
    loaded.learn(loaded.envs, 20)
    assert (weights(loaded.training.learner.online) != before).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gama": 0.9}, "did you mean 'gamma'"),
        ({"preset": "tpu"}, "available: cpu, gpu"),
        ({"batch_size": 1}, "batch_size: expected an integer from 2 to 1,048,576, got 1"),
        ({"batch_size": 2.5}, "expected an integer"),
        ({"gamma": 1.5}, "gamma: expected a number from 0 to 1, got 1.5"),
        ({"updates_per_step": 0}, "updates_per_step"),
        ({"learning_starts": -1}, "learning_starts: expected an integer of 0 or more"),
        ({"stream_reward": "yes"}, "stream_reward: expected true or false"),
        ({"latent_dim": True}, "latent_dim"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SelfPredictiveAgent(Line(1), device="cpu", **settings)
    with pytest.raises(UsageError, match=message):
        SelfPredictiveAgent.check_settings(settings)


def test_discrete_actions_and_images_are_refused() -> None:
    with pytest.raises(UsageError, match="needs float Box actions"):
        SelfPredictiveAgent(Line(1, discrete=True), device="cpu")

    class Images(Line):
        def __init__(self) -> None:
            super().__init__(1)
            self.single_observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

    with pytest.raises(UsageError, match="without images"):
        SelfPredictiveAgent(Images(), device="cpu")


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_every_preset_learns_and_acts(tmp_path, preset: str) -> None:
    recorder = Recorder.create(Line(2), tmp_path / "stream")
    agent = SelfPredictiveAgent(
        recorder, device="cpu", preset=preset, batch_size=4, learning_starts=12, target_update_interval=1
    )
    assert agent.training.learner.config.latent_dim == {"cpu": 256, "gpu": 512}[preset]
    agent.learn(recorder, 16)
    assert agent.training.num_updates == 4 * PRESETS[preset].updates_per_step


def test_learning_needs_a_recorder_and_offline_learning_a_stream(tmp_path) -> None:
    envs = Line(1)
    agent = SelfPredictiveAgent(envs, device="cpu", **SMALL)
    with pytest.raises(UsageError, match="Recorder"):
        agent.learn(envs, 1)
    with pytest.raises(UsageError, match="recorded stream"):
        agent.learn_offline(1)


def test_it_learns_a_toy_env_better_than_random_actions(tmp_path) -> None:
    recorder = Recorder.create(Line(4), tmp_path / "stream")
    settings = {
        **SMALL, "latent_dim": 32, "encoder_hidden": 32, "policy_hidden": 32, "value_hidden": 32, "batch_size": 64,
        "learning_starts": 200, "target_update_interval": 50, "updates_per_step": 0.5,
    }  # fmt: skip
    agent = SelfPredictiveAgent(recorder, device="cpu", **settings)
    agent.learn(recorder, 1200)
    envs = Line(8)
    random = registry.policy("random")(envs.single_action_space, 8, seed=0)
    learned, baseline = (evaluate_returns(envs, policy, 40).returns.mean() for policy in (agent, random))
    assert learned > baseline + 2.0
