"""Moving pictures: frames to mp4 that browsers play, and the dream beside reality."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from robossl.core.errors import UsageError
from robossl.core.io import write_bytes_atomic

Render = Callable[[np.ndarray], "np.ndarray | None"]  # physics (P,) -> frame (H, W, 3) uint8


def write_video(path: str | Path, frames: Sequence[np.ndarray], fps: float) -> Path:
    """Write frames (H, W, 3) uint8 as H.264 mp4, sides padded to even numbers, whole or not at all; gives the path."""
    if len(frames) == 0:
        raise UsageError(f"no frames given for {path}; expected at least one")
    path = Path(path)
    even = [np.pad(f, ((0, f.shape[0] % 2), (0, f.shape[1] % 2), (0, 0)), mode="edge") for f in frames]
    film = io.BytesIO()
    with iio.imopen(film, "w", plugin="pyav", extension=".mp4") as file:
        file.init_video_stream("libx264", fps=max(1, round(fps)), pixel_format="yuv420p")
        file.container_metadata.update(comment="robossl")
        for frame in even:
            file.write_frame(np.ascontiguousarray(frame))
    write_bytes_atomic(path, film.getvalue())
    return path


def beside(panels: Iterable[np.ndarray], gap: int = 0, color: int = 255) -> np.ndarray:
    """Frames of one height side by side."""
    panels = list(panels)
    space = np.full((panels[0].shape[0], gap, 3), color, np.uint8)
    parts: list[Any] = []
    for panel in panels:
        parts += [space, panel] if parts else [panel]
    return np.concatenate(parts, 1)


def resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frame scaled into (height, width), its shape kept, on white."""
    from PIL import Image

    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
    canvas = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def agent_frames(
    envs: Any, policy: Any, render: Callable[[], np.ndarray | None], steps: int, seed: int = 0
) -> list[np.ndarray]:
    """What lane 0 looks like during the first `steps` steps from `seed`: the first episodes, not the best.

    `render()` gives the present frame (H, W, 3) of lane 0, or None where there is nothing to draw with;
    then there are no frames. Steps that only reset are not shown.
    """
    from robossl.evaluation.step_outcomes import steps as live

    observation, _ = envs.reset(seed=seed)
    first = render()
    if first is None:
        return []
    frames = [np.asarray(first)]
    for step in live(envs, policy, observation):
        frame = render()
        if frame is not None and step.real[0]:
            frames.append(np.asarray(frame))
        steps -= 1
        if steps <= 0:
            return frames
    return frames
