"""JSON form of an env's spec and settings, from which a subprocess makes the same env."""

from __future__ import annotations

import importlib
import json
from typing import Any

from gymnasium.envs.registration import EnvSpec, WrapperSpec

_SIMPLE_FIELDS = ("id", "reward_threshold", "nondeterministic", "max_episode_steps", "order_enforce")


class NotSerializable(ValueError):
    """Another process cannot make this env: a setting has no JSON form, or the entry point no importable name."""


def pack(value: Any) -> Any:
    """Return settings as JSON values that keep tuples apart from lists."""
    if isinstance(value, tuple):
        return {"tuple": [pack(part) for part in value]}
    if isinstance(value, list):
        return [pack(part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: pack(part) for key, part in value.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise NotSerializable(f"a setting is of type {type(value).__name__}")


def unpack(value: Any) -> Any:
    """Return the inverse of `pack`."""
    if isinstance(value, list):
        return [unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(unpack(part) for part in value["tuple"])
    return {key: unpack(part) for key, part in value["dict"].items()}


def from_spec(spec: EnvSpec) -> dict[str, Any]:
    """Return a spec as JSON values.

    Raises:
        NotSerializable: If its entry point has no importable name.
    """
    fields = {name: getattr(spec, name) for name in _SIMPLE_FIELDS}
    fields["entry_point"] = _entry_point_name(spec.entry_point)
    fields["vector_entry_point"] = _entry_point_name(spec.vector_entry_point)
    fields["kwargs"] = pack(dict(spec.kwargs))
    fields["wrappers"] = [
        {"name": w.name, "entry_point": w.entry_point, "kwargs": pack(w.kwargs)}
        for w in spec.additional_wrappers
    ]
    json.dumps(fields)
    return fields


def _entry_point_name(entry_point: Any) -> str | None:
    """Return `module:name` of an entry point."""
    if isinstance(entry_point, str) and not entry_point.startswith("__main__:"):
        return entry_point
    if entry_point is None:
        return None
    module, name = getattr(entry_point, "__module__", None), getattr(entry_point, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        raise NotSerializable(f"its entry point is {entry_point!r}, which no other process can import")
    if getattr(importlib.import_module(str(module)), name, None) is not entry_point:
        raise NotSerializable(f"its entry point is {entry_point!r}, which is not {module}:{name}")
    return f"{module}:{name}"


def to_spec(fields: dict[str, Any]) -> EnvSpec:
    """Return the inverse of `from_spec`."""
    return EnvSpec(
        **{name: fields[name] for name in _SIMPLE_FIELDS},
        entry_point=fields["entry_point"],
        vector_entry_point=fields["vector_entry_point"],
        kwargs=unpack(fields["kwargs"]),
        additional_wrappers=tuple(
            WrapperSpec(name=w["name"], entry_point=w["entry_point"], kwargs=unpack(w["kwargs"]))
            for w in fields["wrappers"]
        ),
    )
