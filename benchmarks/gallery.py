"""Image with a frame of every robot: `python -m benchmarks.gallery --out docs/robots.png`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import robossl.envs
from PIL import Image, ImageDraw, ImageFont

from benchmarks.cli import run_main

_SIZE = (168, 224)  # [pixels] height and width of a frame
_GAP = 6  # [pixels] around each frame
_COLUMNS = 4
_PALETTE_SIZE = 160  # colors; the palette cuts the file size to a third
_STEPS = 4  # random steps before the frame is rendered, so that the robot is not in its initial pose


def main() -> None:
    """Render the image and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("docs/robots.png"), help="PNG file (docs/robots.png)"
    )
    args = parser.parse_args()
    image = tile_frames(list(render_robots()))
    image.quantize(_PALETTE_SIZE, dither=Image.Dither.NONE).save(args.out, optimize=True)
    print(f"{args.out}: {image.width}x{image.height}, {args.out.stat().st_size // 1024} KiB")


def render_robots() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each robot and a frame (H, W, 3) of it in its first task."""
    rendered = set()
    for env_id in robossl.envs.register():
        envs = gym.make_vec(env_id, num_envs=1, render_mode="rgb_array", render_size=_SIZE)
        simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        robot = simulation.task.robot
        if robot not in rendered:
            rendered.add(robot)
            yield robot.__module__.rpartition(".")[2], _render_frame(envs)
        envs.close()


def _render_frame(envs: gym.vector.VectorEnv) -> np.ndarray:
    """Return a frame (H, W, 3) after a few random steps."""
    envs.reset(seed=3)
    random = np.random.default_rng(3)
    for _ in range(_STEPS):
        envs.step(random.uniform(-1, 1, envs.action_space.shape or ()))
    frames = envs.render()
    assert frames is not None
    return frames[0]


def tile_frames(frames: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Return all frames in one image, each with its name in the corner."""
    height, width = (side + _GAP for side in _SIZE)
    rows = math.ceil(len(frames) / _COLUMNS)
    image = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    for index, (name, frame) in enumerate(sorted(frames, key=lambda named: named[0])):
        left, top = _GAP + index % _COLUMNS * width, _GAP + index // _COLUMNS * height
        image.paste(Image.fromarray(frame), (left, top))
        draw.text((left + 8, top + 5), name, "white", font, stroke_width=2, stroke_fill="black")
    return image


if __name__ == "__main__":
    run_main(main)
