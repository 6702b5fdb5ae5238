"""Registry of everything robossl looks up by name: envs, agents, policies, objectives, report sections, metric sinks.

| group | built-in names are the keys of | entry-point group |
| --- | --- | --- |
| `envs` | `TASKS` of a file in `envs/`, registered with Gymnasium | `robossl.envs`: a function that registers envs |
| `agents` | `AGENTS` of a file in `agents/` | `robossl.agents` |
| `policies` | `POLICIES` of a file in `agents/` | `robossl.policies` |
| `objectives` | `OBJECTIVES` of a file in `robossl/world_model/objectives/` | `robossl.objectives` |
| `report_sections` | `SECTIONS` of a file in `robossl/evaluation/report/` | `robossl.report_sections` |
| `env_adapters` | `ADAPTERS` of a file in `envs/` | `robossl.env_adapters`: by the id of an env |
| `metric_sinks` | `SINKS` of a file in `robossl/logging/` | `robossl.metric_sinks` |

The names of a table are read from the source, so its keys must be string literals; a module is imported only
when one of its names is loaded. A script adds names of its own with `register`. Names read from a file (a config, a
manifest, a report) are only looked up here: no such name imports a module.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import env_registry
from robossl.core.env_ids import EnvName
from robossl.core.errors import UsageError, one_line, unknown_name_error
from robossl.env_objects import EnvLike, name_of
from robossl.env_registry import (
    check_backend,
    check_recorded_env,
    describe_actions,
    env_ids,
    env_kwargs,
    env_name,
    env_spec,
    is_native,
    is_native_batch,
    make_env,
    recorded_parts,
    trust_env,
    unusable_number,
)

__all__ = [
    "GROUPS",
    "EnvLike",
    "agent",
    "check_backend",
    "check_recorded_env",
    "check_settings",
    "describe_actions",
    "env_ids",
    "env_kwargs",
    "env_name",
    "env_spec",
    "is_native",
    "is_native_batch",
    "load",
    "load_all",
    "make_env",
    "make_envs",
    "name_of",
    "names",
    "policy",
    "recorded_parts",
    "register",
    "register_envs",
    "trust_env",
    "unusable_number",
]

_NAMESPACE = "robossl"


@dataclass(frozen=True)
class _Group:
    """The table in which modules of a package list the built-in names of a group."""

    noun: str  # singular, for messages
    package: str  # below `robossl`; searched with its subpackages
    table: str  # the dict that a module defines


_GROUPS = {
    "agents": _Group("agent", "agents", "AGENTS"),
    "policies": _Group("policy", "agents", "POLICIES"),
    "objectives": _Group("objective", "world_model.objectives", "OBJECTIVES"),
    "report_sections": _Group("report section", "evaluation.report", "SECTIONS"),
    "metric_sinks": _Group("metric sink", "logging", "SINKS"),
    "env_adapters": _Group("env adapter", "envs", "ADAPTERS"),
}
GROUPS = ("envs", *_GROUPS)
# arguments of factories that are no settings
_NOT_SETTINGS = {"envs", "representation", "seed", "device", "action_space", "num_envs", "stream"}
_added: dict[tuple[str, str], Any] = {}  # (group, name) -> what `register` was called with


# --- names and objects


def names(group: str) -> list[str]:
    """Return the sorted names of a group; no module and no entry point is imported."""
    if group == "envs":
        return env_ids()
    added = (name for added_group, name in _added if added_group == group)
    return sorted({*_builtin(group), *_entry_points(group), *added})


def load(group: str, name: str) -> Any:
    """Return the object of this name: an agent factory, a policy factory, an objective, ...

    Raises:
        UsageError: If there is no such name, or if the entry point of this name cannot be loaded.
    """
    if group == "envs":
        return env_spec(name)
    modules = _builtin(group)
    if (group, name) in _added:
        return _added[group, name]
    if name in modules:
        return getattr(importlib.import_module(modules[name]), _GROUPS[group].table)[name]
    points = _entry_points(group)
    if name not in points:
        raise unknown_name_error(_GROUPS[group].noun, name, names(group))
    try:
        return points[name].load()
    except Exception as error:  # third-party code may raise anything
        raise UsageError(_load_failure(group, points[name], error)) from error


def load_all(group: str) -> dict[str, Any]:
    """Return all objects of a group by name; warn of each entry point that cannot be loaded and leave it out."""
    objects = {}
    for name in names(group):
        try:
            objects[name] = load(group, name)
        except UsageError as error:
            warnings.warn(str(error), stacklevel=2)
    return objects


def register(group: str, name: str, value: Any) -> None:
    """Add a name in this process, as a script or a notebook does; a package uses an entry point instead.

    Example:
        robossl.register("agents", "my-agent", MyAgent)
        robossl.train("robossl/Reacher-v0", "my-agent", steps=1000)

    Args:
        group: agents, policies, objectives, report_sections or metric_sinks.
        name: A name that is not taken.
        value: What the group expects: a factory, an `Objective`, a `Section`, a sink class.

    Raises:
        UsageError: The name is taken by another object.
    """
    modules = _builtin(group)
    if name in modules or _added.get((group, name), value) is not value:
        noun = _GROUPS[group].noun
        raise UsageError(f"expected a new {noun} name, got {name!r}, which is taken; choose another name")
    _added[group, name] = value


def agent(name: str) -> Callable[..., Any]:
    """Return the factory of an agent: `make(envs, representation=None, seed=0, device="auto", **settings)`."""
    return load("agents", name)


def policy(name: str) -> Callable[..., Any]:
    """Return the factory of an exploration policy: `make(action_space, num_envs, seed=0)`."""
    return load("policies", name)


def check_settings(factory: Callable[..., Any], settings: Mapping[str, Any], name: str = "") -> None:
    """Check that a factory accepts these settings; one that takes `**settings` checks them itself.

    Raises:
        UsageError: If a setting is unknown; the message lists the known ones.
    """
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = sorted(
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in _NOT_SETTINGS
    )
    unknown = sorted(set(settings) - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        raise UsageError(
            f"{name or getattr(factory, '__name__', factory)} has no setting {', '.join(map(repr, unknown))};"
            f"{f' did you mean {near[0]!r}?' if near else ''} available: {', '.join(known) or 'none'}"
        )


@cache
def _builtin(group: str) -> dict[str, str]:
    """Return name -> module for the built-in names of a group, read from the source."""
    if group not in _GROUPS:
        raise unknown_name_error("group", group, GROUPS)
    table = _GROUPS[group].table
    modules: dict[str, str] = {}
    for module, path in _sources(_GROUPS[group].package):
        for name in _literal_keys(path, table):
            if name in modules:
                raise UsageError(
                    f"{table} of {module} and of {modules[name]} both define {name!r}; rename one"
                )
            modules[name] = module
    return modules


def _sources(package: str) -> list[tuple[str, Path]]:
    """Return (module, file) for every module of `robossl.<package>`; only its first level is imported."""
    top, *below = package.split(".")
    spec = importlib.util.find_spec(f"{_NAMESPACE}.{top}")
    folders = [] if spec is None else spec.submodule_search_locations or []
    sources = []
    for folder in (Path(f).joinpath(*below) for f in folders):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            sources.append((".".join([_NAMESPACE, package, *parts]), path))
    return sources


def _literal_keys(path: Path, table: str) -> list[str]:
    """Return the keys of the dict that a file assigns to `table`; none where it assigns nothing."""
    source = path.read_text(encoding="utf-8")
    if not re.search(rf"^{table}\b", source, re.MULTILINE):  # parsing all files would take 50 times as long
        return []
    keys: list[str] = []
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not any(isinstance(t, ast.Name) and t.id == table for t in targets):
            continue
        value = getattr(node, "value", None)
        literal = (
            [k.value for k in value.keys if isinstance(k, ast.Constant)]
            if isinstance(value, ast.Dict)
            else []
        )
        if not isinstance(value, ast.Dict) or len(literal) < len(value.keys):
            raise UsageError(f'{path}:{node.lineno}: expected {table} = {{"name": ...}} with literal names')
        keys += map(str, literal)
    return keys


# --- third-party packages


def _entry_points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of `robossl.<group>` by name; warn of names that are taken."""
    builtin = {} if group == "envs" else _builtin(group)
    points: dict[str, EntryPoint] = {}
    folders = tuple((folder, _changed(folder)) for folder in sys.path)
    for point in sorted(_installed(folders)[group], key=lambda p: (p.name, p.value)):
        if point.name in builtin or point.name in points:
            warnings.warn(f"{_describe(group, point)} is ignored: its name is taken", stacklevel=3)
        else:
            points[point.name] = point
    return points


@lru_cache(maxsize=4)
def _installed(folders: tuple[tuple[str, int], ...]) -> dict[str, EntryPoints]:
    """Return the entry points in `folders`, which are those of sys.path with their times, by group."""
    found = entry_points()
    return {group: found.select(group=f"{_NAMESPACE}.{group}") for group in GROUPS}


def _changed(folder: str) -> int:
    """Return the time [ns] at which a folder last got or lost a file; 0 if there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def _describe(group: str, point: EntryPoint) -> str:
    package = "" if point.dist is None else f" of package {point.dist.name}"
    return f"entry point {point.name} = {point.value} ({_NAMESPACE}.{group}){package}"


def _load_failure(group: str, point: EntryPoint, error: Exception) -> str:
    """Return the one-line message for an entry point that raised `error`."""
    return f"{_describe(group, point)} cannot be loaded: {type(error).__name__}: {one_line(error)}"


def register_envs() -> None:
    """Register the built-in envs, and those of third-party packages, with Gymnasium."""
    importlib.import_module("robossl.envs").register()
    for point in _entry_points("envs").values():
        try:
            point.load()()
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything
            warnings.warn(_load_failure("envs", point, error), stacklevel=2)


# --- envs


def make_envs(env: str, num_envs: int, **settings: Any) -> VectorEnv:
    """Make a vector env as `env_registry.make_envs` does, with the adapter that is registered for a third-party env."""
    return env_registry.make_envs(env, num_envs, adapter=env_adapter(env), **settings)


def env_adapter(env: str) -> Any:
    """Return the adapter of an env: the one its name selects, else the one registered under its id; None without."""
    name = EnvName.parse(env)
    if name.adapter is not None:
        return load("env_adapters", name.adapter)
    base = name.base.rpartition(":")[2]
    known = any(key == ("env_adapters", base) for key in _added) or base in _entry_points("env_adapters")
    return load("env_adapters", base) if known else None
