"""Video of an imagined rollout beside reality: one held-out episode and its actions imagined from the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.spaces import is_image, leaf_value, model_inputs
from robossl.evaluation.heldout import HeldOutData
from robossl.evaluation.latents import imagine
from robossl.evaluation.metrics.prediction import TOLERANCE
from robossl.evaluation.split_data import SplitData, decoded_values, load_split
from robossl.evaluation.video import rollout_comparison
from robossl.evaluation.video.frames import Render, fit_frame, hstack_frames, write_video
from robossl.evaluation.video.rollout_comparison import RolloutComparison
from robossl.streams import Stream
from robossl.world_model import WorldModel

Pose = Callable[[np.ndarray], "np.ndarray | None"]  # decoded observation (D,) -> physics (P,)
FramePairs = list[tuple[np.ndarray, np.ndarray]]  # (real, imagined) of each rendered time step
_MAX_TRACES = 4  # observed values that are plotted
_PANEL = (240, 314)  # [px] height and width of each frame


@dataclass(frozen=True)
class ImaginationVideo:
    """Description of a written video."""

    frames: int
    seconds: float  # length of the rollout, in steps if the duration of a step is unknown
    final_error: float  # [standard deviations] at the last time step
    rendered: bool  # whether the video has rendered frames besides the plots of observed values (traces)
    not_rendered_reason: str | None = None


def imagination_video(
    path: str | Path,
    model: WorldModel,
    stream: Stream,
    heldout: HeldOutData,
    step_seconds: float | None = None,
    num_steps: int = 100,
    render: Render | None = None,
    pose: Pose | None = None,
    max_renders: int = 50,
) -> ImaginationVideo:
    """Write a video of an imagined rollout beside the recorded episode.

    The episode is the first of the held-out data, not the best.

    Args:
        path: mp4 file to write.
        model: World model.
        stream: Stream from which the nearest recorded state is searched.
        heldout: Held-out data encoded by `model`.
        step_seconds: Duration of one step [s]; None if unknown.
        num_steps: Length of the rollout.
        render: Returns the frame of a physics state, or None if rendering is unavailable. Without it the video has
            only traces (plots of observed values over time).
        pose: Returns the physics state of a decoded observation. If None, the recorded time step nearest to the
            decoded observation is rendered instead.
        max_renders: Number of rendered time steps; software rendering takes 10 to 100 ms per frame.

    Raises:
        UsageError: The test episodes are too short.
    """
    index = first_episode(heldout, num_steps)
    comparison, z = compare_rollout(model, stream, heldout, index, step_seconds)
    stride = -(-len(index) // max_renders)  # time steps that share a rendered frame
    pairs = _frame_pairs(stream, heldout, index[::stride], z[::stride], model, render, pose)
    fps = len(index) / max(4.0, min(10.0, comparison.seconds[-1])) if step_seconds else 20.0
    label = "imagined" if pose is not None or not pairs else "imagined (nearest)"
    write_video(path, list(_video_frames(comparison, pairs, stride, label)), fps)
    return ImaginationVideo(
        frames=len(index),
        seconds=float(comparison.seconds[-1]),
        final_error=float(comparison.error[-1]),
        rendered=bool(pairs),
    )


def first_episode(heldout: HeldOutData, num_steps: int) -> np.ndarray:
    """Return the (T + 1,) indices of the first `num_steps` held-out steps in a row, or of the longest such run."""
    for length in range(num_steps, 1, -1):
        starts = heldout.test.starts(length)
        if len(starts):
            return np.arange(starts[0], starts[0] + length + 1)
    raise UsageError("the test episodes are too short for an imagined rollout: expected at least 2 steps")


def compare_rollout(
    model: WorldModel, stream: Stream, heldout: HeldOutData, index: np.ndarray, step_seconds: float | None
) -> tuple[RolloutComparison, np.ndarray]:
    """Imagine the time steps `index` (T + 1,) and compare the values that change most.

    Returns:
        The comparison and the imagined latents (T + 1, Z).
    """
    z = imagine(model, heldout.test_z[index[:1]], heldout.test.action[index[:-1]][None])[0]
    vectors = [leaf for leaf in model_inputs(stream.observation_space).values() if not is_image(leaf)]
    if vectors and not heldout.test.has_images:
        real, std = heldout.test.values[index], heldout.observation_std
        imagined = decoded_values(stream.observation_space, model.decode(z.astype(np.float32)))
        names = heldout.test.names
    else:
        real, imagined, names = _principal_axes(heldout, index, z)
        std = np.ones(real.shape[1])
    varies = std > 0
    error = np.sqrt(np.mean(((real - imagined)[:, varies] / std[varies]) ** 2, 1))
    movement = np.where(varies, real.std(0) / np.where(varies, std, 1), 0)
    shown = np.sort(np.argsort(-movement, kind="stable")[:_MAX_TRACES])
    comparison = RolloutComparison(
        seconds=np.arange(len(index)) * (step_seconds or 1.0),
        unit="s" if step_seconds else "steps",
        names=[names[i] for i in shown],
        real=real[:, shown],
        imagined=imagined[:, shown],
        error=error,
        tolerance=TOLERANCE,
    )
    return comparison, z


def _principal_axes(
    heldout: HeldOutData, index: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return real and imagined latents along the principal axes of z, each scaled to standard deviation 1.

    They replace observed values that cannot be decoded.
    """
    center = heldout.test_z.mean(0)
    _, singular_values, directions = np.linalg.svd(heldout.test_z - center, full_matrices=False)
    count = min(_MAX_TRACES, len(singular_values))
    scale = singular_values[:count] / np.sqrt(len(heldout.test_z))
    axes = directions[:count].T / np.where(scale > 1e-9, scale, np.inf)
    names = [f"latent {i + 1}" for i in range(count)]
    return (heldout.test_z[index] - center) @ axes, (z - center) @ axes, names


def _frame_pairs(
    stream: Stream,
    heldout: HeldOutData,
    index: np.ndarray,
    z: np.ndarray,
    model: WorldModel,
    render: Render | None,
    pose: Pose | None,
) -> FramePairs:
    """Return real and imagined frames of the time steps `index`; an empty list if rendering is unavailable."""
    if heldout.test.has_images:
        return _recorded_images(stream, heldout, index, z)
    if render is None or heldout.test.physics is None:
        return []
    imagined = decoded_values(stream.observation_space, model.decode(z.astype(np.float32)))
    train = load_split(stream, "train", heldout.seed)
    pairs: FramePairs = []
    for i, step in enumerate(index):
        physics = pose(imagined[i]) if pose is not None else None
        if physics is None:
            physics = _nearest_physics(train, heldout.observation_std, imagined[i])
        real_frame, imagined_frame = render(heldout.test.physics[step]), render(physics)
        if real_frame is None or imagined_frame is None:
            return []
        pairs.append((real_frame, imagined_frame))
    return pairs


def _nearest_physics(data: SplitData, std: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Return the physics (P,) of the time step closest to this observation (D,), in units of `std` (D,)."""
    assert data.physics is not None
    varies = std > 0
    difference = (data.values[:, varies] - observation[varies]) / std[varies]
    return data.physics[int(np.argmin(np.sum(difference**2, 1)))]


def _recorded_images(stream: Stream, heldout: HeldOutData, index: np.ndarray, z: np.ndarray) -> FramePairs:
    """Return the recorded images and the probe images whose latents are nearest to the imagined ones."""
    path, _ = next((p, leaf) for p, leaf in model_inputs(stream.observation_space).items() if is_image(leaf))
    probe_images: Any = heldout.probe.observation
    test_images: Any = heldout.test.observation
    space = stream.observation_space
    probe_images, test_images = (leaf_value(space, images, path) for images in (probe_images, test_images))
    pairs = []
    for i, step in enumerate(index):
        nearest = int(np.argmin(np.sum((heldout.probe_z - z[i]) ** 2, 1)))
        pairs.append((test_images[step][..., -3:], probe_images[nearest][..., -3:]))
    return pairs


def _video_frames(
    comparison: RolloutComparison, pairs: FramePairs, stride: int, imagined_label: str
) -> Iterator[np.ndarray]:
    labels = [("real", rollout_comparison.REAL_COLOR), (imagined_label, rollout_comparison.IMAGINED_COLOR)]
    for t, traces in enumerate(rollout_comparison.animate(comparison)):
        time = f"{comparison.seconds[t]:.2f} s" if comparison.unit == "s" else f"step {t}"
        if not pairs:
            header = rollout_comparison.banner(rollout_comparison.WIDTH, labels, time)
            yield np.concatenate([header, traces])
            continue
        panels = [fit_frame(_as_rgb(frame), *_PANEL) for frame in pairs[t // stride]]
        margin = _left_margin(panels[0].shape[:2], pairs[t // stride][0].shape[:2])
        headers = [
            rollout_comparison.banner(_PANEL[1], [label], "" if i == 0 else time, margin)
            for i, label in enumerate(labels)
        ]
        gap = rollout_comparison.WIDTH - 2 * _PANEL[1]
        yield np.concatenate([hstack_frames(headers, gap), hstack_frames(panels, gap), traces])


def _left_margin(panel: tuple[int, ...], frame: tuple[int, ...]) -> int:
    """Return the white margin [px] to the left of a frame (H, W) in its panel (H, W)."""
    scale = min(panel[0] / frame[0], panel[1] / frame[1])
    return max(0, (panel[1] - round(frame[1] * scale)) // 2)


def _as_rgb(frame: np.ndarray) -> np.ndarray:
    return frame if frame.shape[-1] == 3 else np.repeat(frame[..., -1:], 3, -1)
