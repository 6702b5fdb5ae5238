"""Errors of the steps recorded in a stream: unusable numbers, and physics that diverged. Too many end the recording."""

from __future__ import annotations

import logging

from robossl.core.interfaces import UNUSABLE_FRACTION

_logger = logging.getLogger(__name__)
_MAX_WARNINGS = 5  # lines about such steps
# the recording ends after that many of them, if they are more than this fraction of all steps
_MAX_ERRORS = 50


class StepErrors:
    """Counts steps that ended their episodes, and logs the first ones.

    Args:
        env: Name of the env.
    """

    def __init__(self, env: str) -> None:
        self._env = env
        self.num_unusable = 0  # steps with a number that is not finite
        self.num_physics = 0  # steps whose physics diverged; the env logs them
        self._num_resets = 0

    def add(self, text: str, lane: int, step: int) -> None:
        """Count a step with an unusable number `text`, step `step` of the episode in `lane`."""
        self.num_unusable += 1
        if self.num_unusable <= _MAX_WARNINGS:
            more = "; further ones are only counted" if self.num_unusable == _MAX_WARNINGS else ""
            line = "%s: %s in lane %d at step %d of its episode, which ends there%s"
            _logger.warning(line, self._env, text, lane, step, more)

    def add_reset(self, lane: int) -> None:
        """Log that a lane is reset again because of its first observation."""
        self._num_resets += 1
        if self._num_resets <= _MAX_WARNINGS:
            line = "%s: non-finite first observation in lane %d, which is reset again"
            _logger.warning(line, self._env, lane)

    def too_many(self, num_steps: int, text: str) -> str | None:
        """Return why the recording of `num_steps` steps ends, with the last error; None if it goes on."""
        most = max(_MAX_ERRORS, UNUSABLE_FRACTION * num_steps)
        if self.num_unusable > most:
            return (
                f"expected finite numbers from {self._env}, got {text} and more in {self.num_unusable:,} of "
                f"{num_steps:,} steps; clip or replace them in the env, or with --wrap module:Wrapper"
            )
        if self.num_physics > most:
            return (
                f"expected physics of {self._env} that stay finite, got {self.num_physics:,} steps of {num_steps:,} "
                "after which they diverged; give the robot a smaller time step, weaker motors or more damping"
            )
        return None

    def report(self, num_steps: int) -> None:
        """Log the number of steps with unusable numbers, if not all of them were logged, and begin again."""
        if self.num_unusable > _MAX_WARNINGS:
            line = "%s: %d of %d steps returned unusable numbers; their episodes end there"
            _logger.warning(line, self._env, self.num_unusable, num_steps)
            self.num_unusable = 0
