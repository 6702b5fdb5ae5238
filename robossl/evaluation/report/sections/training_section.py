"""Report section "training": losses of the world model and of the agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import label, number
from robossl.evaluation.report.section import Data, Report, Section, Unavailable


def compute(context: EvaluationContext) -> Data:
    """Raise Unavailable: the losses are in the metrics of a run."""
    raise Unavailable("only a run has the losses of its training")


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the plots of the losses."""
    figures = []
    if model := data.get("world_model"):
        ends = "; ".join(f"{label(name)} {number(curve[-1][1], 3)}" for name, curve in model.items())
        plot = plots.losses(
            {label(name): curve for name, curve in model.items()}, "updates of the world model"
        )
        figures.append(("Losses of the world model", plot, ends))
    critics = {
        label(row): losses["critic_loss"]
        for row, losses in data.get("agents", {}).items()
        if "critic_loss" in losses
    }
    if critics:
        ends = "; ".join(f"{name} {number(curve[-1][1], 3)}" for name, curve in critics.items())
        plot = plots.losses(critics, "environment steps")
        figures.append(("Critic losses of the agents", plot, ends))
    return {"figures": figures}


SECTIONS = {
    "training": Section(
        name="training",
        title="Training",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "training.html.j2",
        view=view,
        order=550,
        measured=False,
    )
}
