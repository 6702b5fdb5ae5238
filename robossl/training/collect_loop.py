"""Loop that records a policy, and that continues from a checkpoint to the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robossl.core.interfaces import Checkpointable, Policy, ProgressReporter
from robossl.rollout import StepLoop
from robossl.streams import Recorder
from robossl.training.env_resume import restore_env_state
from robossl.training.work_context import interrupts_between_steps

CHECKPOINT_INTERVAL = 10.0  # [s] between checkpoints of a recording
_SHARE = 0.05  # of the time may be spent on checkpoints


class CollectLoop:
    """Steps of an exploring policy in recorded envs.

    `run(N)` and then `run(M)` record what `run(M)` does, also with a checkpoint and another process in between.
    """

    def __init__(self, recorder: Recorder, policy: Policy, seed: int) -> None:
        """Record `policy` in the envs of `recorder`; the first reset has this seed."""
        self.recorder, self.policy, self.seed = recorder, policy, int(seed)
        self.loop = StepLoop(recorder, seed, reset_at_end=True)
        assert recorder.stream is not None
        self.stream = recorder.stream
        self._first_rows = self.stream.lengths[
            recorder.lanes
        ]  # (n,) where this recording begins in each lane
        self._requested = 0  # total of steps
        self._due = time.monotonic() + CHECKPOINT_INTERVAL

    @property
    def num_steps(self) -> int:
        """Env steps so far, summed over the sub-environments."""
        return self.loop.num_steps

    def run(
        self,
        total: int,
        progress: ProgressReporter,
        save: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Record until there are `total` steps.

        Args:
            total: Env steps since the first reset, summed over the sub-environments.
            progress: Receives the steps.
            save: Called with a checkpoint at the end; for a policy with checkpoints also every few seconds, and after
                Ctrl-C. The recording of another policy begins again when it is resumed.
        """
        saves_within = save is not None and isinstance(self.policy, Checkpointable)
        steps = self.loop.steps(self.policy, total - self._requested, progress)
        self._requested = total
        with interrupts_between_steps() as interrupted:
            for _ in steps:
                if interrupted():
                    break
                if save is not None and saves_within and time.monotonic() >= self._due:
                    self._save(save)
            if save is not None and (saves_within or not interrupted()):
                save(self.get_checkpoint())
        if interrupted():
            raise KeyboardInterrupt

    def _save(self, save: Callable[[dict[str, Any]], None]) -> None:
        start = time.monotonic()
        save(self.get_checkpoint())
        duration = time.monotonic() - start
        self._due = start + duration + max(CHECKPOINT_INTERVAL, duration / _SHARE)

    def get_checkpoint(self) -> dict[str, Any]:
        """Write all recorded rows, and return what determines the rest of the recording."""
        policy = self.policy
        return {
            "stream": self.stream.offset(end_chunk=False),
            "first_rows": self._first_rows,
            "recorder": self.recorder.get_checkpoint(),
            "loop": self.loop.get_checkpoint(),
            "policy": policy.get_checkpoint() if isinstance(policy, Checkpointable) else None,
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> str | None:
        """Continue from `get_checkpoint`, whose stream offset the stream is truncated to.

        Returns:
            Why the recording cannot go on where it was; then new episodes begin. None if it can.
        """
        self._first_rows = np.array(tree["first_rows"], np.int64)
        loop = dict(tree["loop"])
        self._requested = int(loop["requested_steps"])
        self.loop.set_checkpoint({**loop, "observation": None})  # new episodes
        if loop["num_steps"] == 0:
            return None  # the recording has not begun
        if tree["policy"] is None or not isinstance(self.policy, Checkpointable):
            return "the policy has no checkpoint"
        self.policy.set_checkpoint(tree["policy"])
        if tree["recorder"]["envs"] is None:
            reason = restore_env_state(
                self.recorder.env,
                None,
                self.seed % 2**31,
                self._recorded_steps,
                running=np.array(tree["recorder"]["in_episode"], bool),
            )
            if reason is not None:
                return reason
        self.recorder.set_checkpoint(tree["recorder"])
        self.loop.set_checkpoint(loop)
        return None

    def _recorded_steps(self) -> list[dict[str, np.ndarray]]:
        """Return the rows of this recording, by sub-environment."""
        lengths = self.stream.lengths
        return [
            self.stream.read(int(lane), int(first), int(lengths[lane]))
            for lane, first in zip(self.recorder.lanes, self._first_rows)
        ]
