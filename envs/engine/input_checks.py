"""Checks of what users pass to envs: actions, sub-environment indices, physics states, goals, seeds, reset options."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from robossl.core.errors import UsageError


def check_action(action: Any, shape: Sequence[int] | None) -> np.ndarray:
    """Return `action` as an array of the expected shape, all finite.

    Raises:
        UsageError: The action is not numeric, has another shape, or holds NaN or infinity.
    """
    array = np.asarray(action)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"expected actions that are numbers, got {array.dtype}")
    if array.shape != shape:
        raise UsageError(f"expected actions of shape {shape}, got {array.shape}")
    finite = np.isfinite(array)
    if np.count_nonzero(finite) < finite.size:
        raise UsageError(f"expected finite actions, got {array[~finite][0]}")
    return array


def check_env_ids(env_ids: Any, num_envs: int) -> np.ndarray:
    """Return distinct sub-environment indices (m,) as an array, in the given order; all of them for None."""
    if env_ids is None:
        return np.arange(num_envs)
    ids = np.asarray(env_ids)
    valid = ids.ndim == 1 and ids.size and np.issubdtype(ids.dtype, np.integer)
    if not valid or len(set(ids.tolist())) < len(ids) or ids.min() < 0 or ids.max() >= num_envs:
        raise UsageError(f"expected distinct env_ids from 0 to {num_envs - 1}, got {ids.tolist()}")
    return ids


def check_finite_rows(name: str, values: Any, shape: tuple[int | str, int], dtype: type) -> np.ndarray:
    """Return `values` as a finite 2D array of `dtype`; a str in `shape` is the name of a free length."""
    array: np.ndarray = np.asarray(values, dtype)
    fits = array.ndim == 2 and all(isinstance(n, str) or n == m for n, m in zip(shape, array.shape))
    if not fits or not np.isfinite(array).all():
        expected = f"({shape[0]}, {shape[1]})"
        raise UsageError(f"expected finite {name} of shape {expected}, got shape {array.shape}")
    return array


def check_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return one seed for each sub-environment: an int s gives s + i to sub-environment i."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + env_index for env_index in range(num_envs)]
    seeds = [None if s is None else int(s) for s in seed]
    if len(seeds) != num_envs:
        raise UsageError(f"expected {num_envs} seeds, one for each sub-environment, got {len(seeds)}")
    return seeds


def check_reset_options(options: Mapping[str, Any] | None, known: Collection[str]) -> Mapping[str, Any]:
    """Return the options of `reset`; refuse those that are not in `known`."""
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise UsageError(
            f"unknown reset options: {', '.join(unknown)}; available: {', '.join(sorted(known))}"
        )
    return options or {}


def check_reset_mask(mask: Any, num_envs: int) -> np.ndarray:
    """Return a new mask (n,) bool of the sub-environments to reset; all of them for None."""
    if mask is None:
        return np.ones(num_envs, bool)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (num_envs,) or not mask.any():
        raise UsageError(f"expected a reset_mask of {num_envs} booleans, not all false, got {mask.tolist()}")
    return mask.copy()
