"""Ablation of objectives: train the same model on the same stream with other objectives and compare."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Mapping
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Policy, ProgressReporter
from robossl.core.statistics import effective_rank
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import CRITERIA, evaluate_goal_reaching
from robossl.evaluation.heldout import HeldOutData, load_heldout
from robossl.evaluation.metrics.inverse_dynamics import inverse_regressor_r2
from robossl.evaluation.metrics.prediction import prediction_skill
from robossl.evaluation.metrics.probes import probe_r2
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.objectives import objective
from robossl.world_model.parallel_trainers import train_together

_SINGLE_OBJECTIVE = {  # a detached predictor is added where no objective trains the dynamics
    "forward": ("forward",),
    "inverse": ("inverse", "forward_detached"),
    "sigreg": ("forward", "sigreg"),
}
_GOAL_HORIZON = 25  # [steps] goals are evaluated at the horizon of the context that is nearest
_VECTOR_ONLY = ("reconstruction",)  # objectives that have no effect if all observations are images


def evaluate_ablation(context: EvaluationContext, only: Collection[str] = ()) -> dict[str, Any]:
    """Train and evaluate all variants of the model of this context.

    All variants have the same network, seed, stream and number of updates; goals are the same pairs.

    Args:
        context: Provides the model, stream and `ablation_updates`.
        only: Names of the variants; all if empty.

    Returns:
        {"updates", "rows": {variant: {"objectives", "seconds", "goal_reaching", ...}}}, with "horizon" and "trials" if
        goals could be evaluated; the reason is in `context.missing` otherwise. The row "random" has only
        "goal_reaching". The other keys are those of `evaluate_variant`.
    """
    model, stream, updates = context.model, context.stream, context.ablation_updates
    if model is None or stream is None or updates is None:
        raise UsageError("expected a model, a stream and a number of updates for an ablation")
    selected = variants(model.config.objectives, images_only=not model.observation_processor.vectors)
    selected = {name: objectives for name, objectives in selected.items() if not only or name in only}
    rows: dict[str, dict[str, Any]] = {}
    start = time.perf_counter()
    models = train_variants(model, stream, selected, updates, context.progress)
    trained = max(len(set(selected) - {"untrained"}), 1)
    seconds = (time.perf_counter() - start) / trained  # they are trained at once
    for name, objectives in selected.items():
        heldout = load_heldout(models[name], stream, context.evaluation_seed)
        rows[name] = {
            "objectives": list(objectives),
            **evaluate_variant(models[name], heldout),
            "seconds": 0.0 if name == "untrained" else seconds,
        }
    section: dict[str, Any] = {"updates": updates, "rows": rows}
    horizon = min(context.goal_horizons, key=lambda steps: abs(steps - _GOAL_HORIZON))
    try:
        goals = evaluate_goal_reaching(
            context, lambda envs: _planners(envs, models, context.evaluation_seed), [horizon]
        )
    except UsageError as error:
        context.missing["ablation.goal_reaching"] = str(error)
        return section
    for name, row in goals["rows"].items():
        if name != "zero_action":
            rows.setdefault(name, {})["goal_reaching"] = {key: row[str(horizon)][key] for key in CRITERIA}
    return section | {"horizon": horizon, "trials": goals["horizons"][str(horizon)]["trials"]}


def _planners(envs: VectorEnv, models: Mapping[str, WorldModel], seed: int) -> dict[str, Policy]:
    """Return a planner on each model."""
    planner = registry.agent("planner")
    return {name: planner(envs, model.frozen_copy(), seed=seed) for name, model in models.items()}


def train_variants(
    model: WorldModel,
    stream: Stream,
    selected: Mapping[str, tuple[str, ...]],
    updates: int,
    progress: ProgressReporter,
) -> dict[str, WorldModel]:
    """Return new models like `model`, trained at once on the objectives of each; "untrained" is not trained.

    Args:
        model: The model.
        stream: The training data.
        selected: Objectives by name of the variant.
        updates: Gradient steps of each.
        progress: Receives the gradient steps of a variant.
    """
    trainers = {}
    for name, objectives in selected.items():
        config = dataclasses.replace(model.config, objectives=objectives)
        trainers[name] = WorldModelTrainer(
            model.reinitialized(config), stream, model.seed, device=model.device
        )
        trainers[name].prepare()  # fits the input normalizers
    trained = [trainer for name, trainer in trainers.items() if name != "untrained"]
    if trained:
        train_together(trained, updates, progress, torch.get_num_threads(), task="ablation")
    return {name: trainer.publish() for name, trainer in trainers.items()}


def variants(objectives: tuple[str, ...], images_only: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the variants to compare: name -> objectives (with their weights, `name:weight`).

    "own" has the objectives of the model; "forward", "inverse" and "sigreg" have one objective besides a predictor;
    "without_<objective>" omits one of the objectives of the model; "untrained" has random weights. Variants that repeat
    another one are omitted.

    Args:
        objectives: Objectives of the model.
        images_only: Whether the model reads images only.
    """
    own = tuple(o for o in objectives if not (images_only and _name(o) in _VECTOR_ONLY))
    candidates = {"own": own, **_SINGLE_OBJECTIVE}
    for removed in own:
        if _is_detached(removed):  # removing it would change no metric
            continue
        rest = tuple(o for o in own if o != removed)
        if _name(removed) == "forward":
            rest += ("forward_detached",)
        if _training_names(rest) - {"forward_detached"}:
            candidates[f"without_{_name(removed)}"] = rest
    distinct: dict[str, tuple[str, ...]] = {}
    for name, candidate in candidates.items():
        if not any(_training_names(candidate) == _training_names(other) for other in distinct.values()):
            distinct[name] = candidate
    return {**distinct, "untrained": own}


def _name(weighted: str) -> str:
    return weighted.partition(":")[0]


def _training_names(objectives: tuple[str, ...]) -> set[str]:
    """Return the names of the objectives that train more than their own head."""
    return {_name(o) for o in objectives if not _is_detached(o)}


def _is_detached(weighted: str) -> bool:
    return objective(_name(weighted)).detached


def evaluate_variant(model: WorldModel, heldout: HeldOutData) -> dict[str, Any]:
    """Return the metrics of one variant; metrics that do not apply are omitted.

    Returns:
        {"effective_rank", "probe_r2": {quantity: worst R2}, "probe_worst_r2", "inverse_r2": Estimate,
        "prediction_skill": {horizon: Estimate}}. The inverse is a random-feature regressor on z and the next z in
        every variant, fitted on probe, whether the model has an inverse or not.
    """
    probes = {name: scores["r2"] for name, scores in probe_r2(heldout).items()}
    metrics: dict[str, Any] = {"effective_rank": effective_rank(heldout.test_z), "probe_r2": probes}
    if probes:
        metrics["probe_worst_r2"] = min(probes.values())
    metrics["inverse_r2"] = inverse_regressor_r2(heldout)
    with contextlib.suppress(UsageError):  # episodes are too short: the section "world_model" has the reason
        metrics["prediction_skill"] = prediction_skill(model, heldout)["skill"]
    return metrics
