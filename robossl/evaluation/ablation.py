"""What each objective brings: models that differ in nothing but what they learned from, side by side."""

from __future__ import annotations

import contextlib
from typing import Any

from robossl.core.errors import UsageError
from robossl.evaluation.heldout import HeldOutData
from robossl.evaluation.metrics.inverse_dynamics import inverse_readout
from robossl.evaluation.metrics.prediction import forward_skill
from robossl.evaluation.metrics.probes import probe_r2
from robossl.evaluation.metrics.rank import effective_rank
from robossl.world_model.objectives import objective

_FOUR = {  # the published comparison; the predictor follows as an onlooker where nothing else trains it
    "forward": ("forward",),
    "inverse": ("inverse", "forward_detached"),
    "sigreg": ("forward", "sigreg"),
}
_BLIND = ("reconstruction",)  # objectives that do nothing for a model that reads images only


def variants(objectives: tuple[str, ...], images_only: bool = False) -> dict[str, tuple[str, ...]]:
    """Which models are compared: row -> objectives (with their weights, `name:weight`).

    "own" is the model as it was made; "forward", "inverse" and "sigreg" have one thing to learn each, beside
    a predictor; "without_<objective>" lack one of their own; "untrained" learned nothing. A row that would
    repeat another is left out.
    """
    own = tuple(o for o in objectives if not (images_only and _name(o) in _BLIND))
    rows = {"own": own, **_FOUR}
    for left in own:
        if _apart(left):  # without it the figures are the same
            continue
        rest = tuple(o for o in own if o != left)
        if _name(left) == "forward":
            rest += ("forward_detached",)
        if _shaping(rest) - {"forward_detached"}:
            rows[f"without_{_name(left)}"] = rest
    found: dict[str, tuple[str, ...]] = {}
    for row, chosen in rows.items():
        if not any(_shaping(chosen) == _shaping(other) for other in found.values()):
            found[row] = chosen
    return {**found, "untrained": own}


def _name(chosen: str) -> str:
    return chosen.partition(":")[0]


def _shaping(objectives: tuple[str, ...]) -> set[str]:
    return {_name(o) for o in objectives if not _apart(o)}


def _apart(chosen: str) -> bool:
    return objective(_name(chosen)).detached


def evaluate_variant(model: Any, held: HeldOutData) -> dict[str, Any]:
    """The figures of one row; those which do not apply are absent.

    {"effective_rank", "probe_r2": {quantity: worst R2}, "probe_worst_r2", "inverse_r2": Figure, "forward_skill":
    {horizon: Figure}}. The inverse is read from z and the next z by the same small network in every row,
    fitted on "probe", whether the model has an inverse of its own or not.
    """
    probes = {name: row["r2"] for name, row in probe_r2(held).items()}
    row: dict[str, Any] = {"effective_rank": effective_rank(held.test_z), "probe_r2": probes}
    if probes:
        row["probe_worst_r2"] = min(probes.values())
    row["inverse_r2"] = inverse_readout(held)
    with contextlib.suppress(UsageError):  # episodes too short to look ahead; the section "world" says so
        row["forward_skill"] = forward_skill(model, held)["skill"]
    return row
