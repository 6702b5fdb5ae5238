"""Text and HTML of a world model (untyped here: the model imports this module)."""

from __future__ import annotations

from typing import Any

from robossl.core.display import html_table, one_line, plural
from robossl.core.spaces import format_space

_HIDDEN = ("messages", "path")  # entries of the metadata that are not numbers of the training


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
    """Return a table of what a model reads, its size, and what it was trained on, as HTML."""
    rows: list[tuple[str, object]] = [
        ("observations", format_space(model.observation_space)),
        ("actions", format_space(model.action_space)),
        ("latent dimension", model.latent_dim),
        ("weights", f"{sum(p.numel() for p in model.parameters()):,}"),
        ("objectives", ", ".join(model.config.objectives)),
        ("version", model.version),
        ("goal heads", "yes" if model.goal_heads is not None else "no"),
    ]
    for key, value in model.metadata.items():
        if key not in _HIDDEN:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((key.replace("_", " "), text))
    rows += [("", message) for message in model.metadata.get("messages", [])]
    return html_table("World model", rows)
