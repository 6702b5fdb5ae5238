"""Robot files of every kind: units, keyframes, sensors and mocap bodies are read, not guessed."""

import pickle  # noqa: TID251 - the tests check that envs can be pickled

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import robossl.envs
from robossl.envs.engine import robot_files
from robossl.envs.engine.urdf import read_urdf

from robossl.core.errors import UsageError
from robossl.core.seeding import generator

robossl.envs.register()
ID = "robossl/Mjcf-v0"
ARM = """<mujoco><option timestep=".01"/>{head}
  <worldbody>{world}
    <body name="upper" pos="0 0 1"><joint name="a" axis="0 1 0" range="17 138" damping="1"/>
      <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/>
      <body name="lower" pos=".3 0 0"><joint name="b" axis="0 1 0" damping="1"/>
        <geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/><site name="tip" pos=".3 0 0"/></body></body>
  </worldbody>
  <actuator>{actuator}</actuator>{tail}</mujoco>"""


def robot(folder, actuator="<motor joint='a'/>", head="", world="", tail="", name="robot.xml") -> str:
    path = folder / name
    path.write_text(ARM.format(head=head, world=world, actuator=actuator, tail=tail))
    return str(path)


def make(model, num_envs=2, **settings):
    return gym.make_vec(ID, num_envs=num_envs, model=model, nthread=1, **settings)


@pytest.mark.parametrize(
    ("actuator", "low", "high"),
    [
        ("<position joint='a' kp='4'/>", 0.2967, 2.4086),
        ("<position joint='a' kp='4' gear='2'/>", 0.5934, 4.8171),
        ("<position joint='a' kp='4' ctrlrange='-1 3'/>", -1, 3),
        ("<general joint='a' biastype='affine' gainprm='2' biasprm='1 -4 0'/>", 0.0933, 4.3171),
        ("<position joint='b' kp='4'/>", 1 - np.pi, 1 + np.pi),  # around home
        ("<velocity joint='a' kv='4'/>", -2.1118, 2.1118),  # the whole range in a second
        ("<intvelocity joint='a' kp='4' actrange='0 2'/>", -2.1118, 2.1118),
        ("<motor joint='a' forcelimited='true' forcerange='-3 5'/>", -3, 5),
        ("<motor joint='a'/>", -1, 1),
        ("<muscle joint='a'/>", 0, 1),
        ("<position tendon='t' kp='2'/>", 0, 0.5),
    ],
)
def test_control_without_range_covers_what_its_target_can_reach(tmp_path, actuator, low, high) -> None:
    tail = "<tendon><fixed name='t' range='0 .5'><joint joint='a' coef='1'/></fixed></tendon>"
    tail += "<keyframe><key qpos='1 1'/></keyframe>"
    envs = make(robot(tmp_path, actuator, tail=tail))
    ends = [envs.simulation.control(np.full((2, 1), end))[0, 0] for end in (-1.0, 1.0)]
    np.testing.assert_allclose(ends, [low, high], atol=1e-3)


def test_keyframe_is_taken_whole(tmp_path) -> None:
    tail = "<keyframe><key name='bent' qpos='1 0'/>"
    tail += (
        "<key name='home' qpos='2 1' qvel='3 4' act='.5' ctrl='1.5' mpos='1 2 3' mquat='0 1 0 0'/></keyframe>"
    )
    guide = "<body name='guide' mocap='true'/>"
    path = robot(tmp_path, "<position joint='a' kp='4' timeconst='.1'/>", world=guide, tail=tail)
    envs = make(path)
    observation, _ = envs.reset(seed=0)
    fields = {
        name: envs.simulation.batch.bind(name) for name in ("qvel", "act", "ctrl", "mocap_pos", "mocap_quat")
    }
    np.testing.assert_allclose(envs.simulation.robot.qpos, [[2, 1]] * 2, atol=0.1)
    for name, value in {"qvel": [3, 4], "act": [0.5], "ctrl": [1.5]}.items():
        np.testing.assert_array_equal(fields[name], [value] * 2)
    np.testing.assert_array_equal(fields["mocap_pos"][0], [[1, 2, 3]])
    np.testing.assert_array_equal(fields["mocap_quat"][0], [[0, 1, 0, 0]])
    assert observation.shape == (2, 1 + 2 + 2 + 1), "the activation is observed"
    other = make(path, keyframe="bent")
    other.reset(seed=0)
    np.testing.assert_allclose(other.simulation.robot.qpos[:, 0], 1, atol=0.1)
    assert (other.simulation.robot.qvel == 0).all()
    nothing = make(path, keyframe="none")
    nothing.reset(seed=0)
    assert np.ptp(nothing.simulation.robot.qpos[:, 1]) > 0
    with pytest.raises(UsageError, match="no 'hom' among the keyframes"):
        make(path, keyframe="hom")


def test_start_noise_is_a_share_of_the_range_and_keeps_limits_and_equalities(tmp_path) -> None:
    tail = "<equality><joint joint1='b' joint2='a' polycoef='0 .5 0 0 0'/></equality>"
    envs = make(robot(tmp_path, tail=tail), num_envs=64)
    envs.reset(seed=0)
    a, b = envs.simulation.robot.qpos.T
    low, high = np.radians([17, 138])
    np.testing.assert_allclose(b, 0.5 * a, atol=1e-4)
    assert low - 1e-9 <= a.min() < a.max()
    assert (a <= low + 0.1 * (high - low)).all()
    slide = ARM.replace('range="17 138"', 'type="slide" range="0 .03"')
    path = tmp_path / "slide.xml"
    path.write_text(slide.format(head="", world="", actuator="<motor joint='a'/>", tail=""))
    envs = make(str(path), num_envs=64)
    envs.reset(seed=0)
    position = envs.simulation.robot.qpos[:, 0]
    assert 0 <= position.min() < position.max() < 0.03 / 20


def test_loop_closed_by_an_equality_stays_closed(tmp_path) -> None:
    tail = "<equality><connect site1='tip' site2='hook'/></equality>"
    envs = make(robot(tmp_path, world="<site name='hook' pos='.4 0 .8'/>", tail=tail), num_envs=16)
    envs.reset(seed=0)
    start = envs.simulation.task.start
    errors = [start._equality_error(pose) for pose in envs.simulation.robot.qpos]
    assert max(errors) <= max(start._equality_error(start.qpos), 1e-4)


FLOATING = """<mujoco><worldbody><geom type="plane" size="5 5 .1"/>
  <body pos="0 0 {height}"><freejoint/><geom type="box" size=".2 .1 .05"/>
    <body pos=".2 0 0"><joint name="leg" axis="0 1 0" range="-60 60"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02"/></body></body></worldbody>
  <actuator><position joint="leg" kp="20"/></actuator></mujoco>"""


@pytest.mark.parametrize("height", [0.0, 0.1, 0.32, 1.0])
def test_robot_never_begins_inside_the_floor(tmp_path, height) -> None:
    path = tmp_path / "robot.xml"
    path.write_text(FLOATING.format(height=height))
    envs = make(str(path), num_envs=16)
    envs.reset(seed=0)
    model = envs.simulation.model
    data = mujoco.MjData(model)
    for pose in envs.simulation.robot.qpos:
        data.qpos[:] = pose
        mujoco.mj_forward(model, data)
        assert np.min(data.contact.dist, initial=0.0) > -1e-3
    assert envs.simulation.task.lift == pytest.approx(max(0.32 - height, 0), abs=0.02)


SENSORS = """<sensor><jointpos name="angle" joint="a"/><framelinvel name="speed" objtype="site" objname="tip"/>
  <accelerometer name="shake" site="tip" cutoff="50"/></sensor>"""


def test_sensors_are_functions_of_the_state(tmp_path) -> None:
    path = robot(tmp_path, tail=SENSORS)
    envs = make(path, sensors="all", autoreset_mode="Disabled")
    plain = make(path).single_observation_space.shape[0]
    assert envs.single_observation_space.shape[0] == plain + 1 + 3 + 3
    assert make(path, sensors="angle, speed").single_observation_space.shape[0] == plain + 4
    envs.reset(seed=0)
    random = generator(0, "actions")
    for _ in range(10):
        observation, *_ = envs.step(random.uniform(-1, 1, (2, 1)))
    np.testing.assert_allclose(observation[:, plain], envs.simulation.robot.qpos[:, 0], atol=1e-6)
    copy = pickle.loads(pickle.dumps(envs))  # noqa: S301
    np.testing.assert_array_equal(copy.observation(), observation)
    action = random.uniform(-1, 1, (2, 1))
    np.testing.assert_array_equal(envs.step(action)[0], copy.step(action)[0])
    with pytest.raises(UsageError, match="no 'gyro' among the sensors"):
        make(path, sensors=["gyro"])


GUIDE = "<body name='guide' mocap='true' pos='.6 0 1'><geom size='.01' contype='0' conaffinity='0'/></body>"
WELD = "<equality><connect body1='lower' body2='guide' anchor='.3 0 0'/></equality>"


@pytest.mark.parametrize(("mocap", "size"), [(True, 4), ("position", 4), ("pose", 7)])
def test_mocap_body_moves_by_actions(tmp_path, mocap, size) -> None:
    path = robot(tmp_path, head="<option gravity='0 0 0'/>", world=GUIDE, tail=WELD)
    envs = make(path, mocap=mocap)
    assert envs.single_action_space.shape == (size,)
    before = envs.reset(seed=0)[0]
    action = np.zeros((2, size))
    action[:, 3] = [-1.0, 1.0]
    for _ in range(20):
        after, *_ = envs.step(action)
    height = envs.simulation.batch.bind("mocap_pos")[:, 0, 2]
    assert height[0] < 0.95 < 1.05 < height[1]
    assert np.abs(after - before).max(axis=1).min() > 0.02
    tips = envs.simulation.robot.qpos[:, 0]
    assert tips[0] != pytest.approx(tips[1], abs=0.01)
    with pytest.raises(UsageError, match="expected a model with mocap bodies"):
        make(robot(tmp_path, name="other.xml"), mocap=True)


def test_file_with_mocap_bodies_alone_is_a_robot(tmp_path) -> None:
    path = robot(tmp_path, "", world=GUIDE, tail=WELD)
    with pytest.raises(UsageError, match="move its mocap bodies: mocap=True"):
        make(path)
    envs = make(path, mocap=True)
    envs.reset(seed=0)
    envs.step(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("line", "low", "high"),
    [
        ("qpos.a", 0.0, 0.06),
        ("qpos.a=1", 0.1, 0.9),
        ("qvel.b=2", 0.0, 0.2),
        ("height.lower=1", 0.9, 1.0),
        ("upright.upper", 0.9, 1.0),
        ("reach.tip.upper", 0.0, 0.5),
        ("effort", 1.0, 1.0),
        ("0.5*forward=1 + 2 * effort+height=+1", 0.6, 1.0),
    ],
)
def test_reward_is_a_mean_of_named_terms(tmp_path, line, low, high) -> None:
    envs = make(robot(tmp_path), reward=line, num_envs=3)
    envs.reset(seed=0)
    _, reward, *_ = envs.step(np.zeros((3, 1)))
    assert ((low - 1e-9 <= reward) & (reward <= high + 1e-9)).all()
    single = gym.make(ID, model=robot(tmp_path), reward=line)
    single.reset(seed=0)
    assert single.step(np.zeros(1))[1] == reward[0]
    assert gym.spec(ID).kwargs.get("reward") is None
    assert envs.spec.kwargs["reward"] == line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected a reward such as"),
        ("__import__('os').system('x')", "among the reward terms; available: effort, forward"),
        ("qpos.c", "no 'c' among the joints; available: a, b"),
        ("qpos.b", "expected a target for joint 'b'"),
        ("qvel.b", "expected a target"),
        ("forward=fast", "expected a number"),
        ("effort.a", "expected no object"),
        ("-1*effort", "expected a weight above 0"),
        ("reach.tip", "expected two bodies or sites as reach.A.B"),
        ("upright=1", "expected no target"),
    ],
)
def test_reward_that_is_no_sum_of_terms_is_refused(tmp_path, line, message) -> None:
    with pytest.raises(UsageError, match=message) as error:
        make(robot(tmp_path), reward=line)
    assert "\n" not in str(error.value)


URDF = """<robot name="arm"><link name="b"><inertial><mass value="1"/>
  <inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <link name="c"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <joint name="j" type="revolute"><parent link="b"/><child link="c"/><axis xyz="0 1 0"/>
  <limit lower="-1" upper="1" effort="5" velocity="1"/></joint></robot>"""


@pytest.mark.parametrize("name", ["arm.urdf", "arm.xml", "Arm.URDF"])
def test_urdf_has_a_motor_for_each_joint(tmp_path, name) -> None:
    path = tmp_path / name
    path.write_text(URDF)
    envs = make(str(path))
    envs.reset(seed=0)
    assert envs.simulation.control(np.ones((2, 1)))[0, 0] == 5
    envs.step(np.ones((2, 1)))
    assert (envs.simulation.robot.qvel > 0).all()


def test_mjb_equals_its_mjcf(tmp_path) -> None:
    path = robot(tmp_path, "<position joint='a' kp='4'/>")
    mujoco.mj_saveModel(mujoco.MjModel.from_xml_path(path), str(tmp_path / "robot.mjb"))
    results = []
    for file in (path, str(tmp_path / "robot.mjb")):
        envs = make(file)
        envs.reset(seed=0)
        results.append(envs.step(np.ones((2, 1)))[0])
    np.testing.assert_array_equal(*results)
    (tmp_path / "broken.mjb").write_bytes((tmp_path / "robot.mjb").read_bytes()[:1000])
    with pytest.raises(UsageError, match="does not compile"):
        make(str(tmp_path / "broken.mjb"))


def test_sleep_flag_is_taken_out(tmp_path) -> None:
    path = robot(tmp_path, head="<option><flag sleep='enable'/></option>")
    make(path).reset(seed=0)


CAMERA = '<camera name="{}" pos="0 {} 1" xyaxes="1 0 0 0 0 {}"/>'


@pytest.mark.parametrize(
    ("world", "camera"),
    [
        ("", "free"),
        (CAMERA.format("front", -1, 1), "front"),
        (CAMERA.format("away", -1, -1), "free"),
        (CAMERA.format("away", -1, -1) + CAMERA.format("front", -1, 1), "front"),
        (CAMERA.format("far", -90, 1), "free"),
    ],
)
def test_camera_that_sees_the_robot_is_chosen(tmp_path, world, camera) -> None:
    envs = make(robot(tmp_path, world=world))
    assert envs.simulation.task.default_camera() == camera


def test_robot_without_light_is_rendered(tmp_path, gl) -> None:
    dark = "<visual><headlight ambient='0 0 0' diffuse='0 0 0'/></visual>"
    path = robot(tmp_path, head=dark, world=CAMERA.format("away", -1, -1))
    envs = make(path, num_envs=1, render_mode="rgb_array", render_size=(64, 64))
    envs.reset(seed=0)
    assert envs.render()[0].std() > 3
    away = make(path, num_envs=1, render_mode="rgb_array", render_size=(64, 64), camera="away")
    away.reset(seed=0)
    assert away.render()[0].std() < 1


TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"


def test_urdf_of_a_ros_package_is_read_with_notes(tmp_path) -> None:
    (tmp_path / "robot_description/meshes").mkdir(parents=True)
    (tmp_path / "robot_description/urdf").mkdir()
    (tmp_path / "robot_description/meshes/arm.obj").write_text(TRIANGLE)
    (tmp_path / "robot_description/meshes/arm.dae").write_text("<COLLADA/>")
    shapes = "".join(
        f"<{kind}><geometry><mesh filename='package://robot_description/meshes/{name}'/></geometry></{kind}>"
        for kind, name in (
            ("visual", "arm.dae"),
            ("collision", "arm.obj"),
            ("collision", "arm.dae"),
            ("collision", "x.stl"),
        )
    )
    impossible = URDF.replace('ixx="1" iyy="1" izz="1"', 'ixx="1" iyy="1" izz="5"', 1)
    text = impossible.replace('</link>\n  <link name="c">', f'{shapes}</link>\n  <link name="c">', 1)
    path = tmp_path / "robot_description/urdf/arm.urdf"
    path.write_text(text.replace("</robot>", "<xacro:note/></robot>"))
    envs = make(str(path))
    envs.reset(seed=0)
    assert envs.simulation.model.nmesh == 1
    notes = " ".join(read_urdf(path).notes)
    assert "1 collision meshes are missing" in notes
    assert "1 collision meshes are neither STL nor OBJ" in notes
    assert "1 inertias that no body can have" in notes


@pytest.mark.parametrize(
    "text", ["<robot", "<!DOCTYPE robot [<!ENTITY a 'b'>]><robot>&a;</robot>", "<robot/>"]
)
def test_urdf_that_is_none_is_refused_in_one_line(tmp_path, text) -> None:
    path = tmp_path / "arm.urdf"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        make(str(path))
    assert "\n" not in str(error.value)


def test_changed_file_is_compiled_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(robot_files, "_SLOW", 0.0)
    path = robot(tmp_path)
    assert make(path).simulation.model.nbody == make(path).simulation.model.nbody == 3
    robot(tmp_path, world="<body/>")
    assert make(path).simulation.model.nbody == 4
