"""Envs given as Python objects are made again under the name that is recorded."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import robossl
from robossl import registry
from robossl.core.errors import UsageError


class Small(gym.Env):
    """Observes `size` numbers."""

    def __init__(self, size: int = 2, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Box(-9, 9, (size,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.size = size

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(self.size, self.np_random.normal(), np.float32).clip(-9, 9), {}

    def step(self, action):
        return np.zeros(self.size, np.float32), 0.0, False, False, {}


class Halved(gym.ObservationWrapper):
    """A wrapper that Gymnasium cannot make again."""

    def observation(self, observation):
        return observation / 2


def make_small(render_mode: str | None = None) -> gym.Env:
    """Make an env, as a function of a module does."""
    return gym.wrappers.TimeLimit(Small(4), 7)


OBJECTS = {
    "spec": lambda: gym.spec("CartPole-v1"),
    "env with a spec": lambda: gym.make("CartPole-v1"),
    "env without a spec": lambda: Small(3),
    "wrapped env": lambda: gym.wrappers.TimeLimit(Halved(Small(3)), 9),
    "wrapped env with a spec": lambda: Halved(gym.make("CartPole-v1")),
    "recorded wrapper": lambda: gym.wrappers.RescaleObservation(
        gym.make("Pendulum-v1"), np.float32(-1), np.float32(1)
    ),
    "vector env": lambda: gym.make_vec("CartPole-v1", 2),
    "vector env with arguments": lambda: gym.make_vec("CartPole-v1", 2, sutton_barto_reward=True),
    "vector env of functions": lambda: gym.vector.SyncVectorEnv(
        [lambda: gym.wrappers.TimeLimit(Small(5), 9)] * 2
    ),
    "native vector env": lambda: gym.make_vec("robossl/CartPoleSwingUp-v0", 2),
    "function": lambda: lambda: Small(6),
    "function of a module": lambda: make_small,
    "class": lambda: Small,
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_envs_are_made_again_from_the_name_of_an_object(kind) -> None:
    given = OBJECTS[kind]()
    name = registry.name_of(given)
    assert registry.name_of(name) == name
    envs = registry.make_envs(name, 2)
    made = (
        gym.make(given)
        if isinstance(given, gym.envs.registration.EnvSpec)
        else given()
        if callable(given)
        else given
    )
    assert envs.single_observation_space == getattr(made, "single_observation_space", made.observation_space)
    observation, _ = envs.reset(seed=3)
    assert envs.single_observation_space.contains(observation[1])
    envs.close()
    made.close()


def test_names_of_objects_are_those_of_their_specs() -> None:
    named = {kind: registry.name_of(make()) for kind, make in OBJECTS.items()}
    assert named["spec"] == named["env with a spec"] == named["vector env"] == "CartPole-v1"
    assert named["vector env with arguments"] == "CartPole-v1?sutton_barto_reward=true"
    assert named["native vector env"] == "robossl/CartPoleSwingUp-v0"
    assert named["function of a module"] == f"{__name__}:make_small"
    assert named["class"] == f"{__name__}:Small"
    assert named["env without a spec"].startswith("python/Small-v")


def test_time_limits_of_objects_are_known() -> None:
    assert registry.env_spec(registry.name_of(OBJECTS["wrapped env"]())).max_episode_steps == 9
    assert registry.env_spec("CartPole-v1?max_episode_steps=30").max_episode_steps == 30
    assert registry.env_spec(registry.name_of("CartPole-v1", max_episode_steps=-1)).max_episode_steps is None


def test_the_same_object_has_one_name() -> None:
    env, function = Small(), lambda: Small(7)
    assert registry.name_of(env) == registry.name_of(env)
    assert registry.name_of(function) == registry.name_of(function)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "expected an env id, a function"),
        (lambda: 5, "makes a int"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda size: None, "made no env"),
    ],
)
def test_what_makes_no_env_is_refused_in_one_line(given, message) -> None:
    with pytest.raises(UsageError, match=message) as error:
        registry.name_of(given)
    assert "\n" not in str(error.value)


def test_an_object_of_another_process_is_named_as_one() -> None:
    with pytest.raises(UsageError, match="made from a Python object"):
        registry.make_envs("python/Gone-v0", 1)


def test_arguments_and_wrappers_are_used_again_from_the_stream(tmp_path) -> None:
    stream = robossl.collect(
        f"{__name__}:Small?+wrap=gymnasium.wrappers:TimeLimit?max_episode_steps%3D5",
        steps=60, num_envs=2, out=tmp_path / "s", size=3,
    )  # fmt: skip
    assert stream.observation_space.shape == (3,)
    agent = robossl.train(
        f"{__name__}:Small",
        steps=40,
        size=3,
        max_episode_steps=5,
        out=tmp_path / "a",
        settings={"learning_starts": 100},
    )
    assert agent is not None
    from robossl.training.agent_loading import env_of

    assert env_of(tmp_path / "a") == f"{__name__}:Small?size=3&max_episode_steps=5"
