"""A model asked in numpy, a block of rows at a time: encode, imagine, infer, doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from robossl.evaluation.split_data import SplitData, decoded_columns, decoded_numbers

Doubt = Literal["uncertainty", "disagreement"]
_BLOCK = 1024  # rows a call


def as_array(value: Any) -> np.ndarray:
    """A model's answer as a float64 array; tensors are taken off their device."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    return value.detach().cpu().numpy().astype(np.float64)


def encode(model: Any, rows: SplitData) -> np.ndarray:
    """z (N, Z) of all rows. Images are seen beside the frame before them, as in training."""
    if not rows.images:
        return _blocks(len(rows.valid), lambda block: model.encode(_take(rows.observation, block)))
    before = np.maximum(np.arange(len(rows.valid)) - 1, 0)
    before[1:] += ~rows.valid[:-1]  # the first row of an episode stands beside itself

    def ask(block: np.ndarray) -> Any:
        return model.encode(_take(rows.observation, block), _take(rows.observation, before[block]))

    return _blocks(len(rows.valid), ask)


def imagine(model: Any, z: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Open loop from z (B, Z) under actions (B, T, ...): z (B, T + 1, Z), nothing seen on the way."""
    start = z.astype(np.float32)
    return _blocks(len(z), lambda block: model.imagine(start[block], actions[block]))


def decoding(model: Any, space: spaces.Space) -> Callable[[np.ndarray], np.ndarray] | None:
    """From z (N, Z) to the numbers (N, D) that `model` expects to see, nan for images; None if it decodes nothing."""
    decode, columns = getattr(model, "decode", None), decoded_columns(space)
    if decode is None or not columns.any():
        return None

    def ask(z: np.ndarray) -> np.ndarray:
        numbers = np.full((len(z), len(columns)), np.nan)
        numbers[:, columns] = decoded_numbers(space, decode(z.astype(np.float32)))
        return numbers

    return lambda z: _blocks(len(z), lambda block: ask(z[block]))


def infer_action(model: Any, z: np.ndarray, z_next: np.ndarray) -> np.ndarray:
    """The env actions (B, ...) the model believes led from z to z_next, (B, Z) each."""
    before, after = z.astype(np.float32), z_next.astype(np.float32)
    return _blocks(len(z), lambda block: model.infer_action(before[block], after[block]))


def model_uncertainty(model: Any, z: np.ndarray, action: np.ndarray, by: Doubt = "uncertainty") -> np.ndarray:
    """The error (B,) that the model expects of the step from z under action, or the disagreement of its heads."""
    start, ask = z.astype(np.float32), getattr(model, by)
    return _blocks(len(z), lambda block: ask(start[block], action[block]))


def _blocks(n: int, ask: Callable[[np.ndarray], Any]) -> np.ndarray:
    return np.concatenate([as_array(ask(np.arange(i, min(i + _BLOCK, n)))) for i in range(0, n, _BLOCK)])


def _take(observation: Any, index: np.ndarray) -> Any:
    if isinstance(observation, dict):
        return {key: _take(value, index) for key, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_take(value, index) for value in observation)
    return observation[index]
