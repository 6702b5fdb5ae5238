"""Open-loop prediction skill over the horizon, and the valid prediction time.

From a held-out time step the model imagines k steps under the recorded actions. The observed values are read from the
imagined latents by a `Readout` chosen on the probe split. Values are clipped to 10 standard deviations so that rare
outliers do not dominate the score. Skill is 1 - error / error of the no-change baseline, which predicts the observation
at the start: 1 is perfect, 0 is no better than that. A constant encoder has skill 0, or the skill of the mean of train
if it decodes that mean, and the same skill under shuffled actions.

The encoder bound applies the same readout to the real latent k steps later: the distance of the bound from 1 is
due to the encoder and the readout, the distance of the skill from the bound is due to the dynamics. Linear dynamics on
raw observations, fitted on train, are a further baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.statistics import bootstrap_median, bootstrap_ratio
from robossl.evaluation.heldout import MAX_DEVIATION, HeldOutData, subsample
from robossl.evaluation.latents import imagine
from robossl.evaluation.metrics.readout import GAPS, Readout, fit_readout
from robossl.world_model import WorldModel

HORIZONS = (*GAPS, 50)  # [steps]
TOLERANCE = 0.5  # [standard deviations] a forecast is valid while its root mean square error is below
_MAX_WINDOWS = 1000  # forecasts for each horizon
MIN_WINDOWS = 20  # forecasts below which a horizon is not evaluated
_MAX_VALID_STEPS = 100  # [steps] length of the forecasts for the valid prediction time
_MAX_VALID_WINDOWS = 300  # forecasts for the valid prediction time


@dataclass(frozen=True)
class ForecastWindows:
    """B windows of T steps from held-out episodes, with the forecasts of the model and of its baselines."""

    change: np.ndarray  # (B, T, D') true change of the normalized observation since the start
    forecast: dict[str, np.ndarray]  # row -> (B, T, D')
    episode: np.ndarray  # (B,)

    def errors(self, row: str) -> np.ndarray:
        """Return the (B, T) summed squared error of one row."""
        return np.sum((self.change - self.forecast[row]) ** 2, -1)

    def no_change_errors(self) -> np.ndarray:
        """Return the (B, T) summed squared error of the no-change baseline."""
        return np.sum(self.change**2, -1)


def forecast_windows(
    model: WorldModel, heldout: HeldOutData, readout: Readout, length: int, count: int = _MAX_WINDOWS
) -> ForecastWindows:
    """Forecast `length` steps with the model, the encoder bound, shuffled actions and linear dynamics."""
    test, z = heldout.test, heldout.test_z
    starts = subsample(test.starts(length), count, heldout.seed, "segments", length)
    index = starts[:, None] + np.arange(length + 1)  # (B, T + 1)
    observed = heldout.normalize(test.values)[index]
    actions = test.action[index[:, :-1]]
    order = generator(heldout.seed, "shuffle", length).permutation(len(starts))

    def read_change(latents: np.ndarray) -> np.ndarray:
        return readout(observed[:, 0], latents) - observed[:, :1]

    return ForecastWindows(
        change=observed[:, 1:] - observed[:, :1],
        forecast={
            "model": read_change(imagine(model, z[starts], actions)),
            "encoder_bound": read_change(z[index]),
            "shuffled": read_change(imagine(model, z[starts], actions[order])),
            "linear": _linear_rollout(heldout, observed[:, 0], actions),
        },
        episode=test.episode[starts],
    )


def _linear_rollout(heldout: HeldOutData, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return the changes (B, T, D') predicted by the linear dynamics."""
    state, changes = start, []
    for t in range(actions.shape[1]):
        inputs = np.concatenate([state, heldout.encode_action(actions[:, t])], 1)
        state = np.clip(state + heldout.linear_dynamics(inputs), -MAX_DEVIATION, MAX_DEVIATION)
        changes.append(state - start)
    return np.stack(changes, 1)


def prediction_skill(
    model: WorldModel,
    heldout: HeldOutData,
    horizons: tuple[int, ...] = HORIZONS,
    readout: Readout | None = None,
) -> dict[str, Any]:
    """Return the skill over the no-change baseline by horizon, as defined in the first lines of this file.

    Every horizon is evaluated on all starts that it has; the curve is that of the longest horizon. Horizons with fewer
    than 20 starts are omitted.

    Args:
        model: World model.
        heldout: Held-out data encoded by `model`.
        horizons: Steps ahead.
        readout: Readout of the observed values; fitted on probe if None.

    Returns:
        {"skill": {"1": Estimate, ...}, "encoder_bound" | "shuffled" | "linear": {"1": float, ...},
        "curve": {"steps": [...], "<row>": [...]}}.

    Raises:
        UsageError: No horizon can be evaluated, or all observations are constant.
    """
    evaluated = [h for h in horizons if len(heldout.test.starts(h)) >= MIN_WINDOWS]
    if not evaluated:
        raise UsageError(
            f"the test episodes are too short or too few to predict {min(horizons)} steps ahead: expected at least "
            f"{MIN_WINDOWS} starts"
        )
    scores: dict[str, Any] = {"skill": {}, "encoder_bound": {}, "shuffled": {}, "linear": {}, "curve": {}}
    readout = readout or fit_readout(model, heldout)
    for h in evaluated:
        windows = forecast_windows(model, heldout, readout, h)
        no_change_error = windows.no_change_errors()
        if not no_change_error.any():
            raise UsageError(
                "the observations of the test episodes are constant: there is nothing to predict"
            )
        curves = {
            row: 1 - windows.errors(row).sum(0) / np.maximum(no_change_error.sum(0), 1e-12)
            for row in windows.forecast
        }
        low, high = bootstrap_ratio(
            windows.errors("model")[:, -1], no_change_error[:, -1], windows.episode, heldout.seed
        )
        scores["skill"][str(h)] = {
            "mean": float(curves["model"][-1]),
            "low": 1 - high,
            "high": 1 - low,
            "n": len(no_change_error),
        }
        for row in ("encoder_bound", "shuffled", "linear"):
            scores[row][str(h)] = float(curves[row][-1])
        scores["curve"] = {row: [float(v) for v in curve] for row, curve in curves.items()}
    scores["curve"]["steps"] = list(range(1, max(evaluated) + 1))
    return scores


def valid_prediction_time(
    model: WorldModel, heldout: HeldOutData, step_seconds: float | None, readout: Readout | None = None
) -> dict[str, Any]:
    """Return the time until the error of a forecast first exceeds half a standard deviation.

    The error is the root mean square over the observed values, each in units of its standard deviation in train.

    Args:
        model: World model.
        heldout: Held-out data encoded by `model`.
        step_seconds: Duration of one step [s]; times are in steps if None.
        readout: Readout of the observed values; fitted on probe if None.

    Returns:
        "median" with its bootstrap interval "low", "high" and "n"; "censored", the fraction of forecasts that are
        still valid at their end; "horizon", the length of the forecasts in "unit"; "steps", the same in steps;
        "no_change", the median of the no-change baseline; "tolerance".

    Raises:
        UsageError: The test episodes are too short or too few.
    """
    min_windows = 5 * MIN_WINDOWS
    lengths = range(_MAX_VALID_STEPS, 0, -1)
    length = next((n for n in lengths if len(heldout.test.starts(n)) >= min_windows), 0)
    if length == 0:
        raise UsageError(
            f"the test episodes are too short or too few to time a forecast: expected at least {min_windows} steps"
        )
    windows = forecast_windows(
        model, heldout, readout or fit_readout(model, heldout), length, count=_MAX_VALID_WINDOWS
    )
    unit = step_seconds or 1.0
    num_values = windows.change.shape[-1]
    times, censored = _first_failure(windows.errors("model"), num_values, unit)
    no_change_times, _ = _first_failure(windows.no_change_errors(), num_values, unit)
    low, high = bootstrap_median(times, heldout.seed)
    return {
        "median": float(np.median(times)),
        "low": low,
        "high": high,
        "n": len(times),
        "censored": float(censored.mean()),
        "horizon": length * unit,
        "steps": length,
        "no_change": float(np.median(no_change_times)),
        "tolerance": TOLERANCE,
        "unit": "s" if step_seconds else "steps",
    }


def _first_failure(errors: np.ndarray, num_values: int, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (B,) at which errors (B, T) first exceed the tolerance, and (B,) bool where they never do."""
    failed = np.sqrt(errors / num_values) > TOLERANCE
    censored = ~np.any(failed, axis=1)
    times = np.where(censored, errors.shape[1], failed.argmax(1) + 1) * unit
    return times, np.asarray(censored)
