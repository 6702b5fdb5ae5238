"""Report section "provenance": what reproduces the report, and the wall time of each phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.core.system_info import system_info
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import label, number
from robossl.evaluation.report.section import Data, Report, Section


def compute_provenance(context: EvaluationContext) -> Data:
    """Return the command, configuration, platform and git revision; the versions are a key of the report."""
    info = {key: value for key, value in system_info().items() if key != "versions"}
    return {**info, "config": context.config}


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the entries to list, and a plot of the wall times."""
    entries = {key: value for key, value in data.items() if key not in ("command", "config") and value}
    seconds = report["seconds"]
    times = "; ".join(f"{label(phase)} {number(value)} s" for phase, value in seconds.items())
    return {"entries": entries, "times": times, "time_plot": plots.phase_times(seconds) if seconds else None}


SECTIONS = {
    "provenance": Section(
        name="provenance",
        title="Provenance",
        compute=compute_provenance,
        template=Path(__file__).parent.parent / "templates" / "provenance.html.j2",
        view=view,
        order=700,
    )
}
