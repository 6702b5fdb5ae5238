"""The header of a stream and every export state the rate of the env, its robot and its task."""

import json
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs

from robossl.core.step_duration import step_duration
from robossl.streams import Recorder, Stream
from robossl.streams.formats import export_stream, import_stream
from robossl.streams.formats.labels import frames_per_second, robot_name, task_name

robossl.envs.register()
ROBOT = """<mujoco><option timestep="{step}"/><worldbody>
  <body><joint name="j" axis="0 1 0" range="-60 60"/><geom size=".1"/></body></worldbody>
  <actuator><motor joint="j" ctrlrange="-1 1"/></actuator></mujoco>"""


class MetadataEnv(gym.Env):
    """An env with given metadata and attributes."""

    metadata: ClassVar[dict[str, Any]] = {}
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Box(-1, 1, (1,))

    def __init__(self, metadata: dict[str, Any] | None = None, **attributes: Any) -> None:
        self.metadata = metadata or {}
        self.__dict__.update(attributes)


class Model:
    """A model with MuJoCo's options."""

    class opt:
        timestep = 0.002


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        (MetadataEnv(frame_skip=5, model=Model(), dt=0.002), 0.01),
        (MetadataEnv({"render_fps": 25}, n_substeps=20, model=Model()), 0.04),
        (MetadataEnv({"render_fps": 25}, dt=0.002), 0.04),
        (MetadataEnv(dt=0.05), None),
        (MetadataEnv({"render_fps": 0}), None),
        (MetadataEnv({"render_fps": None, "step_seconds": 0.5}), 0.5),
    ],
)
def test_duration_of_a_step_is_never_an_attribute_dt(env, seconds) -> None:
    duration = step_duration(env)
    assert duration.seconds == pytest.approx(seconds)
    assert (duration.source == "unknown") == (seconds is None)


def record(path, model, **settings) -> Stream:
    envs = gym.make_vec("robossl/Mjcf-v0", num_envs=2, model=str(model), nthread=1, **settings)
    recorder = Recorder.create(envs, path)
    recorder.reset(seed=0)
    for _ in range(4):
        recorder.step(np.zeros((2, 1)))
    recorder.close()
    return Stream.open(path)


@pytest.mark.parametrize(
    ("step", "fps"), [("0.005", 50), ("0.002", 50), ("0.016", 62.5), ("0.003", 1000 / 21)]
)
def test_every_export_has_the_rate_and_the_robot(tmp_path, step, fps) -> None:
    model = tmp_path / "my_robot.xml"
    model.write_text(ROBOT.format(step=step))
    stream = record(tmp_path / "s", model)
    assert stream.header["fps"] == pytest.approx(fps)
    assert stream.header["step_seconds"] == pytest.approx(1 / fps)
    export_stream(stream, "lerobot", tmp_path / "lerobot")
    info = json.loads((tmp_path / "lerobot/meta/info.json").read_text())
    assert info["fps"] == pytest.approx(fps)
    assert isinstance(info["fps"], int) == (fps % 1 == 0)
    assert info["robot_type"] == "my_robot"
    export_stream(stream, "minari", tmp_path / "minari")
    metadata = json.loads((tmp_path / "minari/data/metadata.json").read_text())
    assert metadata["fps"] == pytest.approx(fps)
    assert (metadata["task"], metadata["robot"]) == ("my_robot", "my_robot")
    assert "my_robot" in metadata["env_spec"]
    import_stream(tmp_path / "lerobot", "lerobot", tmp_path / "back")
    assert Stream.open(tmp_path / "back").header["fps"] == stream.header["fps"]


def test_video_has_the_rate_of_the_env(tmp_path) -> None:
    import av

    model = tmp_path / "my_robot.xml"
    model.write_text(ROBOT.format(step="0.005"))
    export_stream(record(tmp_path / "s", model, pixels=(16, 16), substeps=10), "lerobot", tmp_path / "out")
    (video,) = (tmp_path / "out/videos").rglob("*.mp4")
    with av.open(str(video)) as file:
        assert file.streams.video[0].average_rate == 20


@pytest.mark.parametrize(
    ("header", "task", "robot"),
    [
        ({"env": "robossl/WalkerRun-v0", "robot": "walker/walker.xml"}, "robossl/WalkerRun-v0", "walker"),
        ({"env": "x/Mjcf-v0", "env_kwargs": {"model": "/a b/Hund.XML"}, "robot": "Hund.XML"}, "Hund", "Hund"),
        ({"env": "Pendulum-v1", "robot": None, "env_kwargs": {"model": 3}}, "Pendulum-v1", "Pendulum-v1"),
        ({}, "unknown", "unknown"),
    ],
)
def test_task_is_the_env_id_or_the_robot_file(header, task, robot) -> None:
    assert (task_name(header), robot_name(header)) == (task, robot)


@pytest.mark.parametrize("fps", [None, 0, -3, float("nan"), float("inf"), True, "30", [30]])
def test_rate_that_is_no_rate_is_unknown(fps) -> None:
    assert frames_per_second({"fps": fps}) is None
