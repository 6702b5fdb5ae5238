"""What is checked of native bodies only: numbers that are none, lanes that know of each other, physics that breaks."""

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
from robossl.env_checker.runner import here

BOOM = """
<mujoco>
  <option timestep="0.5"/>
  <worldbody>
    <body><joint type="hinge" axis="0 1 0"/><geom size="0.1" pos="0.3 0 0"/>
      <body pos="0.6 0 0"><joint type="hinge" axis="0 1 0"/><geom size="0.1" pos="0.3 0 0"/></body></body>
  </worldbody>
  <actuator><motor joint="j" gear="100000000"/></actuator>
</mujoco>
""".replace('<joint type="hinge"', '<joint name="j" type="hinge"', 1)
LAME = BOOM[: BOOM.index("<actuator>")] + "</mujoco>"


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    faulty_robots.register_bodies()


def found(env_id: str, **settings: Any) -> dict[str, CheckResult]:
    findings: list[CheckResult] = []
    here(gym.spec(env_id), settings, 20.0, findings.append)
    return {finding.name: finding for finding in findings}


def wrong(findings: dict[str, CheckResult]) -> list[str]:
    return [name for name, finding in findings.items() if finding.ok is False]


def test_a_number_that_is_none_is_found_and_never_recorded(tmp_path: Path) -> None:
    findings = found("bodies/Silent-v0")
    assert "observation finite" in wrong(findings)
    assert "observation[0] is nan" in findings["observation finite"].found
    with pytest.raises((UsageError, OperationError), match="gave numbers that are not finite"):
        robossl.collect("bodies/Silent-v0", steps=2000, out=tmp_path / "stream")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Crowd", "after 0 steps observation of lane 0 in a batch is"),
        ("Tail", "after 0 steps observation of lane 0 in a batch is"),
        ("Together", "after 1 steps terminated of lane 0 in a batch is True; alone it is False"),
    ],
)
def test_lanes_that_know_of_each_other_are_found(name: str, says: str) -> None:
    findings = found(f"bodies/{name}-v0")
    assert wrong(findings) == ["lanes live alone"]
    assert says in findings["lanes live alone"].found
    assert "axis 0" in findings["lanes live alone"].mend


def test_a_body_of_ours_has_nothing_to_mend() -> None:
    findings = found("robossl/PushT-v0")
    assert wrong(findings) == []
    assert findings["lanes live alone"].ok
    assert findings["physics"].ok


def test_physics_that_breaks_is_found(tmp_path: Path) -> None:
    file = tmp_path / "boom.xml"
    file.write_text(BOOM)
    finding = found("robossl/Mjcf-v0", model=str(file))["physics"]
    assert finding.ok is False
    assert "episodes, first at step" in finding.found


def test_a_body_without_actuators_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lame.xml"
    file.write_text(LAME)
    monkeypatch.setattr(faulty_robots.Crowd.robot, "model", str(file))
    with pytest.raises(UsageError, match="has no actuators"):
        registry.make_envs("bodies/Crowd-v0", 2)
