"""Relabeling: the labels of a task equal those of its env to the bit; nothing else of a stream changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import StateOutcome, StateOutcomeEnv
from robossl.streams import SPLITS, Recorder, Stream
from robossl.streams.relabel import SUCCESS, RewardLabels, relabel_stream
from robossl.streams.task_labels import TaskLabels

IDS = robossl.envs.register()
_ROBOTS = {i: gym.make_vec(i, num_envs=1).metadata["robot"] for i in IDS}
STEPS, LIMIT, LANES = 17, 6, 3


def record(path, env_id, steps=STEPS, mode=AutoresetMode.NEXT_STEP, **settings) -> Stream:
    """Record random actions, some of them outside the bounds; the last rows are not committed."""
    settings = {"max_episode_steps": LIMIT, "nthread": 1, "autoreset_mode": mode, **settings}
    envs = gym.make_vec(env_id, num_envs=LANES, **settings)
    recorder = Recorder.create(envs, path)
    recorder.reset(seed=3)
    random = np.random.default_rng(4)
    for _ in range(steps):
        recorder.step(random.uniform(-1.2, 1.2, envs.action_space.shape).astype(np.float32))
    recorder.finish()
    return Stream.open(path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a stream of the first task of each robot."""
    folder, streams = tmp_path_factory.mktemp("recorded"), {}
    for env_id, robot in _ROBOTS.items():
        if robot not in streams:
            streams[robot] = record(folder / robot.split("/")[0], env_id)
    return streams


def relabel(stream, folder, env_id, seed=0, block_rows=64):
    envs = gym.make_vec(env_id, num_envs=block_rows, nthread=1)
    try:
        summary = relabel_stream(stream, folder, TaskLabels(stream, envs, seed))
    finally:
        envs.close()
    return Stream.open(folder), summary


def all_rows(stream, names=None):
    return [stream.read(lane, 0, int(n), names) for lane, n in enumerate(stream.lengths)]


def valid_rows(stream) -> tuple[np.ndarray, np.ndarray]:
    """Return lane and position of every row that begins a transition."""
    pairs = [
        (k, i) for k, rows in enumerate(all_rows(stream, ["valid"])) for i in np.flatnonzero(rows["valid"])
    ]
    lane, position = np.array(pairs).T
    return lane, position


@pytest.mark.parametrize("env_id", IDS)
def test_labels_equal_a_step_of_the_env_to_the_bit(tmp_path, recorded, env_id) -> None:
    new, summary = relabel(recorded[_ROBOTS[env_id]], tmp_path / "new", env_id)
    lane, position = valid_rows(new)
    assert len(lane) == summary.transitions > 2 * LANES * LIMIT
    envs = gym.make_vec(env_id, num_envs=len(lane), nthread=1, max_episode_steps=None)
    new.restore(envs, lane, position)
    row = new.gather(lane, position, ["action", "reward", "terminated", "truncated"])
    observation, reward, terminated, _, infos = envs.step(row["action"])
    assert reward.astype(np.float32).tobytes() == row["reward"].tobytes()
    assert terminated.tobytes() == row["terminated"].tobytes()
    after = new.gather(
        lane, position + 1, [n for n in new.schema.names if n.startswith(("observation", "info"))]
    )
    if "is_success" in infos:
        assert infos["is_success"].astype(np.float32).tobytes() == after[SUCCESS].tobytes()
    else:
        assert SUCCESS not in new.schema.names
    assert new.observation_space == envs.single_observation_space
    parts = observation if isinstance(observation, dict) else {"": observation}
    for name, value in parts.items():
        assert value.tobytes() == after[f"observation.{name}" if name else "observation"].tobytes(), name
    envs.close()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", ["CartPoleSwingUp", "Reacher", "ArmPush", "HandTurn"])
def test_own_task_changes_nothing(tmp_path, name, mode) -> None:
    stream = record(tmp_path / "old", f"robossl/{name}-v0", mode=mode)
    new, _ = relabel(stream, tmp_path / "new", f"robossl/{name}-v0")
    for before, after in zip(all_rows(stream), all_rows(new)):
        for field, value in before.items():
            assert value.tobytes() == after[field].tobytes(), field


def test_episodes_splits_and_source_stay_the_same(tmp_path, recorded) -> None:
    stream = recorded["walker/walker.xml"]
    before = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in stream.path.iterdir()}
    new, _ = relabel(stream, tmp_path / "new", "robossl/WalkerRun-v0")
    again, _ = relabel(new, tmp_path / "again", "robossl/WalkerFlip-v0")
    for other in (new, again):
        assert other.episodes() == stream.episodes()
        assert all(other.episodes(split) == stream.episodes(split) for split in SPLITS)
    assert {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in stream.path.iterdir()} == before
    assert new.header["env"] == "robossl/WalkerRun-v0"
    assert new.header["relabeled"]["env"] == stream.header["env"]


def test_size_of_the_blocks_does_not_matter(tmp_path, recorded) -> None:
    stream = recorded["walker/walker.xml"]
    streams = [relabel(stream, tmp_path / str(n), "robossl/WalkerRun-v0", 0, n)[0] for n in (2, 5, 64)]
    for rows in zip(*(all_rows(s) for s in streams)):
        assert all(rows[0][n].tobytes() == other[n].tobytes() for other in rows[1:] for n in rows[0])


def test_each_episode_gets_one_goal_that_the_seed_decides(tmp_path, recorded) -> None:
    stream = recorded["arm/arm.xml"]
    field = "observation.desired_goal"
    goals = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        new, _ = relabel(stream, tmp_path / folder, "robossl/ArmReach-v0", seed)
        pieces = [new.read(e.lane, e.start, e.stop, [field])[field] for e in new.episodes()]
        assert all((piece == piece[0]).all() for piece in pieces)
        goals.append(np.array([piece[0] for piece in pieces]))
        assert len(np.unique(goals[-1], axis=0)) == len(pieces)
    assert np.array_equal(goals[0], goals[1])
    assert not np.array_equal(goals[0], goals[2])


class LineEnvs(VectorEnv):
    """Points on a line that move by their action; the episode terminates beyond `limit`."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "robot": "line"}  # noqa: RUF012

    def __init__(self, num_envs: int, limit: float) -> None:
        self.num_envs, self.limit = num_envs, limit
        self.single_observation_space = spaces.Box(-100, 100, (1,), np.float32)
        self.single_action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.physics, self.ended = np.zeros((num_envs, 2)), np.zeros(num_envs, bool)  # time, position

    def reset(self, *, seed=None, options=None):
        self.physics[:], self.ended[:] = 0.0, False
        return self._observe(), {}

    def step(self, actions):
        began, self.physics[self.ended] = self.ended, 0.0
        moved = np.column_stack([np.ones(self.num_envs), actions[:, 0]])
        self.physics[~began] += moved[~began]
        outcome = self.outcome_of(self.physics, actions)
        self.ended = outcome.terminated & ~began
        return (
            outcome.observation,
            np.where(began, 0, outcome.reward),
            self.ended,
            np.zeros(self.num_envs, bool),
            {},
        )

    def outcome_of(self, physics, action, goal=None):
        self.physics[: len(physics)] = physics
        position = np.array(physics[:, 1])
        return StateOutcome(
            self._observe()[: len(physics)], position - action[:, 0], position > self.limit, None
        )

    def privileged_state(self):
        return {"position": self.physics[:, 1:].copy()}

    def get_physics_state(self):
        return self.physics.copy()

    def set_physics_state(self, physics, env_ids=None, goal=None):
        raise NotImplementedError

    def _observe(self):
        return self.physics[:, 1:].astype(np.float32)


def record_line(path, limit: float, steps: int = 12) -> Stream:
    recorder = Recorder.create(LineEnvs(2, limit), path)
    recorder.reset()
    for t in range(steps):
        recorder.step(np.full((2, 1), 1.0 if t % 5 < 4 else -1.0, np.float32))
    recorder.finish()
    return Stream.open(path)


@pytest.mark.parametrize("block_rows", [2, 3, 4, 5, 100])
def test_an_episode_ends_where_the_new_task_terminates(tmp_path, block_rows) -> None:
    assert isinstance(LineEnvs(1, 1.0), StateOutcomeEnv)
    stream = record_line(tmp_path / "old", 6.5)  # position 7 terminates
    summary = relabel_stream(stream, tmp_path / "new", TaskLabels(stream, LineEnvs(block_rows, 2.5)))
    new = Stream.open(tmp_path / "new")
    assert len(new.episodes()) == len(stream.episodes())
    assert summary.dropped_rows > 0
    for episode in new.episodes():
        rows = new.read(episode.lane, episode.start, episode.stop)
        position = rows["observation"][:, 0]
        if (position > 2.5).any():
            assert position[-1] > 2.5
            assert not (position[:-1] > 2.5).any()
            assert rows["terminated"].tolist() == [False] * (len(position) - 2) + [True, False]
        else:
            assert not rows["terminated"].any()
        assert rows["is_last"].tolist() == [False] * (len(position) - 1) + [True]
        assert rows["valid"].tolist() == [True] * (len(position) - 1) + [False]
        assert not rows["action"][-1].any()
        assert rows["reward"][-1] == 0
        assert np.allclose(rows["reward"][:-1], position[1:] - rows["action"][:-1, 0])
    assert summary.rows + summary.dropped_rows == stream.rows


def test_a_termination_of_the_recorded_task_truncates(tmp_path) -> None:
    stream = record_line(tmp_path / "old", 2.5)
    relabel_stream(stream, tmp_path / "new", TaskLabels(stream, LineEnvs(8, 50.0)))
    before, after = all_rows(stream), all_rows(Stream.open(tmp_path / "new"))
    assert any(rows["terminated"].any() for rows in before)
    for old, new in zip(before, after):
        assert not new["terminated"].any()
        assert np.array_equal(old["terminated"], new["truncated"])


def test_a_step_that_the_physics_undid_terminates_nothing(tmp_path) -> None:
    """After a physics error the env keeps the state before the step and truncates; it does not terminate there."""
    stream = record_line(tmp_path / "old", 50.0)
    rows = all_rows(stream)[0]
    count = int(np.flatnonzero(rows["is_last"])[0])
    rows["physics"][count] = rows["physics"][count - 1]
    for name in ("observation", "state.position"):
        rows[name][count] = rows[name][count - 1]
    rows["truncated"][count - 1] = True
    labels = TaskLabels(stream, LineEnvs(64, float(rows["physics"][count - 2, 1])))
    terminated = labels.label(rows, np.zeros(len(rows["valid"]), np.int64))["terminated"]
    assert terminated[count - 2]
    assert not terminated[count - 1]


def test_a_running_episode_ends_with_its_last_complete_transition(tmp_path) -> None:
    recorder = Recorder.create(LineEnvs(2, 50.0), tmp_path / "old")
    recorder.reset()
    for _ in range(4):
        recorder.step(np.ones((2, 1), np.float32))
    recorder.stream.commit()
    stream = Stream.open(tmp_path / "old")
    relabel_stream(stream, tmp_path / "new", TaskLabels(stream, LineEnvs(8, 50.0)))
    new = Stream.open(tmp_path / "new")
    assert new.transitions == stream.transitions == 6
    assert all(rows["is_last"][-1] and not rows["valid"][-1] for rows in all_rows(new))
    recorder.close()


def test_a_function_gives_the_reward_of_a_stream_without_physics(tmp_path) -> None:
    source = record_gymnasium(tmp_path / "old")
    new = robossl.relabel(source, out=tmp_path / "new", reward=lambda o, a, after: after[:, 0] - o[:, 0] + a)
    for rows in all_rows(new):
        expected = np.diff(rows["observation"][:, 0]) + rows["action"][:-1]
        assert np.allclose(rows["reward"][:-1][rows["valid"][:-1]], expected[rows["valid"][:-1]], atol=1e-6)
        assert not rows["reward"][~rows["valid"]].any()
    assert new.episodes() == source.episodes()


def record_gymnasium(path) -> Stream:
    """Record an env without physics state."""
    envs = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    recorder = Recorder.create(envs, path)
    recorder.reset(seed=0)
    for t in range(30):
        recorder.step(np.array([t % 2, 1]))
    recorder.finish()
    return Stream.open(path)


@pytest.mark.parametrize(
    ("reward", "match"),
    [(lambda o, a, n: np.zeros(3), "shape"), (lambda o, a, n: np.full(len(a), np.nan), "finite")],
)
def test_a_function_must_return_one_finite_reward_each(tmp_path, reward, match) -> None:
    stream = record_gymnasium(tmp_path / "old")
    with pytest.raises(UsageError, match=match):
        relabel_stream(stream, tmp_path / "new", RewardLabels(stream, reward))


def test_misfits_are_refused_before_the_work(tmp_path, recorded) -> None:
    walker, out = recorded["walker/walker.xml"], tmp_path / "out"
    randomized = record(tmp_path / "random", "robossl/WalkerRun-v0", 3, randomization={"gravity": [0.9, 1.1]})
    cases = [
        ((walker, "robossl/CheetahRun-v0"), "recorded robot, walker/walker.xml, got robossl/CheetahRun-v0"),
        ((walker, "robossl/Reacher-v0"), "recorded robot"),
        ((walker, "robossl/WalkerRum-v0"), "did you mean"),
        ((walker, "CartPole-v1"), "cannot compute the reward"),
        ((randomized, "robossl/WalkerStand-v0"), "randomization"),
        ((record_gymnasium(tmp_path / "no_physics"), "robossl/WalkerRun-v0"), "records no physics"),
        ((tmp_path / "nothing", "robossl/WalkerRun-v0"), "no stream"),
        ((walker, None), "neither"),
    ]
    for (stream, task), match in cases:
        with pytest.raises(UsageError, match=match) as caught:
            robossl.relabel(stream, task, out)
        assert "\n" not in str(caught.value)
        assert not out.exists()


def test_a_stream_that_the_physics_does_not_explain_is_refused(tmp_path) -> None:
    stream = record_line(tmp_path / "old", 2.5)
    envs = LineEnvs(4, 2.5)
    envs.privileged_state = lambda: {"position": envs.physics[:, 1:] * 2}
    with pytest.raises(UsageError, match=r"state\.position"):
        relabel_stream(stream, tmp_path / "new", TaskLabels(stream, envs))


def test_an_interrupted_relabeling_leaves_no_stream(tmp_path) -> None:
    stream, out = record_gymnasium(tmp_path / "old"), tmp_path / "out"
    seen: list[bool] = []

    def interrupted(observation, action, after):
        seen.append(out.exists())
        if len(seen) == 2:
            raise KeyboardInterrupt
        return np.zeros(len(action))

    with pytest.raises(KeyboardInterrupt):
        robossl.relabel(stream, out=out, reward=interrupted)
    assert seen == [False, False]
    assert sorted(p.name for p in Path(tmp_path).iterdir()) == ["old"]
