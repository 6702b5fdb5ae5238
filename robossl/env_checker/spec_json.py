"""An env's spec and settings as JSON, so that a fresh process can make the same env."""

from __future__ import annotations

import importlib
import json
from typing import Any

from gymnasium.envs.registration import EnvSpec, WrapperSpec

_SIMPLE = ("id", "reward_threshold", "nondeterministic", "max_episode_steps", "order_enforce")


class NotPortable(ValueError):
    """Another process cannot make this env: it is made by something without a name that can be imported."""


def pack(value: Any) -> Any:
    """Settings as JSON; tuples stay tuples."""
    if isinstance(value, tuple):
        return {"tuple": [pack(part) for part in value]}
    if isinstance(value, list):
        return [pack(part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: pack(part) for key, part in value.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise NotPortable(f"a setting is a {type(value).__name__}")


def unpack(value: Any) -> Any:
    """The inverse of `pack`."""
    if isinstance(value, list):
        return [unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(unpack(part) for part in value["tuple"])
    return {key: unpack(part) for key, part in value["dict"].items()}


def from_spec(spec: EnvSpec) -> dict[str, Any]:
    """A spec as JSON; `NotPortable` where its entry point has no name."""
    found = {name: getattr(spec, name) for name in _SIMPLE}
    found["entry_point"] = _name(spec.entry_point)
    found["vector_entry_point"] = _name(spec.vector_entry_point)
    found["kwargs"] = pack(dict(spec.kwargs))
    found["wrappers"] = [
        {"name": w.name, "entry_point": w.entry_point, "kwargs": pack(w.kwargs)}
        for w in spec.additional_wrappers
    ]
    json.dumps(found)
    return found


def _name(entry: Any) -> str | None:
    """`module:name` of an entry point."""
    if isinstance(entry, str) and not entry.startswith("__main__:"):
        return entry
    if entry is None:
        return None
    module, name = getattr(entry, "__module__", None), getattr(entry, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        raise NotPortable(f"it is made by {entry!r}, which no other process can import")
    if getattr(importlib.import_module(str(module)), name, None) is not entry:
        raise NotPortable(f"it is made by {entry!r}, which is not {module}:{name}")
    return f"{module}:{name}"


def to_spec(found: dict[str, Any]) -> EnvSpec:
    """The inverse of `from_spec`."""
    return EnvSpec(
        **{name: found[name] for name in _SIMPLE},
        entry_point=found["entry_point"],
        vector_entry_point=found["vector_entry_point"],
        kwargs=unpack(found["kwargs"]),
        additional_wrappers=tuple(
            WrapperSpec(name=w["name"], entry_point=w["entry_point"], kwargs=unpack(w["kwargs"]))
            for w in found["wrappers"]
        ),
    )
