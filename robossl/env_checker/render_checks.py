"""Whether an environment can be looked at without a window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from robossl.env_checker.call_monitor import EnvCallError
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_NAME = "renders"
_LACKING = "no videos: neither of the agent nor of the dream beside reality"


def renders(case: EnvUnderTest) -> Iterator[CheckResult]:
    """render_mode="rgb_array" gives frames."""
    plain = case.make()
    modes = plain.metadata.get("render_modes") or []
    case.close(plain)
    if "rgb_array" not in modes:
        yield check_info(
            _NAME,
            f"metadata['render_modes'] is {list(modes)}",
            _LACKING,
            'metadata = {"render_modes": ["rgb_array"], "render_fps": 30}, and a render() that gives one',
        )
        return
    try:
        env = case.make(render_mode="rgb_array")
        case.reset(env, 0)
        began = time.perf_counter()
        with case.watch.call("render()", patience=3):
            frame = env.render()
        seconds = time.perf_counter() - began
    except EnvCallError as fault:
        if fault.install:
            yield check_info(_NAME, str(fault), _LACKING, fault.install)
            return
        yield check_failed(
            _NAME, str(fault), _LACKING, "see robossl doctor for what draws here; then look at that line"
        )
        return
    yield _frame(frame, seconds)
    case.close(env)


def _frame(frame: Any, seconds: float) -> CheckResult:
    form = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
    right = (
        isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
    )
    if not right:
        return check_failed(
            _NAME,
            f'render() with render_mode="rgb_array" gives {form}',
            "a video is made of uint8 frames, height x width x 3",
            "return np.asarray(image, dtype=np.uint8)[..., :3]",
        )
    if frame.max() == frame.min():
        return check_info(
            _NAME, f"render() gives {form}, all of one colour", "nothing is to be seen on a video"
        )
    return check_passed(_NAME, f"render() gives {form}, the first after {seconds:.2f} s")
