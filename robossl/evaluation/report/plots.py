"""Plots of the page as inline SVG, in colors that follow its light, dark and print themes."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from robossl.core.display import fitted
from robossl.evaluation.report.number_format import interval, label, number, percent, steps_ahead

# Placeholder colors of the SVG; `svg` replaces each by a variable of the style sheet.
INK, FAINT, LINE = "#010101", "#020202", "#030303"
SERIES = ("#010201", "#010301", "#010401", "#010501", "#010601", "#010701")
_VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line"} | {
    c: f"--series-{i}" for i, c in enumerate(SERIES)
}
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), "-", (0, (3, 2)))
_HOVER = "hover: "  # start of the id of an element with a text
_WIDTH = 3.6  # [in] of 72 units each: about the width of a phone, so that text keeps its size there
_NAME_WIDTH = 30  # [characters] of the name of a row
_LEGEND_WIDTH = 50  # [characters] of the labels of a line of a legend
_LEGEND_ROW = 0.16  # [in] its height; a plot with a legend of more than two rows is higher
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
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


def prediction_curve(curve: dict[str, Any], step_seconds: float | None) -> Markup:
    """Plot skill over the horizon: the model, its encoder bound, linear dynamics and shuffled actions."""
    steps = curve["steps"]
    ahead = [s * step_seconds for s in steps] if step_seconds else steps
    rows = {
        "model": "model",
        "encoder_bound": "encoder bound",
        "linear": "linear dynamics",
        "shuffled": "shuffled actions",
    }
    with canvas(2.4) as (figure, axes):
        low = min(0.0, *(max(v, -1.0) for row in ("model", "shuffled") for v in curve[row]))
        for i, (row, text) in enumerate(rows.items()):
            if row in curve:
                clipped = [max(v, low - 0.05) for v in curve[row]]
                axes.plot(ahead, clipped, color=SERIES[i], ls=DASHES[i], label=text, zorder=5 - i)
                for j in _some_points(len(steps)):
                    hover(
                        axes,
                        ahead[j],
                        clipped[j],
                        f"{text}, {steps_ahead(steps[j])}: {number(curve[row][j])}",
                    )
        axes.axhline(0, color=FAINT, lw=0.9)
        axes.annotate(
            "no change", (ahead[-1], 0), (0, 3), textcoords="offset points", ha="right", color=FAINT
        )
        axes.set_ylim(low - 0.05, 1.04)
        axes.set_xlim(0, ahead[-1] * 1.01)
        axes.set_ylabel("skill")
        axes.set_xlabel("time ahead [s]" if step_seconds else "steps ahead")
        add_legend(figure, axes)
        return svg(figure)


def learning_curves(
    rows: dict[str, Any], labels: Mapping[str, str], without_reward: tuple[str, ...] = ()
) -> Markup:
    """Plot returns with their intervals over environment steps; rows without a curve are horizontal lines.

    Args:
        rows: Rows of the control table, with "curve": [[steps, mean, low, high], ...].
        labels: Text of each row.
        without_reward: Rows without a curve that are drawn in color, with their interval.
    """
    with canvas(2.6) as (figure, axes):
        for i, (name, row) in enumerate(rows.items()):
            color, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
            if row.get("curve"):
                steps, mean, low, high = zip(*row["curve"])
                axes.fill_between(steps, low, high, color=color, alpha=0.14, lw=0)
                marker = "o" if len(steps) == 1 else None
                axes.plot(steps, mean, color=color, ls=dash, marker=marker, ms=5, label=labels[name])
                for x, *estimate in row["curve"]:
                    value, *ends = map(number, estimate)
                    hover(axes, x, estimate[0], f"{labels[name]}, {x:,} steps: {value} [{', '.join(ends)}]")
            elif "return" in row and name in without_reward:
                axes.axhline(row["return"]["mean"], color=color, lw=1.5, ls=dash, label=labels[name])
                axes.axhspan(row["return"]["low"], row["return"]["high"], color=color, alpha=0.08, lw=0)
            elif "return" in row:
                axes.axhline(row["return"]["mean"], color=FAINT, lw=1.1, ls=dash, label=labels[name])
        axes.set_xlabel("environment steps with reward")
        axes.set_ylabel("return")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(thousands))
        axes.set_xlim(left=0)
        add_legend(figure, axes)
        return svg(figure)


def success_by_distance(rows: dict[str, dict[str, Any]], horizons: list[str]) -> Markup:
    """Plot the rate of goals reached over the steps between start and goal, with intervals.

    Args:
        rows: Name -> horizon -> {"reached_any": estimate}.
        horizons: Steps between start and goal; they have equal distances on the axis.
    """
    with canvas(2.6) as (figure, axes):
        for i, (name, row) in enumerate(rows.items()):
            color, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
            shift = 0.05 * (i - (len(rows) - 1) / 2)  # intervals of several rows stay visible
            shown = [(j + shift, row[h]["reached_any"]) for j, h in enumerate(horizons) if h in row]
            for x, estimate in shown:
                ends = [100 * estimate["low"], 100 * estimate["high"]]
                axes.plot([x, x], ends, color=color, lw=1.3, alpha=0.5)
            means = [100 * estimate["mean"] for _, estimate in shown]
            axes.plot(
                [x for x, _ in shown], means, color=color, ls=dash, marker="osD^vP"[i % 6], ms=4.5,
                label=label(name), clip_on=False,
            )  # fmt: skip
            for x, estimate in shown:
                text = f"{label(name)}: {percent(estimate['mean'])} {interval(estimate, True)}, n = {estimate['n']}"
                hover(axes, x, 100 * estimate["mean"], text)
        axes.set_xticks(range(len(horizons)), horizons)
        axes.set_xlim(-0.3, len(horizons) - 0.7)
        axes.set_ylim(0, 100)
        axes.set_xlabel("steps between start and goal")
        axes.set_ylabel("goals reached [%]")
        add_legend(figure, axes)
        return svg(figure)


def estimates_over_steps(curves: dict[str, list[list[float]]], name: str, change: int) -> Markup:
    """Plot estimates with their intervals over environment steps, and a vertical line at a change.

    Args:
        curves: Label -> [[steps, mean, low, high], ...].
        name: What is estimated, for the axis.
        change: Environment step of the line.
    """
    with canvas(2.4) as (figure, axes):
        for i, (text, curve) in enumerate(curves.items()):
            steps, mean, low, high = zip(*curve)
            axes.fill_between(steps, low, high, color=SERIES[i], alpha=0.14, lw=0)
            axes.plot(steps, mean, color=SERIES[i], ls=DASHES[i], marker="o", ms=3.5, label=text)
        axes.axvline(change, color=FAINT, lw=1.1, ls=":")
        axes.set_xlabel("environment steps")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(thousands))
        add_legend(figure, axes)
        return svg(figure)


def overlaid(curves: dict[str, list[list[float]]], axis: str, name: str) -> Markup:
    """Plot curves of several runs or groups over each other, with their bands.

    Args:
        curves: Label -> [[x, value, low, high], ...].
        axis: What x is.
        name: What the values are.
    """
    with canvas(2.6) as (figure, axes):
        for i, (text, curve) in enumerate(curves.items()):
            steps, mean, low, high = zip(*curve)
            color, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
            axes.fill_between(steps, low, high, color=color, alpha=0.13, lw=0)
            axes.plot(
                steps, mean, color=color, ls=dash, marker="o" if len(steps) == 1 else None, ms=5, label=text
            )
            for j in _some_points(len(steps)):
                hover(axes, steps[j], mean[j], f"{text}, {steps[j]:,.0f}: {number(mean[j])}")
        axes.set_xlabel(axis)
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(thousands))
        add_legend(figure, axes)
        return svg(figure)


def losses(curves: dict[str, list[list[float]]], axis: str) -> Markup:
    """Plot losses on a logarithmic axis; values that are not positive are left out.

    Args:
        curves: Label -> [[x, value], ...].
        axis: What x is.
    """
    with canvas(2.5) as (figure, axes):
        for i, (text, curve) in enumerate(curves.items()):
            positive = [(x, y) for x, y in curve if y > 0]
            if not positive:
                continue
            x, y = zip(*positive)
            axes.plot(x, y, color=SERIES[i % len(SERIES)], ls=DASHES[i % len(DASHES)], label=text)
            for j in _some_points(len(x)):
                hover(axes, x[j], y[j], f"{text}, {x[j]:,.0f}: {number(y[j], 3)}")
        axes.set_yscale("log")
        _format_logarithmic(axes.yaxis)
        axes.set_xlabel(axis)
        axes.set_ylabel("loss")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(thousands))
        add_legend(figure, axes)
        return svg(figure)


def probe_scores(probes: dict[str, dict[str, Any]]) -> Markup:
    """Plot R2 by quantity: read from the latent, and from the raw observation."""
    names = sorted(probes, key=lambda name: -probes[name]["r2"])[:16]
    with canvas(0.72 + 0.27 * len(names)) as (figure, axes):
        for j, name in enumerate(names):
            observation, latent = (max(probes[name][key], 0.0) for key in ("observation", "r2"))
            texts = ("raw observation", "latent") if j == 0 else (None, None)
            axes.plot([0, 1], [j, j], color=LINE, lw=0.6, zorder=1)
            axes.plot(observation, j, "D", color=SERIES[2], ms=5, mfc="none", label=texts[0])
            axes.plot(latent, j, "o", color=SERIES[0], ms=6, label=texts[1], clip_on=False)
            hover(axes, latent, j, f"{label(name)}, latent: {number(probes[name]['r2'])}")
        name_rows(axes, [label(name) for name in names])
        axes.set_xlim(0, 1.01)
        axes.set_xlabel("R² of a linear probe")
        add_legend(figure, axes)
        return svg(figure)


def reliability(predicted: list[float], true: list[float]) -> Markup:
    """Plot the true error over the predicted error of a step, on logarithmic axes, and the line of equal values."""
    points = [(x, y) for x, y in zip(predicted, true) if x > 0 and y > 0]
    with canvas(2.6) as (figure, axes):
        if points:
            x, y = zip(*points)
            ends = [min(*x, *y) / 1.3, 1.3 * max(*x, *y)]
            axes.plot(ends, ends, color=FAINT, lw=1.0, ls=(0, (4, 2)), label="as predicted")
            axes.plot(x, y, color=SERIES[0], marker="o", ms=4.5, label="model")
            for x_value, y_value in points:
                hover(axes, x_value, y_value, f"predicted {number(x_value, 3)}, true {number(y_value, 3)}")
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                _format_logarithmic(axis)
        axes.set_xlabel("predicted error of a step, in latent space")
        axes.set_ylabel("true error")
        add_legend(figure, axes)
        return svg(figure)


def phase_times(seconds: dict[str, float]) -> Markup:
    """Plot the wall time of each phase as bars."""
    with canvas(0.62 + 0.27 * len(seconds)) as (figure, axes):
        axes.barh(range(len(seconds)), list(seconds.values()), color=SERIES[0], height=0.5, alpha=0.85)
        for j, value in enumerate(seconds.values()):
            axes.annotate(
                f"{value:.1f}", (value, j), (4, 0), textcoords="offset points", va="center", color=INK
            )
        name_rows(axes, [label(name) for name in seconds])
        axes.set_xlim(0, max([*seconds.values(), 1e-3]) * 1.14)
        axes.set_xlabel("wall time [s]")
        return svg(figure)


@contextmanager
def canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of the page's width and `height` [in] and its axes, in the style of the page.

    Use it with `svg` in the `view` of a section.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), dpi=100, layout="constrained")
        yield figure, figure.add_subplot()


def svg(figure: Figure) -> Markup:
    """Return the figure as an <svg> element that uses the colors and fonts of the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r"\s?font-family: [^;\"]*;", "", text)
    text = re.sub(rf'<g id="{_HOVER}([^"]*)">', r"<g><title>\1</title>", text)
    text = _unique_ids(text.replace("xlink:href", "href"))
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return Markup(text)  # matplotlib escapes all text


def _unique_ids(text: str) -> str:
    """Prefix referenced ids with a hash of the figure and drop the others: a page contains many figures."""
    prefix = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r'\sid="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", text)


def hover(axes: Axes, x: float, y: float, text: str) -> None:
    """Add a text that a browser shows while the pointer is at a point of the plot."""
    axes.plot(x, y, "o", ms=11, alpha=0, zorder=9, gid=_HOVER + text, clip_on=False)


def _format_logarithmic(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: at 1, 2 and 5 of each decade, or of many at whole powers of 10."""
    low, high = axis.get_view_interval()
    few = high < 150 * low
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def _some_points(count: int) -> range:
    """Return about ten indices of a curve of `count` points."""
    return range(0, count, max(count // 10, 1))


def name_rows(axes: Axes, names: list[str]) -> None:
    """Write the row names on the left, the first on top; long ones are shortened in the middle."""
    axes.set_yticks(range(len(names)), [fitted(name, _NAME_WIDTH) for name in names])
    axes.tick_params(axis="y", labelcolor=INK, pad=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend above the axes, with as many columns as fit; long labels are shortened in the middle."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        labels = [fitted(text, _LEGEND_WIDTH) for text in labels]
        columns = next(count for count in (3, 2, 1) if _legend_fits(labels, count))
        rows = -(-len(labels) // columns)
        figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * max(rows - 2, 0))
        figure.legend(
            handles, labels, loc="outside upper left", ncols=columns, handlelength=2.0, columnspacing=1.4
        )


def _legend_fits(labels: list[str], columns: int) -> bool:
    """Return whether a legend, which is filled column by column, is as narrow as the plot; 3 columns are for 1 or 3."""
    rows = -(-len(labels) // columns)
    widths = [max(map(len, labels[i : i + rows])) for i in range(0, len(labels), rows)]
    few = columns < 3 or (len(labels) in (1, 3) and max(widths) < 17)
    return columns == 1 or (few and sum(widths) <= _LEGEND_WIDTH)


def thousands(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
