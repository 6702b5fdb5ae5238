"""Records what an env's lanes live through. Here it is settled, once, which step belongs to which episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from robossl.core import spaces
from robossl.core.contracts import Resumable
from robossl.core.errors import RequestError
from robossl.streams.origin import autoreset_mode, check_fit, env_facts, env_id, physical, schema_of
from robossl.streams.schema import observation_name
from robossl.streams.stream import Stream


class Recorder(VectorWrapper):
    """A vector env that writes every step of its lanes into a stream, in any of the three autoreset modes.

    A row is written when its action has been taken: the observation before it waits here until then. When an
    episode ends, its final observation becomes its last row. `reset` and `close` end the episodes going on
    with the observation they have; that is neither a termination nor a truncation. Without a stream it
    records nothing and changes nothing.
    """

    def __init__(self, envs: VectorEnv, stream: Stream | None) -> None:
        """Record `envs` into `stream`, which must have been made for such envs."""
        super().__init__(envs)
        self.stream = stream
        self._mode = autoreset_mode(envs)
        self._truth = physical(envs)
        if stream is not None:
            check_fit(stream, envs)
        n = envs.num_envs
        self._pending: dict[str, np.ndarray] = {}  # (n, ...) what the next row of each lane begins with
        self._waiting = np.zeros(n, bool)  # (n,) lanes in the middle of an episode
        self._steps = np.zeros(n, np.int64)  # (n,) actions taken in the episode going on

    @classmethod
    def create(
        cls,
        envs: VectorEnv,
        path: str | Path,
        policy: str | None = None,
        seed: int | None = None,
        info: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Recorder:
        """Begin a stream for `envs` in the new folder `path` and record into it.

        `info` names scalar infos to record; `units` gives units by field name; `facts` go into the header.
        """
        schema = schema_of(envs, info, units)
        origin = {"env": env_id(envs), **env_facts(envs), "seed": seed, "policy": policy}
        return cls(envs, Stream.create(path, schema, envs.num_envs, **{**origin, **facts}))

    # --- the env

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of `options["reset_mask"]` (n,) bool, and begin their episodes."""
        chosen = np.ones(self.num_envs, bool)
        if options is not None and options.get("reset_mask") is not None:
            chosen = np.array(options["reset_mask"], bool)
        observation, infos = self.env.reset(seed=seed, options=options)
        if self.stream is not None:
            self._end(chosen & self._waiting)
            self._begin(chosen, self._arrive(observation, infos))
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all lanes and record the ones that were in the middle of an episode."""
        if self.stream is None:
            return self.env.step(actions)
        if not self._pending:
            raise RequestError("step was called before reset")
        if self._mode is AutoresetMode.DISABLED and not self._waiting.all():
            lane = int(np.flatnonzero(~self._waiting)[0])
            raise RequestError(
                f"the episode of lane {lane} is over and autoreset is disabled; reset it first: "
                'reset(options={"reset_mask": mask})'
            )
        result = self.env.step(actions)
        self._record(actions, *result)
        return result

    def close(self, **kwargs: Any) -> None:
        """End the episodes going on, commit, and close the envs."""
        if self.stream is not None:
            self._end(self._waiting)
            self.stream.close()
        self.env.close(**kwargs)

    # --- the record

    def _record(
        self,
        actions: Any,
        observation: Any,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        infos: dict[str, Any],
    ) -> None:
        """Write the rows that this step completes and keep what the next ones begin with."""
        assert self.stream is not None
        lived = self._waiting.copy()  # in NEXT_STEP mode the other lanes were only reset
        terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
        reward = np.asarray(reward, np.float64)
        ended = lived & (terminated | truncated)
        arrived = self._arrive(observation, infos)
        final = self._final(ended, arrived, infos) if self._mode is AutoresetMode.SAME_STEP else arrived
        faults = _faults(final, reward)
        broken = lived & np.logical_or.reduce(list(faults.values()))
        self._write(
            lived,
            action=np.asarray(actions),
            reward=np.where(broken, 0.0, reward).astype(np.float32),
            terminated=terminated & ~broken,
            truncated=truncated & ~broken,
            valid=~broken,
            is_first=self._steps == 0,
            is_last=broken,
        )
        self._steps[lived] += 1
        self._pending = final
        self._waiting &= ~broken
        if broken.any():
            self._stop(broken, faults)
        self._end(ended)
        self._pending = arrived
        if self._mode is not AutoresetMode.DISABLED:
            self._begin(ended if self._mode is AutoresetMode.SAME_STEP else ~lived, arrived)

    def _arrive(self, observation: Any, infos: dict[str, Any]) -> dict[str, np.ndarray]:
        """What the next rows begin with, (n, ...) by field name, copied: envs may write over theirs."""
        assert self.stream is not None
        parts = spaces.split(self.env.single_observation_space, observation)
        given = {observation_name(path): value for path, value in parts.items()}
        if self._truth is not None:
            given.update({f"state.{name}": value for name, value in self._truth.state().items()})
            given["physics"] = self._truth.physics()
        given.update(_scalars(infos, self._roles("info"), self.num_envs))
        fields = (f for f in self.stream.schema.fields if f.name in given)
        return {f.name: np.array(given[f.name], f.dtype).reshape(self.num_envs, *f.shape) for f in fields}

    def _final(
        self, ended: np.ndarray, arrived: dict[str, np.ndarray], infos: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        """`arrived`, with the final observations of the lanes that were reset within the step.

        Their physical truth is gone by then: state and physics are NaN in these rows.
        """
        lanes = np.flatnonzero(ended)
        if len(lanes) == 0:
            return arrived
        if "final_obs" not in infos:
            raise RequestError(f"{env_id(self.env)} resets in the same step but gives no infos['final_obs']")
        final = {name: value.copy() for name, value in arrived.items()}
        for name in (*self._roles("state"), *self._roles("physics")):
            final[name][lanes] = np.nan
        for name, value in _scalars(infos.get("final_info", {}), self._roles("info"), self.num_envs).items():
            final[name][lanes] = value[lanes]
        for lane in lanes:
            value = _of_lane(infos["final_obs"], int(lane))
            for path, leaf in spaces.split(self.env.single_observation_space, value).items():
                final[observation_name(path)][lane] = leaf
        return final

    def _begin(self, lanes: np.ndarray, arrived: dict[str, np.ndarray]) -> None:
        """Episodes begin in `lanes` (n,) bool with what arrived there."""
        if not self._pending:
            self._pending = arrived
        elif self._pending is not arrived:
            for name, value in arrived.items():
                self._pending[name][lanes] = value[lanes]
        self._steps[lanes] = 0
        faults = {name: fault & lanes for name, fault in _faults(arrived, None).items()}
        broken = np.logical_or.reduce([np.zeros_like(lanes), *faults.values()])
        self._waiting |= lanes & ~broken
        if broken.any():
            self._stop(broken, faults)

    def _end(self, lanes: np.ndarray) -> None:
        """Episodes end in `lanes` (n,) bool: what waits becomes their last row, if they had a step."""
        nothing = np.zeros(self.num_envs, bool)
        action = self.stream.schema["action"] if self.stream is not None else None
        assert action is not None
        self._write(
            lanes & (self._steps > 0),
            action=np.zeros((self.num_envs, *action.shape), action.dtype),
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
        chosen = np.flatnonzero(lanes)
        self.stream.append({name: value[chosen] for name, value in {**self._pending, **row}.items()}, chosen)

    def _stop(self, broken: np.ndarray, faults: dict[str, np.ndarray]) -> None:
        """Numbers that are none: keep everything, say where."""
        assert self.stream is not None
        lane = int(np.flatnonzero(broken)[0])
        name = next(name for name, fault in faults.items() if fault[lane])
        self._end(self._waiting)
        self._pending = {}
        self.stream.commit()
        raise RequestError(
            f"{env_id(self.env)} gave a {name} that is not finite in lane {lane} "
            f"at step {self._steps[lane]} of its episode; everything before it is kept in {self.stream.path}"
        )

    def _roles(self, role: str) -> list[str]:
        """The names of the stream's fields of a role."""
        return (
            [f.name for f in self.stream.schema.fields if f.role == role] if self.stream is not None else []
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
        """Go on where `get_checkpoint` was; the stream must be truncated to the mark taken with it."""
        resumable = self._resumable()
        if tree["envs"] is not None:
            if resumable is None:
                raise RequestError(
                    f"the checkpoint holds the state of envs; {env_id(self.env)} cannot be set"
                )
            resumable.set_checkpoint(tree["envs"])
        if tree["waiting"].shape != (self.num_envs,):
            raise RequestError(f"the checkpoint has {len(tree['waiting'])} lanes; here are {self.num_envs}")
        self._pending = {name: np.array(value) for name, value in tree["pending"].items()}
        self._waiting = np.array(tree["waiting"], bool)
        self._steps = np.array(tree["steps"], np.int64)

    def _resumable(self) -> Resumable | None:
        """The outermost envs below that can be saved."""
        for envs in (self.env, self.env.unwrapped):
            if isinstance(envs, Resumable):
                return envs
        return None


def _faults(arrived: Mapping[str, np.ndarray], reward: np.ndarray | None) -> dict[str, np.ndarray]:
    """By field, the lanes (n,) bool whose observation or reward is not finite."""
    checked = {n: v for n, v in arrived.items() if n.startswith("observation") and v.dtype.kind == "f"}
    if reward is not None:
        checked["reward"] = reward
    return {n: ~np.isfinite(v).reshape(len(v), -1).all(axis=1) for n, v in checked.items()}


def _scalars(infos: Mapping[str, Any], names: Sequence[str], count: int) -> dict[str, np.ndarray]:
    """Infos (n,) float32 by field name; NaN where an env gave none."""
    found = {}
    for name in names:
        key = name.removeprefix("info.")
        value = np.asarray(infos.get(key, np.full(count, np.nan)), np.float32)
        found[name] = np.where(infos.get(f"_{key}", True), value, np.float32(np.nan))
    return found


def _of_lane(batch: Any, lane: int) -> Any:
    """The value of one lane, from an array of values or a dict or tuple of arrays."""
    if isinstance(batch, Mapping):
        return {name: _of_lane(value, lane) for name, value in batch.items()}
    return tuple(_of_lane(value, lane) for value in batch) if isinstance(batch, tuple) else batch[lane]
