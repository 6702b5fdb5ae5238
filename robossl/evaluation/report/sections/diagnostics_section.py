"""Report section "diagnostics": metrics of the trainer on validation windows, in latent space, and warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report.section import Data, Report, Section, Unavailable
from robossl.world_model.diagnostics import compute_diagnostics

_HELDOUT = {  # keys of "world_model" that indicate a defect
    "effective_rank": "effective rank of the latent",
    "latent_dim": "latent dimensions",
    "dead_dimensions": "dead latent dimensions",
    "inverse_r2": "inverse R²",
    "inverse_excess_r2": "inverse R² beyond the current latent alone",
    "inverse_excess_accuracy": "inverse accuracy beyond the current latent alone",
    "calibration": "rank correlation of predicted and true error",
    "pit_error": "PIT error (0: errors as predicted, 0.25: far too large or too small)",
}


def compute(context: EvaluationContext) -> Data:
    """Compute the diagnostics of the model on the validation split of the stream."""
    if context.model is None or context.stream is None:
        raise Unavailable("an agent alone was evaluated; no model was given")
    return compute_diagnostics(context.model, context.stream, context.evaluation_seed)


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the metrics of held-out episodes that indicate a defect, with their labels."""
    world_model = report.get("world_model", {})
    values = {key: world_model[key] for key in _HELDOUT if world_model.get(key) is not None}
    heldout = {_HELDOUT[key]: v["mean"] if isinstance(v, dict) else v for key, v in values.items()}
    # the rank of held-out episodes is the one of the page
    skipped = ("effective_rank", "variance_rank", "dead_dimensions") if heldout else ()
    trainer = {k: v for k, v in data.items() if isinstance(v, (int, float)) and k not in skipped}
    return {"heldout": heldout, "trainer": trainer}


SECTIONS = {
    "diagnostics": Section(
        name="diagnostics",
        title="Diagnostics",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "diagnostics.html.j2",
        view=view,
        order=600,
    )
}
