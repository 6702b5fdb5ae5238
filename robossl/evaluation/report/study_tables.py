"""Tables of a transfer study: one line for each row over all tasks, and one for each row on each task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.core.env_ids import display_name
from robossl.core.io import write_bytes_atomic
from robossl.evaluation.report.number_format import label
from robossl.evaluation.report.table_formats import FORMATS, Table

VERDICTS = {"gain": "gain", "equal": "no gain", "worse": "worse", "unknown": "too few runs"}


def rows_table(data: Mapping[str, Any]) -> Table:
    """Return the table over all tasks: score, comparison with the baseline, number of runs and of failed cells."""
    lines = []
    for name, row in data["rows"].items():
        lines.append(
            [
                label(name), row.get("score"), row.get("p_improvement"), row.get("difference"),
                VERDICTS.get(row.get("verdict", ""), "–"), row["runs"], row["failed"],
                label(row["baseline"]) if "baseline" in row else None, row.get("mean_score"),
            ]
        )  # fmt: skip
    head = [
        "row", "IQM score", "P(improvement)", "difference of IQM", "verdict", "runs", "failed", "compared with",
        "mean score",
    ]  # fmt: skip
    tasks = ", ".join(map(task_name, data["tasks"]))
    caption = (
        f"Transfer to control, {data['robot']} ({tasks}), budget {data['budget']}, protocol {data['protocol']}: "
        "interquartile mean of the score over tasks and seeds with intervals (95 %) of a stratified bootstrap "
        "clustered at the stream seed; 0 is random actions, 1 the reference."
    )
    return Table(caption, head, lines)


def tasks_table(data: Mapping[str, Any]) -> Table:
    """Return the table of each row on each task: return, success and score over runs, and the comparison."""
    lines = []
    has_success = any("success" in entry for row in data["rows"].values() for entry in row["tasks"].values())
    for task in data["tasks"]:
        for name, row in data["rows"].items():
            entry = row["tasks"][task]
            line = [task_name(task), label(name), entry.get("return")]
            line += [entry.get("success")] if has_success else []
            line += [
                entry.get("score"),
                entry.get("p_improvement"),
                VERDICTS.get(entry.get("verdict", ""), "–"),
            ]
            lines.append([*line, entry["n"], entry["failed"]])
    success = ["success"] if has_success else []
    head = ["task", "row", "return", *success, "score", "P(improvement)", "verdict", "runs", "failed"]
    caption = f"Transfer to control, {data['robot']}, each task: means over runs with 95 % intervals."
    return Table(caption, head, lines, percents=success)


TABLES = {"rows": rows_table, "tasks": tasks_table}


def task_name(task: str) -> str:
    """Return the name of a task in tables: `WalkerRun` for robossl/WalkerRun-v0, else the id."""
    name = display_name(task)
    own = name.removeprefix("robossl/")
    return own if own == name else re.sub(r"-v\d+$", "", own)


def write_tables(folder: str | Path, data: Mapping[str, Any]) -> list[Path]:
    """Write the tables of a study as Markdown, LaTeX and CSV, and return the paths.

    Args:
        folder: Folder of the files; it is created.
        data: Data of the section `transfer`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make_table in TABLES.items():
        table = make_table(data)
        for ending, convert in FORMATS.items():
            paths.append(folder / f"{name}.{ending}")
            write_bytes_atomic(paths[-1], convert(table).encode())
    return paths
