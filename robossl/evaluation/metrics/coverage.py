"""State coverage: which part of the states that any of several streams visits does each of them visit?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robossl.core.encoding import encode
from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import flatten_by_path, is_image, model_inputs
from robossl.core.statistics import main_directions
from robossl.streams import Stream

_COMPONENTS = 3  # largest number of principal components
_MAX_DIMENSIONS = 512  # more are reduced first: the cost grows as their third power
_BINS = 20  # of each component
_TAIL = 0.001  # fraction of the states below the first and above the last bin; they count as in these bins
_CONSTANT = 1e-6  # a quantity with a smaller relative standard deviation is constant


def state_coverage(states: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the coverage of each of several streams, from 0 to 1.

    The quantities are standardized over all streams together and projected on their principal components (at most 3).
    A grid of 20 bins a component spans the states of all streams. The coverage of a stream is the fraction of the cells
    with a state of any stream that have a state of this one. It depends on the number of states, which must be equal,
    and on the streams it is compared with.

    Args:
        states: By stream, the same number of states (N, D) of each, as `sample_states` draws them.

    Raises:
        UsageError: Another shape in one stream than in another, or states that do not vary.
    """
    shapes = {array.shape for array in states.values()}
    if len(shapes) != 1:
        raise UsageError(f"expected the same number of states of each stream, got {sorted(shapes)}")
    cells = _cells(np.concatenate(list(states.values())).astype(np.float64))  # (S N,)
    visited = len(np.unique(cells))
    return {name: len(np.unique(part)) / visited for name, part in zip(states, np.split(cells, len(states)))}


def coverage_growth(stream: Stream, seed: int = 0, count: int = 20_000) -> dict[str, list[int]]:
    """Return how many cells of the grid of `state_coverage` the first part of a stream visits, by its length.

    More states visit more cells. `cells_any_order` has as many states, drawn from the whole stream: where `cells` is
    lower, the later part visits states that the first part does not.

    Args:
        stream: The stream.
        seed: Seed of the sampled states.
        count: Number of sampled states, in the whole stream.

    Returns:
        {"steps", "cells", "cells_any_order"}, ten values each.

    Raises:
        UsageError: As in `sample_states` and `state_coverage`.
    """
    states, rows = _sample(stream, count, seed, None)
    order = np.argsort(rows, kind="stable")
    cells = _cells(states)
    ends = (np.arange(1, 11) * len(cells)) // 10
    total = stream.transitions
    return {
        "steps": [round(total * i / 10) for i in range(1, 11)],
        "cells": [len(np.unique(cells[order[:end]])) for end in ends],
        "cells_any_order": [len(np.unique(cells[:end])) for end in ends],  # drawn in random order
    }


def _cells(pooled: np.ndarray) -> np.ndarray:
    """Return the cell (N,) of each state (N, D) in a grid over their principal components."""
    mean, std = pooled.mean(0), pooled.std(0)
    varies = std > _CONSTANT * (1 + np.abs(mean))
    if not varies.any():
        raise UsageError("expected states that vary, got the same in all streams")
    standardized = ((pooled - mean) / np.where(varies, std, 1.0))[:, varies]
    if standardized.shape[1] > _MAX_DIMENSIONS:
        standardized = standardized @ main_directions(standardized, _MAX_DIMENSIONS)
    _, vectors = np.linalg.eigh(np.cov(standardized, rowvar=False).reshape(standardized.shape[1], -1))
    projected = standardized @ vectors[:, ::-1][:, :_COMPONENTS]  # (S N, C)
    low, high = np.quantile(projected, [_TAIL, 1 - _TAIL], axis=0)
    width = np.maximum(high - low, 1e-12) / _BINS
    bins = np.clip(np.floor((projected - low) / width), 0, _BINS - 1).astype(np.int64)
    return np.asarray(np.ravel_multi_index(tuple(bins.T), (_BINS,) * bins.shape[1]))


def sample_states(
    stream: Stream, count: int, seed: int = 0, fields: Sequence[str] | None = None
) -> np.ndarray:
    """Return privileged states (count, D) float64 at random time steps, drawn with replacement.

    Args:
        stream: The stream; of one without privileged state the observations are read, without images and goals.
        count: Number of states N.
        seed: Seed of the time steps.
        fields: Names of quantities of the privileged state, such as "position"; None: all.

    Raises:
        UsageError: An unknown name, or neither privileged state nor an observation of numbers.
    """
    return _sample(stream, count, seed, fields)[0]


def _sample(
    stream: Stream, count: int, seed: int, fields: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return states (count, D) as in `sample_states`, and the row of each in its lane (count,)."""
    available = [field.name for field in stream.schema.fields if field.role == "state"]
    names = available if fields is None else [f"state.{name}" for name in fields]
    if unknown := sorted(set(names) - set(available)):
        known = ", ".join(name.partition(".")[2] for name in available) or "none"
        raise UsageError(
            f"expected quantities of the privileged state, got {unknown[0].partition('.')[2]!r}; available: {known}"
        )
    window = stream.windows(count, 1, generator(seed, "coverage"), split=None, fields=names)
    if names:
        columns = [window.fields[name][:, 0] for name in names]
    else:
        leaves = flatten_by_path(stream.observation_space, window.observation)
        inputs = model_inputs(stream.observation_space)
        columns = [encode(leaf, leaves[path][:, 0]) for path, leaf in inputs.items() if not is_image(leaf)]
    if not columns:
        raise UsageError(
            "expected a stream with privileged state or observations of numbers, got images only"
        )
    states = np.concatenate([np.asarray(c, np.float64).reshape(count, -1) for c in columns], 1)
    return states, np.asarray(window.start)
