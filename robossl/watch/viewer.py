"""Recorded episodes of a run in MuJoCo's viewer, the newest first, while the run records more."""

from __future__ import annotations

import time
from pathlib import Path

from robossl.core.errors import UsageError, WindowClosedError
from robossl.streams import Episode, Stream
from robossl.training import agent_loading
from robossl.watch.recorded_physics import RecordedPhysics

_STREAM = "stream"  # folder of the recorded steps in that of a run
_REPEATED = 10  # newest episodes that are shown again when there are no new ones
_MAX_STEPS = 1000  # of an episode that are shown


def show_episodes(folder: str | Path, count: int | None = None) -> int:
    """Show the newest recorded episodes of a run in the viewer, in real time, until its window is closed.

    An episode that the run recorded meanwhile is next; without one the newest ten are repeated, the newest first.

    Args:
        folder: A run or agent folder with a stream, running or finished, or a stream folder.
        count: Number of episodes; None: until the window is closed.

    Returns:
        The number of episodes that were shown.

    Raises:
        UsageError: The folder has no recorded steps, or the env has no physics that can be shown.
        OperationError: There is no display.
    """
    folder = Path(folder)
    path = folder / _STREAM if (folder / _STREAM).is_dir() else folder
    if not path.is_dir():
        raise UsageError(f"no folder {folder}; expected the folder of a run")
    stream = Stream.open(path)
    physics = RecordedPhysics(stream, agent_loading.env_of(folder), "human")
    period = 1 / (physics.envs.metadata.get("render_fps") or 30)  # [s]
    shown: list[int] = []  # ordinals, in the order in which they were shown
    try:
        while count is None or len(shown) < count:
            episode = _next_episode(stream, shown)
            due = time.monotonic()
            for _ in physics.states(episode, _MAX_STEPS):
                physics.envs.render()
                due = max(due + period, now := time.monotonic())
                time.sleep(due - now)
            shown.append(episode.ordinal)
    except WindowClosedError:
        pass
    finally:
        physics.close()
    return len(shown)


def _next_episode(stream: Stream, shown: list[int]) -> Episode:
    """Return the newest episode that was not shown yet, else the one of the newest that was shown the longest ago."""
    stream.refresh()
    ended = [episode for episode in stream.episodes() if episode.ended] or stream.episodes()
    newest = sorted(ended, key=lambda episode: -episode.ordinal)[:_REPEATED]
    if not newest:
        raise UsageError(f"{stream.path} has no episodes yet")
    last_shown = {ordinal: position for position, ordinal in enumerate(shown)}
    return min(newest, key=lambda episode: last_shown.get(episode.ordinal, -1))
