"""Recorder: write the steps of vector envs into a stream and assign each step to its episode."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from robossl.core.errors import UsageError
from robossl.core.interfaces import UNUSABLE, Checkpointable, RecordedInfosEnv
from robossl.core.spaces import flatten_by_path
from robossl.rollout import autoreset_mode
from robossl.streams.env_metadata import (
    check_compatible,
    env_id,
    env_metadata,
    physics_env,
    schema_from_env,
)
from robossl.streams.lane_rows import LaneRows
from robossl.streams.schema import observation_name
from robossl.streams.step_converter import (
    FieldArrays,
    StepConverter,
    any_mask,
    changed_masks,
    lost_by_rounding,
    non_finite_masks,
    physics_errors,
    replaced_observations,
    unusable_mask,
    unusable_text,
    with_final_observations,
)
from robossl.streams.step_errors import StepErrors
from robossl.streams.stream import Stream

_logger = logging.getLogger(__name__)
_RESETS = 10  # tries to get a finite first observation


class Recorder(VectorWrapper):
    """Vector env wrapper that writes every step into a stream, in all three autoreset modes.

    A row is written once its action has been taken: until then its observation is pending. When an episode ends, its
    final observation becomes its last row. `reset`, `finish` and `close` end the running episodes with their current
    observation; this is neither a termination nor a truncation. Without a stream the wrapper has no effect.

    A step whose info has `robossl_unusable` (a number of the env was not finite) is recorded as invalid and ends the
    episode there; too many of them end the recording.

    Example:
        envs = robossl.make("robossl/Reacher-v0", num_envs=8)
        envs = robossl.streams.Recorder(envs, robossl.load("streams/reacher"))
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())  # is recorded
    """

    def __init__(self, envs: VectorEnv, stream: Stream | None, first_lane: int = 0) -> None:
        """Record `envs` into the lanes of `stream` from `first_lane` on.

        Args:
            envs: Vector env.
            stream: Stream of such envs, or None to record nothing.
            first_lane: Lane of the first sub-environment.
        """
        super().__init__(envs)
        self.stream = stream
        self.lanes = first_lane + np.arange(envs.num_envs)  # (n,) lanes of the stream
        if stream is not None:
            self._mode = autoreset_mode(envs, required=True)
            check_compatible(stream, envs, first_lane)
            self._converter = StepConverter(
                stream.schema, envs.single_observation_space, physics_env(envs), envs.num_envs
            )
        self._rows = LaneRows(stream, self.lanes)
        self.num_steps = 0  # recorded since this object was made
        self.errors = StepErrors(env_id(envs))
        self._rounding_reported = False
        self._reset_first = np.zeros(envs.num_envs, bool)  # (n,) lanes to reset before the next step
        self._restarted = self._reset_first.copy()  # (n,) lanes that were reset instead of by their next step
        self._none = np.zeros(envs.num_envs, bool)  # (n,) a constant

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
        **metadata: Any,
    ) -> Recorder:
        """Create a stream for `envs` and record into it.

        Args:
            envs: Vector env.
            path: New folder of the stream.
            policy: Name of the policy, for the header.
            seed: Seed of the run, for the header.
            lanes: Number of lanes; more than `envs.num_envs` if other recorders share the stream.
            info: Names of scalar infos to record; empty: those that the envs name (success, costs).
            units: Unit by field name.
            metadata: Further entries of the header.
        """
        entries = {"env": env_id(envs), **env_metadata(envs), "seed": seed, "policy": policy, **metadata}
        if not info and isinstance(envs, RecordedInfosEnv):
            info = envs.recorded_infos()
        schema = schema_from_env(envs, info, units)
        return cls(envs, Stream.create(path, schema, lanes or envs.num_envs, **entries))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of `options["reset_mask"]` (n,) bool, and begin their episodes."""
        selected = np.ones(self.num_envs, bool)
        if options is not None and options.get("reset_mask") is not None:
            selected = np.array(options["reset_mask"], bool)
        observation, infos = self.env.reset(seed=seed, options=options)
        if self.stream is not None:
            self._reset_first &= ~selected
            self._restarted &= ~selected
            self._rows.end(selected & self._rows.in_episode)
            self._rows.begin(selected, self._converter.convert(observation, infos))
            if np.count_nonzero(self._rows.unusable_first):
                observation, *_ = self._reset_again(observation, self._none, {})
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step the envs and record the lanes with a running episode."""
        if self.stream is None:
            return self.env.step(actions)
        if not self._rows.pending:
            raise UsageError("expected reset before step; call reset first")
        if self._mode is AutoresetMode.DISABLED and not self._rows.in_episode.all():
            lane = int(np.flatnonzero(~self._rows.in_episode)[0])
            raise UsageError(
                f"the episode of lane {lane} has ended and autoreset is disabled; reset it first: "
                'reset(options={"reset_mask": mask})'
            )
        actions_copy = np.array(actions)  # envs may overwrite their argument
        if np.count_nonzero(self._reset_first):  # the env does not know that these episodes have ended
            _, current, ignored = self._reset_lanes(self._reset_first)
            if ignored.any():
                self._rows.begin(ignored, current)
            self._restarted |= self._reset_first
            self._reset_first[:] = False
        before, result = self._rows.pending, self.env.step(actions)
        unusable = self._record(actions_copy, *result)
        if np.count_nonzero(self._restarted):  # the env has taken a step from their first observations
            self._rows.unusable_first |= self._restarted & (result[2] | result[3])
            self._restarted[:] = False
        if unusable is not None:
            result = self._end_unusable(unusable, before, *result)
        if np.count_nonzero(self._rows.unusable_first):
            observation, reward, terminated, truncated, infos = result
            observation, truncated, infos = self._reset_again(observation, truncated, infos)
            result = observation, reward, terminated, truncated, infos
        return result

    def _end_unusable(
        self,
        lanes: np.ndarray,
        before: FieldArrays,
        observation: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        infos: dict[str, Any],
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Return the result of a step with the episodes of `lanes` (n,) truncated at `before`, and reset if needed."""
        ended = np.asarray(terminated, bool) | np.asarray(truncated, bool)
        running, last = lanes & ~ended, lanes
        space = self.env.single_observation_space
        previous = {path: before[observation_name(path)] for path in flatten_by_path(space, observation)}
        if self._mode is AutoresetMode.SAME_STEP:
            infos = with_final_observations(space, infos, previous, lanes)
            if running.any():
                after, current, ignored = self._reset_lanes(running)
                if ignored.any():
                    parts = flatten_by_path(space, observation)
                    infos = with_final_observations(space, infos, parts, ignored & ~ended)
                lanes = lanes | ignored
                self._rows.begin(running | ignored, current)
                observation = after
        else:
            if self._mode is AutoresetMode.NEXT_STEP:
                self._reset_first = running
            observation = replaced_observations(space, observation, previous, lanes)
        return (
            observation,
            np.where(last, 0.0, reward),
            np.asarray(terminated, bool) & ~last,
            np.asarray(truncated, bool) | lanes,
            infos,
        )

    def _reset_again(
        self, observation: Any, truncated: np.ndarray, infos: dict[str, Any]
    ) -> tuple[Any, np.ndarray, dict[str, Any]]:
        """Reset lanes whose first observation is not finite until it is; return the changed result of the step.

        Raises:
            UsageError: It is not in many resets in a row.
        """
        space, rows = self.env.single_observation_space, self._rows
        for _ in range(_RESETS):
            if not np.count_nonzero(lanes := rows.unusable_first):
                return observation, truncated, infos
            self.errors.add_reset(self.lanes[lanes][0])
            running = rows.in_episode & (rows.steps > 0)  # these end if the env ignores the mask
            after, current, ignored = self._reset_lanes(lanes)
            begins = lanes | (ignored & ~running)
            if np.count_nonzero(ended := ignored & running):
                truncated = np.asarray(truncated, bool) | ended
                if self._mode is AutoresetMode.SAME_STEP:
                    last = flatten_by_path(space, observation)
                    infos, begins = with_final_observations(space, infos, last, ended), begins | ended
                else:
                    self._restarted |= ended
            observation = replaced_observations(space, observation, flatten_by_path(space, after), begins)
            rows.begin(begins, current)
        if np.count_nonzero(rows.unusable_first):
            self._raise_non_finite(rows.unusable_first)
        return observation, truncated, infos

    def _reset_lanes(self, lanes: np.ndarray) -> tuple[Any, FieldArrays, np.ndarray]:
        """Reset `lanes` (n,) bool of the env, whose episodes have ended.

        Returns:
            The observations, the same by field, and the other lanes (n,) that the env has reset too: it ignores
            `reset_mask`. Their episodes end here.
        """
        observation, infos = self.env.reset(options={"reset_mask": lanes.copy()})
        current = self._converter.convert(observation, infos)
        moved = any_mask(changed_masks(current, self._rows.pending), self.num_envs) & ~lanes
        ignored = ~lanes if moved.any() else np.zeros(self.num_envs, bool)
        self._rows.end(ignored & self._rows.in_episode)
        return observation, current, ignored

    def finish(self) -> None:
        """End the running episodes and commit; the envs stay open and can be reset."""
        if self.stream is not None:
            self._rows.end(self._rows.in_episode)
            self._rows.forget()
            self.errors.report(self.num_steps)
            self.stream.close()

    def close(self, **kwargs: Any) -> None:
        """Finish and close the envs."""
        self.finish()
        self.env.close(**kwargs)

    def _record(
        self,
        actions: np.ndarray,
        observation: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        infos: dict[str, Any],
    ) -> np.ndarray | None:
        """Write the rows that this step completes and store the pending observations.

        Returns:
            Lanes (n,) bool whose episode ends here because of a number that is not finite; None without such lanes.
        """
        same_step = self._mode is AutoresetMode.SAME_STEP
        stepped = self._rows.in_episode.copy()  # in NEXT_STEP mode the other lanes were only reset
        terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
        ended = stepped & (terminated | truncated)
        current = self._converter.convert(observation, infos)
        final = self._converter.convert_final(np.flatnonzero(ended), current, infos) if same_step else current
        reward = np.asarray(reward, np.float64)
        if not self._rounding_reported:
            self._report_rounding(reward)
        non_finite, unusable, faulty = self._none, self._none, self._none
        if faults := non_finite_masks(final, reward):
            non_finite = stepped & any_mask(list(faults.values()), self.num_envs)
        if UNUSABLE in infos or same_step:
            unusable = stepped & unusable_mask(infos, same_step, self.num_envs)
        if is_faulty := np.count_nonzero(non_finite) + np.count_nonzero(unusable) > 0:
            faulty = non_finite | unusable
        usable = ~faulty
        self._rows.write(
            stepped,
            action=actions,
            reward=(np.where(faulty, 0.0, reward) if is_faulty else reward).astype(np.float32),
            terminated=terminated & usable if is_faulty else terminated,
            truncated=truncated & usable if is_faulty else truncated,
            valid=usable,
            is_first=self._rows.steps == 0,
            is_last=faulty,
        )
        self._rows.steps += stepped
        self._rows.pending = final
        self._rows.in_episode = stepped & usable
        self.num_steps += int(np.count_nonzero(stepped))
        for lane in np.flatnonzero(faulty).tolist() if is_faulty else ():
            name = next((n for n, fault in faults.items() if fault[lane]), "a number")
            text = unusable_text(infos, lane) if unusable[lane] else f"non-finite {name}"
            self.errors.add(text, self.lanes[lane], self._rows.steps[lane])
            self._check_errors(text)
        if count := physics_errors(infos, same_step):
            self.errors.num_physics += count
            self._check_errors()
        self._rows.end(ended & usable)
        self._rows.pending = current
        if self._mode is not AutoresetMode.DISABLED:
            self._rows.begin(ended if same_step else ~stepped, current)
        found = non_finite & ~unusable if is_faulty else self._none
        return found if np.count_nonzero(found) else None

    def _raise_non_finite(self, lanes: np.ndarray) -> None:
        """Commit all rows recorded so far and raise UsageError for first observations that are not finite."""
        assert self.stream is not None
        lane = int(np.flatnonzero(lanes)[0])
        name = next(name for name, fault in non_finite_masks(self._rows.pending).items() if fault[lane])
        self._rows.end(self._rows.in_episode)
        self._rows.forget()
        self.stream.commit()
        raise UsageError(
            f"expected finite numbers from {env_id(self.env)}, got non-finite {name} in lane {lane} in {_RESETS} "
            f"resets in a row; all earlier rows are kept in {self.stream.path}"
        )

    def _report_rounding(self, reward: np.ndarray) -> None:
        """Log once a reward (n,) that float32 cannot hold."""
        if (example := lost_by_rounding(reward)) is not None:
            self._rounding_reported = True
            _logger.warning(
                "%s: rewards are recorded as float32: %.17g becomes %.17g; subtract an offset or scale them",
                env_id(self.env), *example,
            )  # fmt: skip

    def _check_errors(self, text: str = "") -> None:
        """Raise UsageError if too many steps ended their episodes; `text`: of the last one."""
        if (message := self.errors.too_many(self.num_steps, text)) is not None:
            assert self.stream is not None
            self._rows.end(self._rows.in_episode)
            self._rows.forget()
            self.stream.commit()
            raise UsageError(f"{message}; all earlier rows are kept in {self.stream.path}")

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the pending rows, and the checkpoint of the envs if they have one; store `Stream.offset` with it."""
        checkpointable = self._checkpointable_envs()
        return {
            **self._rows.get_checkpoint(),
            "reset_first": self._reset_first.copy(),
            "restarted": self._restarted.copy(),
            "envs": None if checkpointable is None else checkpointable.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, after truncating the stream to the offset stored with it.

        Envs that have no checkpoint must already be in the stored state.
        """
        if len(tree["in_episode"]) != self.num_envs:
            raise UsageError(f"expected a checkpoint of {self.num_envs} lanes, got {len(tree['in_episode'])}")
        checkpointable = self._checkpointable_envs()
        if tree["envs"] is not None:
            if checkpointable is None:
                raise UsageError(
                    f"the checkpoint has the state of envs, but {env_id(self.env)} has no set_checkpoint"
                )
            checkpointable.set_checkpoint(tree["envs"])
        self._rows.set_checkpoint(tree)
        self._reset_first = np.array(tree["reset_first"], bool)
        self._restarted = np.array(tree.get("restarted", self._none), bool)

    def _checkpointable_envs(self) -> Checkpointable | None:
        """Return the outermost wrapped envs that have a checkpoint."""
        return next((e for e in (self.env, self.env.unwrapped) if isinstance(e, Checkpointable)), None)
