"""report.json, format 2: all measured values, and the reason for each missing one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.io import read_json, write_json
from robossl.core.system_info import system_info
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report.section import RESERVED_KEYS, Data, Report, load_sections

FORMAT = 2
NAME = "report.json"
EXPECTED_SECTIONS = ("world_model", "goal_reaching", "control")  # present, or in "missing" with a reason
STUDY_SECTIONS = (
    "transfer",
    "comparison",
)  # a report with one of them is about several runs and needs no other
NOT_MEASURED = "not measured in this run"


def build(context: EvaluationContext) -> Report:
    """Return the report of what the context holds: its sections in page order, and the missing keys."""
    report: Report = {
        "format": FORMAT,
        "env": context.env,
        "seed": int(context.seed),
        "versions": system_info()["versions"],
        "device": context.device,
        "seconds": {phase: float(seconds) for phase, seconds in context.seconds.items()},
    }
    order = [section.name for section in load_sections()[0]]
    names = sorted(context.results, key=lambda name: order.index(name) if name in order else len(order))
    report |= {name: context.results[name] for name in names if context.results[name]}
    missing = dict(context.missing)
    for name in expected_sections(report):
        if name not in report:
            missing.setdefault(name, NOT_MEASURED)
    report["missing"] = dict(sorted(missing.items()))
    return report


def build_study(name: str, data: Data, like: Report) -> Report:
    """Return the report of a section about several runs; env, versions and device are those of the report `like`."""
    seconds = float(sum(group.get("seconds") or 0.0 for group in data.get("groups", ())))
    return {
        "format": FORMAT,
        "env": like["env"],
        "seed": like["seed"],
        "versions": like["versions"],
        "device": like["device"],
        "seconds": {"runs": seconds},
        name: data,
        "missing": {},
    }


def expected_sections(report: Report) -> tuple[str, ...]:
    """Return the sections that a report has, or a reason for their absence."""
    return () if any(name in report for name in STUDY_SECTIONS) else EXPECTED_SECTIONS


def write(folder: str | Path, report: Report) -> Path:
    """Write report.json into `folder` and return its path."""
    path = Path(folder) / NAME
    write_json(path, check(report, str(path)), checksum=True)
    return path


def read(path: str | Path) -> Report:
    """Read a report.json, or the one in a folder.

    Raises:
        UsageError: The file is not a report of format 2.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    return check(read_json(path), str(path))


def check(report: Any, source: str = "report") -> Report:
    """Return the report if it is one of format 2.

    Raises:
        UsageError: It is not.
    """
    if not isinstance(report, dict) or "format" not in report:
        raise UsageError(f"{source}: expected a report (a JSON object with format, env and seed), got none")
    if report["format"] != FORMAT:
        raise UsageError(
            f"{source}: expected a report of format {FORMAT}, got format {report['format']!r}; evaluate again: "
            "robossl evaluate RUN"
        )
    missing_keys = [key for key in RESERVED_KEYS if key not in report]
    missing = report.get("missing")
    if isinstance(missing, dict):
        missing_keys += [
            name for name in expected_sections(report) if name not in report and name not in missing
        ]
    if missing_keys:
        raise UsageError(
            f"{source}: expected the keys of format {FORMAT}, got none of {', '.join(missing_keys)}"
        )
    objects = [key for key in report if key not in ("format", "env", "seed", "device")]
    invalid = [key for key in objects if not isinstance(report[key], dict)]
    if invalid:
        raise UsageError(f"{source}: expected a JSON object in {', '.join(invalid)}")
    return report


def missing_reason(report: Report, key: str) -> str | None:
    """Return why `key` ("control", "world_model.inverse_r2", ...) is not in the report; None if it is there."""
    value: Any = report
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is not None:
        return None
    parts = key.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((report["missing"][p] for p in prefixes if p in report["missing"]), NOT_MEASURED)
