"""Call a world model on numpy arrays in blocks: encode, imagine, decode, infer actions, uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from robossl.evaluation.split_data import SplitData, decoded_mask, decoded_values
from robossl.world_model import WorldModel

UncertaintySource = Literal["uncertainty", "disagreement"]
_BLOCK_SIZE = 1024  # items per call of the model


def as_array(output: Any) -> np.ndarray:
    """Return a model output (array or tensor) as a float64 array on the CPU."""
    if isinstance(output, np.ndarray):
        return output.astype(np.float64)
    return output.detach().cpu().numpy().astype(np.float64)


def encode(model: WorldModel, data: SplitData) -> np.ndarray:
    """Return the latents (N, Z) of all time steps. Images are encoded with the previous frame, as in training."""
    if not data.has_images:
        return _in_blocks(len(data.valid), lambda block: model.encode(_take(data.observation, block)))
    previous = np.maximum(np.arange(len(data.valid)) - 1, 0)
    previous[1:] += ~data.valid[:-1]  # the first time step of an episode is its own previous frame

    def encode_block(block: np.ndarray) -> Any:
        return model.encode(_take(data.observation, block), _take(data.observation, previous[block]))

    return _in_blocks(len(data.valid), encode_block)


def imagine(model: WorldModel, z: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return the open-loop rollout (B, T + 1, Z) from latents (B, Z) under actions (B, T, ...)."""
    start = z.astype(np.float32)
    return _in_blocks(len(z), lambda block: model.imagine(start[block], actions[block]))


def make_decoder(model: WorldModel, space: spaces.Space) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function from latents (N, Z) to observed values (N, D), nan for images.

    Returns None if the model has no decoder or observes images only.
    """
    decode, mask = getattr(model, "decode", None), decoded_mask(space)
    if decode is None or not mask.any():
        return None

    def decode_block(z: np.ndarray) -> np.ndarray:
        values = np.full((len(z), len(mask)), np.nan)
        values[:, mask] = decoded_values(space, decode(z.astype(np.float32)))
        return values

    return lambda z: _in_blocks(len(z), lambda block: decode_block(z[block]))


def infer_action(model: WorldModel, z: np.ndarray, z_next: np.ndarray) -> np.ndarray:
    """Return the env actions (B, ...) inferred by the model between latents z and z_next, (B, Z) each."""
    before, after = z.astype(np.float32), z_next.astype(np.float32)
    return _in_blocks(len(z), lambda block: model.infer_action(before[block], after[block]))


def model_uncertainty(
    model: WorldModel, z: np.ndarray, action: np.ndarray, source: UncertaintySource = "uncertainty"
) -> np.ndarray:
    """Return (B,) the one-step error predicted by the model, or the disagreement of its dynamics heads."""
    start, method = z.astype(np.float32), getattr(model, source)
    return _in_blocks(len(z), lambda block: method(start[block], action[block]))


def _in_blocks(n: int, compute: Callable[[np.ndarray], Any]) -> np.ndarray:
    blocks = [np.arange(i, min(i + _BLOCK_SIZE, n)) for i in range(0, n, _BLOCK_SIZE)]
    return np.concatenate([as_array(compute(block)) for block in blocks])


def _take(observation: Any, index: np.ndarray) -> Any:
    if isinstance(observation, dict):
        return {key: _take(value, index) for key, value in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_take(value, index) for value in observation)
    return observation[index]
