"""The recorded stream that an agent learns from: opening and checking it before the work starts."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import UsageError, shell_path
from robossl.streams import Stream
from robossl.streams.env_metadata import env_id

DEFAULT_OFFLINE_UPDATES = 20_000


def open_stream(name: str, stream: Stream | str | Path | None, envs: VectorEnv) -> Stream | None:
    """Return the opened stream for an agent; None without one.

    Args:
        name: Name of the agent in the registry.
        stream: A stream, or its folder.
        envs: The envs of the agent.

    Raises:
        UsageError: If the agent takes no stream or needs one, or if the stream is not of these envs: other spaces,
            another robot, or (for agents that learn from recorded rewards) rewards of another task.
    """
    factory = registry.agent(name)
    if stream is None:
        if getattr(factory, "needs_stream", False):
            raise UsageError(f"{name} learns from a recorded stream, got none; give --stream STREAM")
        return None
    if not takes_stream(factory):
        takers = [n for n, f in registry.load_all("agents").items() if takes_stream(f)]
        raise UsageError(f"{name} learns from no recorded stream; available: {', '.join(takers) or 'none'}")
    opened = Stream.open(stream) if isinstance(stream, (str, Path)) else stream
    check_stream_fits(opened, envs)
    if getattr(factory, "needs_reward", False):
        check_rewards(opened, envs)
    return opened


def takes_stream(factory: Any) -> bool:
    """Return whether an agent's factory has a parameter `stream`."""
    return "stream" in inspect.signature(factory).parameters


def check_stream_fits(stream: Stream, envs: VectorEnv) -> None:
    """Raise UsageError if a stream is empty, or has other spaces or another robot than `envs`."""
    if stream.transitions == 0:
        raise UsageError(f"expected a stream with transitions, got none in {stream.path}; collect some first")
    robot, recorded_robot = envs.metadata.get("robot"), stream.header.get("robot")
    if robot != recorded_robot and None not in (robot, recorded_robot):
        raise UsageError(
            f"expected a stream of robot {robot}, as in {env_id(envs)}; got one of {recorded_robot} "
            f"({stream.header.get('env')}) in {stream.path}"
        )
    for kind in ("observation", "action"):
        recorded, expected = getattr(stream, f"{kind}_space"), getattr(envs, f"single_{kind}_space")
        if recorded != expected:
            raise UsageError(
                f"expected a stream with {kind}s {spaces.format_space(expected)}, as in {env_id(envs)}; got "
                f"{spaces.format_space(recorded)} of {stream.header.get('env')} in {stream.path}"
                f"{_relabel_hint(stream, envs) if robot and robot == recorded_robot else ''}"
            )


def check_rewards(stream: Stream, envs: VectorEnv) -> None:
    """Raise UsageError if the rewards of a stream are those of another task."""
    recorded, expected = stream.header.get("env"), env_id(envs)
    if recorded != expected:
        raise UsageError(
            f"expected rewards of {expected}, got those of {recorded} in {stream.path}{_relabel_hint(stream, envs)}"
        )


def _relabel_hint(stream: Stream, envs: VectorEnv) -> str:
    """Return the command that gives a stream the rewards and goals of `envs`, for a message."""
    return f"; relabel it: robossl stream relabel {shell_path(stream.path)} --task {env_id(envs)} --out DIR"


def offline_updates(name: str, requested: int | None) -> int:
    """Return the updates of `learn_offline`: as requested, or the default of the agent."""
    if requested is not None:
        return requested
    return int(getattr(registry.agent(name), "offline_updates", DEFAULT_OFFLINE_UPDATES))
