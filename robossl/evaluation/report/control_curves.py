"""Learning curves in the section "control": who is ahead early, and where a curve and the table differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from robossl.evaluation.report.number_format import label

_EARLY = 1 / 8, 1 / 2  # of the steps with reward: the first point of a curve between these shows the start
_SEVERAL = 2  # episodes, or more: an interval is of several


class EarlyReturns(NamedTuple):
    """Returns of two rows after the same few steps with reward, as estimates with mean, low, high and n."""

    steps: int
    own: dict[str, Any]
    other: dict[str, Any]


def early_returns(rows: Mapping[str, Any], name: str, other: str, steps: int | None) -> EarlyReturns | None:
    """Return the first common point of two learning curves; None without one between 1/8 and 1/2 of the steps.

    There is none either if all episodes of a point have one return: how many episodes it has is not recorded.

    Args:
        rows: Rows of the section.
        name: Row of the agent.
        other: Row to compare with.
        steps: Steps with reward of the run.
    """
    if not steps:
        return None
    curves = [{point[0]: point for point in rows[row].get("curve", ())} for row in (name, other)]
    first, last = (share * steps for share in _EARLY)
    common = sorted(step for step in curves[0] if step in curves[1] and first <= step <= last)
    if not common:
        return None
    points = [curve[common[0]] for curve in curves]
    if any(low == high for _, _, low, high in points):
        return None
    own, reference = (dict(zip(("mean", "low", "high"), point[1:])) | {"n": _SEVERAL} for point in points)
    return EarlyReturns(int(common[0]), own, reference)


def curve_note(rows: Mapping[str, Any], curves: Mapping[str, Any]) -> str:
    """Return a sentence if the end of a curve and the table differ: they have other episodes."""
    differ = [
        label(name)
        for name, curve in curves.items()
        if "return" in rows[name] and abs(curve[-1][1] - rows[name]["return"]["mean"]) > 1e-6
    ]
    if not differ:
        return ""
    names = ", ".join(differ)
    return (
        f" A point of a curve has other, often fewer episodes than the table, so the ends differ ({names})."
    )
