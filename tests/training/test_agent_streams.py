"""Recorded streams of agents: checked before the work, learned from before the first env step."""

from __future__ import annotations

import numpy as np
import pytest

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import OfflineAgent
from robossl.training.agent_streams import DEFAULT_OFFLINE_UPDATES, offline_updates

ENV, OTHER = "robossl/CartPoleSwingUp-v0", "robossl/CartPoleBalance-v0"
calls: list[tuple[str, int]] = []


class StreamAgent:
    """Takes a recorded stream of any task of its robot; notes what it learns."""

    def __init__(self, envs, representation=None, seed=0, device="auto", stream=None):
        self.envs, self.stream = envs, stream

    def act(self, observation, explore=True):
        return np.zeros((len(observation), 1), np.float32)

    def reset(self, mask=None):
        pass

    def learn(self, envs, steps, progress=None, logger=None):
        calls.append(("env", steps))

    def set_representation(self, representation):
        pass

    def reset_envs(self, envs):
        pass

    def save(self, folder):
        pass

    @classmethod
    def load(cls, folder, envs, device="auto"):
        return cls(envs)

    def get_checkpoint(self):
        return {}

    def set_checkpoint(self, tree):
        pass


class OfflineToy(StreamAgent):
    """Learns offline as well; needs a stream with the rewards of its env."""

    needs_stream, needs_reward, offline_updates = True, True, 7

    def learn_offline(self, updates, progress=None, logger=None):
        assert self.stream.transitions > 0
        calls.append(("offline", updates))


registry.register("agents", "stream-toy", StreamAgent)
registry.register("agents", "offline-toy", OfflineToy)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return robossl.collect(ENV, "random", 40, tmp_path_factory.mktemp("streams") / "s", num_envs=2, threads=1)


@pytest.fixture
def train(tmp_path):
    calls.clear()

    def run(agent, env=ENV, **arguments):
        robossl.train(env, agent, out=tmp_path / "agent", num_envs=2, threads=1, **arguments)
        return list(calls)

    return run


def test_offline_updates_come_before_the_first_env_step(train, stream) -> None:
    assert train("offline-toy", stream=stream, steps=4, offline_updates=3) == [("offline", 3), ("env", 4)]


def test_no_env_step_without_steps_and_the_default_of_the_agent(train, stream) -> None:
    assert train("offline-toy", stream=stream.path, steps=0) == [("offline", 7)]
    assert offline_updates("stream-toy", None) == DEFAULT_OFFLINE_UPDATES


def test_a_stream_of_another_task_serves_an_agent_that_ignores_its_rewards(train, stream) -> None:
    assert isinstance(OfflineToy(None), OfflineAgent)
    assert not isinstance(StreamAgent(None), OfflineAgent)
    assert train("stream-toy", env=OTHER, stream=stream, steps=4) == [("env", 4)]


@pytest.mark.parametrize(
    ("agent", "arguments", "match"),
    [
        ("offline-toy", {"env": OTHER, "steps": 0}, "stream relabel"),
        ("offline-toy", {"env": "robossl/HopperHop-v0", "steps": 0}, "robot hopper"),
        ("offline-toy", {"stream": None}, "learns from a recorded stream"),
        ("stream-toy", {"steps": 0}, "learns from env steps"),
        ("stream-toy", {"offline_updates": 2}, "learns from env steps"),
        ("planner", {}, "learns from no recorded stream"),
        ("offline-toy", {"stream": None, "steps": 0}, "steps 0"),
        ("offline-toy", {"stream": None, "offline_updates": 1}, "give --stream"),
        ("offline-toy", {"offline_updates": -1}, "offline_updates: expected 0 or more"),
        ("offline-toy", {"offline_updates": 0, "steps": 0}, "train nothing"),
    ],
)
def test_misfits_are_refused_in_one_line(train, stream, tmp_path, agent, arguments, match) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        train(agent, **{"stream": stream, **arguments})
    assert "\n" not in str(caught.value)
    assert not calls
    assert not (tmp_path / "agent" / "agent").exists()
