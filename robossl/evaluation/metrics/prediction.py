"""How far a model sees ahead: open-loop skill over the horizon, and for how long it may be believed.

What is measured. From a held-out row the model imagines k steps under the recorded actions, seeing nothing
on the way. Each observed number, in units of its spread in "train", is read off what was imagined in one of three
ways: as the model itself decodes it; moved from the start by as much as what is decoded moves; or by a linear readout
of the change of z, fitted on real encodings and shrunk as is best for imagined ones. Which one is decided on the split
"probe"; of a model that decodes nothing it is the last. No number counts as farther than ten spreads from its mean, in
what happened and in what was foreseen: a cube that flies once in a thousand forecasts would else be all that is judged.
Skill is 1 - error / movement: 1 is perfect, 0 is what "nothing moves" gets. A constant encoder gets 0, or what the mean
of the train split gets if that is what it decodes; under shuffled actions it gets the same.
The ceiling is the same reading of the real encoding k steps later: what the ceiling lacks is the encoder's
and the reading's fault, what lies between is the dynamics'. Linear dynamics on raw observations, fitted on "train",
are rolled out beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.statistics import bootstrap_median, bootstrap_ratio
from robossl.evaluation.heldout import FARTHEST, HeldOutData, subsample
from robossl.evaluation.latents import imagine
from robossl.evaluation.metrics.readout import GAPS, Readout, fit_readout

HORIZONS = (*GAPS, 50)  # [steps]
_SEGMENTS = 1000  # at most so many forecasts
_FEWEST = 20  # and at least so many, or the horizon is not judged
TOLERANCE = 0.5  # a forecast is believed while its error is below this many spreads (root mean square)
_LONGEST = 100  # [steps] forecasts of the valid prediction time end here


@dataclass(frozen=True)
class ForecastWindows:
    """B stretches of T steps from held-out episodes, and what is forecast about them."""

    moved: np.ndarray  # (B, T, D) true change of the normalised observation since the start
    forecast: dict[str, np.ndarray]  # row -> (B, T, D)
    episode: np.ndarray  # (B,)

    def errors(self, row: str) -> np.ndarray:
        """(B, T) summed squared error of one row."""
        return np.sum((self.moved - self.forecast[row]) ** 2, -1)


def forecast_windows(
    model: Any, held: HeldOutData, readout: Readout, length: int, count: int = _SEGMENTS
) -> ForecastWindows:
    """Forecasts of `length` steps: the model, its ceiling, under shuffled actions, and a linear baseline."""
    test, z = held.test, held.test_z
    starts = subsample(test.pairs(length), count, held.seed, "segments", length)
    ahead = starts[:, None] + np.arange(length + 1)  # (B, T + 1)
    observed = held.normalised(test.numbers)[ahead]
    actions = test.action[ahead[:, :-1]]
    order = generator(held.seed, "shuffle", length).permutation(len(starts))

    def read(path: np.ndarray) -> np.ndarray:
        return readout(observed[:, 0], path) - observed[:, :1]

    return ForecastWindows(
        moved=observed[:, 1:] - observed[:, :1],
        forecast={
            "model": read(imagine(model, z[starts], actions)),
            "ceiling": read(z[ahead]),
            "shuffled": read(imagine(model, z[starts], actions[order])),
            "linear": _linear(held, observed[:, 0], actions),
        },
        episode=test.episode[starts],
    )


def _linear(held: HeldOutData, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The best linear dynamics, rolled out: changes (B, T, D)."""
    state, path = start, []
    for t in range(actions.shape[1]):
        change = held.linear(np.concatenate([state, held.actions.numbers(actions[:, t])], 1))
        state = np.clip(state + change, -FARTHEST, FARTHEST)
        path.append(state - start)
    return np.stack(path, 1)


def forward_skill(
    model: Any, held: HeldOutData, horizons: tuple[int, ...] = HORIZONS, readout: Readout | None = None
) -> dict[str, Any]:
    """Skill against "nothing moves" by horizon, as in the module's words; `readout` is fitted where none is given.

    Gives {"skill": {"1": Figure, ...}, "ceiling" | "shuffled" | "linear": {"1": float, ...},
    "curve": {"steps": [...], "<row>": [...]}}. Every horizon is judged on all starts it has (where episodes
    are short, the far ones have fewer), the curve on those of the farthest. Horizons longer than the test
    episodes are left out.
    """
    judged = [h for h in horizons if len(held.test.pairs(h)) >= _FEWEST]
    if not judged:
        raise UsageError(f"the test episodes are too short or too few to look {min(horizons)} steps ahead")
    found: dict[str, Any] = {"skill": {}, "ceiling": {}, "shuffled": {}, "linear": {}, "curve": {}}
    readout = readout or fit_readout(model, held)
    for h in judged:
        parts = forecast_windows(model, held, readout, h)
        moved = np.sum(parts.moved**2, -1)  # (B, T)
        if not moved.any():
            raise UsageError("nothing moves in the test episodes, so there is nothing to predict")
        curves = {
            row: 1 - parts.errors(row).sum(0) / np.maximum(moved.sum(0), 1e-12) for row in parts.forecast
        }
        low, high = bootstrap_ratio(parts.errors("model")[:, -1], moved[:, -1], parts.episode, held.seed)
        figure = {"mean": float(curves["model"][-1]), "low": 1 - high, "high": 1 - low, "n": len(moved)}
        found["skill"][str(h)] = figure
        for row in ("ceiling", "shuffled", "linear"):
            found[row][str(h)] = float(curves[row][-1])
        found["curve"] = {row: [float(v) for v in curve] for row, curve in curves.items()}
    found["curve"]["steps"] = list(range(1, max(judged) + 1))
    return found


def valid_prediction_time(
    model: Any, held: HeldOutData, step_seconds: float | None, readout: Readout | None = None
) -> dict[str, Any]:
    """For how long a forecast may be believed: the first time its error exceeds half a spread.

    The error is the root mean square over the observed numbers, each in units of its spread in "train".
    Gives the median with its bootstrap interval, the share of forecasts still good at the end ("censored"),
    and the same for "nothing moves". In seconds; in steps where the length of a step is not known.
    """
    length = next((n for n in range(_LONGEST, 0, -1) if len(held.test.pairs(n)) >= 5 * _FEWEST), 0)
    if length == 0:
        raise UsageError("the test episodes are too short or too few to time a forecast")
    parts = forecast_windows(model, held, readout or fit_readout(model, held), length, count=300)
    unit = step_seconds or 1.0
    times, censored = _first_failure(parts.errors("model"), parts.moved.shape[-1], unit)
    still, _ = _first_failure(np.sum(parts.moved**2, -1), parts.moved.shape[-1], unit)
    low, high = bootstrap_median(times, held.seed)
    return {
        "median": float(np.median(times)),
        "low": low,
        "high": high,
        "n": len(times),
        "censored": float(censored.mean()),
        "horizon": length * unit,
        "steps": length,
        "nothing_moves": float(np.median(still)),
        "tolerance": TOLERANCE,
        "unit": "s" if step_seconds else "steps",
    }


def _first_failure(errors: np.ndarray, width: int, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """When errors (B, T) first exceed the tolerance, and which never do."""
    failed = np.sqrt(errors / width) > TOLERANCE
    censored = ~np.any(failed, axis=1)
    times = np.where(censored, errors.shape[1], failed.argmax(1) + 1) * unit
    return times, np.asarray(censored)
