"""All metrics of a world model on held-out episodes: the report section "world_model"."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.statistics import dead_dimensions, effective_rank
from robossl.evaluation.heldout import HeldOutData, load_heldout
from robossl.evaluation.metrics import inverse_dynamics, probes
from robossl.evaluation.metrics.calibration import calibration, calibration_curve, pit_error
from robossl.evaluation.metrics.inverse_dynamics import (
    inverse_accuracy,
    inverse_excess_curve,
    inverse_excess_r2,
    inverse_r2,
)
from robossl.evaluation.metrics.prediction import HORIZONS, prediction_skill, valid_prediction_time
from robossl.evaluation.metrics.probes import probe_curve, probe_r2
from robossl.evaluation.metrics.quantity_errors import quantity_errors
from robossl.evaluation.metrics.readout import Readout, fit_readout
from robossl.evaluation.metrics.reward_probes import missing_task_reward_reason, reward_probe
from robossl.streams import Stream
from robossl.world_model import WorldModel

Metrics = dict[str, Any]


def evaluate_world_model(
    model: WorldModel,
    stream: Stream,
    step_seconds: float | None = None,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> tuple[Metrics, dict[str, str]]:
    """Compute all metrics of a world model in a few seconds.

    Args:
        model: World model.
        stream: Stream with the splits "train", "probe" and "test".
        step_seconds: Duration of one step [s]; None if unknown.
        seed: Seed of all random choices.
        progress: Progress reporter.

    Returns:
        The metrics, with keys as in `report.json`, and the missing ones: key -> reason.

    Raises:
        UsageError: The stream has too few episodes for any metric.
    """
    progress = progress or NullProgress()
    heldout = load_heldout(model, stream, seed)
    metrics: Metrics = {}
    missing: dict[str, str] = {}
    readout: Readout | None = None
    with contextlib.suppress(UsageError):  # metrics that need a readout raise the error again
        readout = fit_readout(model, heldout)
    groups: dict[str, Callable[[], Metrics]] = {
        "prediction_skill": lambda: _prediction(model, heldout, readout, missing),
        "inverse_r2": lambda: _inverse(model, heldout, missing),
        "probe_r2": lambda: _probes(heldout, missing),
        "valid_prediction_time": lambda: {
            "valid_prediction_time": valid_prediction_time(model, heldout, step_seconds, readout)
        },
        "reward_probe": lambda: _reward_probes(heldout, missing),
        "calibration": lambda: {
            "calibration": calibration(model, heldout),
            "pit_error": pit_error(model, heldout),
            "calibration_curve": calibration_curve(model, heldout),
        },
        "quantity_errors": lambda: {"quantity_errors": quantity_errors(model, heldout)},
        "effective_rank": lambda: _latent_usage(heldout),
    }
    progress.start("evaluate the world model", len(groups), "metrics")
    for key, compute in groups.items():
        try:
            metrics |= compute()
        except UsageError as error:
            missing[key] = str(error)
        progress.update(1)
    progress.stop()
    return metrics, missing


def _prediction(
    model: WorldModel, heldout: HeldOutData, readout: Readout | None, missing: dict[str, str]
) -> Metrics:
    scores = prediction_skill(model, heldout, readout=readout)
    for horizon in map(str, HORIZONS):
        if horizon not in scores["skill"]:
            missing[f"prediction_skill.{horizon}"] = (
                f"fewer than 20 starts lie {horizon} steps before the end of an episode"
            )
    return {
        "prediction_skill": scores["skill"],
        "forward_encoder_bound": scores["encoder_bound"],
        "forward_shuffled": scores["shuffled"],
        "forward_linear": scores["linear"],
        "forward_curve": scores["curve"],
    }


def _inverse(model: WorldModel, heldout: HeldOutData, missing: dict[str, str]) -> Metrics:
    excess = inverse_excess_r2(model, heldout)
    curve = inverse_excess_curve(heldout)
    metrics: Metrics = {"inverse_excess_curve": curve} if curve else {}
    if not curve:
        missing["inverse_excess_curve"] = "the held-out episodes have fewer than 20 steps"
    for gap in inverse_dynamics.GAPS if curve else ():
        if str(gap) not in curve:
            missing[f"inverse_excess_curve.{gap}"] = (
                f"fewer than 20 held-out time steps lie {gap} steps apart"
            )
    if heldout.discrete_actions:
        missing["inverse_r2"] = "actions are discrete: see world_model.inverse_accuracy"
        missing["inverse_excess_r2"] = "actions are discrete: see world_model.inverse_excess_accuracy"
        accuracy = inverse_accuracy(model, heldout)
        return metrics | {"inverse_excess_accuracy": excess, "inverse_accuracy": accuracy}
    return metrics | {"inverse_excess_r2": excess, "inverse_r2": inverse_r2(model, heldout)}


def _probes(heldout: HeldOutData, missing: dict[str, str]) -> Metrics:
    scores, curve = probe_r2(heldout), probe_curve(heldout)
    if not curve:
        missing["probe_curve"] = "all quantities of the test episodes are constant"
    for size in probes.PROBE_SIZES if curve else ():
        if str(size) not in curve:
            missing[f"probe_curve.{size}"] = f'the split "probe" has {len(heldout.probe.valid):,} time steps'
    return {
        "probe_r2": {name: score["r2"] for name, score in scores.items()},
        "probes": scores,
        **({"probe_curve": curve} if curve else {}),
        "probed": "physical state" if heldout.probe.state else "observation",
    }


def _reward_probes(heldout: HeldOutData, missing: dict[str, str]) -> Metrics:
    scores = reward_probe(heldout)
    if reason := missing_task_reward_reason(heldout):
        missing["reward_probe.task"] = reason
    return {"reward_probe": scores}


def _latent_usage(heldout: HeldOutData) -> Metrics:
    return {
        "effective_rank": effective_rank(heldout.test_z),
        "dead_dimensions": dead_dimensions(heldout.test_z),
        "latent_dim": heldout.test_z.shape[1],
    }
