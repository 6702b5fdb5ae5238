"""Text and HTML of a world model (untyped here: the model imports this module)."""

from __future__ import annotations

from typing import Any

from robossl.core.display import html_table, one_line, plural
from robossl.core.spaces import format_space

_HIDDEN = ("messages", "path")  # entries of the metadata that are not numbers of the training
_TRAINING = ("updates", "transitions")  # entries of the first table; all others are diagnostics
_DIAGNOSTICS = "On validation windows, in latent space; skill: 1 is perfect, 0 is no change"
_SKILLS = {"forward": "", "shuffled": ", shuffled actions"}
_NAMES = {
    "variance_rank": "rank by variance",
    "latent_std_mean": "standard deviation of a latent dimension, mean",
    "latent_std_min": "standard deviation of a latent dimension, smallest",
    "forward_error": "error of a prediction",
    "no_change_error": "error of no change",
    "shuffled_actions_error": "error with shuffled actions",
    "inverse_r2": "inverse R2",
    "inverse_r2_from_z": "inverse R2, first latent alone",
    "inverse_excess_r2": "inverse R2, excess",
}


def model_text(model: Any) -> str:
    """Return one line: spaces, size, version and training of a model."""
    processor = model.observation_processor
    images = ", ".join("x".join(map(str, shape)) for shape in processor.images.values())
    inputs = [plural(processor.vector_dim, "number") if processor.vector_dim else "", images]
    updates = model.metadata.get("updates")
    return one_line(
        "WorldModel",
        f"{' and '.join(filter(None, inputs))} -> {plural(model.latent_dim, 'latent')}",
        f"{plural(model.action_processor.dim, 'action')}",
        f"{sum(p.numel() for p in model.parameters()):,} weights",
        f"version {model.version}",
        plural(int(updates), "update") if updates else "untrained" if model.version == 0 else "",
        "goal heads" if model.goal_heads is not None else "",
    )


def model_html(model: Any) -> str:
    """Return a table of what a model reads, its size, and what it was trained on, as HTML; diagnostics are folded."""
    metadata = {key: value for key, value in model.metadata.items() if key not in _HIDDEN}
    rows: list[tuple[str, object]] = [
        ("observations", format_space(model.observation_space)),
        ("actions", format_space(model.action_space)),
        ("latent dimension", model.latent_dim),
        ("weights", f"{sum(p.numel() for p in model.parameters()):,}"),
        ("objectives", ", ".join(model.config.objectives)),
        ("version", model.version),
        ("goal heads", "yes" if model.goal_heads is not None else "no"),
        *((key, _number(metadata.pop(key))) for key in _TRAINING if key in metadata),
        *(("checks", message) for message in model.metadata.get("messages", [])),
    ]
    table = html_table("World model", rows)
    if not metadata:
        return table
    details = html_table(_DIAGNOSTICS, [(_name(key), _number(value)) for key, value in metadata.items()])
    return f"{table}<details><summary>Diagnostics</summary>{details}</details>"


def _number(value: object) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)


def _name(key: str) -> str:
    """Return the words of a key of the diagnostics.

    >>> _name("shuffled_skill_10"), _name("inverse_r2_from_z"), _name("dead_dimensions")
    ('skill 10 steps ahead, shuffled actions', 'inverse R2, first latent alone', 'dead dimensions')
    """
    kind, _, steps = key.rpartition("_skill_")
    if kind in _SKILLS and steps.isdigit():
        return f"skill {plural(int(steps), 'step')} ahead{_SKILLS[kind]}"
    return _NAMES.get(key, key.replace("_", " "))
