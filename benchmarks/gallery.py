"""A picture of every body in one sheet: `python -m benchmarks.gallery --out docs/robots.png`."""

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

from benchmarks.cli import answered

_SIZE = (168, 224)  # [pixels] height and width of a picture
_GAP = 6  # [pixels] around each
_COLUMNS = 4
_COLOURS = 160  # of the palette, which makes the file a third as long
_STEPS = 4  # at random before the picture is taken: a robot at rest looks like a model kit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("docs/robots.png"), help="PNG file (docs/robots.png)"
    )
    given = parser.parse_args()
    image = sheet(list(portraits()))
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(given.out, optimize=True)
    print(f"{given.out}: {image.width}x{image.height}, {given.out.stat().st_size // 1024} KiB")


def portraits() -> Iterator[tuple[str, np.ndarray]]:
    """The name of each body, and a picture (H, W, 3) of it in the first of its tasks."""
    seen = set()
    for env_id in robossl.envs.register():
        envs = gym.make_vec(env_id, num_envs=1, render_mode="rgb_array", render_size=_SIZE)
        simulation: Any = envs.unwrapped.simulation  # type: ignore[attr-defined]
        body = simulation.task.body
        if body not in seen:
            seen.add(body)
            yield body.__module__.rpartition(".")[2], _taken(envs)
        envs.close()


def _taken(envs: gym.vector.VectorEnv) -> np.ndarray:
    """(H, W, 3) of the only lane, after a little life."""
    envs.reset(seed=3)
    random = np.random.default_rng(3)
    for _ in range(_STEPS):
        envs.step(random.uniform(-1, 1, envs.action_space.shape or ()))
    frames = envs.render()
    assert frames is not None
    return frames[0]


def sheet(pictures: list[tuple[str, np.ndarray]]) -> Image.Image:
    """All in rows, each with its name in the corner."""
    height, width = (side + _GAP for side in _SIZE)
    rows = math.ceil(len(pictures) / _COLUMNS)
    image = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    for place, (name, picture) in enumerate(sorted(pictures)):
        left, top = _GAP + place % _COLUMNS * width, _GAP + place // _COLUMNS * height
        image.paste(Image.fromarray(picture), (left, top))
        draw.text((left + 8, top + 5), name, "white", font, stroke_width=2, stroke_fill="black")
    return image


if __name__ == "__main__":
    answered(main)
