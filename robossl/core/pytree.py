"""Pytrees: separate the arrays of a nested structure from its JSON description, and join them again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.tensor_file import to_storable


def flatten(value: Any, arrays: dict[str, np.ndarray], where: str) -> Any:
    """Return a JSON description of a tree with a reference in place of each array.

    Args:
        value: Nested dicts, lists and tuples of numbers, strings, arrays and tensors.
        arrays: Receives the arrays by their reference.
        where: Path of `value` in the tree, for errors.

    Raises:
        TypeError: If a key or value has an unsupported type.
        UsageError: If an array has a dtype that safetensors cannot store.
    """
    if isinstance(value, Mapping):
        pairs = [[_key(k, where), flatten(v, arrays, f"{where}[{k!r}]")] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        return {"list": [flatten(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, str)):
        return {"value": value}
    if isinstance(value, (float, np.float16, np.float32)):
        return {"float": float(value).hex()}  # exact; JSON has no infinities
    if isinstance(value, (np.bool_, np.integer)):
        return {"value": value.item()}
    name = f"{len(arrays):06d}"
    arrays[name] = to_storable(_array(value, where), where)
    return {"array": name}


def unflatten(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the tree of a description from `flatten`, with copies of the arrays.

    Raises:
        ValueError, KeyError, TypeError: If the description is malformed.
    """
    ((kind, content),) = node.items()
    if kind == "dict":
        return {(k["int"] if isinstance(k, dict) else k): unflatten(v, arrays) for k, v in content}
    if kind == "list":
        return [unflatten(v, arrays) for v in content]
    if kind == "array":
        return np.array(arrays[content])
    if kind == "float":
        return float.fromhex(content)
    if kind == "value":
        return content
    raise ValueError(f"expected a known node type, got {kind!r}")


def _key(key: Any, where: str) -> str | dict[str, int]:
    """Return a dict key as JSON; integers are allowed because optimizer states use them."""
    if isinstance(key, str):
        return key
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return {"int": int(key)}
    raise TypeError(f"expected strings and integers as keys, got {key!r} at {where}")


def _array(value: Any, where: str) -> np.ndarray:
    torch = sys.modules.get("torch")  # a tensor exists only if torch was imported
    if torch is not None and isinstance(value, torch.Tensor):
        try:
            return value.detach().cpu().numpy()
        except TypeError as error:  # bfloat16 and the like
            raise UsageError(f"{where} is a tensor of {value.dtype}, which numpy does not support") from error
    if isinstance(value, np.ndarray):
        return value
    raise TypeError(f"expected numbers, strings, arrays and tensors, got {type(value).__name__} at {where}")
