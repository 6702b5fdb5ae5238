"""Checks of `robossl check-agent`; each returns a message, or raises `CheckFailure` with reason and fix."""

from __future__ import annotations

import copy
import inspect
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, NullLogger, NullProgress
from robossl.core.io import load_tree, save_tree
from robossl.core.spaces import flatten_by_path
from robossl.env_checker.agent_under_test import (
    NUM_ENVS,
    AgentUnderTest,
    PointEnvs,
    make_envs,
    make_world_model,
)
from robossl.streams import Recorder, Stream

_METHODS = (
    "act", "reset", "learn", "set_representation", "reset_envs", "save", "get_checkpoint", "set_checkpoint",
)  # fmt: skip
_FILES = (".json", ".safetensors", ".md", ".toml", ".txt")  # formats that execute no code when loaded
_UNKNOWN = "no_such_setting"


class CheckFailure(Exception):
    """A check found a problem: message, reason and fix."""

    def __init__(self, message: str, reason: str, fix: str) -> None:
        super().__init__(message)
        self.reason, self.fix = reason, fix


def _check_interface(target: AgentUnderTest) -> str:
    agent, _, _ = target.make()
    missing = [name for name in _METHODS if not callable(getattr(agent, name, None))]
    if not callable(getattr(target.factory, "load", None)):
        missing.append("load")
    if missing:
        raise CheckFailure(
            f"{type(agent).__name__} has no {', '.join(missing)}",
            "runs call all methods of robossl.core.interfaces.Agent",
            f"def {missing[0]}(self, ...): see robossl.core.interfaces.Agent",
        )
    parameters = inspect.signature(agent.learn).parameters
    if not {"progress", "logger"} <= set(parameters):
        raise CheckFailure(
            f"learn has the parameters {', '.join(parameters)}",
            "runs pass a progress reporter and a metric logger",
            "def learn(self, envs, steps, progress=None, logger=None):",
        )
    return "all methods are present"


def _check_unknown_setting(target: AgentUnderTest) -> str:
    envs = Recorder.create(
        make_envs(1, target.env_kind), Path(tempfile.mkdtemp(dir=target.folder)) / "stream"
    )
    try:
        registry.check_settings(target.factory, {_UNKNOWN: 1})
        target.factory(envs, target.representation, 0, "cpu", **{**target.settings, _UNKNOWN: 1})
    except UsageError as error:
        if _UNKNOWN in str(error):
            return "an unknown setting raises UsageError with its name"
        observed = f"the error is: {error}"
    except TypeError as error:
        observed = f"it raises TypeError: {error}"
    else:
        observed = "it is accepted"
    raise CheckFailure(
        f"setting {_UNKNOWN}: {observed}",
        "a misspelled setting would go unnoticed",
        "name all settings as parameters; with **settings, raise UsageError(f'no setting {name}; available: ...')",
    )


def _check_actions(target: AgentUnderTest) -> str:
    agent, envs, _ = target.make()
    agent.reset()
    for explore in (True, False):
        for observation in target.observations(4):
            _assert_actions(envs, agent.act(observation, explore=explore), f"act(explore={explore})")
    return "shape, dtype and bounds are those of the action space"


def _assert_actions(envs: PointEnvs, actions: Any, call: str) -> None:
    space, expected = envs.single_action_space, envs.action_space
    reason = "the env would reject or misread it"
    fix = "return np.clip(actions, space.low, space.high).astype(space.dtype)"
    if not isinstance(actions, np.ndarray):
        raise CheckFailure(
            f"{call} returns {type(actions).__name__}, expected an array",
            reason,
            "return np.asarray(actions)",
        )
    if actions.shape != expected.shape:
        raise CheckFailure(
            f"{call} returns shape {actions.shape}, expected {expected.shape}",
            reason,
            "one action per sub-environment",
        )
    if envs.env_kind == "discrete":
        if not np.issubdtype(actions.dtype, np.integer):
            raise CheckFailure(
                f"{call} returns {actions.dtype}, expected integers",
                reason,
                "return actions.astype(np.int64)",
            )
        fix = "add the first action of the space: actions + space.start"
    elif actions.dtype != expected.dtype:
        raise CheckFailure(f"{call} returns {actions.dtype}, expected {expected.dtype}", reason, fix)
    outside = [action for action in actions if not space.contains(action)]
    if outside:
        raise CheckFailure(f"{call} returns {outside[0]}, which is not in {space}", reason, fix)


def _check_observations_not_mutated(target: AgentUnderTest) -> str:
    agent, envs, _ = target.make()
    observation = target.observations(1)[0]
    before = copy.deepcopy(observation)
    agent.reset()
    for explore in (True, False):
        agent.act(observation, explore=explore)
    space = envs.single_observation_space
    after = flatten_by_path(space, observation)
    for path, value in flatten_by_path(space, before).items():
        if not np.array_equal(value, after[path]):
            raise CheckFailure(
                f"act wrote into observation {path!r}".rstrip(" '"),
                "the recorder and the env keep this array",
                "use a copy: observation = np.array(observation)",
            )
    return "act leaves observations unchanged"


def _check_reset(target: AgentUnderTest) -> str:
    agent, envs, _ = target.make()
    mask = np.arange(NUM_ENVS) == 1
    for argument in (None, mask, np.ones(NUM_ENVS, bool)):
        agent.reset(argument)
        _assert_actions(envs, agent.act(target.observations(1)[0]), "act after reset")
    if not np.array_equal(mask, np.arange(NUM_ENVS) == 1):
        raise CheckFailure(
            "reset wrote into its mask", "the mask belongs to the caller", "use a copy: mask = np.array(mask)"
        )
    first, second = (_actions_after_partial_reset(target, masked) for masked in (True, False))
    if not np.array_equal(first[0], second[0]):
        raise CheckFailure(
            "reset(mask) changed the action of a sub-environment that is not in the mask",
            "its episode continues",
            "reset the state of the sub-environments in the mask only: self.state[mask] = 0",
        )
    return "reset() and reset(mask) start episodes, and only there"


def _actions_after_partial_reset(target: AgentUnderTest, masked: bool) -> np.ndarray:
    agent, observations = target.make()[0], target.observations(2)
    agent.reset()
    agent.act(observations[0], explore=False)
    if masked:
        agent.reset(np.arange(NUM_ENVS) == 1)
    return agent.act(observations[1], explore=False)


class _CountingProgress(NullProgress):
    """Adds up the steps that it is updated with."""

    count = 0

    def update(self, count: int, **metrics: float) -> None:
        self.count += count


def _check_steps(target: AgentUnderTest) -> str:
    agent, envs, recorder = target.make()
    progress, requested, first_steps = _CountingProgress(), 0, 0
    for count in (1, 1, 1, 7, 20):
        agent.learn(recorder, count, progress)
        requested += count
        first_steps = first_steps or envs.num_steps
        if not requested <= envs.num_steps < requested + max(first_steps, NUM_ENVS):
            raise CheckFailure(
                f"after calls of learn for {requested} steps in all, the envs have taken {envs.num_steps}",
                "runs divide their steps between calls: learning for N and then M steps must equal N + M",
                "count in the agent: use robossl.rollout.StepLoop",
            )
    if progress.count != envs.num_steps:
        raise CheckFailure(
            f"progress was updated with {progress.count} of {envs.num_steps} steps",
            "the progress bar and the metrics use this count",
            "progress.update(number of steps) after every step of the envs",
        )
    for actions in envs.actions:
        _assert_actions(envs, actions, "learn steps the envs with actions that")
    if first_steps > NUM_ENVS:
        return f"learn steps the envs {first_steps} steps at a time, and calls add up"
    return "learn takes exactly the requested steps (whole vector steps), and calls add up"


class _ListLogger(NullLogger):
    """Keeps all metrics."""

    def __init__(self) -> None:
        self.values: list[tuple[int, str, Any]] = []  # (step, name, value)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.values += [(step, name, value) for name, value in values.items()]


def _check_metrics(target: AgentUnderTest) -> str:
    agent, envs, recorder = target.make()
    logger = _ListLogger()
    agent.learn(recorder, target.steps, logger=logger)
    for step, key, value in logger.values:
        if not 0 <= step <= envs.num_steps or not isinstance(value, (int, float, np.number)):
            raise CheckFailure(
                f"logger.scalars({step}, {{{key!r}: {value!r}}}) after {envs.num_steps} env steps",
                "metrics are plotted over the env steps of the agent",
                "logger.scalars(num_steps, {'agent/loss': float(loss)})",
            )
    names = sorted({key for _, key, _ in logger.values})
    return f"logs {', '.join(names)}" if names else "logs no metrics"


def _trace(
    target: AgentUnderTest, agent: Agent, envs: PointEnvs, recorder: Recorder, steps: int
) -> list[np.ndarray]:
    """Learn for `steps`; return the actions that it sent to the envs, then those of `act` on a few observations."""
    start = len(envs.actions)
    agent.learn(recorder, steps)
    agent.reset()
    after = [agent.act(o, explore=explore) for o in target.observations(2) for explore in (True, False)]
    return [*envs.actions[start:], *after]


def _all_equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second))


def _first_difference(first: list[np.ndarray], second: list[np.ndarray]) -> int:
    different = (i for i, (a, b) in enumerate(zip(first, second)) if not np.array_equal(a, b))
    return next(different, min(len(first), len(second)))


def _check_determinism(target: AgentUnderTest) -> str:
    first, second, other = (_trace(target, *target.make(seed), target.steps) for seed in (3, 3, 4))
    if not _all_equal(first, second):
        raise CheckFailure(
            f"two agents with the same seed differ at action {_first_difference(first, second)} of {len(first)}",
            "no run can be repeated",
            "draw from a generator of the agent: self.random = np.random.default_rng(seed)",
        )
    return "the same seed gives the same actions" + (
        "" if _all_equal(first, other) else ", another seed different ones"
    )


def _check_save(target: AgentUnderTest) -> str:
    agent, _, recorder = target.make()
    agent.learn(recorder, target.steps)
    folder = Path(tempfile.mkdtemp(dir=target.folder))
    agent.save(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    unsafe = [path.name for path in files if path.suffix not in _FILES]
    if unsafe:
        raise CheckFailure(
            f"save writes {', '.join(unsafe)}; expected {', '.join(_FILES)}",
            "other formats may execute code when they are loaded",
            "robossl.core.io.write_json and save_tree",
        )
    loaded, again = (target.factory.load(folder, target.make()[2], "cpu") for _ in range(2))
    actions = [_deterministic_actions(target, a) for a in (loaded, again, agent, agent)]
    draws = not _all_equal(actions[2], actions[3])  # a planner draws samples with explore=False too
    if not _all_equal(actions[0], actions[1]) or not (draws or _all_equal(actions[0], actions[2])):
        raise CheckFailure(
            "the loaded agent acts differently with explore=False",
            "evaluation and `robossl play` use the loaded agent",
            "save everything that act uses: weights, settings, seed and representation",
        )
    return f"the loaded agent acts the same ({len(files)} files)"


def _deterministic_actions(target: AgentUnderTest, agent: Agent) -> list[np.ndarray]:
    agent.reset()
    return [agent.act(observation, explore=False) for observation in target.observations(4)]


def _check_checkpoint(target: AgentUnderTest) -> str:
    agent, envs, recorder = target.make()
    assert recorder.stream is not None
    agent.learn(recorder, target.steps)
    path = Path(tempfile.mkdtemp(dir=target.folder))
    save_tree(
        path / "checkpoint.safetensors",
        {"agent": agent.get_checkpoint(), "recorder": recorder.get_checkpoint()},
    )
    recorder.stream.commit()
    offset = recorder.stream.offset()
    shutil.copytree(recorder.stream.path, path / "stream")
    expected = _trace(target, agent, envs, recorder, 60)

    tree = load_tree(path / "checkpoint.safetensors")
    stream = Stream.open(path / "stream")
    stream.truncate(offset)
    other_envs = make_envs(NUM_ENVS, target.env_kind)
    other_recorder = Recorder(other_envs, stream)
    resumed = target.make_in(other_recorder)
    resumed.set_checkpoint(tree["agent"])
    other_recorder.set_checkpoint(tree["recorder"])
    continued = _trace(target, resumed, other_envs, other_recorder, 60)
    if not _all_equal(expected, continued):
        raise CheckFailure(
            f"after set_checkpoint action {_first_difference(expected, continued)} of {len(expected)} differs",
            "a resumed run would not equal an uninterrupted one",
            "put everything that act and learn use into get_checkpoint: weights, optimizer, random generators, "
            "counters, running episodes, the last observation",
        )
    return f"continues to the same {len(expected)} actions"


def _check_representation(target: AgentUnderTest) -> str:
    agent, envs, recorder = target.make()
    agent.learn(recorder, 20)
    agent.set_representation(make_world_model(target.env_kind, 2))
    agent.learn(recorder, 20)
    _assert_actions(envs, agent.act(target.observations(1)[0]), "act after set_representation")
    if target.representation is not None:
        return "acts and learns with a newer representation"
    try:
        agent, envs, recorder = replace(target, representation=make_world_model(target.env_kind)).make()
    except UsageError:
        return "acts on observations only; set_representation has no effect"
    agent.learn(recorder, 20)
    agent.set_representation(make_world_model(target.env_kind, 2))
    agent.learn(recorder, 20)
    _assert_actions(envs, agent.act(target.observations(1)[0]), "act after set_representation")
    return "acts and learns with a representation and with a newer version of it"


def _check_reset_envs(target: AgentUnderTest) -> str:
    agent, envs, recorder = target.make()
    agent.learn(recorder, 10)
    envs.done[:] = True  # as after a restart: only a reset makes another step possible
    agent.reset_envs(recorder)
    try:
        agent.learn(recorder, 10)
    except (RuntimeError, UsageError) as error:
        raise CheckFailure(
            f"learn after reset_envs raised {type(error).__name__}: {error}",
            "a resumed run could not continue with an env that cannot be restored",
            "reset the envs before the next step: use robossl.rollout.StepLoop",
        ) from error
    return "learn resets the envs after reset_envs"


REQUIRED = ("interface", "actions")  # if one of them fails, the checks after it are skipped
CHECKS: tuple[tuple[str, Callable[[AgentUnderTest], str]], ...] = (
    ("interface", _check_interface),
    ("unknown settings", _check_unknown_setting),
    ("actions", _check_actions),
    ("observations not mutated", _check_observations_not_mutated),
    ("episode reset", _check_reset),
    ("steps of learn", _check_steps),
    ("metrics", _check_metrics),
    ("deterministic given seed", _check_determinism),
    ("save and load", _check_save),
    ("checkpoint", _check_checkpoint),
    ("set_representation", _check_representation),
    ("reset_envs", _check_reset_envs),
)
