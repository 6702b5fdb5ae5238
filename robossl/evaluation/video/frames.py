"""Write frames as mp4 that browsers play, arrange frames, and record the frames of an agent."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Policy
from robossl.core.io import write_bytes_atomic
from robossl.rollout import steps as rollout_steps

Render = Callable[[np.ndarray], "np.ndarray | None"]  # physics (P,) -> frame (H, W, 3) uint8


def write_video(path: str | Path, frames: Sequence[np.ndarray], fps: float) -> Path:
    """Write frames (H, W, 3) uint8 as an H.264 mp4, atomically, and return its path.

    Odd heights and widths are padded to even ones; frames of another size than the first are scaled to it.

    Raises:
        UsageError: There are no frames.
        OperationError: The file cannot be written.
    """
    if len(frames) == 0:
        raise UsageError(f"expected at least one frame for {path}, got none")
    path = Path(path)
    height, width = frames[0].shape[:2]
    frames = [f if f.shape[:2] == (height, width) else fit_frame(f, height, width) for f in frames]
    even = [np.pad(f, ((0, f.shape[0] % 2), (0, f.shape[1] % 2), (0, 0)), mode="edge") for f in frames]
    buffer = io.BytesIO()
    with iio.imopen(buffer, "w", plugin="pyav", extension=".mp4") as file:
        file.init_video_stream("libx264", fps=max(1, round(fps)), pixel_format="yuv420p")
        file.container_metadata.update(comment="robossl")
        for frame in even:
            file.write_frame(np.ascontiguousarray(frame))
    write_bytes_atomic(path, buffer.getvalue())
    return path


def hstack_frames(frames: Iterable[np.ndarray], gap: int = 0, color: int = 255) -> np.ndarray:
    """Return frames of the same height side by side, `gap` pixels apart."""
    frames = list(frames)
    separator = np.full((frames[0].shape[0], gap, 3), color, np.uint8)
    parts: list[np.ndarray] = []
    for frame in frames:
        parts += [separator, frame] if parts else [frame]
    return np.concatenate(parts, 1)


def fit_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the frame scaled into (height, width, 3) with its aspect ratio, centered on white."""
    from PIL import Image

    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
    canvas = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def agent_frames(
    envs: VectorEnv,
    policy: Policy,
    render: Callable[[], np.ndarray | None],
    num_steps: int,
    seed: int = 0,
    num_episodes: int | None = None,
) -> list[np.ndarray]:
    """Return the frames of sub-environment 0 during the first `num_steps` steps of a policy.

    Args:
        envs: Vector env.
        policy: Policy for all sub-environments.
        render: Returns the current frame (H, W, 3) of sub-environment 0, or None if rendering is unavailable.
        num_steps: Number of steps; steps that only reset have no frame.
        seed: Seed of the first episode.
        num_episodes: Also end after so many episodes.

    Returns:
        The frames; an empty list if rendering is unavailable.
    """
    observation, _ = envs.reset(seed=seed)
    first = render()
    if first is None:
        return []
    frames = [np.asarray(first)]
    ended = 0
    for count, step in enumerate(rollout_steps(envs, policy, observation), 1):
        frame = render()
        if frame is not None and step.real[0]:
            frames.append(np.asarray(frame))
        ended += int(step.done[0])
        if count >= num_steps or ended == num_episodes:
            break
    return frames
