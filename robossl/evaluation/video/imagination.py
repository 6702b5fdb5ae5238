"""The dream beside reality: one held-out episode, and the same actions imagined from its first row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.spaces import is_image, model_inputs
from robossl.evaluation.heldout import HeldOutData
from robossl.evaluation.latents import imagine
from robossl.evaluation.metrics.prediction import TOLERANCE
from robossl.evaluation.split_data import SplitData, decoded_numbers, load_split
from robossl.evaluation.video import rollout_comparison
from robossl.evaluation.video.encoding import Render, beside, resized, write_video
from robossl.evaluation.video.rollout_comparison import RolloutComparison

Pose = Callable[[np.ndarray], "np.ndarray | None"]  # decoded observation (D,) -> physics (P,)
_TRACES = 4  # at most so many numbers are drawn
_PANEL = (240, 314)  # [px] height and width of each picture


def imagination_video(
    path: str | Path,
    model: Any,
    stream: Any,
    held: HeldOutData,
    step_seconds: float | None = None,
    steps: int = 100,
    render: Render | None = None,
    pose: Pose | None = None,
    pictures: int = 50,
) -> dict[str, Any]:
    """Write the video; gives {"frames", "seconds", "error": the last one, "panels": what was drawn}.

    The episode is the first of the held-out rows, not the best. `render(physics)` draws a frame, or gives
    None where nothing can draw; `pose(observation)` gives the physics a decoded observation stands for.
    Without `pose` the dream is drawn as the recorded row nearest to it; without `render` by traces only. At
    most `pictures` moments are rendered: software rendering takes 10 to 100 ms a frame.
    """
    rows = first_episode(held, steps)
    story, z = compare_rollout(model, stream, held, rows, step_seconds)
    every = -(-len(rows) // pictures)  # a picture stands for so many moments
    drawn = _pictures(stream, held, rows[::every], z[::every], model, render, pose)
    rate = len(rows) / max(4.0, min(10.0, story.seconds[-1])) if step_seconds else 20.0
    words = "dream" if pose is not None or not drawn else "dream (nearest on record)"
    write_video(path, list(_frames(story, drawn, every, words)), rate)
    return {
        "frames": len(rows),
        "seconds": float(story.seconds[-1]),
        "error": float(story.error[-1]),
        "panels": "pictures and traces" if drawn else "traces",
    }


def first_episode(held: HeldOutData, steps: int) -> np.ndarray:
    """(T + 1,) rows of the first held-out stretch of `steps` steps, or of the longest there is."""
    for length in range(steps, 1, -1):
        starts = held.test.pairs(length)
        if len(starts):
            return np.arange(starts[0], starts[0] + length + 1)
    raise UsageError("the test episodes are too short to dream of")


def compare_rollout(
    model: Any, stream: Any, held: HeldOutData, rows: np.ndarray, step_seconds: float | None
) -> tuple[RolloutComparison, np.ndarray]:
    """What was and what is imagined over `rows` (T + 1,), by the numbers that move most; and z (T + 1, Z)."""
    z = imagine(model, held.test_z[rows[:1]], held.test.action[rows[:-1]][None])[0]
    vectors = [leaf for leaf in model_inputs(stream.observation_space).values() if not is_image(leaf)]
    if vectors and not held.test.images:
        real, spread = held.test.numbers[rows], held.spread
        imagined = decoded_numbers(stream.observation_space, model.decode(z.astype(np.float32)))
        names = held.test.names
    else:
        real, imagined, names = _latent_axes(held, rows, z)
        spread = np.ones(real.shape[1])
    alive = spread > 0
    error = np.sqrt(np.mean(((real - imagined)[:, alive] / spread[alive]) ** 2, 1))
    movement = np.where(alive, real.std(0) / np.where(alive, spread, 1), 0)
    shown = np.sort(np.argsort(-movement, kind="stable")[:_TRACES])
    seconds = np.arange(len(rows)) * (step_seconds or 1.0)
    return RolloutComparison(
        seconds, "s" if step_seconds else "steps", [names[i] for i in shown],
        real[:, shown], imagined[:, shown], error, TOLERANCE,
    ), z  # fmt: skip


def _latent_axes(
    held: HeldOutData, rows: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The directions in which z varies most, each scaled to spread 1: for what cannot be decoded."""
    centre = held.test_z.mean(0)
    _, values, directions = np.linalg.svd(held.test_z - centre, full_matrices=False)
    count = min(_TRACES, len(values))
    scale = values[:count] / np.sqrt(len(held.test_z))
    axes = directions[:count].T / np.where(scale > 1e-9, scale, np.inf)
    names = [f"latent {i + 1}" for i in range(count)]
    return (held.test_z[rows] - centre) @ axes, (z - centre) @ axes, names


Pictures = list[tuple[np.ndarray, np.ndarray]]  # of each moment: reality, dream


def _pictures(
    stream: Any,
    held: HeldOutData,
    rows: np.ndarray,
    z: np.ndarray,
    model: Any,
    render: Render | None,
    pose: Pose | None,
) -> Pictures:
    """Frames of reality and dream, or none where nothing can be drawn."""
    if held.test.images:
        return _recorded(stream, held, rows, z)
    if render is None or held.test.physics is None:
        return []
    imagined = decoded_numbers(stream.observation_space, model.decode(z.astype(np.float32)))
    lived = load_split(stream, "train", held.seed)
    pictures: Pictures = []
    for moment, row in enumerate(rows):
        body = pose(imagined[moment]) if pose is not None else None
        real = render(held.test.physics[row])
        dreamt = render(_nearest(lived, held.spread, imagined[moment]) if body is None else body)
        if real is None or dreamt is None:
            return []
        pictures.append((real, dreamt))
    return pictures


def _nearest(lived: SplitData, spread: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """The physics (P,) of the row that looks most like this observation (D,), in units of `spread` (D,)."""
    assert lived.physics is not None
    alive = spread > 0
    away = (lived.numbers[:, alive] - observation[alive]) / spread[alive]
    return lived.physics[int(np.argmin(np.sum(away**2, 1)))]


def _recorded(stream: Any, held: HeldOutData, rows: np.ndarray, z: np.ndarray) -> Pictures:
    """What the camera saw, and the held-out frame whose encoding is nearest to the imagined one."""
    path, _ = next((p, leaf) for p, leaf in model_inputs(stream.observation_space).items() if is_image(leaf))
    frames = held.probe.observation
    seen = held.test.observation
    for key in path.split(".") if path else []:
        frames, seen = frames[key], seen[key]
    pictures = []
    for moment, row in enumerate(rows):
        nearest = int(np.argmin(np.sum((held.probe_z - z[moment]) ** 2, 1)))
        pictures.append((seen[row][..., -3:], frames[nearest][..., -3:]))
    return pictures


def _frames(story: RolloutComparison, pictures: Pictures, every: int, dream: str) -> Iterator[np.ndarray]:
    words = [("reality", rollout_comparison.REAL), (dream, rollout_comparison.DREAM)]
    for moment, drawn in enumerate(rollout_comparison.animate(story)):
        time = f"{story.seconds[moment]:.2f} s" if story.unit == "s" else f"step {moment}"
        head = rollout_comparison.banner(rollout_comparison.WIDTH, words if not pictures else [], time)
        if not pictures:
            yield np.concatenate([head, drawn])
            continue
        panels = [resized(_three(p), *_PANEL) for p in pictures[moment // every]]
        indent = _margin(panels[0].shape[:2], pictures[moment // every][0].shape[:2])
        labels = [
            rollout_comparison.banner(_PANEL[1], [w], "" if i == 0 else time, indent)
            for i, w in enumerate(words)
        ]
        gap = rollout_comparison.WIDTH - 2 * _PANEL[1]
        yield np.concatenate([beside(labels, gap), beside(panels, gap), drawn])


def _margin(panel: tuple[int, ...], picture: tuple[int, ...]) -> int:
    """[px] of white at the left of a picture (H, W) in its panel (H, W): its title begins there."""
    scale = min(panel[0] / picture[0], panel[1] / picture[1])
    return max(0, (panel[1] - round(picture[1] * scale)) // 2)


def _three(frame: np.ndarray) -> np.ndarray:
    """A frame in three colours, whatever it has."""
    return frame if frame.shape[-1] == 3 else np.repeat(frame[..., -1:], 3, -1)
