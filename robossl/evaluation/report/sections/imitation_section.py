"""Report section "imitation": actions of a demonstrator, learned from few episodes on observations or latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.imitation import evaluate_imitation
from robossl.evaluation.report.number_format import interval, label, number
from robossl.evaluation.report.section import Data, Report, Section, check_requested

_REFERENCES = ("demonstrator", "random")  # rows that do not depend on the number of demonstrations


def compute(context: EvaluationContext) -> Data:
    """Imitate the best policy of the context, if that is requested."""
    check_requested(context, "imitation")
    return evaluate_imitation(context)


def summary(data: Data) -> list[str]:
    """Return one sentence about imitation on latents from the fewest episodes."""
    rows, count = data["rows"], str(data["counts"][0])
    base = next(name for name in rows if name not in _REFERENCES)
    latent, other = rows["latent"][count], rows[base][count]
    change = latent["difference"]
    verdict = ", which is not significant" if change["low"] <= 0 <= change["high"] else ""
    return [
        f"Imitation of {count} episodes has a return of {number(latent['return']['mean'])} on latents and "
        f"{number(other['return']['mean'])} on {label(base)}, a difference of {number(change['mean'])} "
        f"{interval(change)}{verdict}; the demonstrator has {number(rows['demonstrator']['return']['mean'])}, random "
        f"actions {number(rows['random']['return']['mean'])}."
    ]


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the rows that depend on the number of demonstrations, and the others."""
    return {
        "learned": [name for name in data["rows"] if name not in _REFERENCES],
        "references": [name for name in _REFERENCES if name in data["rows"]],
    }


SECTIONS = {
    "imitation": Section(
        name="imitation",
        title="Imitation from few episodes",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "imitation.html.j2",
        summary=summary,
        view=view,
        order=470,
    )
}
