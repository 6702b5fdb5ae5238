"""Report section "exploration": the states that the recorded stream visits, and whether it still finds new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.metrics.coverage import coverage_growth
from robossl.evaluation.report import plots
from robossl.evaluation.report.section import Data, Report, Section, Unavailable


def compute(context: EvaluationContext) -> Data:
    """Measure the coverage of the stream of the context."""
    if context.stream is None:
        raise Unavailable("an agent alone was evaluated; no stream was given")
    return dict(coverage_growth(context.stream, context.evaluation_seed))


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the plot of the visited cells over the steps of exploration."""
    lines = {
        "in the order of recording": data["cells"],
        "as many states of the whole stream": data["cells_any_order"],
    }
    curves = {
        text: [[steps, cells, cells, cells] for steps, cells in zip(data["steps"], values)]
        for text, values in lines.items()
    }
    half, end = data["cells"][4], data["cells"][-1]
    return {
        "plot": plots.overlaid(curves, "steps of exploration", "visited cells"),
        "alt": f"{half:,} cells after half of the steps, {end:,} at the end",
        "new": 1 - half / end,
        "new_by_chance": 1 - data["cells_any_order"][4] / end,
    }


SECTIONS = {
    "exploration": Section(
        name="exploration",
        title="Exploration",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "exploration.html.j2",
        view=view,
        order=420,
    )
}
