"""A tree taken apart: its arrays, and a skeleton of plain JSON that says where each of them was."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.tensor_file import to_storable


def flatten(value: Any, arrays: dict[str, np.ndarray], where: str) -> Any:
    """JSON with a reference in place of every array; the arrays are put aside into `arrays`."""
    if isinstance(value, Mapping):
        pairs = [[_key(k, where), flatten(v, arrays, f"{where}[{k!r}]")] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        return {"list": [flatten(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, str)):
        return {"value": value}
    if isinstance(value, (float, np.float16, np.float32)):
        return {"float": float(value).hex()}  # exact, and infinities too
    if isinstance(value, (np.bool_, np.integer)):
        return {"value": value.item()}
    name = f"{len(arrays):06d}"
    arrays[name] = to_storable(_array(value, where), where)
    return {"array": name}


def unflatten(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `dismantle`, with arrays of its own; ValueError, KeyError or TypeError for nonsense."""
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
    raise ValueError(f"no node is called {kind!r}")


def _key(key: Any, where: str) -> str | dict[str, int]:
    """A key as JSON; whole numbers too, since optimisers number their parameters."""
    if isinstance(key, str):
        return key
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return {"int": int(key)}
    raise TypeError(f"a tree has words and whole numbers as keys; got {key!r} at {where}")


def _array(value: Any, where: str) -> np.ndarray:
    torch = sys.modules.get("torch")  # who holds a tensor has imported torch
    if torch is not None and isinstance(value, torch.Tensor):
        try:
            return value.detach().cpu().numpy()
        except TypeError as error:  # bfloat16 and the like
            raise UsageError(f"{where} is a tensor of {value.dtype}, which numpy lacks") from error
    if isinstance(value, np.ndarray):
        return value
    raise TypeError(f"a tree holds numbers, words, arrays and tensors; got {type(value).__name__} at {where}")
