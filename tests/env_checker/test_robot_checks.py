"""`robossl check` examines the robot of a file, not only the API of its env."""

import gymnasium as gym
import pytest
import robossl.envs

from robossl.core.interfaces import ExaminedEnv, Finding
from robossl.env_checker.env_under_test import CallMonitor, EnvUnderTest
from robossl.env_checker.robot_checks import check_robot
from robossl.registry import env_spec

robossl.envs.register()
ID = "robossl/Mjcf-v0"
MODEL = """<mujoco>{head}<worldbody>{world}
  <body name="torso" pos="0 0 {height}">{root}<geom type="box" size=".2 .1 .05"/>
    <body name="leg" pos=".2 0 0"><joint name="leg" axis="0 1 0" range="-60 60" damping=".2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02"/></body></body></worldbody>
  <actuator>{actuator}</actuator>{tail}</mujoco>"""
FLOOR = '<geom name="floor" type="plane" size="5 5 .1"/>'
FREE = "<freejoint/>"
SERVO = '<position name="leg" joint="leg" kp="20" ctrlrange="-1 1"/>'


def findings(
    folder, head="", world=FLOOR, root=FREE, actuator=SERVO, tail="", height=0.4, name="robot.xml", **settings
):
    """Return the findings about a file by name."""
    path = folder / name
    path.write_text(
        MODEL.format(head=head, world=world, root=root, actuator=actuator, tail=tail, height=height)
    )
    env = gym.make(ID, model=str(path), **settings).unwrapped
    assert isinstance(env, ExaminedEnv)
    found: dict[str, Finding] = {}
    for finding in env.examine(4.0):
        found[finding.name] = finding
        assert "\n" not in finding.message
        assert finding.ok is not False or (finding.reason and finding.fix)
    return found


def failed(found) -> set[str]:
    return {name for name, finding in found.items() if finding.ok is False}


def test_sound_robot_has_no_fault(tmp_path) -> None:
    assert failed(findings(tmp_path)) == set()


def test_fall_without_floor_names_the_scene_beside_the_file(tmp_path) -> None:
    fall = findings(tmp_path, world="")["fall"]
    assert fall.ok is False
    assert "torso falls" in fall.message
    assert "no floor" in fall.message
    assert "plane" in fall.fix
    (tmp_path / "scene.xml").write_text('<mujoco><include file="robot.xml"/></mujoco>')
    assert "scene.xml" in findings(tmp_path, world="")["fall"].fix
    beside = '<geom name="floor" type="box" size=".1 .1 .1" pos="3 0 0"/>'
    assert "past what is fixed" in findings(tmp_path, world=beside)["fall"].message
    assert "fall" not in findings(tmp_path, world="", head='<option gravity="0 0 0"/>')
    assert "fall" not in findings(tmp_path, world="", root="")


def test_joint_that_no_action_moves_is_named(tmp_path) -> None:
    world = '<body name="guide" mocap="true" pos="0 0 1"/>'
    root = '<joint name="lift" type="slide" axis="0 0 1" range="0 1" damping="5"/>'
    tail = '<equality><weld body1="guide" body2="torso"/></equality>'
    settings = {"head": '<option gravity="0 0 0"/>', "world": world, "root": root, "tail": tail, "height": 1}
    found = findings(tmp_path, **settings)
    assert (
        "no action moves lift; mocap body guide holds the robot" in found["joints that actions move"].message
    )
    assert "guide" in found["mocap bodies"].message
    assert failed(findings(tmp_path, mocap=True, **settings)) == set()


def test_passive_object_is_no_fault(tmp_path) -> None:
    world = FLOOR + '<body name="ball" pos="3 0 .1"><freejoint/><geom size=".1"/></body>'
    found = findings(tmp_path, world=world)
    assert "ball" in found["passive joints"].message
    assert failed(found) == set()


def test_action_without_effect_is_named(tmp_path) -> None:
    weak = SERVO + '<motor name="idle" joint="leg" gear="0" ctrlrange="-1 1"/>'
    found = findings(tmp_path, actuator=weak)
    assert "idle" in found["actions"].message
    assert failed(found) == {"actions"}


def test_adhesion_without_contact_is_no_fault(tmp_path) -> None:
    suction = SERVO + '<adhesion name="suction" body="torso" ctrlrange="0 1" gain="1"/>'
    found = findings(tmp_path, actuator=suction, height=2.0, root='<joint name="turn" axis="0 0 1"/>')
    assert "suction" in found["actions in contact"].message
    assert "actions" not in failed(found)


def test_controls_without_range_are_named_with_their_source(tmp_path) -> None:
    found = findings(tmp_path, actuator='<motor name="push" joint="leg"/>')
    assert "push" in found["control ranges"].message
    assert "[-1, 1]" in found["control ranges"].message
    found = findings(tmp_path, actuator='<position joint="leg" kp="20"/>')
    assert "joint range" in found["control ranges"].message


def test_home_out_of_reach_is_a_fault(tmp_path) -> None:
    tail = '<keyframe><key name="home" qpos="0 0 .4 1 0 0 0 1"/></keyframe>'
    assert findings(tmp_path, tail=tail)["home"].ok
    narrow = '<position name="leg" joint="leg" kp="20" ctrlrange="-.5 .5"/>'
    home = findings(tmp_path, actuator=narrow, tail=tail)["home"]
    assert "leg needs 1," in home.message
    assert findings(tmp_path, actuator=narrow, tail=tail, keyframe="none")["home"].ok


def test_start_inside_something_is_named(tmp_path) -> None:
    assert "0.3" in findings(tmp_path, height=0.0)["start"].message
    deep = findings(tmp_path, height=0.0, root='<joint name="turn" axis="0 0 1"/>')["start"]
    assert deep.ok is False
    assert "floor" in deep.message


def test_pose_outside_the_ranges_is_named(tmp_path) -> None:
    tail = '<keyframe><key qpos="0 0 .4 1 0 0 0 2"/></keyframe>'
    assert "leg" in findings(tmp_path, tail=tail)["start"].message


def test_hidden_state_is_named_or_observed(tmp_path) -> None:
    delayed = '<position name="leg" joint="leg" kp="20" ctrlrange="-1 1" nsample="4" delay=".01"/>'
    hidden = findings(tmp_path, actuator=delayed)["hidden state"]
    assert hidden.ok is None
    assert "leg" in hidden.message
    slow = '<position joint="leg" kp="20" ctrlrange="-1 1" timeconst=".1"/>'
    assert findings(tmp_path, actuator=slow)["hidden state"].ok


def test_blind_camera_and_missing_light_are_named(tmp_path) -> None:
    world = FLOOR + '<camera name="sky" pos="0 0 2" xyaxes="1 0 0 0 -1 0"/>'
    dark = '<visual><headlight ambient="0 0 0" diffuse="0 0 0"/></visual>'
    found = findings(tmp_path, world=world, head=dark)
    assert "sky shows nothing of the robot; free is used" in found["camera"].message
    assert "light" in found
    assert failed(found) == set()
    assert "free" in findings(tmp_path, world=world, camera="sky")["camera"].fix
    assert "camera" not in findings(tmp_path, world=world, camera="free")


def test_removed_flag_and_format_are_named(tmp_path) -> None:
    found = findings(tmp_path, head='<option><flag sleep="enable"/></option>')
    assert "sleep" in found["robot file"].message


def test_findings_are_results_of_the_check(tmp_path) -> None:
    findings(tmp_path, world="")
    target = EnvUnderTest(env_spec(ID), {"model": str(tmp_path / "robot.xml")}, CallMonitor(10.0))
    results = {result.name: result.ok for result in check_robot(target)}
    assert results["fall"] is False
    assert list(check_robot(EnvUnderTest(env_spec("CartPole-v1"), {}, CallMonitor(10.0)))) == []


@pytest.mark.parametrize("name", ["ArmPush", "CartPoleBalance", "HandTurn", "PushT", "WalkerWalk"])
def test_robots_of_the_suite_have_no_fault(name) -> None:
    env = gym.make(f"robossl/{name}-v0").unwrapped
    assert [finding for finding in env.examine(4.0) if finding.ok is False] == []
