"""Randomization specs: validation, and sampling of parameter values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .randomized_parameter import RandomizedParameter, Range

# By parameter a value, a range [low, high], "train" or "test"; parameters that are missing are nominal.
RandomizationSpec = dict[str, Any]
# What users pass: a spec, "train" or "test" for all parameters, None, or a list of these for each sub-environment.
RandomizationArgument = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any] | None] | None

_RANGE_NAMES = ("train", "test")


def validate_spec(spec: Any, parameters: Mapping[str, RandomizedParameter]) -> RandomizationSpec:
    """Return `spec` as plain JSON.

    Args:
        spec: A dict as above, "train" or "test" for all parameters, or None for no randomization.
        parameters: The parameters of the model, by name.

    Raises:
        UsageError: Unknown parameter, or a value outside of its bounds.
    """
    if spec is None:
        return {}
    if isinstance(spec, str) and spec in _RANGE_NAMES:
        return dict.fromkeys(parameters, spec)
    if not isinstance(spec, Mapping):
        raise UsageError(f"expected randomization 'train', 'test' or a dict by parameter name, got {spec!r}")
    for name in spec:
        if name not in parameters:
            raise unknown_name_error("randomized parameter", name, parameters)
    return {name: _validate_value(parameters[name], value) for name, value in spec.items()}


def _validate_value(parameter: RandomizedParameter, value: Any) -> Any:
    if isinstance(value, str):
        if value in _RANGE_NAMES:
            return value
        raise UsageError(
            f"expected {parameter.name} as a number, [low, high], 'train' or 'test', got {value!r}"
        )
    low, high = parameter.bounds
    numbers = np.asarray(value)
    valid = numbers.dtype.kind in "iuf" and numbers.shape in ((), (2,))
    if valid and parameter.integer:
        valid = bool((numbers == np.round(numbers)).all())
    if (
        not valid
        or not ((numbers >= low) & (numbers <= high)).all()
        or (numbers.ndim and numbers[0] > numbers[1])
    ):
        kind = "whole numbers" if parameter.integer else "numbers"
        raise UsageError(
            f"expected {parameter.name} as {kind} from {low:g} to {high:g} [{parameter.unit}], a value or "
            f"[lowest, highest], got {value!r}"
        )
    return float(numbers) if numbers.ndim == 0 else [float(number) for number in numbers]


def sample_spec(
    spec: RandomizationSpec, parameters: Mapping[str, RandomizedParameter], random: np.random.Generator
) -> np.ndarray:
    """Return sampled values (F,), one for each parameter, in the order of `parameters`."""
    return np.array(
        [_sample_value(parameter, spec.get(name), random) for name, parameter in parameters.items()]
    )


def _sample_value(parameter: RandomizedParameter, value: Any, random: np.random.Generator) -> float:
    if value is None:
        return parameter.nominal
    if isinstance(value, float):
        return value
    ranges: Sequence[Range] = [tuple(value)] if isinstance(value, list) else getattr(parameter, value)
    lengths = np.array([high - low + parameter.integer for low, high in ranges])
    total = lengths.sum()
    low, high = ranges[int(random.choice(len(ranges), p=lengths / total))] if total else ranges[0]
    if parameter.integer:
        return float(random.integers(math.ceil(low), math.floor(high) + 1))
    return float(random.uniform(low, high))
