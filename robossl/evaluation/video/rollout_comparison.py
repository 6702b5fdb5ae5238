"""Animated plot of real and imagined values over time, with the error of the imagined rollout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from robossl.core.display import fitted

PAPER, INK, FAINT, LINE = "#ffffff", "#1c2530", "#68737f", "#dfe3e8"
REAL_COLOR, IMAGINED_COLOR, LIMIT_COLOR = "#1c2530", "#0f7c8a", "#c4552d"
WIDTH = 640  # [px]
_TRACE_HEIGHT, _ERROR_HEIGHT, _AXIS_HEIGHT = 66, 92, 44  # [px]
_LEFT, _RIGHT = 150, 20  # [px] margins
_NAME_WIDTH = 14  # [characters] of a line of a name, in the left margin
_CURSOR = np.array([15, 124, 138], np.uint8)


@dataclass(frozen=True)
class RolloutComparison:
    """T + 1 time steps of a held-out episode and of the same actions imagined from the first one."""

    seconds: np.ndarray  # (T + 1,) time since the start; in steps if the duration of a step is unknown
    unit: str  # "s" or "steps"
    names: list[str]  # (D,)
    real: np.ndarray  # (T + 1, D)
    imagined: np.ndarray  # (T + 1, D)
    error: np.ndarray  # (T + 1,) root mean square over all values, in standard deviations
    tolerance: float  # [standard deviations] a forecast is valid while its error is below


def animate(comparison: RolloutComparison) -> Iterator[np.ndarray]:
    """Yield T + 1 frames (H, WIDTH, 3) uint8; each shows the curves up to one time step."""
    height = _TRACE_HEIGHT * len(comparison.names) + _ERROR_HEIGHT + _AXIS_HEIGHT
    empty, full = (_draw(comparison, height, curves) for curves in (False, True))
    last = comparison.seconds[-1]
    for seconds in comparison.seconds:
        column = round(_LEFT + (WIDTH - _LEFT - _RIGHT) * seconds / last)
        frame = np.where(np.arange(WIDTH)[None, :, None] <= column, full, empty)
        frame[: height - _AXIS_HEIGHT, column : column + 2] = _CURSOR
        yield frame


def _draw(comparison: RolloutComparison, height: int, curves: bool) -> np.ndarray:
    style: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "axes.linewidth": 0.8}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor=PAPER)
        _draw_error(figure, height, comparison, curves)
        for i, name in enumerate(comparison.names):
            bottom = _AXIS_HEIGHT + _TRACE_HEIGHT * (len(comparison.names) - 1 - i)
            axes = _add_axes(figure, height, bottom, _TRACE_HEIGHT - 14, comparison)
            clipped = np.clip(comparison.imagined[:, i], *_limits(comparison, i))
            axes.set_ylim(*_padded(np.concatenate([comparison.real[:, i], clipped])))
            _add_label(axes, fitted(name, _NAME_WIDTH, lines=2))
            if curves:
                axes.plot(comparison.seconds, comparison.real[:, i], color=REAL_COLOR, lw=1.6)
                axes.plot(
                    comparison.seconds,
                    comparison.imagined[:, i],
                    color=IMAGINED_COLOR,
                    lw=2.0,
                    ls=(0, (4, 1.6)),
                )
            if i == len(comparison.names) - 1:
                axes.tick_params(axis="x", length=0, labelbottom=True, labelcolor=FAINT)
                unit = "time" if comparison.unit == "s" else "steps"
                suffix = " [s]" if comparison.unit == "s" else ""
                axes.set_xlabel(f"{unit} since the last observation{suffix}", color=FAINT)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_error(figure: Figure, height: int, comparison: RolloutComparison, curves: bool) -> None:
    """Draw the error of the imagined rollout and the tolerance on top of the traces."""
    axes = _add_axes(figure, height, height - _ERROR_HEIGHT, _ERROR_HEIGHT - 18, comparison)
    tolerance = comparison.tolerance
    axes.set_ylim(0, max(2 * tolerance, 1.1 * min(float(comparison.error.max()), 4 * tolerance)))
    axes.axhline(tolerance, color=LIMIT_COLOR, lw=1.0, ls=(0, (2, 2)))
    axes.annotate(
        "no longer valid", (0, tolerance), (4, 3), xycoords=("axes fraction", "data"),
        textcoords="offset pixels", ha="left", va="bottom", color=LIMIT_COLOR, fontsize=8.5,
    )  # fmt: skip
    axes.set_yticks([0, tolerance])
    _add_label(axes, "error\n[std. dev.]")
    if curves:
        axes.fill_between(comparison.seconds, 0, comparison.error, color=IMAGINED_COLOR, alpha=0.18, lw=0)
        axes.plot(comparison.seconds, comparison.error, color=IMAGINED_COLOR, lw=1.8)


def _add_axes(
    figure: Figure, height: int, bottom: float, axes_height: float, comparison: RolloutComparison
) -> Axes:
    box = (_LEFT / WIDTH, bottom / height, (WIDTH - _LEFT - _RIGHT) / WIDTH, axes_height / height)
    axes = figure.add_axes(box, facecolor="none")
    axes.set_xlim(0, comparison.seconds[-1])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(axis="both", length=0, labelbottom=False, labelcolor=FAINT, labelsize=8.5)
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(2))
    return axes


def _add_label(axes: Axes, text: str) -> None:
    axes.annotate(
        text, (0, 0.5), (-(_LEFT - 14), 0), xycoords="axes fraction", textcoords="offset pixels",
        ha="left", va="center", color=INK,
    )  # fmt: skip


def _limits(comparison: RolloutComparison, i: int) -> tuple[float, float]:
    """Return the range of the real values, extended by its size on both sides: diverging curves leave the plot."""
    low, high = float(comparison.real[:, i].min()), float(comparison.real[:, i].max())
    size = max(high - low, 1e-6)
    return low - size, high + size


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.08 * max(high - low, 1e-6)
    return low - pad, high + pad


def banner(
    width: int, labels: list[tuple[str, str]], right: str, margin: int = 14, height: int = 40
) -> np.ndarray:
    """Return a line of text (height, width, 3): labels (text, color) from `margin` on, and `right` on the right."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    font, bold = (_font(name, 15) for name in ("DejaVu Sans", "DejaVu Sans:bold"))
    x = float(margin)
    for text, color in labels:
        draw.text((x, height / 2), text, fill=color, font=bold, anchor="lm")
        x += draw.textlength(text, font=bold) + 22
    draw.text((width - 18, height / 2), right, fill=INK, font=font, anchor="rm")
    return np.asarray(image)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(mpl.font_manager.findfont(name), size)
