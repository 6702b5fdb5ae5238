"""A body or a task that gives another form than was agreed is told so in one line when its env is made."""

from typing import Any

import numpy as np
import pytest
from robossl.envs.cartpole import Cartpole, CartPoleBalance
from robossl.envs.engine.task import Robot
from robossl.envs.engine.vector_env import MujocoVectorEnv
from robossl.envs.reacher import Reacher

from robossl.core.errors import UsageError


def task(of: type = CartPoleBalance, **methods: Any) -> type:
    return type("Mine", (of,), methods)


def robot(**members: Any) -> type:
    return task(robot=type("Robot", (Cartpole,), members))


class Bare(Robot):
    model = Cartpole.model
    substeps = 1

    def observation(self) -> np.ndarray:
        return self.qpos

    def privileged_state(self) -> dict[str, np.ndarray]:
        return {}


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (
            task(reward=lambda self, robot, action: 1.0),
            "reward gave 1.0 (float); expected an array (3,) of numbers",
        ),
        (task(reward=lambda self, robot, action: robot.qpos), "the reward gave an array (3, 2) of float64"),
        (
            task(success=lambda self, robot: robot.qpos[:, 0]),
            "float64; expected an array (3,) of booleans",
        ),
        (task(terminated=lambda self, robot: False), "terminated(robot) gave False (bool)"),
        (
            task(sample_initial_state=lambda self, random: np.zeros(2)),
            "sample_initial_state(random) gave an array (2,) of float64",
        ),
        (
            task(sample_initial_state=lambda self, random: (np.zeros(3), np.zeros(2))),
            "a pose, an array (3,) of float64; the",
        ),
        (
            task(sample_initial_state=lambda self, random: (np.zeros(2), 0.0)),
            "gave velocities, 0.0 (float); the model has (2,)",
        ),
        (
            robot(observation=lambda self: self.qpos),
            "(3, 2) of float64; expected an array (3, 5)",
        ),
        (robot(observation=lambda self: np.zeros(5)), "Robot.observation() gave an array (5,) of float64"),
        (robot(privileged_state=lambda self: {"place": self.qpos[:, 0]}), "privileged_state() gave for 'place' an array (3,)"),
        (robot(observation_limit=1.0), "Robot.observation_limit is 1.0 (float)"),
        (robot(mass_groups={"pole": ("pol",)}), "did you mean 'pole'"),
        (
            task(Reacher, sample_goal=lambda self, random: np.zeros(3)),
            "sample_goal(random) gave an array (3,) of",
        ),
        (task(Reacher, reward_and_success=lambda self, a, d: (None, a)), "the reward gave None (NoneType)"),
        (task(Reacher, goal_limit=1.0), "Mine does not say its goal_limit"),
        (
            task(Reacher, goal_limit=np.ones(3)),
            "sample_goal(random) gave an array (4,) of float64; expected an array (3,) of numbers",
        ),
        (task(robot=Bare), "Bare does not say its observation_limit"),
        (task(robot=None), "Mine.robot is None; expected a subclass of Robot"),
    ],
)
def test_another_form_than_agreed_is_told(mine: type, words: str) -> None:
    for _ in range(2):  # also the second time
        with pytest.raises(UsageError) as refusal:
            MujocoVectorEnv(mine, num_envs=1)
        assert words in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_it_is_rehearsed_once_and_moves_nothing_of_the_env() -> None:
    begun: list[np.random.Generator] = []

    def sample_initial_state(self, random: np.random.Generator) -> Any:
        begun.append(random)
        return CartPoleBalance.sample_initial_state(self, random)

    mine = task(sample_initial_state=sample_initial_state)
    rehearsed, not_again = (MujocoVectorEnv(mine, num_envs=2) for _ in range(2))
    assert len(begun) == 3, "three lanes, once"
    rehearsed.reset(seed=3)
    not_again.reset(seed=3)
    ours = rehearsed.np_random
    assert all(random is not own for random in begun[:3] for own in ours)
    for _ in range(3):
        action = np.zeros(rehearsed.action_space.shape)
        assert np.array_equal(rehearsed.step(action)[0], not_again.step(action)[0])
