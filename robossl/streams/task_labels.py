"""Labels of a task: its reward, termination, success and goals, computed from the physics of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation, StateOutcomeEnv
from robossl.core.seeding import derive
from robossl.core.spaces import format_space, is_goal_space
from robossl.streams.env_metadata import env_id, env_metadata
from robossl.streams.relabel import SUCCESS, Rows
from robossl.streams.schema import Schema
from robossl.streams.stream import Stream
from robossl.streams.stream_header import header_metadata

_ACHIEVED, _DESIRED = "achieved_goal", "desired_goal"
_PHYSICS = "physics"
_KWARGS_OF_BATCH = ("num_envs", "nthread")  # of the envs that compute the labels


class TaskLabels:
    """Labels that a task gives to the recorded physics of its robot, equal to those of its env to the bit.

    A goal task keeps the recorded goals if the stream is of the same task; else each episode gets a new goal from the
    distribution of the task. Numbers and images of the robot stay as recorded.
    """

    def __init__(self, stream: Stream, envs: VectorEnv, seed: int = 0) -> None:
        """Check that the task fits the stream, and sample goals.

        Args:
            stream: The recorded stream.
            envs: Envs of the task, without images; as many rows as sub-environments are labeled at once.
            seed: Seed of new goals.

        Raises:
            UsageError: If the stream has no physics, its physics is randomized, or it is of another robot.
        """
        self._stream, self._env = stream, _state_env(stream, envs)
        self.block_rows = envs.num_envs
        self._goal_spaces = _goals(envs.single_observation_space)
        self._body = _body(stream.observation_space)
        _check_spaces(stream, envs, self._body)
        self._goals: np.ndarray | None = None  # (E, G) new goals of the episodes
        if self._goal_spaces and (
            stream.header.get("env") != env_id(envs) or not _goals(stream.observation_space)
        ):
            self._goals = _sample_goals(envs, len(stream.episodes()), seed)
        envs.reset(seed=derive(seed, "relabel") % 2**31)
        action = np.zeros((1, *(envs.single_action_space.shape or ())), np.float32)
        outcome = self._env.outcome_of(self._env.get_physics_state()[:1], action)
        self.schema = self._make_schema(outcome.success is not None)
        self.metadata = {
            **header_metadata(stream.header),
            **self._env_metadata(envs),
            "relabeled": {"source": stream.id, "env": stream.header.get("env"), "reward": env_id(envs)},
        }

    def _make_schema(self, has_success: bool) -> Schema:
        """Return the schema of the new stream: as recorded, with the goals and the success of the task."""
        recorded = self._stream.schema
        parts = {**self._body, **self._goal_spaces}
        plain = set(parts) == {"observation"}
        infos = [f.name for f in recorded.fields if f.role == "info" and f.name != SUCCESS]
        infos += [SUCCESS] if has_success else []
        schema = Schema.from_spaces(
            parts["observation"] if plain else spaces.Dict(parts),
            recorded.action_space,
            {f.name.removeprefix("state."): f.shape[0] for f in recorded.fields if f.role == "state"},
            recorded[_PHYSICS].shape[0],
            [name.removeprefix("info.") for name in infos],
        )
        units = {
            field.name: field.unit for field in recorded.fields if field.name in schema.names and field.unit
        }
        return schema.with_units(units)

    def _env_metadata(self, envs: VectorEnv) -> dict[str, Any]:
        """Return the header of an env of the task that observes what was recorded."""
        metadata, recorded = env_metadata(envs), self._stream.header
        old, new = recorded.get("env_kwargs") or {}, metadata["env_kwargs"]
        kwargs = {**old, **{name: value for name, value in new.items() if name not in _KWARGS_OF_BATCH}}
        unchanged = ("autoreset_mode", "backend")
        return {
            "env": env_id(envs), **metadata, "env_kwargs": kwargs, **{name: recorded.get(name) for name in unchanged},
        }  # fmt: skip

    def label(self, rows: Rows, episode: np.ndarray) -> Rows:
        """Return the new fields, see `Labels`."""
        physics = rows[_PHYSICS]
        if not np.isfinite(physics).all():
            raise UsageError(
                f"expected the physics of every row, got none for some rows of {self._stream.path}: its envs "
                "were reset within the step and kept no final state"
            )
        action = np.zeros_like(rows["action"])
        action[1:] = rows["action"][:-1]  # of the step that ended in each row
        goal = self._goals[episode] if self._goals is not None else rows.get(f"observation.{_DESIRED}")
        outcome = self._env.outcome_of(physics, action, goal if self._goal_spaces else None)
        self._check_recorded(rows, outcome.observation)
        # a step whose physics diverged is undone: the state stays, and nothing terminates
        undone = rows["truncated"][:-1] & (physics[1:] == physics[:-1]).all(axis=1)
        reward = outcome.reward[1:]
        labels = {
            "reward": np.where(undone & ~np.isfinite(reward), 0.0, reward),
            "terminated": outcome.terminated[1:] & ~undone,
        }
        if outcome.success is not None:
            labels[SUCCESS] = outcome.success.astype(np.float32)
        for name in self._goal_spaces:
            labels[f"observation.{name}"] = outcome.observation[name]
        return labels | self._renamed_body(rows)

    def _renamed_body(self, rows: Rows) -> Rows:
        """Return the recorded numbers of the robot where goals are added or removed and their field is renamed."""
        old, new = ("observation.observation", "observation")
        for source, target in ((old, new), (new, old)):
            if source in rows and target in self.schema.names:
                return {target: rows[source]}
        return {}

    def _check_recorded(self, rows: Rows, observation: Observation) -> None:
        """Raise UsageError unless the envs observe and measure what was recorded, to the bit."""
        count = len(rows[_PHYSICS])
        computed = {f"state.{name}": value[:count] for name, value in self._env.privileged_state().items()}
        numbers = observation["observation"] if isinstance(observation, dict) else observation
        for name in ("observation", "observation.observation"):
            if name in rows and rows[name].shape == numbers.shape:
                computed[name] = numbers
        for name, value in computed.items():
            if (
                name in rows
                and rows[name].tobytes() != np.ascontiguousarray(value, rows[name].dtype).tobytes()
            ):
                raise UsageError(
                    f"expected {name} in {self._stream.path} to equal what {env_id(self._env)} computes from the "  # type: ignore[arg-type]
                    "recorded physics, got other numbers: the stream is of another robot or another version of it"
                )


def _state_env(stream: Stream, envs: VectorEnv) -> StateOutcomeEnv:
    """Return the unwrapped envs; raise UsageError if they cannot label the stream."""
    if _PHYSICS not in stream.schema.names:
        raise UsageError(
            f"{stream.path} of {stream.header.get('env')} records no physics, from which a task computes its "
            "reward; pass a function: robossl.relabel(stream, reward=function)"
        )
    inner = envs.unwrapped
    if not isinstance(inner, StateOutcomeEnv):
        raise UsageError(
            f"{env_id(envs)} cannot compute the reward of a recorded state (it has no outcome_of); pass a "
            "function: robossl.relabel(stream, reward=function)"
        )
    robot, recorded = envs.metadata.get("robot"), stream.header.get("robot")
    sizes = inner.get_physics_state().shape[1], stream.schema[_PHYSICS].shape[0]
    if sizes[0] != sizes[1] or (robot != recorded and None not in (robot, recorded)):
        raise UsageError(
            f"expected a task of the recorded robot, {recorded or stream.header.get('env')}, got {env_id(envs)} of "
            f"robot {robot}"
        )
    for metadata, source in ((stream.header, str(stream.path)), (env_metadata(envs), env_id(envs))):
        if (metadata.get("env_kwargs") or {}).get("randomization"):
            raise UsageError(
                f"{source} has randomization, whose parameters are not recorded; use envs without it"
            )
    return inner


def _goals(space: spaces.Space) -> dict[str, spaces.Space]:
    """Return the spaces of achieved and desired goal; empty without goals."""
    return {name: space[name] for name in (_ACHIEVED, _DESIRED)} if is_goal_space(space) else {}  # type: ignore[index]


def _body(space: spaces.Space) -> dict[str, spaces.Space]:
    """Return the spaces of an observation without goals, by key; an array has the key "observation"."""
    if not isinstance(space, spaces.Dict):
        return {"observation": space}
    goals = _goals(space)
    return {name: inner for name, inner in space.spaces.items() if name not in goals}


def _check_spaces(stream: Stream, envs: VectorEnv, body: dict[str, spaces.Space]) -> None:
    """Raise UsageError if the actions, or the numbers of the robot, are others than those of the envs."""
    pairs = [("actions", stream.action_space, envs.single_action_space)]
    numbers = body.get("observation")
    if isinstance(numbers, spaces.Box) and numbers.dtype != np.uint8:
        pairs.append(("observations", numbers, _body(envs.single_observation_space)["observation"]))
    for what, recorded, expected in pairs:
        if recorded != expected:
            raise UsageError(
                f"expected {what} {format_space(expected)}, as in {env_id(envs)}; got {format_space(recorded)} of "
                f"{stream.header.get('env')} in {stream.path}"
            )


def _sample_goals(envs: VectorEnv, count: int, seed: int) -> np.ndarray:
    """Return goals (count, G) from the distribution of the task."""
    goals: list[np.ndarray] = []
    for batch in range(max(-(-count // envs.num_envs), 1)):
        observation, _ = envs.reset(seed=derive(seed, "relabel goals", batch) % 2**31)
        goals.append(np.array(observation[_DESIRED]))
    return np.concatenate(goals)[:count]
