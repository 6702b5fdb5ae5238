"""RecordedPhysics: an env that is set to the recorded states of episodes, to render or show them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.interfaces import PhysicsStateEnv
from robossl.evaluation.context import recorded_settings
from robossl.evaluation.video.recording import make_render_env
from robossl.streams import Episode, Stream

_PHYSICS, _GOAL = "physics", "observation.desired_goal"


class RecordedPhysics:
    """One sub-environment that goes through the recorded states of the episodes of a stream."""

    def __init__(self, stream: Stream, env: str, mode: str = "rgb_array") -> None:
        """Make the env.

        Args:
            stream: The episodes.
            env: The env that shows them.
            mode: Its render mode.

        Raises:
            UsageError: No physics was recorded, or the env cannot be set to it.
        """
        if _PHYSICS not in stream.schema.names:
            raise UsageError(
                "the stream has neither images nor physics states; its curves are all there is to see"
            )
        self._stream = stream
        self.envs = make_render_env(env, mode, **recorded_settings(stream))
        inner = self.envs.unwrapped
        if not isinstance(inner, PhysicsStateEnv):
            self.envs.close()
            raise UsageError(f"{env} cannot be set to recorded states; the curves are all there is to see")
        self._inner = inner
        self._is_reset = False

    def states(self, episode: Episode, max_steps: int) -> Iterator[int]:
        """Put the env into each recorded state of an episode, and yield its index; at most `max_steps` states."""
        stop = min(episode.stop, episode.start + max_steps)
        names = [name for name in (_PHYSICS, _GOAL) if name in self._stream.schema.names]
        rows = self._stream.read(episode.lane, episode.start, stop, names)
        goals = np.asarray(rows[_GOAL], float) if _GOAL in rows else None
        if not self._is_reset:
            self.envs.reset(seed=0)
            self._is_reset = True
        for i, state in enumerate(np.asarray(rows[_PHYSICS])):
            self._inner.set_physics_state(state[None], goal=None if goals is None else goals[i : i + 1])
            yield i

    def close(self) -> None:
        """Close the env."""
        self.envs.close()
