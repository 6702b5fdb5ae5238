"""The page of a stream: episodes, named curves that end with them, and videos of images or recorded physics."""

from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest

import robossl
from robossl.core.errors import UsageError
from robossl.watch import stream_source
from robossl.watch.stream_source import StreamSource


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "s"
    robossl.collect("robossl/Reacher-v0", "random", 420, folder, num_envs=2, threads=1).close()
    source = StreamSource(folder)
    yield source
    source.close()


def content(answer):
    return json.loads(answer.content)


def test_episodes_are_listed_the_newest_first(source):
    page = content(source.episodes({}))
    assert page["title"] == "robossl/Reacher-v0"
    assert page["seconds"] == pytest.approx(0.04)
    ordinals = [episode["ordinal"] for episode in page["episodes"]]
    assert ordinals == sorted(ordinals, reverse=True)
    assert max(episode["steps"] for episode in page["episodes"]) == 200


def test_curves_have_names_and_one_value_for_each_step(source):
    page = content(source.episode({"ordinal": "0"}))
    curves = {curve["name"]: curve["values"] for curve in page["curves"]}
    assert {"reward", "action_0", "state.fingertip_1", "observation_0"} <= set(curves)
    assert (len(curves["reward"]), len(curves["observation_0"])) == (200, 201)
    assert sum(curves["reward"]) == pytest.approx(page["return"], rel=1e-5)


def test_video_shows_the_recorded_physics_once_rendered(source, monkeypatch):
    monkeypatch.setattr(stream_source, "_MAX_STEPS", 25)
    answer = source.video({"ordinal": "0"})
    frames = iio.imread(answer.file, plugin="pyav")
    assert len(frames) == 25
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50
    changed = answer.file.stat().st_mtime_ns
    assert source.video({"ordinal": "0"}).file.stat().st_mtime_ns == changed


@pytest.mark.parametrize("ordinal", ["", "x", "9999", "-1"])
def test_unknown_episode_is_one_line(source, ordinal):
    for request in (source.episode, source.video):
        with pytest.raises(UsageError, match="no episode"):
            request({"ordinal": ordinal})


def test_stream_without_physics_or_images_has_only_curves(tmp_path):
    robossl.collect("CartPole-v1", "random", 60, tmp_path / "s", num_envs=2, threads=1).close()
    source = StreamSource(tmp_path / "s")
    assert content(source.episode({"ordinal": "0"}))["curves"]
    with pytest.raises(UsageError, match="curves are all"):
        source.video({"ordinal": "0"})
    source.close()


def test_folder_that_is_no_stream_is_refused(tmp_path):
    with pytest.raises((UsageError, robossl.OperationError)):
        StreamSource(tmp_path)
