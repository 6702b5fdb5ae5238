"""report.json, format 1: everything that was measured, and why the rest was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.io import read_json, write_json

FORMAT = 1
NAME = "report.json"
Report = dict[str, Any]

WORLD_KEYS = (
    "forward_skill",
    "inverse_r2",
    "inverse_excess_r2",
    "probe_r2",
    "valid_prediction_time",
    "effective_rank",
    "updates",
    "rows",
)
_REQUIRED = ("env", "seed", "versions", "device", "seconds")
_SECTIONS = ("world", "goals", "control")
_UNSAID = "not measured in this run"


def build(
    env: str,
    seed: int,
    versions: dict[str, str],
    device: str,
    seconds: dict[str, float],
    world: dict[str, Any] | None = None,
    goals: dict[str, Any] | None = None,
    control: dict[str, Any] | None = None,
    health: dict[str, Any] | None = None,
    ablation: dict[str, Any] | None = None,
    made: dict[str, Any] | None = None,
    absent: dict[str, str] | None = None,
) -> Report:
    """A report of format 1.

    `world`, `goals`, `control` as `diagnose`, `reach_goals` and `evaluate_returns` feed them; `health` is
    the learner's own {figures..., "words": [...]}; `ablation` is what leaving objectives out does; `made`
    says how: {"command", "config" (TOML), "git", ...}.
    Whatever is missing has its reason in `absent`; without one the report says "not measured in this run".
    """
    report: Report = {"format": FORMAT, "env": env, "seed": int(seed), "versions": versions, "device": device}
    report["seconds"] = {phase: float(time) for phase, time in seconds.items()}
    reasons = dict(absent or {})
    for name, section in (("world", world), ("goals", goals), ("control", control)):
        if section:
            report[name] = section
        else:
            reasons.setdefault(name, _UNSAID)
    if world:
        for key in WORLD_KEYS:
            if key not in world:
                reasons.setdefault(f"world.{key}", _UNSAID)
    if health:
        report["health"] = health
    if ablation:
        report["ablation"] = ablation
    if made:
        report["made"] = made
    report["absent"] = dict(sorted(reasons.items()))
    return report


def write(folder: str | Path, report: Report) -> Path:
    """Write report.json into `folder`; gives its path."""
    path = Path(folder) / NAME
    write_json(path, check(report, str(path)))
    return path


def read(path: str | Path) -> Report:
    """Read a report.json, or the one in a run's folder."""
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    return check(read_json(path), str(path))


def check(report: Any, where: str = "this") -> Report:
    """The report itself; RequestError where it is not one of format 1."""
    if not isinstance(report, dict) or "format" not in report:
        raise UsageError(f"{where} is not a report; expected an object with a format, env and seed")
    if report["format"] != FORMAT:
        raise UsageError(f"{where} has format {report['format']!r}; this robossl reads format {FORMAT}")
    missing = [key for key in (*_REQUIRED, "absent") if key not in report]
    missing += [k for k in _SECTIONS if k not in report and k not in report.get("absent", {})]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}; a report of format {FORMAT} has them")
    return report


def reason(report: Report, key: str) -> str | None:
    """Why `key` ("goals", "world.inverse_r2", ...) is not in the report; None where it is there."""
    value: Any = report
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is not None:
        return None
    parts = key.split(".")
    above = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((report["absent"][name] for name in above if name in report["absent"]), _UNSAID)
