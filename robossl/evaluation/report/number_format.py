"""Format numbers, percentages, intervals and keys for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LABELS = {
    # rows of the control and goal-reaching tables
    "planner_latent": "planner, latent distance",
    "planner_temporal": "planner, temporal distance",
    "latent_observation": "latent + observation",
    "latent": "latent only",
    "random_latent": "random encoder",
    "observation": "observation only",
    # rows of a transfer study
    "latent_forecast": "latent + forecast",
    "finetune": "fine-tuned encoder",
    "cotrain": "co-trained encoder",
    "scratch": "same network from scratch",
    "pca": "PCA",
    "time_shuffled": "time-shuffled pre-training",
    "normalized_observation": "observation, normalized",
    "scrambled_state": "true state, scrambled",
    "mpc": "MPC with reward head",
    "imagination_sac": "SAC in imagination",
    "oracle_state": "agent on the true state",
    "oracle_dynamics": "planner on the true simulator",
    "observation_online": "observation only, online",
    "random_latent_online": "random encoder, online",
    "latent_online": "latent only, online",
    "latent_observation_online": "latent + observation, online",
    "finetune_online": "fine-tuned encoder, online",
    "planner_true_dynamics": "planner, true dynamics",
    "planner_true_reward": "planner, true dynamics and reward",
    "random": "random actions",
    "zero_action": "zero action",
    # conditions of robustness
    "nominal": "unchanged",
    "observation_noise_added": "noise in the observation",
    # criteria of goal reaching
    "reached_any": "reached",
    "reached_final": "at the end",
    "sustained": "sustained",
    # diagnostics and provenance
    "inverse_r2": "R² of inferred actions",
    "inverse_r2_from_z": "R² of actions from the current latent alone",
    "inverse_excess_r2": "R² of inferred actions beyond the current latent alone",
    "forward_error": "squared error of one step in latent space",
    "no_change_error": "the same of no change",
    "shuffled_actions_error": "the same with actions of other windows",
    "latent_std_mean": "standard deviation of a latent dimension, mean",
    "latent_std_min": "standard deviation of a latent dimension, smallest",
    "git": "git revision",
    "cores": "CPU cores",
    "render": "render backend",
}


_PATTERNS = re.compile(r"(forward_skill|shuffled_skill)_(\d+)")
_PATTERN_LABELS = {
    "forward_skill": "prediction skill in latent space",
    "shuffled_skill": "the same with actions of other windows",
}


def spelled_agent(name: str) -> str:
    """Return the name of an agent for a text: abbreviations such as SAC in capitals."""
    return name.upper() if len(name) < 5 else name


def label(key: str) -> str:
    """Return a key as text: `zero_action` as `zero action`."""
    if key not in _LABELS and (match := _PATTERNS.fullmatch(key)):
        name, steps = match[1], match[2]
        return f"{_PATTERN_LABELS[name]}, {steps_ahead(steps)} ahead"
    if key.startswith("act (") and key.endswith(")"):  # a phase of a run
        return f"act ({label(key[5:-1])})"
    return _LABELS.get(key, key.replace("_", " "))


def number(value: float, digits: int = 2) -> str:
    """Return a number with as many digits as are meaningful; a value below 1 is never rounded to 1."""
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 10:
        text = f"{value:.0f}" if size >= 100 else f"{value:.1f}"
    elif 0.9995 <= size < 1:
        text = ">0.999" if value > 0 else "<-0.999"
    else:
        text = f"{value:z.{3 if 0.99 < size < 1 else digits}f}"
    return text.replace("-", "−")


def percent(value: float) -> str:
    """Return a fraction as a whole percentage; a value between 0 and 1 is never rounded to 0 % or 100 %."""
    rounded = round(100 * value)
    if rounded == 0 and value > 0:
        return "under 1\u00a0%"
    return "over 99\u00a0%" if rounded == 100 and value < 1 else f"{rounded}\u00a0%".replace("-", "−")


def interval(estimate: Mapping[str, Any], as_percent: bool = False) -> str:
    """Return the 95 % interval of an estimate in brackets, as percentages if `as_percent`."""
    if estimate.get("single"):  # nothing was repeated, so that no interval is known
        return "[one run each]"
    if estimate["n"] < 2 and not as_percent:
        return "[one value]"
    ends = (estimate["low"], estimate["high"])
    low, high = (f"{100 * end:z.0f}".replace("-", "−") if as_percent else number(end) for end in ends)
    return f"[{low}, {high}]"


def plain(value: Any) -> str:
    """Return a JSON value as text: numbers with three digits, lists and objects separated by commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{label(str(key))} {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value, 3)


def duration(seconds: float) -> str:
    """Return a duration in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def steps_ahead(horizon: str | int) -> str:
    """Return `1 step` or `25 steps`."""
    return f"{horizon} step{'s' * (int(horizon) != 1)}"
