"""Plots of a transfer study: forest plot of the rows, scores over steps, performance profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup

from robossl.evaluation.report.number_format import interval, label, number
from robossl.evaluation.report.plots import (
    DASHES,
    FAINT,
    INK,
    LINE,
    SERIES,
    add_legend,
    canvas,
    hover,
    name_rows,
    svg,
    thousands,
)

_MARKS = {  # verdict -> marker, color, text of the legend
    "gain": ("o", SERIES[0], "gain"),
    "equal": ("D", FAINT, "no gain"),
    "worse": ("v", SERIES[2], "worse"),
    "unknown": ("s", FAINT, "too few runs"),
    "": ("|", INK, "not compared"),
}


def forest(rows: Mapping[str, Any], baseline: str) -> Markup:
    """Plot the score of each row with its interval, marked by its verdict, and the score of the baseline as a line."""
    shown = {name: row for name, row in rows.items() if row.get("score")}
    with canvas(0.9 + 0.25 * len(shown)) as (figure, axes):
        for verdict, (marker, color, text) in _MARKS.items():
            chosen = {j: r["score"] for j, r in enumerate(shown.values()) if r.get("verdict", "") == verdict}
            for j, score in chosen.items():
                axes.plot([score["low"], score["high"]], [j, j], color=color, lw=1.5, alpha=0.6)
            means = [score["mean"] for score in chosen.values()]
            fill = color if verdict in ("gain", "worse") else "none"
            if chosen:
                axes.plot(
                    means, list(chosen), marker, color=color, ms=6, mew=1.4, ls="", mfc=fill, label=text
                )
        for j, (name, row) in enumerate(shown.items()):
            hover(
                axes, row["score"]["mean"], j, f"{label(name)}: {_estimate(row['score'])}, {row['runs']} runs"
            )
        if baseline in shown:
            axes.axvline(shown[baseline]["score"]["mean"], color=FAINT, lw=1.0, ls=(0, (4, 2)), zorder=0)
        axes.axvline(0, color=LINE, lw=1.0, zorder=0)
        name_rows(axes, [label(name) for name in shown])
        axes.set_xlabel("score (random 0, reference 1)")
        add_legend(figure, axes)
        return svg(figure)


def scores_over_steps(rows: Mapping[str, Any], names: Sequence[str], axis: str) -> Markup:
    """Plot scores with their intervals over steps; the axis of labeled steps is logarithmic.

    Args:
        rows: Rows of the section, some with a "curve".
        names: Rows in color; the others are thin lines.
        axis: "labeled_steps" or "all_steps".
    """
    with canvas(2.6) as (figure, axes):
        for name in [*(n for n in rows if n not in names), *names]:
            curve = rows[name].get("curve") or []
            if not curve:
                continue
            steps = [max(point[axis], 1) for point in curve]
            mean, low, high = ([point["score"][key] for point in curve] for key in ("mean", "low", "high"))
            if name not in names:
                axes.plot(steps, mean, color=LINE, lw=1.0, marker="." if len(steps) == 1 else None, zorder=1)
                continue
            i = list(names).index(name) % len(SERIES)
            if len(steps) == 1:
                axes.plot([steps[0]] * 2, [low[0], high[0]], color=SERIES[i], lw=1.3, alpha=0.5)
            else:
                axes.fill_between(steps, low, high, color=SERIES[i], alpha=0.13, lw=0)
            axes.plot(
                steps, mean, color=SERIES[i], ls=DASHES[i], marker="osD^vP"[i], ms=4.5, label=label(name)
            )
            for x, point in zip(steps, curve):
                hover(
                    axes,
                    x,
                    point["score"]["mean"],
                    f"{label(name)}, {x:,.0f} steps: {_estimate(point['score'])}",
                )
        if axis == "labeled_steps":
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(thousands))
        axes.axhline(0, color=FAINT, lw=0.9)
        axes.set_xlabel("labeled steps" if axis == "labeled_steps" else "all steps, pre-training included")
        axes.set_ylabel("score")
        add_legend(figure, axes)
        return svg(figure)


def profiles(rows: Mapping[str, Any], names: Sequence[str], thresholds: Sequence[float]) -> Markup:
    """Plot the fraction of runs with a score above each threshold, with pointwise intervals."""
    with canvas(2.6) as (figure, axes):
        for i, name in enumerate(names):
            profile = rows[name].get("profile")
            if not profile:
                continue
            color = SERIES[i % len(SERIES)]
            fraction, low, high = ([100 * v for v in profile[key]] for key in ("fraction", "low", "high"))
            axes.fill_between(thresholds, low, high, color=color, alpha=0.1, lw=0)
            axes.plot(thresholds, fraction, color=color, ls=DASHES[i % len(DASHES)], label=label(name))
            for x, value in list(zip(thresholds, fraction))[::4]:
                hover(axes, x, value, f"{label(name)}: {value:.0f} % of runs above {number(x)}")
        axes.set_ylim(0, 101)
        axes.set_xlim(thresholds[0], thresholds[-1])
        axes.set_xlabel("score τ")
        axes.set_ylabel("runs with score > τ [%]")
        add_legend(figure, axes)
        return svg(figure)


def _estimate(estimate: Mapping[str, Any]) -> str:
    return f"{number(estimate['mean'])} {interval(estimate)}"
