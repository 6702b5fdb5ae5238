"""Traces of what was and what was imagined, revealed in time: a chart that plays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, LINE = "#ffffff", "#1c2530", "#68737f", "#dfe3e8"
REAL, DREAM, ALARM = "#1c2530", "#0f7c8a", "#c4552d"
WIDTH = 640  # [px]
_ROW, _ERROR, _MARGIN = 66, 92, 44  # [px] height of a trace, of the error curve, of the axis below
_LEFT, _RIGHT = 150, 20  # [px]
_CURSOR = np.array([15, 124, 138], np.uint8)


@dataclass(frozen=True)
class RolloutComparison:
    """T + 1 moments of a held-out episode and of the same actions imagined from its first one."""

    seconds: np.ndarray  # (T + 1,) since the start; steps where the length of a step is not known
    unit: str  # "s" or "steps"
    names: list[str]  # (D,)
    real: np.ndarray  # (T + 1, D)
    imagined: np.ndarray  # (T + 1, D)
    error: np.ndarray  # (T + 1,) root mean square over all numbers, in units of their spread
    tolerance: float  # a forecast is believed while its error is below


def animate(story: RolloutComparison) -> Iterator[np.ndarray]:
    """T + 1 frames (H, WIDTH, 3) uint8, each showing the past up to one moment."""
    height = _ROW * len(story.names) + _ERROR + _MARGIN
    empty, full = (_draw(story, height, curves) for curves in (False, True))
    last = story.seconds[-1]
    for moment in story.seconds:
        column = round(_LEFT + (WIDTH - _LEFT - _RIGHT) * moment / last)
        frame = np.where(np.arange(WIDTH)[None, :, None] <= column, full, empty)
        frame[: height - _MARGIN, column : column + 2] = _CURSOR
        yield frame


def _draw(story: RolloutComparison, height: int, curves: bool) -> np.ndarray:
    style: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "axes.linewidth": 0.8}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor=PAPER)
        _draw_error(figure, height, story, curves)
        for row, name in enumerate(story.names):
            last = row == len(story.names) - 1
            bottom = _MARGIN + _ROW * (len(story.names) - 1 - row)
            axes = _axes(figure, height, bottom, _ROW - 14, story)
            values = np.concatenate(
                [story.real[:, row], np.clip(story.imagined[:, row], *_limits(story, row))]
            )
            axes.set_ylim(*_padded(values))
            _label(axes, name)
            if curves:
                axes.plot(story.seconds, story.real[:, row], color=REAL, lw=1.6)
                axes.plot(story.seconds, story.imagined[:, row], color=DREAM, lw=2.0, ls=(0, (4, 1.6)))
            if last:
                unit = "seconds" if story.unit == "s" else "steps"
                axes.tick_params(axis="x", length=0, labelbottom=True, labelcolor=FAINT)
                axes.set_xlabel(f"{unit} since the last look", color=FAINT)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_error(figure: Figure, height: int, story: RolloutComparison, curves: bool) -> None:
    """The error of the dream, first under what is seen, and how much of it is too much."""
    axes = _axes(figure, height, height - _ERROR, _ERROR - 18, story)
    axes.set_ylim(0, max(2 * story.tolerance, 1.1 * min(float(story.error.max()), 4 * story.tolerance)))
    axes.axhline(story.tolerance, color=ALARM, lw=1.0, ls=(0, (2, 2)))
    axes.annotate(
        "no longer to be believed", (0, story.tolerance), (4, 3), xycoords=("axes fraction", "data"),
        textcoords="offset pixels", ha="left", va="bottom", color=ALARM, fontsize=8.5,
    )  # fmt: skip
    axes.set_yticks([0, story.tolerance])
    _label(axes, "dream's error\n[spreads]")
    if curves:
        axes.fill_between(story.seconds, 0, story.error, color=DREAM, alpha=0.18, lw=0)
        axes.plot(story.seconds, story.error, color=DREAM, lw=1.8)


def _axes(figure: Figure, height: int, bottom: float, tall: float, story: RolloutComparison) -> Any:
    box = (_LEFT / WIDTH, bottom / height, (WIDTH - _LEFT - _RIGHT) / WIDTH, tall / height)
    axes = figure.add_axes(box, facecolor="none")
    axes.set_xlim(0, story.seconds[-1])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(axis="both", length=0, labelbottom=False, labelcolor=FAINT, labelsize=8.5)
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(2))
    return axes


def _label(axes: Any, text: str) -> None:
    axes.annotate(
        text, (0, 0.5), (-(_LEFT - 14), 0), xycoords="axes fraction", textcoords="offset pixels",
        ha="left", va="center", color=INK,
    )  # fmt: skip


def _limits(story: RolloutComparison, row: int) -> tuple[float, float]:
    """What reality spans and as much again on both sides: a dream that runs away leaves the picture."""
    low, high = float(story.real[:, row].min()), float(story.real[:, row].max())
    reach = max(high - low, 1e-6)
    return low - reach, high + reach


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.08 * max(high - low, 1e-6)
    return low - pad, high + pad


def banner(
    width: int, left: list[tuple[str, str]], right: str, indent: int = 14, height: int = 40
) -> np.ndarray:
    """A line of words (height, width, 3): (text, colour) from `indent` on, the time at the right."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    font, bold = (_font(name, 15) for name in ("DejaVu Sans", "DejaVu Sans:bold"))
    x = float(indent)
    for text, color in left:
        draw.text((x, height / 2), text, fill=color, font=bold, anchor="lm")
        x += draw.textlength(text, font=bold) + 22
    draw.text((width - 18, height / 2), right, fill=INK, font=font, anchor="rm")
    return np.asarray(image)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(mpl.font_manager.findfont(name), size)
