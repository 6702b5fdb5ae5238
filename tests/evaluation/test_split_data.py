"""Split data: observations of every space become values, images keep their previous frame, episodes stay separate."""

import numpy as np
import pytest
from evaluation_toys import Episode, PerfectModel, ToyStream
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.latents import encode
from robossl.evaluation.split_data import decoded_values, load_split, observation_values
from robossl.evaluation.video.imagination import imagination_video

BOX = spaces.Box(-1, 1, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (16, 16, 3), np.uint8)


class ImageStream(ToyStream):
    """The toy observed as images: a spot at the first and third state variable."""

    def __init__(self):
        super().__init__(episodes=20, steps=30)
        self.observation_space = spaces.Dict(camera=IMAGE)
        for fields in self.episode_fields:
            state = fields.pop("observation")
            frames = np.zeros((len(state), 16, 16, 3), np.uint8)
            position = np.clip(8 + 2 * state[:, [2, 0]], 1, 14).astype(int)
            for frame, (down, right) in zip(frames, position):
                frame[down - 1 : down + 2, right - 1 : right + 2] = 255
            fields["observation.camera"] = frames


class BrightnessModel(PerfectModel):
    """Encodes the mean intensity of the frame and of the previous one."""

    def __init__(self):
        self.calls = []

    def encode(self, observation, previous):
        now, before = (o["camera"].astype(np.float32).mean((1, 2)) for o in (observation, previous))
        self.calls.append((now, before))
        return np.concatenate([now, before[:, :1]], 1)


def test_every_space_has_values():
    space = spaces.Dict(
        a=spaces.Discrete(3, start=5), b=spaces.MultiBinary(2), c=BOX, d=spaces.MultiDiscrete([2, 3]), e=IMAGE
    )
    fields = {
        "observation.a": np.array([5, 7]),
        "observation.b": np.array([[0, 1], [1, 1]]),
        "observation.c": np.array([[0.5, -0.5], [0.1, 0.2]]),
        "observation.d": np.array([[1, 2], [0, 0]]),
        "observation.e": np.full((2, 16, 16, 3), 51, np.uint8),
    }
    values, names = observation_values(space, fields)
    assert values.shape == (2, 3 + 2 + 2 + 5 + 8 * 8 * 3)
    assert len(names) == values.shape[1]
    np.testing.assert_array_equal(values[:, :3], [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(values[0, 7:12], [0, 1, 0, 0, 1])
    np.testing.assert_allclose(values[:, 12:], 0.2)


@pytest.mark.parametrize(
    ("space", "decoded"),
    [
        (BOX, np.ones((4, 2))),
        (spaces.Dict(observation=BOX, achieved_goal=BOX, desired_goal=BOX), np.ones((4, 2))),
        (spaces.Dict(x=BOX, camera=IMAGE), {"x": np.ones((4, 2))}),
        (spaces.Dict(x=spaces.Dict(y=BOX)), {"x": {"y": np.ones((2, 2, 2))}}),
    ],
)
def test_decoded_observations_have_the_same_values(space, decoded):
    np.testing.assert_array_equal(decoded_values(space, decoded), np.ones((4, 2)))


def test_goals_are_not_part_of_the_values():
    space = spaces.Dict(observation=BOX, achieved_goal=BOX, desired_goal=BOX)
    fields = {f"observation.{name}": np.full((3, 2), i) for i, name in enumerate(space.spaces)}
    values, names = observation_values(space, fields)
    assert values.shape == (3, 2)
    assert names == ["observation 0", "observation 1"]


def test_images_are_encoded_with_the_previous_frame_of_their_episode():
    stream, model = ImageStream(), BrightnessModel()
    data = load_split(stream, "test")
    encode(model, data)
    now, before = model.calls[0]
    first = np.flatnonzero(np.diff(data.episode, prepend=-1))
    rest = np.setdiff1d(np.arange(len(now)), first)
    np.testing.assert_array_equal(before[first], now[first])
    np.testing.assert_array_equal(before[rest], now[rest - 1])


def test_imagined_images_are_recorded_frames(tmp_path):
    stream, model = ImageStream(), BrightnessModel()
    heldout = load_heldout(model, stream)
    assert heldout.test.values.shape[1] == 8 * 8 * 3
    video = imagination_video(tmp_path / "camera.mp4", model, stream, heldout, 0.1, num_steps=12)
    assert video.rendered


def test_whole_episodes_are_loaded_up_to_a_limit():
    data = load_split(ToyStream(steps=60), "train", limit=130)
    assert len(data.valid) == 3 * 61
    assert (~data.valid).sum() == 3
    assert not data.valid[60]
    cut = load_split(ToyStream(steps=60), "train", limit=20)
    assert len(cut.valid) == 20
    assert not cut.valid[-1]


def test_no_window_includes_an_invalid_step():
    stream = ToyStream(episodes=10, steps=20)
    stream.episode_fields[9]["valid"][7] = False
    data = load_split(stream, "test")
    assert not set(data.starts(2)) & {6, 7}
    assert 5 in data.starts(2)
    assert Episode(9, 0, 21, 9) in stream.episodes("test")
    with pytest.raises(UsageError, match="has no episode"):
        load_split(ToyStream(episodes=9), "test")


def test_fields_that_no_model_reads_can_be_omitted():
    complete, inputs = (load_split(ToyStream(), "train", inputs_only=only) for only in (False, True))
    assert (inputs.state, inputs.physics, inputs.reward) == ({}, None, None)
    assert all(field is not None for field in (complete.state or None, complete.physics, complete.reward))
    for name in ("observation", "values", "action", "valid", "episode"):
        np.testing.assert_array_equal(getattr(inputs, name), getattr(complete, name))
