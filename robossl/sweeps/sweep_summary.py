"""Summary of a sweep: the numbers of its cells, with medians and intervals over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.io import write_bytes_atomic, write_json
from robossl.core.statistics import median_over_seeds
from robossl.evaluation.report.table_formats import Table, Value, to_markdown
from robossl.sweeps.grid import SEED
from robossl.sweeps.sweep_folder import SweepFolder

JSON, MARKDOWN = "summary.json", "summary.md"
_MAX_COLUMNS = 8  # measures of the table; the JSON file has all


def summarize(sweep: SweepFolder) -> dict[str, Any]:
    """Return the numbers of the finished cells; cells that differ in their seed only are one group.

    Returns:
        {"command", "axes", "cells": {"finished", "failed", "left"}, "failed": [{"cell", "error"}], "groups":
        [{"values", "cells", "seeds", "measures": {key: estimate}}]}. An estimate has "mean", the median over the seeds,
        with "low" and "high" (`core.statistics.median_over_seeds`), "n", and "values" by seed.
    """
    cells = sweep.grid.cells()
    results = {cell.name: sweep.result(cell) for cell in cells}
    failed = [
        {"cell": name, "error": result["error"]}
        for name, result in results.items()
        if result and "error" in result
    ]
    done = [cell for cell in cells if (result := results[cell.name]) and "error" not in result]
    groups: dict[str, dict[str, Any]] = {}
    for cell in done:
        values = {axis: value for axis, value in cell.values.items() if axis != SEED}
        group = groups.setdefault(
            json.dumps(values), {"values": values, "cells": [], "seeds": [], "measures": {}}
        )
        group["cells"].append(cell.name)
        seed = cell.settings.get(SEED, 0)
        group["seeds"].append(seed)
        for key, value in (results[cell.name] or {}).get("measures", {}).items():
            group["measures"].setdefault(key, {})[str(seed)] = value
    for group in groups.values():
        group["measures"] = {key: _estimate(by_seed) for key, by_seed in group["measures"].items()}
    return {
        "command": sweep.grid.command,
        "axes": sweep.grid.axes,
        "cells": {
            "finished": len(done),
            "failed": len(failed),
            "left": len(cells) - len(done) - len(failed),
        },
        "failed": failed,
        "groups": list(groups.values()),
    }


def _estimate(by_seed: dict[str, float]) -> dict[str, Any]:
    """Return the median over seeds with its interval, and each value."""
    found = median_over_seeds(np.array(list(by_seed.values())))
    return {"mean": found.pop("median"), **found, "values": by_seed}


def summary_table(summary: dict[str, Any]) -> Table:
    """Return a table with a row for each group and a column for each measure."""
    axes = [axis for axis in summary["axes"] if axis != SEED]
    keys = list(dict.fromkeys(key for group in summary["groups"] for key in group["measures"]))[:_MAX_COLUMNS]
    rows: list[list[Value]] = []
    for group in summary["groups"]:
        names: list[Value] = [_text(group["values"][axis]) for axis in axes]
        rows.append([*names, len(group["seeds"]), *(_shown(group["measures"].get(key)) for key in keys)])
    return Table("Medians over seeds", [*axes, "seeds", *keys], rows)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(estimate: dict[str, Any] | None) -> Value:
    """Return an estimate for the table; of one seed the number alone."""
    return estimate if estimate is None or estimate["n"] > 1 else float(estimate["mean"])


def write_summary(sweep: SweepFolder) -> dict[str, Any]:
    """Write summary.json and summary.md, and return the content."""
    summary = summarize(sweep)
    write_json(sweep.folder / JSON, summary, checksum=True)
    write_bytes_atomic(sweep.folder / MARKDOWN, summary_text(summary).encode())
    return summary


def summary_text(summary: dict[str, Any]) -> str:
    """Return the summary as Markdown."""
    counts = summary["cells"]
    lines = [f"{counts['finished']} cells finished, {counts['failed']} failed, {counts['left']} left.", ""]
    if summary["groups"]:
        lines += [to_markdown(summary_table(summary))]
        lines += [
            "Medians over the seeds; intervals of order statistics, with fewer than six seeds the range.",
            "",
        ]
    lines += [f"* {entry['cell']} failed: {entry['error']}" for entry in summary["failed"]]
    return "\n".join(lines).rstrip() + "\n"


def summary_path(folder: Path) -> Path:
    """Return the file of the summary for people."""
    return folder / MARKDOWN
