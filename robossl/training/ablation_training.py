"""What each objective brings: the same model learned anew from the same stream, each time with other objectives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.evaluation.ablation import evaluate_variant, variants
from robossl.evaluation.heldout import load_heldout
from robossl.streams import Stream
from robossl.training import evaluation_steps
from robossl.world_model import WorldModel, WorldModelTrainer

Section = dict[str, Any]


def ablate(
    model: WorldModel,
    stream: Stream,
    env: str,
    updates: int,
    offset: int,
    pairs: int,
    seed: int,
    threads: int,
    progress: ProgressReporter,
    only: Collection[str] = (),
) -> tuple[Section, dict[str, str]]:
    """(section "ablation", what of it is absent and why). `only` names the rows wanted; all without.

    Every row has the network, seed, stream and number of updates of every other. Goals are the same pairs
    for all rows; a random policy and the pairs that doing nothing solves are dealt with once.
    """
    absent: dict[str, str] = {}
    rows: dict[str, Section] = {}
    models: dict[str, WorldModel] = {}
    chosen = variants(model.config.objectives, images_only=not model.observation_processor.vectors)
    chosen = {name: objectives for name, objectives in chosen.items() if not only or name in only}
    for name, objectives in chosen.items():
        began = time.perf_counter()
        models[name] = train_variant(
            model, stream, objectives, 0 if name == "untrained" else updates, name, progress
        )
        seconds = time.perf_counter() - began
        held = load_heldout(models[name], stream, seed)
        rows[name] = {
            "objectives": list(objectives),
            **evaluate_variant(models[name], held),
            "seconds": seconds,
        }
    try:
        reached = evaluation_steps.goals(env, models, stream, offset, pairs, seed, threads, progress)
        for name, row in reached["rows"].items():
            if name != "do_nothing":
                rows.setdefault(name, {})["goals"] = {k: row[k] for k in ("any", "final", "held")}
    except UsageError as error:
        absent["ablation.goals"] = str(error)
    section = {"updates": updates, "rows": rows}
    if "ablation.goals" not in absent:
        section |= {"offset": offset, "pairs": reached["pairs"]}
    return section, absent


def train_variant(
    model: WorldModel,
    stream: Stream,
    objectives: tuple[str, ...],
    updates: int,
    name: str,
    progress: ProgressReporter,
) -> WorldModel:
    """A model like this one after `updates` gradient steps on these objectives."""
    config = dataclasses.replace(model.config, objectives=objectives)
    fresh = model.reinitialized(config)
    learner = WorldModelTrainer(fresh, stream, model.seed, device=model.device)
    learner.update(0)  # fits the statistics of the inputs
    progress.start(f"ablate: {name.replace('_', ' ')}", updates, "updates")
    learner.run(updates, progress)
    progress.stop()
    return learner.publish()
