"""Loss curves of a run for its report, from its metrics file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.logging.sinks.jsonl import FILE_NAME, read_metrics

_POINTS = 100  # of a curve, at most
_MODEL, _UPDATES = "world_model/", "world_model/updates"
_AGENT_LOSSES = ("critic_loss", "actor_loss", "loss")  # of Stable-Baselines3


def loss_curves(folder: Path, agents: Mapping[str, str]) -> dict[str, Any]:
    """Return the losses of the world model over its updates, and of the agents over env steps.

    Args:
        folder: Folder of the run.
        agents: Metric prefix -> row of the report.

    Returns:
        {"world_model": {loss: [[updates, value], ...]}, "agents": {row: {loss: [[steps, value], ...]}}}; empty without
        metrics.
    """
    if not (folder / FILE_NAME).is_file():
        return {}
    model: dict[str, list[list[float]]] = {}
    of_agents: dict[str, dict[str, list[list[float]]]] = {}
    for record in read_metrics(folder):
        if (updates := record.get(_UPDATES)) is not None:
            for name, value in record.items():
                if name.startswith(_MODEL) and name != _UPDATES and value is not None:
                    model.setdefault(name.removeprefix(_MODEL), []).append([updates, value])
        for prefix, row in agents.items():
            for loss in _AGENT_LOSSES:
                value = record.get(f"{prefix}/train/{loss}")
                if value is not None:
                    curves = of_agents.setdefault(row, {})
                    curves.setdefault(loss, []).append([float(record["step"] or 0), value])
    found = {"world_model": _thinned(model), "agents": {row: _thinned(c) for row, c in of_agents.items()}}
    return {name: curves for name, curves in found.items() if curves}


def _thinned(curves: Mapping[str, list[list[float]]]) -> dict[str, list[list[float]]]:
    """Return curves with at most about `_POINTS` points, the last one included."""
    thinned = {}
    for name, points in curves.items():
        stride = -(-len(points) // _POINTS)
        thinned[name] = points[(len(points) - 1) % stride :: stride]
    return thinned
