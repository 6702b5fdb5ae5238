"""Checks of native envs: NaN, sub-environments that interact, and physics that diverges fail their check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faulty_robots
import gymnasium as gym
import pytest

import robossl
from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.env_checker.check_result import CheckResult
from robossl.env_checker.runner import run_in_thread

DIVERGING = """
<mujoco>
  <option timestep="0.5"/>
  <worldbody>
    <body><joint name="j" type="hinge" axis="0 1 0"/><geom size="0.1" pos="0.3 0 0"/>
      <body pos="0.6 0 0"><joint type="hinge" axis="0 1 0"/><geom size="0.1" pos="0.3 0 0"/></body></body>
  </worldbody>
  <actuator><motor joint="j" gear="100000000"/></actuator>
</mujoco>
"""
NO_ACTUATORS = DIVERGING[: DIVERGING.index("<actuator>")] + "</mujoco>"


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    faulty_robots.register_faulty_robots()


def results_of(env_id: str, **settings: Any) -> dict[str, CheckResult]:
    results: list[CheckResult] = []
    run_in_thread(gym.spec(env_id), settings, 20.0, results.append)
    return {result.name: result for result in results}


def failures(results: dict[str, CheckResult]) -> list[str]:
    return [name for name, result in results.items() if result.ok is False]


def test_nan_fails_its_check_and_is_never_recorded(tmp_path: Path) -> None:
    results = results_of("faulty/NanObservation-v0")
    assert "unusable numbers" in failures(results)
    assert "observation[0] is nan" in results["unusable numbers"].message
    with pytest.raises((UsageError, OperationError), match="finite"):
        robossl.collect("faulty/NanObservation-v0", steps=2000, out=tmp_path / "stream")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DiffersFromMean", "after 0 steps observation of sub-environment 0 is"),
        ("DiffersFromLast", "after 0 steps observation of sub-environment 0 is"),
        (
            "TerminatesInBatch",
            "after 1 steps terminated of sub-environment 0 is True; in a single env it is False",
        ),
    ],
)
def test_sub_environments_that_interact_fail(name: str, message: str) -> None:
    results = results_of(f"faulty/{name}-v0")
    assert failures(results) == ["batch matches single env"]
    assert message in results["batch matches single env"].message
    assert "axis 0" in results["batch matches single env"].fix


def test_a_built_in_robot_has_no_problems() -> None:
    results = results_of("robossl/PushT-v0")
    assert failures(results) == []
    assert results["batch matches single env"].ok
    assert results["physics"].ok


def test_physics_that_diverges_fails(tmp_path: Path) -> None:
    file = tmp_path / "diverging.xml"
    file.write_text(DIVERGING)
    result = results_of("robossl/Mjcf-v0", model=str(file))["physics"]
    assert result.ok is False
    assert "episodes, first at step" in result.message


def test_a_robot_without_actuators_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passive.xml"
    file.write_text(NO_ACTUATORS)
    monkeypatch.setattr(faulty_robots.DiffersFromMean.robot, "model", str(file))
    with pytest.raises(UsageError, match="has no actuators"):
        registry.make_envs("faulty/DiffersFromMean-v0", 2)
