"""Extending a run: more environment steps for its agents, with the lengths of exploration and iterations kept.

The config of an extended run is that of an uninterrupted run of the new length: exploration and iterations are as long
as before, and only their number changes. On a CPU both runs give the same bytes.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

from robossl.core.errors import UsageError
from robossl.evaluation.report import page, report_file
from robossl.training.config import UNLIMITED, LearnConfig
from robossl.training.state import RunState

Steps = int | str  # a total of environment steps, "+N" for N more, or "unlimited"


def parse_steps(text: str) -> Steps:
    """Convert `96_000`, `+32_000` or `unlimited` of a command line.

    Raises:
        UsageError: It is none of these.
    """
    if text == UNLIMITED:
        return text
    if not re.fullmatch(r"\+?\d[\d_]*", text, re.ASCII) or text.endswith("_") or int(text) == 0:
        raise UsageError(f"steps: expected a whole number of 1 or more, +N or {UNLIMITED}, got {text!r}")
    number = int(text)
    return f"+{number}" if text.startswith("+") else number


def new_total(requested: int, steps: Steps | None, name: str) -> int:
    """Return the total of steps or updates of a resumed work, of which `requested` were planned.

    Raises:
        UsageError: `steps` is neither a number nor "+N".
    """
    if steps is None:
        return requested
    if isinstance(steps, str) and not steps.startswith("+"):
        raise UsageError(f"{name}: expected a whole number or +N, got {steps}")
    return requested + int(steps) if isinstance(steps, str) else steps


def extended_config(config: LearnConfig, state: RunState, steps: Steps) -> LearnConfig:
    """Return the config of a run with another total of environment steps.

    Args:
        config: The config of the run so far.
        state: How far the run is.
        steps: New total, rounded up to whole iterations; "+N" for N more than planned; or "unlimited".

    Raises:
        UsageError: The run has no agent, or it has taken these steps already.
    """
    if config.iteration_steps == 0:
        raise UsageError(
            "steps: expected a run whose agent takes environment steps, got one without (agent.num_iterations, "
            "steps, explore.fraction)"
        )
    if (
        state.phase in ("evaluate", "done")
        and (reason := state.missing.get("control"))
        and not state.iteration
    ):
        raise UsageError(f"steps: expected a run with an agent, got one without: {reason}")
    pinned = dataclasses.replace(
        config,
        explore=dataclasses.replace(config.explore, steps=config.explore_steps),
        agent=dataclasses.replace(config.agent, iteration_steps=config.iteration_steps),
    )
    if steps == UNLIMITED:
        return dataclasses.replace(pinned, steps=UNLIMITED)
    taken = config.explore_steps + state.iteration * config.iteration_steps
    planned = (
        taken
        if config.unlimited
        else config.explore_steps + int(config.num_iterations) * config.iteration_steps
    )
    total = planned + int(steps) if isinstance(steps, str) else steps
    count = -((config.explore_steps - total) // config.iteration_steps)  # rounded up
    finished = state.phase in ("evaluate", "done")
    least = max(state.iteration + finished, 1)
    if count < least:
        smallest = config.explore_steps + least * config.iteration_steps
        raise UsageError(
            f"steps is the new total of environment steps, of which this run has taken {taken:,}: expected "
            f"{smallest:,} or more, or +N for N more, got {steps if isinstance(steps, str) else f'{steps:,}'}"
        )
    return dataclasses.replace(
        pinned,
        steps=config.explore_steps + count * config.iteration_steps,
        agent=dataclasses.replace(pinned.agent, num_iterations=count),
    )


def describe(config: LearnConfig, state: RunState) -> str:
    """Return one line about what a run with this config is going to do."""
    length = f"{config.iteration_steps:,} steps"
    taken = config.explore_steps + state.iteration * config.iteration_steps if state.iteration else 0
    start = f"the run has taken {taken:,} environment steps" if taken else "the run has no iteration yet"
    if config.unlimited:
        return f"{start}; it goes on with iterations of {length} until it is stopped"
    count = int(config.num_iterations) - state.iteration
    return (
        f"{start}; it goes on to {config.planned_steps:,}: {count} iteration{'s' * (count != 1)} of {length}"
    )


def keep_report(folder: Path, steps: int) -> None:
    """Copy the report of a run before it is extended, as report-STEPS.json and report-STEPS.html."""
    for name in (report_file.NAME, page.NAME):
        path = folder / name
        if path.is_file():
            shutil.copyfile(path, path.with_name(f"{path.stem}-{steps}{path.suffix}"))


def refresh_report(folder: Path, state: RunState) -> bool:
    """Bring the curves and times of the last report up to date, without new measurements; False if there is none."""
    if not (folder / report_file.NAME).is_file():
        return False
    report = report_file.read(folder)
    for name, row in report.get("control", {}).get("rows", {}).items():
        if name in state.curves:
            row["curve"] = state.curves[name]
    report["seconds"] = {name: float(seconds) for name, seconds in state.seconds.items()}
    if "curve" in report.get("continual", {}):
        report["continual"]["curve"] = state.continual["curve"]
    report_file.write(folder, report)
    page.write(folder, [report])
    return True
