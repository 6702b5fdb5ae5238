"""At the door of learning: what a stream lacks is told in one line, before the first update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import flatten_by_path, format_space, is_image, model_inputs
from robossl.streams import Window
from robossl.world_model.model import WorldModel

_ROWS = 4096  # transitions of train that are looked at; fewer where there are images
_IMAGES = 256
_SAME = 1e-6  # relative spread below which numbers count as constant
_ACTING = ("inverse", "multistep_inverse")  # objectives that want to know what was done


def check_training_data(model: WorldModel, stream: Any, objectives: Any, seed: int = 0) -> None:
    """`RequestError` where there is nothing to learn from the stream, or numbers in it that are none."""
    rows = _IMAGES if model.observations.images else _ROWS
    window = stream.windows(rows, 1, generator(seed, "world", "door"), split="train")
    check_finite(window, stream.observation_space)
    seen = flatten_by_path(stream.observation_space, window.observation)
    if not any(_varies(seen[path].reshape(2 * rows, -1)) for path in model_inputs(stream.observation_space)):
        raise UsageError(
            f"the observation is the same in all {2 * rows:,} rows of train that were looked at; "
            "there is nothing to learn from it"
        )
    wanted = [name for name in _ACTING if name in objectives]
    if wanted and not _varies(window.action[window.valid].reshape(int(window.valid.sum()), -1)):
        raise UsageError(
            f"the action is the same in all {rows:,} transitions of train that were looked at, so {wanted[0]!r} "
            "has nothing to tell apart; collect with --policy colored_noise or random, or leave it out of world_model.objectives"
        )


def check_spaces_match(
    model: WorldModel, observations: spaces.Space, actions: spaces.Space, whose: str
) -> None:
    """`RequestError` where what the model reads, or its actions, are of other names, shapes or kinds than these."""
    for what, ours, theirs in (
        ("observations", model_inputs(model.observation_space), model_inputs(observations)),
        ("actions", {"": model.action_space}, {"": actions}),
    ):
        if {name: _kind(leaf) for name, leaf in ours.items()} != {
            n: _kind(leaf) for n, leaf in theirs.items()
        }:
            raise UsageError(f"the model was made for {what} {_told(ours)}; {whose} has {_told(theirs)}")


def _kind(leaf: Any) -> tuple[Any, ...]:
    """What decides how a leaf is coded; bounds and the width of floats do not."""
    if isinstance(leaf, spaces.Box):
        return ("image" if is_image(leaf) else "numbers", leaf.shape)
    return (str(leaf),)


def _told(leaves: Mapping[str, Any]) -> str:
    shown = [f"{name} {format_space(leaf)}" if name else format_space(leaf) for name, leaf in leaves.items()]
    return " and ".join(shown)


def check_finite(window: Window, space: spaces.Space) -> None:
    """`RequestError` with the place of the first number in a window that is none."""
    named = {
        f"observation {path}".rstrip(): value
        for path, value in flatten_by_path(space, window.observation).items()
    }
    for name, values in (*named.items(), ("action", window.action)):
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        batch, step = np.argwhere(~np.isfinite(values))[0][:2]
        raise UsageError(
            f"the stream has numbers that are not finite as {name} in row {window.start[batch] + step} "
            f"of lane {window.lane[batch]}"
        )


def _varies(values: np.ndarray) -> bool:
    """Whether rows (N, D) differ."""
    if values.dtype.kind != "f":
        return bool((values != values[:1]).any())
    return bool((np.ptp(values, axis=0) > _SAME * (1 + np.abs(values).max(0))).any())
