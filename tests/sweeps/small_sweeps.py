"""Sweeps of the tests: world models that train in milliseconds, and what their cells wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SMALL = {
    "world_model.latent_dim": 4, "world_model.batch_size": 8, "world_model.encoder_hidden": [8],
    "world_model.dynamics_hidden": [8], "updates": 2, "head_updates": 0,
}  # fmt: skip
AXES = {"seed": [0, 1], "world_model.objectives": [["forward", "inverse"]]}
CARTPOLE = "robossl/CartPoleSwingUp-v0"


def content(stream: Path, **changes: Any) -> dict[str, Any]:
    """Return a sweep of two cells, as a sweep file has it."""
    return {"command": "pretrain", "settings": {**SMALL, "stream": str(stream)}, "axes": AXES, **changes}


def write_file(path: Path, stream: Path) -> None:
    """Write the sweep of `content` into a file."""
    settings = "\n".join(f'"{key}" = {value!r}' for key, value in {**SMALL, "stream": str(stream)}.items())
    path.write_text(
        f'command = "pretrain"\n\n[settings]\n{settings}\n\n[axes]\nseed = [0, 1]\n'
        '"world_model.objectives" = [["forward", "inverse"]]\n'
    )


def results(folder: Path) -> dict[str, bytes]:
    """Return the results of a sweep by name of the file."""
    return {path.name: path.read_bytes() for path in sorted((folder / "results").glob("*.json"))}
