"""A report section: mean and standard deviation of the recorded actions."""

from __future__ import annotations

from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report.section import Section, Unavailable


def compute(context: EvaluationContext) -> dict[str, Any]:
    """Return the statistics of the actions of the stream."""
    if context.stream is None:
        raise Unavailable("no stream is given")
    actions = context.stream.read(0, 0, int(context.stream.lengths[0]))["action"]
    return {"mean": float(actions.mean()), "std": float(actions.std())}


ACTION_STATISTICS = Section(
    name="acme_action_statistics",
    title="Actions",
    compute=compute,
    template="<p>Mean {{ data.mean }}, standard deviation {{ data.std }}</p>",
    summary=lambda data: [f"The actions have a standard deviation of {data['std']:.2f}."],
)
