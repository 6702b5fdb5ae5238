"""Records what an env's lanes live through. Here it is settled, once, which step belongs to which episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import Checkpointable
from robossl.rollout import autoreset_mode
from robossl.streams.env_metadata import (
    check_compatible,
    env_id,
    env_metadata,
    physical,
    schema_from_env,
)
from robossl.streams.step_converter import Batch, StepConverter, any_mask, non_finite_masks
from robossl.streams.stream import Stream


class Recorder(VectorWrapper):
    """A vector env that writes every step of its lanes into a stream, in any of the three autoreset modes.

    A row is written when its action has been taken: the observation before it waits here until then. When an
    episode ends, its final observation becomes its last row. `reset`, `finish` and `close` end the episodes
    going on with the observation they have; that is neither a termination nor a truncation. Without a
    stream it records nothing and changes nothing.
    """

    def __init__(self, envs: VectorEnv, stream: Stream | None, first_lane: int = 0) -> None:
        """Record `envs` into the lanes from `first_lane` on of `stream`, which must be one of such envs."""
        super().__init__(envs)
        self.stream = stream
        self.lanes = first_lane + np.arange(envs.num_envs)  # (n,) where in the stream
        if stream is not None:
            self._mode = autoreset_mode(envs, required=True)
            check_compatible(stream, envs, first_lane)
            self._arrival = StepConverter(
                stream.schema, envs.single_observation_space, physical(envs), envs.num_envs
            )
        self._pending: Batch = {}  # (n, ...) what the next row of each lane begins with
        self._waiting = np.zeros(envs.num_envs, bool)  # (n,) lanes in the middle of an episode
        self._steps = np.zeros(envs.num_envs, np.int64)  # (n,) actions taken in the episode going on

    @classmethod
    def create(
        cls,
        envs: VectorEnv,
        path: str | Path,
        policy: str | None = None,
        seed: int | None = None,
        lanes: int | None = None,
        info: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Recorder:
        """Begin a stream for `envs` in the new folder `path` and record into it.

        `lanes` may leave room for other recorders, `info` names scalar infos to record, `units` gives units
        by field name, `facts` go into the header.
        """
        origin = {"env": env_id(envs), **env_metadata(envs), "seed": seed, "policy": policy, **facts}
        schema = schema_from_env(envs, info, units)
        return cls(envs, Stream.create(path, schema, lanes or envs.num_envs, **origin))

    # --- the env

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of `options["reset_mask"]` (n,) bool, and begin their episodes."""
        chosen = np.ones(self.num_envs, bool)
        if options is not None and options.get("reset_mask") is not None:
            chosen = np.array(options["reset_mask"], bool)
        observation, infos = self.env.reset(seed=seed, options=options)
        if self.stream is not None:
            self._end(chosen & self._waiting)
            self._begin(chosen, self._arrival.batch(observation, infos))
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all lanes and record those in the middle of an episode."""
        if self.stream is None:
            return self.env.step(actions)
        if not self._pending:
            raise UsageError("step was called before reset")
        if self._mode is AutoresetMode.DISABLED and not self._waiting.all():
            lane = int(np.flatnonzero(~self._waiting)[0])
            raise UsageError(
                f"the episode of lane {lane} is over and autoreset is disabled; reset it first: "
                'reset(options={"reset_mask": mask})'
            )
        given = np.array(actions)  # envs may write over theirs
        result = self.env.step(actions)
        self._record(given, *result)
        return result

    def finish(self) -> None:
        """End the episodes going on and commit; the envs stay open and go on after a reset."""
        if self.stream is not None:
            self._end(self._waiting)
            self._pending = {}
            self.stream.close()

    def close(self, **kwargs: Any) -> None:
        """Finish, and close the envs."""
        self.finish()
        self.env.close(**kwargs)

    # --- the record

    def _record(
        self,
        actions: np.ndarray,
        observation: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        infos: dict[str, Any],
    ) -> None:
        """Write the rows that this step completes and keep what the next ones begin with."""
        same_step = self._mode is AutoresetMode.SAME_STEP
        lived = self._waiting.copy()  # in NEXT_STEP mode the other lanes were only reset
        terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
        ended = lived & (terminated | truncated)
        arrived = self._arrival.batch(observation, infos)
        final = self._arrival.final(np.flatnonzero(ended), arrived, infos) if same_step else arrived
        found = non_finite_masks(final, np.asarray(reward, np.float64))
        broken = lived & any_mask(list(found.values()), self.num_envs)
        self._write(
            lived,
            action=actions,
            reward=np.where(broken, 0.0, reward).astype(np.float32),
            terminated=terminated & ~broken,
            truncated=truncated & ~broken,
            valid=~broken,
            is_first=self._steps == 0,
            is_last=broken,
        )
        self._steps[lived] += 1
        self._pending = final
        self._waiting = lived & ~broken
        if broken.any():
            self._stop(broken, found)
        self._end(ended)
        self._pending = arrived
        if self._mode is not AutoresetMode.DISABLED:
            self._begin(ended if same_step else ~lived, arrived)

    def _begin(self, lanes: np.ndarray, arrived: Batch) -> None:
        """Episodes begin in `lanes` (n,) bool with what arrived there."""
        if not self._pending:
            self._pending = arrived
        elif self._pending is not arrived:
            for name, value in arrived.items():
                self._pending[name][lanes] = value[lanes]
        self._steps[lanes] = 0
        found = {name: fault & lanes for name, fault in non_finite_masks(arrived).items()}
        broken = any_mask(list(found.values()), self.num_envs)
        self._waiting = self._waiting | (lanes & ~broken)
        if broken.any():
            self._stop(broken, found)

    def _end(self, lanes: np.ndarray) -> None:
        """Episodes end in `lanes` (n,) bool: what waits becomes their last row, if they had a step."""
        if not lanes.any():
            return
        assert self.stream is not None
        idle = self.stream.schema.idle
        nothing = np.zeros(self.num_envs, bool)
        self._write(
            lanes & (self._steps > 0),
            action=np.broadcast_to(idle, (self.num_envs, *idle.shape)),
            reward=np.zeros(self.num_envs, np.float32),
            terminated=nothing,
            truncated=nothing,
            valid=nothing,
            is_first=nothing,
            is_last=~nothing,
        )
        self._waiting = self._waiting & ~lanes

    def _write(self, lanes: np.ndarray, **row: np.ndarray) -> None:
        """One row in each of `lanes` (n,) bool: what waits there, and `row` (n, ...)."""
        assert self.stream is not None
        rows = {**self._pending, **row}
        try:
            if lanes.all():
                self.stream.append(rows, self.lanes)
            else:
                self.stream.append({name: value[lanes] for name, value in rows.items()}, self.lanes[lanes])
        except OperationError:  # the disk: the episodes going on break off here, a reset begins new ones
            self._pending, self._waiting = {}, np.zeros(self.num_envs, bool)
            raise

    def _stop(self, broken: np.ndarray, found: Batch) -> None:
        """Numbers that are none: keep everything, say where."""
        assert self.stream is not None
        lane = int(np.flatnonzero(broken)[0])
        name = next(name for name, fault in found.items() if fault[lane])
        self._end(self._waiting)
        self._pending = {}
        self.stream.commit()
        raise UsageError(
            f"{env_id(self.env)} gave numbers that are not finite as {name} in lane {lane} "
            f"at step {self._steps[lane]} of its episode; everything before it is kept in {self.stream.path}"
        )

    # --- going on in another process

    def get_checkpoint(self) -> dict[str, Any]:
        """What waits for its row, and the envs' own checkpoint if they have one. Goes with `Stream.mark`."""
        resumable = self._resumable()
        return {
            "pending": {name: value.copy() for name, value in self._pending.items()},
            "waiting": self._waiting.copy(),
            "steps": self._steps.copy(),
            "envs": None if resumable is None else resumable.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Go on where `get_checkpoint` was; the stream must be truncated to the mark taken with it.

        Envs without a checkpoint of their own must have been brought there already.
        """
        if len(tree["waiting"]) != self.num_envs:
            raise UsageError(f"the checkpoint has {len(tree['waiting'])} lanes; here are {self.num_envs}")
        resumable = self._resumable()
        if tree["envs"] is not None:
            if resumable is None:
                raise UsageError(f"the checkpoint holds envs; {env_id(self.env)} cannot be set")
            resumable.set_checkpoint(tree["envs"])
        self._pending = {name: np.array(value) for name, value in tree["pending"].items()}
        self._waiting = np.array(tree["waiting"], bool)
        self._steps = np.array(tree["steps"], np.int64)

    def _resumable(self) -> Checkpointable | None:
        """The outermost envs below that can be saved."""
        return next((e for e in (self.env, self.env.unwrapped) if isinstance(e, Checkpointable)), None)
