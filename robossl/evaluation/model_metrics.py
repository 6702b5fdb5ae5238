"""All diagnostics of a world model on held-out episodes: the section "world" of a report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.evaluation.heldout import HeldOutData, load_heldout
from robossl.evaluation.metrics.calibration import calibration, pit_error
from robossl.evaluation.metrics.inverse_dynamics import GAPS as INVERSE_GAPS
from robossl.evaluation.metrics.inverse_dynamics import (
    inverse_accuracy,
    inverse_excess_curve,
    inverse_excess_r2,
    inverse_r2,
)
from robossl.evaluation.metrics.prediction import HORIZONS, forward_skill, valid_prediction_time
from robossl.evaluation.metrics.probes import SAMPLES, probe_curve, probe_r2
from robossl.evaluation.metrics.rank import dead_dimensions, effective_rank
from robossl.evaluation.metrics.readout import Readout, fit_readout
from robossl.evaluation.metrics.reward_probes import missing_task_reward_reason, reward_probe
from robossl.evaluation.report.report_file import WORLD_KEYS

Section = dict[str, Any]


def diagnose(
    model: Any,
    stream: Any,
    step_seconds: float | None = None,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> tuple[Section, dict[str, str]]:
    """(section "world", what of it is absent and why), as `report.json` has it. Seconds, not minutes.

    `step_seconds` is the length of one action in [s]; None where nobody knows. Readouts are fitted on the
    split "probe", everything is judged on "test".
    """
    progress = progress or NullProgress()
    try:
        held = load_heldout(model, stream, seed)
    except UsageError as error:
        return {}, {"world": str(error)} | {f"world.{key}": str(error) for key in WORLD_KEYS}
    section: Section = {}
    absent: dict[str, str] = {}
    readout: Readout | None = None
    with contextlib.suppress(UsageError):  # the figures that want one say so
        readout = fit_readout(model, held)
    parts: list[Callable[[], Section]] = [
        lambda: _forward(model, held, readout, absent),
        lambda: _inverse(model, held, absent),
        lambda: _probes(held, absent),
        lambda: {"valid_prediction_time": valid_prediction_time(model, held, step_seconds, readout)},
        lambda: _rewards(held, absent),
        lambda: {"calibration": calibration(model, held), "pit_error": pit_error(model, held)},
        lambda: _spread(held, model),
    ]
    names = (
        "forward_skill",
        "inverse_r2",
        "probe_r2",
        "valid_prediction_time",
        "reward_probe",
        "calibration",
        "effective_rank",
    )
    progress.start("diagnose", len(parts), "figures")
    for name, part in zip(names, parts):
        try:
            section |= part()
        except UsageError as error:
            absent[f"world.{name}"] = str(error)
        progress.update(1)
    progress.stop()
    return section, absent


def _forward(model: Any, held: HeldOutData, readout: Readout | None, absent: dict[str, str]) -> Section:
    found = forward_skill(model, held, readout=readout)
    for h in map(str, HORIZONS):
        if h not in found["skill"]:
            absent[f"world.forward_skill.{h}"] = (
                f"fewer than 20 starts lie {h} steps before the end of an episode"
            )
    return {
        "forward_skill": {h: figure["mean"] for h, figure in found["skill"].items()},
        "forward_interval": found["skill"],
        "forward_ceiling": found["ceiling"],
        "forward_shuffled": found["shuffled"],
        "forward_linear": found["linear"],
        "forward_curve": found["curve"],
    }


def _inverse(model: Any, held: HeldOutData, absent: dict[str, str]) -> Section:
    excess = inverse_excess_r2(model, held)
    curve = inverse_excess_curve(held)
    section: Section = {"inverse_excess_curve": curve} if curve else {}
    if not curve:
        absent["world.inverse_excess_curve"] = "the held-out episodes have fewer than 20 steps to judge by"
    for gap in INVERSE_GAPS if curve else ():
        if str(gap) not in curve:
            absent[f"world.inverse_excess_curve.{gap}"] = (
                f"fewer than 20 held-out moments lie {gap} steps apart"
            )
    if held.actions.discrete:
        absent["world.inverse_r2"] = "actions are choices: see world.inverse_accuracy"
        absent["world.inverse_excess_r2"] = "actions are choices: see world.inverse_excess_accuracy"
        accuracy = inverse_accuracy(model, held)
        return section | {"inverse_excess_accuracy": excess, "inverse_accuracy": accuracy}
    figure = inverse_r2(model, held)
    return section | {"inverse_excess_r2": excess, "inverse_r2": figure["mean"], "inverse_interval": figure}


def _probes(held: HeldOutData, absent: dict[str, str]) -> Section:
    found, curve = probe_r2(held), probe_curve(held)
    if not curve:
        absent["world.probe_curve"] = "nothing varies in the test episodes, so there is nothing to read"
    for count in SAMPLES if curve else ():
        if str(count) not in curve:
            absent[f"world.probe_curve.{count}"] = f'the split "probe" gave {len(held.probe.valid):,} rows'
    return {
        "probe_r2": {name: row["r2"] for name, row in found.items()},
        "probes": found,
        **({"probe_curve": curve} if curve else {}),
        "probed": "physical state" if held.probe.truth else "observation",
    }


def _rewards(held: HeldOutData, absent: dict[str, str]) -> Section:
    found = reward_probe(held)
    if why := missing_task_reward_reason(held):
        absent["world.reward_probe.task"] = why
    return {"reward_probe": found}


def _spread(held: HeldOutData, model: Any) -> Section:
    return {
        "effective_rank": effective_rank(held.test_z),
        "dead_dimensions": dead_dimensions(held.test_z),
        "latent": int(model.latent_dim),
    }
