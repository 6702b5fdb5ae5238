"""What each objective brings: the same model learned anew from the same stream, each time with other objectives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from typing import Any

from robossl.core.contracts import Progress
from robossl.core.errors import RequestError
from robossl.evaluation.ablation import judged, variants
from robossl.evaluation.held import hold_out
from robossl.lab import measure
from robossl.streams import Stream
from robossl.world import WorldLearner, WorldModel

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
    progress: Progress,
    only: Collection[str] = (),
) -> tuple[Section, dict[str, str]]:
    """(section "ablation", what of it is absent and why). `only` names the rows wanted; all without.

    Every row has the network, seed, stream and number of updates of every other. Goals are the same pairs
    for all rows; a random policy and the pairs that doing nothing solves are dealt with once.
    """
    absent: dict[str, str] = {}
    rows: dict[str, Section] = {}
    models: dict[str, WorldModel] = {}
    chosen = variants(model.config.objectives, images_only=not model.observations.vectors)
    chosen = {name: objectives for name, objectives in chosen.items() if not only or name in only}
    for name, objectives in chosen.items():
        began = time.perf_counter()
        models[name] = taught(
            model, stream, objectives, 0 if name == "untrained" else updates, name, progress
        )
        seconds = time.perf_counter() - began
        held = hold_out(models[name], stream, seed)
        rows[name] = {"objectives": list(objectives), **judged(models[name], held), "seconds": seconds}
    try:
        reached = measure.goals(env, models, stream, offset, pairs, seed, threads, progress)
        for name, row in reached["rows"].items():
            if name != "do_nothing":
                rows.setdefault(name, {})["goals"] = {k: row[k] for k in ("any", "final", "held")}
    except RequestError as error:
        absent["ablation.goals"] = str(error)
    section = {"updates": updates, "rows": rows}
    if "ablation.goals" not in absent:
        section |= {"offset": offset, "pairs": reached["pairs"]}
    return section, absent


def taught(
    model: WorldModel,
    stream: Stream,
    objectives: tuple[str, ...],
    updates: int,
    name: str,
    progress: Progress,
) -> WorldModel:
    """A model like this one after `updates` gradient steps on these objectives."""
    config = dataclasses.replace(model.config, objectives=objectives)
    fresh = WorldModel(config, model.observation_space, model.action_space, model.seed)
    learner = WorldLearner(fresh, stream, model.seed, device=model.device)
    learner.update(0)  # fits the statistics of the inputs
    progress.start(f"ablate: {name.replace('_', ' ')}", updates, "updates")
    learner.run(updates, progress)
    progress.stop()
    return learner.publish()
