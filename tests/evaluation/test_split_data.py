"""Observations of any kind become numbers, images keep their past, episodes stay apart."""

import numpy as np
import pytest
from evaluation_toys import Episode, PerfectModel, ToyStream
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.latents import encode
from robossl.evaluation.split_data import as_numbers, decoded_numbers, load_split
from robossl.evaluation.video.imagination import imagination_video

BOX = spaces.Box(-1, 1, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (16, 16, 3), np.uint8)


class Camera(ToyStream):
    """The toy world seen by a camera: a spot that goes right by its first number and down by its third."""

    def __init__(self):
        super().__init__(episodes=20, steps=30)
        self.observation_space = spaces.Dict(eye=IMAGE)
        for rows in self.table:
            state = rows.pop("observation")
            frames = np.zeros((len(state), 16, 16, 3), np.uint8)
            place = np.clip(8 + 2 * state[:, [2, 0]], 1, 14).astype(int)
            for frame, (down, right) in zip(frames, place):
                frame[down - 1 : down + 2, right - 1 : right + 2] = 255
            rows["observation.eye"] = frames


class Watcher(PerfectModel):
    """Encodes how bright the frame is, and how bright the one before it was."""

    def __init__(self):
        self.asked = []

    def encode(self, observation, previous):
        now, before = (o["eye"].astype(np.float32).mean((1, 2)) for o in (observation, previous))
        self.asked.append((now, before))
        return np.concatenate([now, before[:, :1]], 1)


def test_every_kind_of_leaf_has_numbers():
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
    numbers, names = as_numbers(space, fields)
    assert numbers.shape == (2, 3 + 2 + 2 + 5 + 8 * 8 * 3)
    assert len(names) == numbers.shape[1]
    np.testing.assert_array_equal(numbers[:, :3], [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(numbers[0, 7:12], [0, 1, 0, 0, 1])
    np.testing.assert_allclose(numbers[:, 12:], 0.2)


@pytest.mark.parametrize(
    ("space", "decoded"),
    [
        (BOX, np.ones((4, 2))),
        (spaces.Dict(observation=BOX, achieved_goal=BOX, desired_goal=BOX), np.ones((4, 2))),
        (spaces.Dict(x=BOX, eye=IMAGE), {"x": np.ones((4, 2))}),
        (spaces.Dict(x=spaces.Dict(y=BOX)), {"x": {"y": np.ones((2, 2, 2))}}),
    ],
)
def test_what_a_model_decodes_has_the_same_numbers(space, decoded):
    np.testing.assert_array_equal(decoded_numbers(space, decoded), np.ones((4, 2)))


def test_a_goal_is_no_part_of_what_is_predicted():
    space = spaces.Dict(observation=BOX, achieved_goal=BOX, desired_goal=BOX)
    fields = {f"observation.{name}": np.full((3, 2), i) for i, name in enumerate(space.spaces)}
    numbers, names = as_numbers(space, fields)
    assert numbers.shape == (3, 2)
    assert names == ["observation 0", "observation 1"]


def test_images_are_seen_beside_the_frame_before_and_never_across_episodes():
    stream, model = Camera(), Watcher()
    rows = load_split(stream, "test")
    encode(model, rows)
    now, before = model.asked[0]
    first = np.flatnonzero(np.diff(rows.episode, prepend=-1))
    rest = np.setdiff1d(np.arange(len(now)), first)
    np.testing.assert_array_equal(before[first], now[first])
    np.testing.assert_array_equal(before[rest], now[rest - 1])


def test_a_camera_dreams_in_frames_it_has_seen(tmp_path):
    stream = Camera()
    held = load_heldout(Watcher(), stream)
    assert held.test.numbers.shape[1] == 8 * 8 * 3
    found = imagination_video(tmp_path / "eye.mp4", Watcher(), stream, held, 0.1, steps=12)
    assert found["panels"] == "pictures and traces"


def test_whole_episodes_up_to_a_limit_and_the_last_row_leads_nowhere():
    rows = load_split(ToyStream(steps=60), "train", limit=130)
    assert len(rows.valid) == 3 * 61
    assert (~rows.valid).sum() == 3
    assert not rows.valid[60]
    long = load_split(ToyStream(steps=60), "train", limit=20)
    assert len(long.valid) == 20
    assert not long.valid[-1]  # cut there


def test_an_interrupted_episode_counts_as_far_as_it_went():
    stream = ToyStream(episodes=10, steps=20)
    stream.table[9]["valid"][7] = False
    rows = load_split(stream, "test")
    assert not set(rows.pairs(2)) & {6, 7}
    assert 5 in rows.pairs(2)
    assert Episode(9, 0, 21, 9) in stream.episodes("test")
    with pytest.raises(UsageError, match="has no episode"):
        load_split(ToyStream(episodes=9), "test")


def test_what_no_model_sees_can_be_left_out():
    whole, seen = (load_split(ToyStream(), "train", only_seen=only) for only in (False, True))
    assert (seen.truth, seen.physics, seen.reward) == ({}, None, None)
    assert all(found is not None for found in (whole.truth or None, whole.physics, whole.reward))
    for name in ("observation", "numbers", "action", "valid", "episode"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(whole, name))
