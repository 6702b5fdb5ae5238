"""Report section "ablation": the same model trained on the same stream with other objectives."""

from __future__ import annotations

from pathlib import Path

from robossl.evaluation.ablation import evaluate_ablation
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report.section import Data, Section, Unavailable


def compute_ablation(context: EvaluationContext) -> Data:
    """Train and evaluate the variants, if an ablation was requested."""
    if context.ablation_updates is None:
        raise Unavailable("no ablation was requested; run: robossl evaluate RUN --ablate")
    if context.model is None or context.stream is None:
        raise Unavailable("an agent alone was evaluated; no model was given")
    return evaluate_ablation(context)


SECTIONS = {
    "ablation": Section(
        name="ablation",
        title="Ablation of objectives",
        compute=compute_ablation,
        template=Path(__file__).parent.parent / "templates" / "ablation.html.j2",
        order=500,
    )
}
