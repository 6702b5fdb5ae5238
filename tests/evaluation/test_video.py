"""Videos: browsers play them, the imagined rollout is that of the model, and no GPU or window is needed."""

import imageio.v3 as iio
import numpy as np
import pytest
from evaluation_envs import ConstantPolicy, ShortSuccess
from evaluation_reports import BlurredModel
from evaluation_toys import PerfectModel, ToyStream
from gymnasium.vector import SyncVectorEnv

from robossl.core.errors import OperationError, UsageError
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.report.embedded_video import poster
from robossl.evaluation.video.frames import agent_frames, fit_frame, write_video
from robossl.evaluation.video.imagination import compare_rollout, first_episode, imagination_video


def draw(physics):
    """Return a frame with a ball at the first and third state variable."""
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
    assert poster(path)[:2] == b"\xff\xd8"
    with pytest.raises(UsageError, match="at least one frame"):
        write_video(tmp_path / "y.mp4", [], 10)
    with pytest.raises(OperationError, match=r"cannot write .*y\.mp4"):
        write_video(tmp_path / "nowhere" / "y.mp4", frames, 10)


def test_frame_keeps_its_aspect_ratio_when_resized():
    wide = fit_frame(np.zeros((50, 100, 3), np.uint8), 100, 100)
    assert wide.shape == (100, 100, 3)
    assert (wide[:24] == 255).all()
    assert (wide[30:70] == 0).all()


def test_imagination_video_needs_no_renderer(tmp_path):
    stream, model = ToyStream(steps=110), BlurredModel()
    heldout = load_heldout(model, stream)
    video = imagination_video(tmp_path / "x.mp4", model, stream, heldout, step_seconds=0.05)
    assert not video.rendered
    assert video.frames == 101
    assert video.seconds == pytest.approx(5.0)
    assert len(iio.imread(tmp_path / "x.mp4", plugin="pyav")) == 101


def test_comparison_has_the_recorded_episode_and_the_imagined_rollout():
    stream = ToyStream()
    heldout = load_heldout(PerfectModel(), stream)
    index = first_episode(heldout, 40)
    comparison, z = compare_rollout(PerfectModel(), stream, heldout, index, 0.1)
    np.testing.assert_allclose(comparison.real, comparison.imagined, atol=1e-3)
    assert comparison.error.max() < 1e-3
    np.testing.assert_allclose(z, heldout.test.values[index], atol=1e-3)
    drifting, _ = compare_rollout(BlurredModel(), stream, load_heldout(BlurredModel(), stream), index, 0.1)
    assert drifting.error[0] < 1e-5 < drifting.error[-1]


def test_real_and_imagined_frames_are_side_by_side(tmp_path):
    stream, model = ToyStream(), PerfectModel()
    heldout = load_heldout(model, stream)
    posed = imagination_video(
        tmp_path / "posed.mp4",
        model,
        stream,
        heldout,
        0.1,
        num_steps=20,
        render=draw,
        pose=lambda observation: observation,
    )
    frames = iio.imread(tmp_path / "posed.mp4", plugin="pyav").astype(int)
    assert posed.rendered
    left, right = frames[:, 44:270, :310], frames[:, 44:270, 330:]
    assert np.abs(left - right).mean() < 1.0  # a perfect model imagines what happened
    near = imagination_video(tmp_path / "near.mp4", model, stream, heldout, 0.1, num_steps=20, render=draw)
    assert near.rendered
    unrendered = imagination_video(
        tmp_path / "traces.mp4", model, stream, heldout, 0.1, num_steps=20, render=lambda physics: None
    )
    assert not unrendered.rendered


def test_agent_frames_omit_reset_steps():
    envs = SyncVectorEnv([ShortSuccess] * 2)
    policy = ConstantPolicy(np.zeros(1, np.float32), 2)
    calls = []

    def render():
        calls.append(1)
        return np.full((8, 8, 3), len(calls), np.uint8)

    frames = agent_frames(envs, policy, render, num_steps=40, seed=1)
    assert 30 <= len(frames) <= 40
    assert agent_frames(envs, policy, lambda: None, num_steps=5) == []
