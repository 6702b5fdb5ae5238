"""Frames of envs: what `render()` returns, as an image (H, W, 3) uint8."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import UsageError

_CHANNELS = (1, 3, 4)  # gray, RGB, RGBA


def as_frame(rendered: Any) -> np.ndarray:
    """Return a rendered image as a frame (H, W, 3) uint8.

    The last image of a list counts. Gray images get three channels and RGBA images lose one. Floats are fractions
    of 255 if none is above 1, else values up to 255.

    Raises:
        UsageError: If it is no image.
    """
    image = rendered[-1] if isinstance(rendered, (list, tuple)) and len(rendered) else rendered
    array = np.asarray(image) if isinstance(image, (np.ndarray, list, tuple)) else np.empty(0)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[-1] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, -1)  # channels come first
    if (
        array.ndim != 3
        or array.shape[-1] not in _CHANNELS
        or array.size == 0
        or array.dtype.kind not in "fiub"
    ):
        raise UsageError(
            f"expected a frame (height, width, 3) uint8 from render(), got {_describe(rendered)}"
        )
    if array.dtype != np.uint8:
        array = _as_bytes(array)
    return np.repeat(array, 3, axis=2) if array.shape[-1] == 1 else np.ascontiguousarray(array[..., :3])


def _as_bytes(array: np.ndarray) -> np.ndarray:
    numbers = np.nan_to_num(array.astype(np.float64))
    is_fraction = array.dtype.kind in "fb" and numbers.max() <= 1.0
    return np.clip(np.rint(numbers * 255.0 if is_fraction else numbers), 0, 255).astype(np.uint8)


def _describe(rendered: Any) -> str:
    if isinstance(rendered, np.ndarray):
        return f"{rendered.dtype} {rendered.shape}"
    return f"a {type(rendered).__name__}" if rendered is not None else "None"
