"""Checks of the Gymnasium API: construction, reset, step and render."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.rendered_frame import as_frame
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvCallError, EnvUnderTest

_RESET = (
    "def reset(self, *, seed=None, options=None):\n"
    "    super().reset(seed=seed)\n"
    "    ...\n"
    "    return observation, info"
)
_STEP = "return observation, float(reward), bool(terminated), bool(truncated), info"
_LARGE_SEED = 2**31 - 2
_NO_VIDEOS = "no videos of the agent or of imagined rollouts"


def check_construction(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that `gymnasium.make` works."""
    start = time.perf_counter()
    env = target.make()
    yield check_passed(
        "construction", f"gymnasium.make({target.spec.id!r}) took {time.perf_counter() - start:.2f} s"
    )
    if (error := target.close(env)) is not None:
        yield check_info("close", str(error), "the commands log it", "release in close only what there is")


def check_reset(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that `reset(seed=, options=)` returns (observation, info)."""
    env = target.make()
    inner = env.unwrapped  # Gymnasium's wrappers raise if the result has another form
    missing = {"seed", "options"} - _parameters(inner.reset)
    if missing:
        yield check_failed(
            "reset",
            f"{type(inner).__name__}.reset has no parameter {' and no '.join(sorted(missing, reverse=True))}",
            "without a seed no run can be repeated",
            _RESET,
        )
        return
    with target.monitor.call("reset(seed=0)", time_factor=6):  # the first reset may load and compile
        result = inner.reset(seed=0)
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
        with target.monitor.call(f"reset(seed={_LARGE_SEED})", time_factor=2):
            inner.reset(seed=_LARGE_SEED)  # runs draw such seeds
        yield check_passed("reset", "reset(seed=0) returns (observation, info)")
        return
    yield check_failed(
        "reset",
        f"reset(seed=0) returns {_describe(result)}, expected (observation, info)",
        "this is an older form of the API",
        "return observation, {}",
    )


def _parameters(function: Any) -> set[str]:
    parameters = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return {"seed", "options"}
    return set(parameters)


def _describe(result: Any) -> str:
    if isinstance(result, tuple):
        return f"{len(result)} values ({', '.join(type(part).__name__ for part in result)})"
    return f"a {type(result).__name__}"


def check_step(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that `step(action)` returns (observation, reward, terminated, truncated, info)."""
    env = target.make()
    inner = env.unwrapped
    with target.monitor.call("reset(seed=0)", time_factor=2):
        inner.reset(seed=0)
    env.action_space.seed(0)
    action = env.action_space.sample()
    with target.monitor.call("step(action)"):
        result = inner.step(action)
    if isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict):
        yield check_passed("step", "step(action) returns (observation, reward, terminated, truncated, info)")
        return
    if isinstance(result, tuple) and len(result) == 5 and result[4] is None:
        yield check_info(
            "step", "step(action) returns None as info, which is taken as {}",
            fix="return observation, reward, terminated, truncated, {}",
        )  # fmt: skip
        return
    if isinstance(result, tuple) and len(result) == 5:
        yield check_failed(
            "step",
            f"step(action) returns an info of type {type(result[4]).__name__}, expected a dict",
            "wrappers and agents look keys up in it",
            "return observation, reward, terminated, truncated, {}",
        )
        return
    is_old_api = isinstance(result, tuple) and len(result) == 4
    yield check_failed(
        "step",
        f"step(action) returns {_describe(result)}, expected 5: observation, reward, terminated, truncated, info",
        "this is the older form with one `done`, which does not separate termination from a time limit"
        if is_old_api
        else "no wrapper can read it",
        _STEP,
    )


def check_rendering(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that `render_mode="rgb_array"` gives frames."""
    plain = target.make()
    modes = plain.metadata.get("render_modes") or []
    target.close(plain)
    if not {"rgb_array", "rgb_array_list"} & set(modes):
        yield check_info(
            "rendering",
            f"metadata['render_modes'] is {list(modes)}",
            _NO_VIDEOS,
            'metadata = {"render_modes": ["rgb_array"], "render_fps": 30}, and a render() that returns a frame',
        )
        return
    try:
        env = target.make(render_mode="rgb_array")
        target.reset(env, 0)
        start = time.perf_counter()
        with target.monitor.call("render()", time_factor=3):
            frame = env.render()
        seconds = time.perf_counter() - start
    except EnvCallError as error:
        if error.install:
            yield check_info("rendering", str(error), _NO_VIDEOS, error.install)
            return
        yield check_failed(
            "rendering",
            str(error),
            _NO_VIDEOS,
            "see robossl doctor for the rendering backend; then correct that line",
        )
        return
    yield _check_frame(frame, seconds)
    target.close(env)


def _check_frame(frame: Any, seconds: float) -> CheckResult:
    try:
        image = as_frame(frame)
    except UsageError as error:
        return check_failed(
            "rendering",
            str(error),
            "a video needs frames",
            "return np.asarray(image, dtype=np.uint8)[..., :3]",
        )
    form = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
    text = f"render() returns {form}, the first after {seconds:.2f} s"
    if image.max() == image.min():
        text += "; it is all of one color"
    elif not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape != image.shape:
        text += "; it is converted to uint8 (height, width, 3)"
    return check_passed("rendering", text)
