"""Validation of training data and spaces, before the first update."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import flatten_by_path, format_space, is_image, model_inputs
from robossl.streams import Stream, Window
from robossl.world_model.model import WorldModel

_TRANSITIONS = 4096  # transitions of the train split that are checked
_TRANSITIONS_WITH_IMAGES = 256
_CONSTANT = 1e-6  # numbers with a smaller relative range are constant
_NEED_ACTIONS = ("inverse", "multistep_inverse")  # objectives that cannot learn from constant actions


def check_training_data(
    model: WorldModel, stream: Stream, objectives: Collection[str], seed: int = 0
) -> None:
    """Check that the train split of `stream` is finite and that observations and actions vary.

    Raises:
        UsageError: A value is not finite, the observation is constant, or the action is constant and one of the
            `objectives` predicts it.
    """
    count = _TRANSITIONS_WITH_IMAGES if model.observation_processor.images else _TRANSITIONS
    window = stream.windows(count, 1, generator(seed, "world", "door"), split="train")
    check_finite(window, stream.observation_space)
    leaves = flatten_by_path(stream.observation_space, window.observation)
    if not any(
        _varies(leaves[path].reshape(2 * count, -1)) for path in model_inputs(stream.observation_space)
    ):
        raise UsageError(
            f"expected observations that vary, got the same in all {2 * count:,} checked time steps of the train "
            "split; check the observations of the env"
        )
    need_actions = [name for name in _NEED_ACTIONS if name in objectives]
    if need_actions and not _varies(window.action[window.valid].reshape(int(window.valid.sum()), -1)):
        raise UsageError(
            f"objective {need_actions[0]!r}: expected actions that vary, got the same in all {count:,} checked "
            "transitions of the train split; collect with --policy colored_noise or random, or remove the objective "
            "from world_model.objectives"
        )


def check_spaces_match(
    model: WorldModel, observation_space: spaces.Space, action_space: spaces.Space, owner: str
) -> None:
    """Check that the model can read observations of a space and act in another.

    Args:
        model: The world model.
        observation_space: The space of the observations; only leaves that the model reads are compared.
        action_space: The space of the actions.
        owner: What has these spaces, for the message ("the stream", "this env").

    Raises:
        UsageError: A leaf has another name, shape or type than in the model.
    """
    for kind, expected, actual in (
        ("observations", model_inputs(model.observation_space), model_inputs(observation_space)),
        ("actions", {"": model.action_space}, {"": action_space}),
    ):
        if {path: _type_of(leaf) for path, leaf in expected.items()} != {
            path: _type_of(leaf) for path, leaf in actual.items()
        }:
            raise UsageError(
                f"{kind} of {owner}: expected {_format(expected)} as in the model, got {_format(actual)}; "
                "use a model that was trained with this env"
            )


def _type_of(leaf: spaces.Space) -> tuple[object, ...]:
    """Return the properties of a leaf that determine its encoding; bounds and float precision do not."""
    if isinstance(leaf, spaces.Box):
        return ("image" if is_image(leaf) else "vector", leaf.shape)
    return (str(leaf),)


def _format(leaves: Mapping[str, spaces.Space]) -> str:
    return " and ".join(f"{path} {format_space(leaf)}".strip() for path, leaf in leaves.items())


def check_finite(window: Window, space: spaces.Space) -> None:
    """Raise UsageError with the position of the first number of `window` that is not finite."""
    leaves = flatten_by_path(space, window.observation)
    values_by_name = {f"observation {path}".rstrip(): values for path, values in leaves.items()}
    for name, values in (*values_by_name.items(), ("action", window.action)):
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        batch, step = np.argwhere(~np.isfinite(values))[0][:2]
        raise UsageError(
            f"{name}: expected finite numbers, got {values[batch, step][~np.isfinite(values[batch, step])].flat[0]} at "
            f"time step {window.start[batch] + step} of lane {window.lane[batch]} of the stream"
        )


def _varies(values: np.ndarray) -> bool:
    """Return whether the entries of `values` (N, D) differ over N."""
    if values.dtype.kind != "f":
        return bool((values != values[:1]).any())
    return bool((np.ptp(values, axis=0) > _CONSTANT * (1 + np.abs(values).max(0))).any())
