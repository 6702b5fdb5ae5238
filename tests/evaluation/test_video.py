"""Videos: browsers play them, the dream is the model's own, and nothing needs a GPU or a window."""

import time

import imageio.v3 as iio
import numpy as np
import pytest
from evaluation_envs import ConstantPolicy, ShortSuccess
from evaluation_reports import BlurredModel
from evaluation_toys import PerfectModel, ToyStream
from gymnasium.vector import SyncVectorEnv

from robossl.core.errors import OperationError, UsageError
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.report.embedded_video import still
from robossl.evaluation.video.encoding import agent_frames, resized, write_video
from robossl.evaluation.video.imagination import compare_rollout, first_episode, imagination_video


def draw(physics):
    """A ball at the first and third number."""
    down, right = np.mgrid[:90, :120]
    frame = np.full((90, 120, 3), 230, np.uint8)
    frame[(right - 60 - 6 * physics[0]) ** 2 + (down - 45 - 3 * physics[2]) ** 2 < 60] = (200, 60, 40)
    return frame


def test_frames_become_a_video_that_browsers_play(tmp_path):
    frames = [np.full((41, 63, 3), 5 * i, np.uint8) for i in range(30)]
    path = write_video(tmp_path / "x.mp4", frames, fps=15)
    about, back = iio.immeta(path, plugin="pyav"), iio.imread(path, plugin="pyav")
    assert about["codec"] == "h264"
    assert about["video_format"] == "yuv420p"
    assert about["duration"] == pytest.approx(2.0, abs=0.1)
    assert back.shape == (30, 42, 64, 3)
    assert np.abs(back.astype(int).mean((1, 2, 3)) - 5 * np.arange(30)).max() < 4
    assert still(path)[:2] == b"\xff\xd8"
    with pytest.raises(UsageError, match="no frames"):
        write_video(tmp_path / "y.mp4", [], 10)
    with pytest.raises(OperationError, match=r"cannot write .*y\.mp4"):
        write_video(tmp_path / "nowhere" / "y.mp4", frames, 10)


def test_a_frame_keeps_its_shape_when_resized():
    wide = resized(np.zeros((50, 100, 3), np.uint8), 100, 100)
    assert wide.shape == (100, 100, 3)
    assert (wide[:24] == 255).all()
    assert (wide[30:70] == 0).all()


def test_the_dream_needs_nothing_to_draw_with_and_is_quick(tmp_path):
    stream, model = ToyStream(steps=110), BlurredModel()
    held = load_heldout(model, stream)
    start = time.perf_counter()
    found = imagination_video(tmp_path / "dream.mp4", model, stream, held, step_seconds=0.05)
    assert time.perf_counter() - start < 30  # a second or two on a quiet machine
    assert found["panels"] == "traces"
    assert found["frames"] == 101
    assert found["seconds"] == pytest.approx(5.0)
    assert len(iio.imread(tmp_path / "dream.mp4", plugin="pyav")) == 101


def test_the_story_is_of_the_recorded_episode_and_the_model_alone():
    stream = ToyStream()
    held = load_heldout(PerfectModel(), stream)
    rows = first_episode(held, 40)
    story, z = compare_rollout(PerfectModel(), stream, held, rows, 0.1)
    np.testing.assert_allclose(story.real, story.imagined, atol=1e-3)
    assert story.error.max() < 1e-3
    np.testing.assert_allclose(z, held.test.numbers[rows], atol=1e-3)
    drifting, _ = compare_rollout(BlurredModel(), stream, load_heldout(BlurredModel(), stream), rows, 0.1)
    assert drifting.error[0] < 1e-5 < drifting.error[-1]


def test_reality_and_dream_are_drawn_side_by_side(tmp_path):
    stream, model = ToyStream(), PerfectModel()
    held = load_heldout(model, stream)
    posed = imagination_video(
        tmp_path / "posed.mp4",
        model,
        stream,
        held,
        0.1,
        steps=20,
        render=draw,
        pose=lambda observation: observation,
    )
    frames = iio.imread(tmp_path / "posed.mp4", plugin="pyav").astype(int)
    assert posed["panels"] == "pictures and traces"
    left, right = frames[:, 44:270, :310], frames[:, 44:270, 330:]
    assert np.abs(left - right).mean() < 1.0  # a perfect model dreams reality
    near = imagination_video(tmp_path / "near.mp4", model, stream, held, 0.1, steps=20, render=draw)
    assert near["panels"] == "pictures and traces"
    blind = imagination_video(
        tmp_path / "blind.mp4", model, stream, held, 0.1, steps=20, render=lambda physics: None
    )
    assert blind["panels"] == "traces"


def test_an_agents_first_steps_without_the_resets():
    envs = SyncVectorEnv([ShortSuccess] * 2)
    policy = ConstantPolicy(np.zeros(1, np.float32), 2)
    seen = []

    def frame():
        seen.append(1)
        return np.full((8, 8, 3), len(seen), np.uint8)

    frames = agent_frames(envs, policy, frame, steps=40, seed=1)
    assert 30 <= len(frames) <= 40
    assert agent_frames(envs, policy, lambda: None, steps=5) == []
