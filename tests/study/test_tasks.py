"""The tasks of a study share spaces; every other request is refused in one line."""

from __future__ import annotations

import pytest
import toy_tasks

from robossl.core.errors import UsageError
from robossl.study.protocol import load_protocol
from robossl.study.tasks import resolve_tasks, task_traits

PROTOCOL = load_protocol()
toy_tasks.register()


def resolve(robot=None, tasks=None, count=0):
    return resolve_tasks(PROTOCOL, robot, tasks, count, pixels=0)


def test_a_robot_has_all_its_tasks_or_the_first_ones() -> None:
    assert resolve("walker").tasks == tuple(PROTOCOL.robots["walker"])
    assert resolve("walker", count=2).tasks == tuple(PROTOCOL.robots["walker"][:2])


def test_robot_of_a_task_is_the_robot() -> None:
    assert (
        resolve("robossl/CheetahRun-v0") == resolve("cheetah") == resolve("CheetahRun") == resolve("Cheetah")
    )


def test_first_task_of_a_robot_records_the_stream_of_every_selection() -> None:
    for names in (["WalkerRun"], ["robossl/WalkerRun-v0", "walkerwalk"]):
        assert resolve("walker", names).stream_task == PROTOCOL.robots["walker"][0]


def test_third_party_tasks_that_share_spaces_are_a_study() -> None:
    found = resolve(tasks=["toy/Right-v0", "toy/Left-v0", "toy/Right-v0"])
    assert found.tasks == ("toy/Right-v0", "toy/Left-v0")
    assert found.stream_task == "toy/Right-v0"


@pytest.mark.parametrize(
    ("robot", "tasks", "words"),
    [
        ("hand", None, ["HandTurn", "available", "walker"]),
        ("wolker", None, ["did you mean 'walker'"]),
        ("walker", ["WalkerFly"], ["WalkerFly", "WalkerFlip"]),
        ("walker", [], ["one or more"]),
        ("arm.xml", None, ["no reward"]),
        ("CartPole-v1", None, ["--tasks"]),
        (None, None, ["a robot or --tasks"]),
        (None, ["toy/Right-v0"], ["2 or more"]),
        (None, ["toy/Right-v0", "toy/Wide-v0"], ["same spaces", "(3,)", "(4,)"]),
        (None, ["toy/Right-v0", "toy/Lefd-v0"], ["toy/Left-v0"]),
        (None, ["robossl/ArmReach-v0", "robossl/ArmLift-v0"], ["same spaces"]),
        (None, ["robossl/WalkerRun-v0", "robossl/CheetahRun-v0"], ["robot", "walker.xml", "cheetah.xml"]),
    ],
)
def test_wrong_tasks_raise_one_line(robot, tasks, words) -> None:
    with pytest.raises(UsageError) as error:
        resolve(robot, tasks)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value


def test_traits_of_a_goal_robot_and_of_a_third_party_task() -> None:
    reacher, toy = task_traits("robossl/Reacher-v0", 0), task_traits("toy/Right-v0", 0)
    assert (reacher.goals, reacher.labels_states, reacher.sets_states, reacher.values) == (
        True,
        True,
        True,
        8,
    )
    assert (toy.goals, toy.labels_states, toy.sets_states, toy.images, toy.values) == (
        False,
        False,
        False,
        False,
        3,
    )
