"""Settings of the self-predictive agent: fields with their valid ranges, and presets for CPU and GPU."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from robossl.core.errors import UsageError, unknown_name_error

_RANGES: dict[str, tuple[float, float]] = {  # inclusive; settings without an entry: 1 or more
    "updates_per_step": (1e-6, 64), "learning_starts": (0, math.inf), "hindsight": (0, 1),
    "gamma": (0, 1), "learning_rate": (1e-12, 1), "weight_decay": (0, 1), "batch_size": (2, 1 << 20),
    "target_noise_std": (0, 10), "target_noise_clip": (0, 10), "exploration_std": (0, 10),
    "contrastive_weight": (0, 1e3), "reward_weight": (0, 1e3), "termination_weight": (0, 1e3),
    "inverse_weight": (0, 1e3), "priority_exponent": (0, 10), "recency_decay": (0, 1), "min_recency": (1e-3, 1),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SelfPredictiveConfig:
    """Settings of the self-predictive agent; the defaults are those of the preset `cpu`.

    The method follows MR.Q (Fujimoto et al., "Towards General-Purpose Model-Free Reinforcement Learning", 2025) and
    DR.Q (Lyu et al., "Debiased Model-based Representations for Sample-efficient Continuous Control", 2026).
    """

    latent_dim: int = 256  # Z of the state embedding z_s and of the state-action embedding z_sa
    encoder_hidden: int = 256
    action_embedding_dim: int = 64
    policy_hidden: int = 256
    value_hidden: int = 256
    unroll_steps: int = 3  # imagined steps in the loss of the embedding
    return_steps: int = 3  # rewards before the bootstrap value, fewer where an episode ends
    batch_size: int = 256
    updates_per_step: float = (
        0.5  # actor-critic updates for each env step, independent of the sub-environments
    )
    learning_starts: int = 10_000  # [env steps] with random actions, before the first update
    target_update_interval: int = (
        250  # [updates] between copies of the targets; as many embedding updates follow
    )
    gamma: float = 0.99
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    exploration_std: float = 0.2  # of the noise on actions in [-1, 1]
    target_noise_std: float = 0.2
    target_noise_clip: float = 0.3
    contrastive_weight: float = 0.1  # terms of the embedding loss, beside the squared error of the next z_s
    reward_weight: float = 0.1
    termination_weight: float = 0.1
    inverse_weight: float = 0.1
    priority_exponent: float = 0.4  # transitions are sampled in proportion to max(|TD error|, 1) ** exponent
    recency_decay: float = 0.9999  # ... times max(min_recency, recency_decay ** age [env steps])
    min_recency: float = 0.1
    hindsight: float = 0.8  # fraction of the windows of goal envs that get another goal

    def __post_init__(self) -> None:
        """Raise UsageError for a value of another type or outside its range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low, high = _RANGES.get(field.name, (1, math.inf))
            kind = int if field.type == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                noun = "an integer" if kind is int else "a number"
                limits = f"of {low:,} or more" if high == math.inf else f"from {low:,} to {high:,}"
                raise UsageError(
                    f"self-predictive setting {field.name}: expected {noun} {limits}, got {value!r}"
                )


PRESETS = {
    "cpu": SelfPredictiveConfig(),
    "gpu": SelfPredictiveConfig(
        latent_dim=512,
        encoder_hidden=750,
        action_embedding_dim=256,
        policy_hidden=512,
        value_hidden=512,
        unroll_steps=5,
        updates_per_step=1.0,
    ),
}
SETTINGS = tuple(field.name for field in dataclasses.fields(SelfPredictiveConfig))


def make_config(preset: str, settings: Mapping[str, Any]) -> SelfPredictiveConfig:
    """Return a preset with other values for some settings; None keeps the value of the preset.

    Raises:
        UsageError: For an unknown preset or setting, or a value outside its range.
    """
    for name in settings:
        if name not in SETTINGS:
            raise unknown_name_error("self-predictive setting", name, ("preset", "stream_reward", *SETTINGS))
    if preset not in PRESETS:
        raise unknown_name_error("self-predictive preset", preset, PRESETS)
    given = {name: value for name, value in settings.items() if value is not None}
    return dataclasses.replace(PRESETS[preset], **given)
