"""Every fault of a third-party env fails its own check, and an env without faults fails none."""

from __future__ import annotations

import faulty_envs
import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs

from robossl.env_checker.check_result import CheckResult
from robossl.env_checker.determinism import compare
from robossl.env_checker.env_under_test import CallMonitor, EnvUnderTest
from robossl.env_checker.random_rollout import Rollout, random_rollout
from robossl.env_checker.runner import CHECKS, run_in_thread
from robossl.env_checker.summary import COMMANDS, summarize

_GOOD = (
    "Good", "NestedObservation", "NoSuccess", "ManyInfos", "DiscreteActions", "GoalEnv", "ImageObservation",
    "NoTimeLimit", "MultiDiscreteActions",
)  # fmt: skip
_FAULTS = (  # env, the check that fails, part of its message, part of its fix
    ("NanObservation", "unusable numbers", "step 7 of episode 0: observation[1] is nan", "np.clip"),
    ("OutOfBounds", "observation bounds", "step 5 of episode 0: observation[1] is 3", "np.clip"),
    ("GrowingObservation", "observation shape", "step 3 of episode 0: observation has shape (3,)", "zeros"),
    ("Float64Observation", "observation structure", "float64 array, expected float32", "np.float32"),
    ("MutatesObservations", "observations not mutated", "the reset of episode 0", ".copy()"),
    ("MutatesActions", "actions not mutated", "step 1 of episode 0", "copy"),
    ("Raises", "random rollout", "ValueError: joint 3 out of range at", "terminated = True"),
    ("RaisesInReset", "reset", "reset(seed=0) raised KeyError: 'missing'", "that line"),
    ("RaisesInConstructor", "construction", "FileNotFoundError: no model robot.xml", "that line"),
    (
        "GlobalRandom",
        "deterministic given seed",
        "the reset of episode 0: observation[0] is",
        "self.np_random",
    ),
    ("KeepsStateOverReset", "deterministic given seed", "one env reset twice", "in reset"),
    ("OldStep", "step", "returns 4 values", "bool(truncated)"),
    ("OldReset", "reset", "no parameter seed and no options", "def reset(self, *, seed=None, options=None)"),
    ("NeverEnds", "time limit", "no max_episode_steps is registered", "--env.max_episode_steps 500"),
    ("UnboundedActions", "action bounds", "inf", "spaces.Box"),
    ("NoActions", "action space", "has no dimensions", "spaces.Box(-1.0, 1.0, (2,), np.float32)"),
    ("NoInfoDict", "step", "returns an info of type list, expected a dict", "truncated, {}"),
    ("ChannelsFirst", "images", "channels come first", "transpose(1, 2, 0)"),
    (
        "WrongComputeReward",
        "compute_reward",
        "step 1 of episode 0: the reward was 0.25",
        "self.compute_reward",
    ),
    ("WrongTypes", "termination flags", "terminated is of type int: 0", "bool(terminated)"),
    ("WrongTypes", "is_success", "is_success is 'yes'", "bool("),
    ("InfiniteReward", "unusable numbers", "step 9 of episode 0: reward is inf", "np.clip"),
    ("RaisesInRender", "rendering", "ValueError: no canvas", "robossl doctor"),
)
_INFORMATION = (  # env, the result without a failure, part of its message
    ("InfoIsNone", "step", "returns None as info, which is taken as {}"),
    ("CloseFails", "close", "close() raised RuntimeError: no window to close"),
    ("NoSuccess", "is_success", "no info has is_success"),
    ("NoSuccess", "rendering", "is []"),
    ("ManyInfos", "info keys", "'bump' is in"),
    ("SameInitialState", "different seeds differ", "the same rollout"),
    ("ZeroReward", "reward", "0 at all"),
    ("NoTimeLimit", "time limit", "episodes terminated"),
    ("RenderingNotInstalled", "rendering", "is not installed"),
)
_CACHE: dict[str, dict[str, CheckResult]] = {}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    thirdparty_envs.register_thirdparty_envs()


def results_of(name: str) -> dict[str, CheckResult]:
    """Results of an env by name, checked in this process."""
    if name not in _CACHE:
        results: list[CheckResult] = []
        run_in_thread(gym.spec(f"thirdparty/{name}-v0"), {}, 20.0, results.append)
        _CACHE[name] = {result.name: result for result in [*results, *summarize(results)]}
    return _CACHE[name]


def failures(results: dict[str, CheckResult]) -> list[CheckResult]:
    return [result for result in results.values() if result.ok is False]


@pytest.mark.parametrize("name", _GOOD)
def test_an_env_without_faults_has_no_problems(name: str) -> None:
    results = results_of(name)
    assert failures(results) == []
    assert {check.name for check in CHECKS} - {"gymnasium vector env", "robot"} <= set(results)
    assert all(results[f"command: {name}"].ok for name in COMMANDS if name not in ("play", "imagine"))


@pytest.mark.parametrize(("name", "check", "message", "fix"), _FAULTS)
def test_a_fault_fails_its_check_with_message_reason_and_fix(
    name: str, check: str, message: str, fix: str
) -> None:
    result = results_of(name)[check]
    assert result.ok is False
    assert message in result.message
    assert fix in result.fix
    assert result.reason


@pytest.mark.parametrize(("name", "check", "message"), _INFORMATION)
def test_what_is_no_fault_is_reported_as_information(name: str, check: str, message: str) -> None:
    result = results_of(name)[check]
    assert result.ok is None
    assert message in result.message


@pytest.mark.parametrize(
    "name", [name for name, *_ in _FAULTS if name not in ("WrongTypes", "GrowingObservation")]
)
def test_one_fault_fails_one_check(name: str) -> None:
    """Only Gymnasium's own check may fail too."""
    failed = [r for r in failures(results_of(name)) if not r.name.startswith(("command: ", "gymnasium "))]
    assert len(failed) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Raises", "raise ValueError("),
        ("RaisesInReset", '["missing"]'),
        ("RaisesInConstructor", "FileNotFoundError("),
    ],
)
def test_the_line_that_raises_is_named(name: str, line: str) -> None:
    result = next(r for r in failures(results_of(name)) if "faulty_envs.py:" in r.message)
    number = int(result.message.partition("faulty_envs.py:")[2].split()[0])
    with open(faulty_envs.__file__, encoding="utf-8") as file:
        assert line in file.readlines()[number - 1]


def test_the_line_that_calls_compiled_code_is_named() -> None:
    assert results_of("RaisesInNumpy")["random rollout"].message.count("faulty_envs.py:") == 1


def test_a_failed_check_does_not_stop_the_others() -> None:
    results = results_of("NanObservation")
    assert results["gymnasium check_env"].ok
    assert results["vector env, disabled"].ok
    assert not results["command: learn"].ok


def test_a_check_is_skipped_if_what_it_needs_failed() -> None:
    result = results_of("RaisesInReset")["random rollout"]
    assert result.ok is None
    assert result.message == "skipped: 'reset' failed"


def test_unavailable_report_sections_are_listed_with_their_reason() -> None:
    sections = {
        name.removeprefix("report: "): result.reason
        for name, result in results_of("NoSuccess").items()
        if name.startswith("report: ")
    }
    assert set(sections) == {"goals", "success", "probes", "videos"}
    assert "no goals" in sections["goals"]
    assert "report: goals" in results_of("GoalEnv")  # it has goals, but no physics state to start from
    assert "report: success" not in results_of("Good")
    assert results_of("NoSuccess")["command: play"].ok is None


# --- rollouts


def rollout(name: str, seed: int) -> Rollout:
    target = EnvUnderTest(gym.spec(f"thirdparty/{name}-v0"), {}, CallMonitor(20.0))
    return random_rollout(target, target.make(), 60, seed)


def test_rollouts_of_one_seed_are_equal_and_of_two_seeds_differ() -> None:
    assert compare(rollout("NestedObservation", 1), rollout("NestedObservation", 1)) is None
    difference = compare(rollout("NestedObservation", 1), rollout("NestedObservation", 2))
    assert difference is not None
    assert difference.record_index == 0
    assert difference.message.startswith("the reset of episode 0: observation['motion'][0][0] is ")


def test_a_rounding_error_is_recognized() -> None:
    one, other = rollout("Good", 1), rollout("Good", 1)
    other.records[3].observation[0] += np.float32(1e-6)
    difference = compare(one, other)
    assert difference is not None
    assert (difference.record_index, difference.rounding) == (3, True)


def test_a_rollout_covers_several_episodes() -> None:
    records = rollout("Good", 0)
    assert [r.episode for r in records.records if r.step == 0] == [0, 1]
    assert records.endings()[0].step == thirdparty_envs.MAX_EPISODE_STEPS
    assert len(records.steps) == 60


def test_registering_envs_twice_changes_nothing() -> None:
    ids = thirdparty_envs.register_thirdparty_envs()
    assert ids == thirdparty_envs.register_thirdparty_envs()
    assert {"thirdparty/Good-v0", "thirdparty/Raises-v0"} <= set(ids)
