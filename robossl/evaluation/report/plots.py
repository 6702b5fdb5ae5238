"""Figures as inline SVG: quiet, with units, in colours that follow the page between light, dark and print."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

# Stand-ins that the SVG is drawn with; the page replaces each by a variable of its style sheet.
INK, FAINT, LINE = "#010101", "#020202", "#030303"
SERIES = ("#010201", "#010301", "#010401", "#010501", "#010601", "#010701")
_VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line"} | {
    c: f"--series-{i}" for i, c in enumerate(SERIES)
}
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), "-", (0, (3, 2)))
_WIDTH = 3.6  # [in] of 72 units each: about a phone's width, so that words keep their size there
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "robossl",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def horizon(curve: dict[str, Any], step_seconds: float | None) -> str:
    """Skill over the horizon: the model, its ceiling, the linear baseline, shuffled actions."""
    steps = curve["steps"]
    ahead = [s * step_seconds for s in steps] if step_seconds else steps
    with canvas(2.4) as (figure, axes):
        low = min(0.0, *(max(v, -1.0) for row in ("model", "shuffled") for v in curve[row]))
        names = {"model": "the model", "ceiling": "its ceiling", "linear": "linear dynamics"}
        for i, (row, label) in enumerate((names | {"shuffled": "other actions"}).items()):
            if row in curve:
                clipped = [max(v, low - 0.05) for v in curve[row]]
                axes.plot(ahead, clipped, color=SERIES[i], ls=_DASHES[i], label=label, zorder=5 - i)
        axes.axhline(0, color=FAINT, lw=0.9)
        axes.annotate(
            "nothing moves", (ahead[-1], 0), (0, 3), textcoords="offset points", ha="right", color=FAINT
        )
        axes.set_ylim(low - 0.05, 1.04)
        axes.set_xlim(0, ahead[-1] * 1.01)
        axes.set_ylabel("skill")
        axes.set_xlabel("time ahead [s]" if step_seconds else "steps ahead")
        _legend(figure, axes)
        return svg(figure)


def curves(rows: dict[str, Any], unit: str = "return") -> str:
    """Learning curves with their intervals: rows of {"curve": [[steps, mean, low, high], ...]}."""
    with canvas(2.4) as (figure, axes):
        for i, (name, row) in enumerate(rows.items()):
            color, dash = SERIES[i % len(SERIES)], _DASHES[i % len(_DASHES)]
            if row.get("curve"):
                steps, mean, low, high = zip(*row["curve"])
                axes.fill_between(steps, low, high, color=color, alpha=0.14, lw=0)
                axes.plot(steps, mean, color=color, ls=dash, label=words(name))
            elif "return" in row:
                axes.axhline(row["return"]["mean"], color=FAINT, lw=1.1, ls=_DASHES[i], label=words(name))
        axes.set_xlabel("environment steps")
        axes.set_ylabel(unit)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(_thousands))
        axes.set_xlim(left=0)
        _legend(figure, axes)
        return svg(figure)


def goals(rows: dict[str, Any]) -> str:
    """Success by criterion, one dot and its interval for each policy."""
    names, criteria = list(rows), ("any", "final", "held")
    with canvas(0.72 + 0.46 * len(names)) as (figure, axes):
        for i, criterion in enumerate(criteria):
            for j, name in enumerate(names):
                found, y = rows[name][criterion], j + (i - 1) * 0.22
                axes.plot(
                    [100 * found["low"], 100 * found["high"]], [y, y], color=SERIES[i], lw=1.6, alpha=0.55
                )
                label = criterion_words(criterion) if j == 0 else None
                marker = "osD"[i]
                axes.plot(100 * found["mean"], y, marker, color=SERIES[i], ms=5, label=label, clip_on=False)
        _across(axes, [words(name) for name in names])
        axes.set_xlim(0, 100)
        axes.set_xlabel("goals reached [%]")
        _legend(figure, axes)
        return svg(figure)


def probes(found: dict[str, dict[str, Any]]) -> str:
    """R2 by quantity: read from the latent state, and from the raw observation beside it."""
    names = sorted(found, key=lambda name: -found[name]["r2"])[:16]
    with canvas(0.72 + 0.27 * len(names)) as (figure, axes):
        for j, name in enumerate(names):
            raw, ours = (max(found[name][key], 0.0) for key in ("observation", "r2"))
            axes.plot([0, 1], [j, j], color=LINE, lw=0.6, zorder=1)
            axes.plot(
                raw, j, "D", color=SERIES[2], ms=5, mfc="none", label="raw observation" if j == 0 else None
            )
            axes.plot(
                ours, j, "o", color=SERIES[0], ms=6, label="latent state" if j == 0 else None, clip_on=False
            )
        _across(axes, [words(name) for name in names])
        axes.set_xlim(0, 1.01)
        axes.set_xlabel("R² of a linear probe")
        _legend(figure, axes)
        return svg(figure)


def phases(seconds: dict[str, float]) -> str:
    """Where the time went, one bar a phase."""
    names = list(seconds)
    with canvas(0.62 + 0.27 * len(names)) as (figure, axes):
        axes.barh(range(len(names)), list(seconds.values()), color=SERIES[0], height=0.5, alpha=0.85)
        for j, value in enumerate(seconds.values()):
            axes.annotate(
                f"{value:.1f}", (value, j), (4, 0), textcoords="offset points", va="center", color=INK
            )
        _across(axes, [words(name) for name in names])
        axes.set_xlim(0, max([*seconds.values(), 1e-3]) * 1.14)
        axes.set_xlabel("wall time [s]")
        return svg(figure)


@contextmanager
def canvas(height: float) -> Iterator[tuple[Canvas, Axes]]:
    """A figure of the page's width and `height` [in], with the house's style for as long as it is drawn."""
    with mpl.rc_context(_STYLE):
        figure = Canvas(figsize=(_WIDTH, height), dpi=100, layout="constrained")
        yield figure, figure.add_subplot()


def svg(figure: Canvas) -> str:
    """The figure as an <svg> element that takes its colours and letters from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r"\s?font-family: [^;\"]*;", "", text)
    text = _own_names(text.replace("xlink:href", "href"))
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text


def _own_names(text: str) -> str:
    """Ids that are referred to get a name of this figure's own, the others go: a page holds many figures."""
    mark = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r'\sid="([^"]+)"', lambda m: f' id="{mark}-{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{mark}-", text)


def words(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def criterion_words(name: str) -> str:
    """What a criterion of success asks."""
    return {"any": "touched", "final": "there at the end", "held": "held"}.get(name, name)


def _across(axes: Axes, names: list[str]) -> None:
    """Names down the side, first on top, values across."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK, pad=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)


def _legend(figure: Canvas, axes: Axes) -> None:
    """The names above the figure, two or three in a row."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = 3 if len(labels) in (1, 3) and max(map(len, labels)) < 17 else 2
        figure.legend(
            handles, labels, loc="outside upper left", ncols=columns, handlelength=2.0, columnspacing=1.4
        )


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
