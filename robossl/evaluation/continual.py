"""Continual learning: prediction skill and return at several moments of a run, on unchanged and on changed physics.

A model is measured on the same forecasts at every moment, and an agent on the same episodes, so that two moments
can be compared in pairs. Terms after Lopez-Paz and Ranzato (2017): forward transfer is what a model is worth on
physics that it was not trained on; backward transfer is how later training changed what it can do on the old physics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Policy
from robossl.core.statistics import Estimate, bootstrap_ratio, mean_ci, paired_difference, proportion_ci
from robossl.evaluation.control import evaluate_returns
from robossl.evaluation.heldout import HeldOutData, load_heldout
from robossl.evaluation.latents import encode
from robossl.evaluation.metrics.prediction import MIN_WINDOWS, forecast_windows
from robossl.evaluation.metrics.readout import Readout, fit_readout
from robossl.evaluation.policy_wrappers import FiniteObservationGuard
from robossl.evaluation.split_data import SplitData
from robossl.streams import Stream
from robossl.world_model import WorldModel

HORIZONS = (25, 10, 5, 1)  # [steps] the first of these that the episodes are long enough for is evaluated
_PROBE_STEPS = 2_000  # time steps that the readout of the observed values is fitted on; more take seconds
PHYSICS = ("old", "new")
EPISODES = ("exploration", "acting")  # whose episodes a model is measured on
# Moments of a run -> (what is measured, on which physics) of each row
ROWS = {
    "before": ("before", "old"),
    "just_after": ("before", "new"),
    "recovered": ("final", "new"),
    "old_again": ("final", "old"),
}
Measured = dict[str, Any]  # JSON values of one moment, see `measure_skill` and `measure_returns`


def measure_skill(
    model: WorldModel, stream: Stream, seed: int, others: Mapping[str, SplitData] | None = None
) -> dict[str, Measured]:
    """Measure forecasts of a model on several sets of held-out episodes, with the same scales and readout.

    Args:
        model: World model.
        stream: The steps of the exploration policy; its test episodes are the first set.
        seed: Seed of the forecasts.
        others: Name -> further held-out episodes.

    Returns:
        "exploration" and the names of the others -> {"horizon": steps, "forecasts": n,
        "error" | "no_change" | "linear": [summed squared error of each episode]}.

    Raises:
        UsageError: The episodes are too short or too few.
    """
    heldout = load_heldout(model, stream, seed, _PROBE_STEPS)
    readout = fit_readout(model, heldout)
    found = {"exploration": _measure_forecasts(model, heldout, readout)}
    for name, test in (others or {}).items():
        other = dataclasses.replace(heldout, test=test, test_z=encode(model, test))
        found[name] = _measure_forecasts(model, other, readout)
    return found


def _measure_forecasts(model: WorldModel, heldout: HeldOutData, readout: Readout) -> Measured:
    """Measure forecasts on the test episodes of `heldout`."""
    possible = [h for h in HORIZONS if len(heldout.test.starts(h)) >= MIN_WINDOWS]
    if not possible:
        raise UsageError(f"the held-out episodes are too short or too few: expected {MIN_WINDOWS} forecasts")
    windows = forecast_windows(model, heldout, readout, possible[0])
    _, episode = np.unique(windows.episode, return_inverse=True)
    errors = {
        "error": windows.errors("model"),
        "no_change": windows.no_change_errors(),
        "linear": windows.errors("linear"),
    }
    sums = {name: np.bincount(episode, error[:, -1]).tolist() for name, error in errors.items()}
    if not any(sums["no_change"]):
        raise UsageError("nothing that is predicted changes in the held-out episodes")
    return {"horizon": possible[0], "forecasts": len(episode), **sums}


def measure_returns(envs: VectorEnv, policy: Policy, episodes: int, seed: int) -> Measured:
    """Measure a policy on held-out episodes.

    Returns:
        {"returns": [of each episode]} and, if the env reports success, {"successes": [0 or 1]}.
    """
    measured = evaluate_returns(envs, FiniteObservationGuard(policy, envs), episodes, seed)
    found: Measured = {"returns": measured.returns.tolist()}
    if measured.successes is not None:
        found["successes"] = measured.successes.astype(int).tolist()
    return found


def measure_random(envs: VectorEnv, episodes: int, seed: int) -> Measured:
    """Measure random actions on the episodes of `measure_returns`."""
    policy = registry.policy("random")(envs.single_action_space, envs.num_envs, seed=seed)
    return measure_returns(envs, policy, episodes, seed)


def skill(measured: Mapping[str, Any], seed: int, row: str = "error") -> Estimate:
    """Return the prediction skill over the no-change baseline; episodes are resampled for the interval."""
    error, no_change = np.array(measured[row]), np.array(measured["no_change"])
    low, high = bootstrap_ratio(error, no_change, seed=seed)
    mean = 1 - float(error.sum() / max(no_change.sum(), 1e-12))
    return {"mean": mean, "low": 1 - high, "high": 1 - low, "n": int(measured["forecasts"])}


def skill_difference(later: Mapping[str, Any], earlier: Mapping[str, Any], seed: int) -> Estimate:
    """Return the skill of `later` minus that of `earlier`, on the same forecasts."""
    gain = np.array(earlier["error"]) - np.array(later["error"])
    no_change = np.array(later["no_change"])
    low, high = bootstrap_ratio(gain, no_change, seed=seed)
    mean = float(gain.sum() / max(no_change.sum(), 1e-12))
    return {"mean": mean, "low": low, "high": high, "n": int(later["forecasts"])}


def estimates(measured: Mapping[str, Any], seed: int) -> dict[str, Estimate]:
    """Return "skill", "return" and "success" of what was measured at one moment on one physics."""
    found: dict[str, Estimate] = {}
    if "error" in measured:
        found["skill"] = skill(measured, seed)
    if "returns" in measured:
        found["return"] = mean_ci(np.array(measured["returns"]), seed=seed)
    if "successes" in measured:
        found["success"] = proportion_ci(sum(measured["successes"]), len(measured["successes"]))
    return found


def differences(later: Mapping[str, Any], earlier: Mapping[str, Any], seed: int) -> dict[str, Estimate]:
    """Return the paired differences of "skill" and "return" between two moments on the same physics."""
    found: dict[str, Estimate] = {}
    if "error" in later and "error" in earlier:
        found["skill"] = skill_difference(later, earlier, seed)
    if "returns" in later and "returns" in earlier:
        returns, baseline = (np.array(entry["returns"]) for entry in (later, earlier))
        found["return"] = paired_difference(returns, baseline, seed)
    return found


def compare_models(first: Mapping[str, Any], last: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the report section "continual" of a run whose physics do not change.

    Args:
        first: The model before an agent acted: {"steps": env steps, "exploration" | "acting": Measured}. The episodes
            are those of the exploration policy, and those of the agent.
        last: The model at the end, on the same episodes.
        seed: Seed of the intervals.

    Returns:
        {"horizon", "rows": {"reward_free" | "final": {"steps", name: Estimate of the skill}},
        "baselines": {name: {"linear": Estimate}}, "difference": {name: Estimate}}; the names of the episodes are
        "exploration" and, if there are any, "acting".
    """
    episodes = [name for name in EPISODES if name in first and name in last]
    moments = {"reward_free": first, "final": last}
    return {
        "horizon": last[episodes[0]]["horizon"],
        "rows": {
            moment: {"steps": measured["steps"], **{name: skill(measured[name], seed) for name in episodes}}
            for moment, measured in moments.items()
        },
        "baselines": {name: {"linear": skill(last[name], seed, "linear")} for name in episodes},
        "difference": {name: skill_difference(last[name], first[name], seed) for name in episodes},
    }


def compare_physics(
    moments: Mapping[str, Mapping[str, Any]], curve: list[dict[str, Any]], seed: int
) -> dict[str, Any]:
    """Return the report section "continual" of a run whose physics change.

    Args:
        moments: Moment -> {"steps": env steps, "old" | "new": Measured}: "before" and "final", and "random" actions.
        curve: Points {"steps", "old" | "new": {"skill" | "return": Estimate}}.
        seed: Seed of the intervals.

    Returns:
        {"horizon", "rows": {row: {"steps", "physics", "skill", "return", "success"}}, "baselines": {"old" | "new":
        {"linear", "random"}}, "transfer": {"forward" | "recovery" | "backward": {"skill", "return"}}, "curve"}.
    """
    rows = {
        row: {
            "steps": moments[moment]["steps"],
            "physics": physics,
            **estimates(moments[moment][physics], seed),
        }
        for row, (moment, physics) in ROWS.items()
    }
    before, final = moments["before"], moments["final"]
    forward: dict[str, Estimate] = {"skill": skill(before["new"], seed)}  # the no-change baseline has skill 0
    if "random" in moments:
        forward |= differences(before["new"], moments["random"]["new"], seed)
    return {
        "horizon": final["new"]["horizon"],
        "rows": rows,
        "baselines": {physics: _baselines(moments, physics, seed) for physics in PHYSICS},
        "transfer": {
            "forward": forward,
            "recovery": differences(final["new"], before["new"], seed),
            "backward": differences(final["old"], before["old"], seed),
        },
        "curve": curve,
    }


def _baselines(moments: Mapping[str, Mapping[str, Any]], physics: str, seed: int) -> dict[str, Any]:
    """Return the skill of linear dynamics fitted on the old physics, and the return of random actions."""
    found: dict[str, Any] = {"linear": skill(moments["final"][physics], seed, "linear")}
    if "random" in moments:
        found["random"] = estimates(moments["random"][physics], seed)["return"]
    return found
