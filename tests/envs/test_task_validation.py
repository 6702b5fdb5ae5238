"""A robot or task whose results have another form than the interface is refused when its env is made."""

from typing import Any

import numpy as np
import pytest
from robossl.envs.cartpole import CartPoleBalance, CartPoleRobot
from robossl.envs.engine.task import Robot
from robossl.envs.engine.vector_env import MujocoVectorEnv
from robossl.envs.reacher import Reacher

from robossl.core.errors import UsageError


def task(base: type = CartPoleBalance, **attributes: Any) -> type:
    """Return a task `Mine` with some attributes replaced."""
    return type("Mine", (base,), attributes)


def robot(**attributes: Any) -> type:
    """Return a task of a robot `MyRobot` with some attributes replaced."""
    return task(robot=type("MyRobot", (CartPoleRobot,), attributes))


class RobotWithoutLimit(Robot):
    model = CartPoleRobot.model
    substeps = 1

    def observation(self) -> np.ndarray:
        return self.qpos

    def privileged_state(self) -> dict[str, np.ndarray]:
        return {}


@pytest.mark.parametrize(
    ("task_class", "message"),
    [
        (
            task(reward=lambda self, robot, action: 1.0),
            "expected an array (3,) of numbers from Mine.reward(robot, action), got 1.0 (float)",
        ),
        (
            task(reward=lambda self, robot, action: robot.qpos),
            "from Mine.reward(robot, action), got an array (3, 2) of float64",
        ),
        (
            task(success=lambda self, robot: robot.qpos[:, 0]),
            "expected an array (3,) of booleans from Mine.success(robot), got an array (3,) of float64",
        ),
        (task(terminated=lambda self, robot: False), "from Mine.terminated(robot), got False (bool)"),
        (
            task(sample_initial_state=lambda self, random: np.zeros(2)),
            "expected a pair (qpos, qvel) from Mine.sample_initial_state(random), got an array (2,) of float64",
        ),
        (
            task(sample_initial_state=lambda self, random: (np.zeros(3), np.zeros(2))),
            "expected qpos of shape (2,) from Mine.sample_initial_state(random), got an array (3,)",
        ),
        (
            task(sample_initial_state=lambda self, random: (np.zeros(2), 0.0)),
            "expected qvel of shape (2,) from Mine.sample_initial_state(random), got 0.0 (float)",
        ),
        (
            robot(observation=lambda self: self.qpos),
            "expected an array (3, 5) of numbers from MyRobot.observation(), got an array (3, 2)",
        ),
        (
            robot(observation=lambda self: np.zeros(5)),
            "from MyRobot.observation(), got an array (5,) of float64",
        ),
        (
            robot(privileged_state=lambda self: {"place": self.qpos[:, 0]}),
            "for 'place' from MyRobot.privileged_state(), got an array (3,)",
        ),
        (robot(observation_limit=1.0), "expected MyRobot.observation_limit of shape (D,), got 1.0 (float)"),
        (robot(mass_groups={"pole": ("pol",)}), "did you mean 'pole'"),
        (
            task(Reacher, sample_goal=lambda self, random: np.zeros(3)),
            "expected an array (4,) of numbers from Mine.sample_goal(random), got an array (3,)",
        ),
        (
            task(Reacher, reward_and_success=lambda self, a, d: (None, a)),
            "from Mine.goal_reward(achieved, desired), got None (NoneType)",
        ),
        (task(Reacher, goal_limit=1.0), "expected Mine.goal_limit as an array (G,), got none"),
        (
            task(Reacher, goal_limit=np.ones(3)),
            "expected an array (3,) of numbers from Mine.sample_goal(random), got an array (4,) of float64",
        ),
        (task(robot=RobotWithoutLimit), "expected RobotWithoutLimit.observation_limit, got none"),
        (task(robot=None), "expected Mine.robot as a subclass of Robot, got None"),
    ],
)
def test_result_of_wrong_form_is_named(task_class: type, message: str) -> None:
    for _ in range(2):  # a failed validation is repeated
        with pytest.raises(UsageError) as error:
            MujocoVectorEnv(task_class, num_envs=1)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_dry_run_happens_once_and_leaves_the_env_unchanged() -> None:
    generators: list[np.random.Generator] = []

    def sample_initial_state(self, random: np.random.Generator) -> Any:
        generators.append(random)
        return CartPoleBalance.sample_initial_state(self, random)

    task_class = task(sample_initial_state=sample_initial_state)
    validated, second = (MujocoVectorEnv(task_class, num_envs=2) for _ in range(2))
    assert len(generators) == 3, "three sub-environments, once"
    validated.reset(seed=3)
    second.reset(seed=3)
    own_generators = validated.np_random
    assert all(random is not own for random in generators[:3] for own in own_generators)
    for _ in range(3):
        action = np.zeros(validated.action_space.shape)
        assert np.array_equal(validated.step(action)[0], second.step(action)[0])
