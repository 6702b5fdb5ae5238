"""Provenance of long work: what decides its result, stored in its checkpoints and compared when it is resumed.

On a CPU, resumed work ends with the same bytes as uninterrupted work if config, seed, threads, robot, code of the env
and versions are the same. The number of threads is kept; a difference in the others is refused, or accepted on request.
"""

from __future__ import annotations

import hashlib
import importlib
import platform
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core import system_info
from robossl.core.errors import UsageError
from robossl.core.interfaces import ModelDigestEnv
from robossl.training.config import thread_count
from robossl.world_model.device import resolve

FLAG = "--accept-changes"
_FREE = ("log", "threads", "device")  # config keys that decide no result, or whose value is stored on its own


def provenance(
    config: Mapping[str, Any], env: str | None, threads: int, device: str, envs: VectorEnv | None = None
) -> dict[str, Any]:
    """Return what decides the result of work that begins now, for `core.io.save_tree`.

    Args:
        config: All settings by dotted key.
        env: Name of the env; None if none is used.
        threads: Number of CPU threads as configured; 0 is resolved.
        device: Device of the networks as configured; auto is resolved.
        envs: Envs of this name; None: one is made to look at its robot.
    """
    return {
        "config": settings(config),
        "threads": thread_count(threads),
        "requested_threads": threads,
        "device": resolve(device).type,
        "robot": None if env is None else robot_digest(env, envs),
        "env_code": None if env is None else env_code(env),
        "versions": _versions(),
        "processor": system_info.processor(),
    }


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide the result, as they are read back from a checkpoint."""
    return {name: _plain(value) for name, value in config.items() if name not in _FREE}


def robot_digest(env: str, envs: VectorEnv | None = None) -> str | None:
    """Return a digest of the compiled robot of a native env; None for others."""
    if envs is None:
        if not registry.is_native(registry.env_spec(env)):
            return None
        with closing(registry.make_envs(env, 1)) as made:
            return robot_digest(env, made)
    return envs.unwrapped.model_digest() if isinstance(envs.unwrapped, ModelDigestEnv) else None


def env_code(env: str) -> str | None:
    """Return package and version of a third-party env, or a digest of its module if it is of no package."""
    entry = registry.env_spec(env).entry_point or registry.env_spec(env).vector_entry_point
    name = entry.split(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", None)
    if not name or name.split(".")[0] in ("robossl", "gymnasium"):
        return None
    top = name.split(".")[0]
    for package in metadata.packages_distributions().get(top, ()):
        return f"{package} {metadata.version(package)}"
    file = getattr(sys.modules.get(name) or importlib.import_module(name), "__file__", None)
    if file is None or not Path(file).is_file():
        return None
    return f"{Path(file).name} {hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()}"


def changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, as `torch 2.5.1 -> 2.6.0`; the processor, and threads that are not requested, are none."""
    found = []
    for group in ("config", "versions"):
        before, after = recorded.get(group, {}), now[group]
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                found.append(f"{name} {_text(before.get(name))} -> {_text(after.get(name))}")
    if now["requested_threads"] not in (0, recorded.get("threads")):
        found.append(f"threads {_text(recorded.get('threads'))} -> {now['requested_threads']}")
    for key, label in (("device", "device"), ("robot", "robot file"), ("env_code", "code of the env")):
        if recorded.get(key) != now[key]:
            found.append(f"{label} {_text(recorded.get(key))} -> {_text(now[key])}")
    return found


def check_changes(
    recorded: Mapping[str, Any], now: Mapping[str, Any], command: str, accept: bool
) -> list[str]:
    """Return the lines to print about a resumed work, of which `accept` allows any change.

    Raises:
        UsageError: There is a change, and it is not accepted; `command` is the command line that resumes.
    """
    found = changes(recorded, now)
    if found and not accept:
        raise UsageError(
            f"expected what it was started with, since the result depends on it, got changes: {', '.join(found)}; "
            f"to go on with them: {command} {FLAG}"
        )
    lines = [f"goes on with changes: {', '.join(found)}"] if found else []
    if now["requested_threads"] == 0 and recorded.get("threads", 0) > system_info.cores():
        lines.append(f"uses {recorded['threads']} threads as at its start, on {system_info.cores()} cores")
    if recorded.get("processor") != now["processor"]:
        lines.append(
            f"was started on another processor ({recorded.get('processor')}): last bits of results may differ"
        )
    return lines


def resumed(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of a resumed work: as it is now, with the number of threads of its start."""
    return {**now, "threads": now["requested_threads"] or recorded.get("threads", now["threads"])}


def _versions() -> dict[str, str]:
    versions = system_info.versions()
    return {**versions, "python": ".".join(platform.python_version_tuple()[:2])}


def _plain(value: Any) -> Any:
    """Return a config value as it is read back from a checkpoint."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _text(value: Any) -> str:
    return "none" if value is None else f"{value}"[:80]
