"""Checks of what an env simulates, beyond its API: an env that can examine itself reports its findings."""

from __future__ import annotations

from collections.abc import Iterator

from robossl.core.interfaces import ExaminedEnv
from robossl.env_checker.check_result import CheckResult
from robossl.env_checker.env_under_test import EnvUnderTest

_SHARE = 0.6  # of the time limit of a call


def check_robot(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Yield the findings of an env that examines what it simulates; nothing for other envs."""
    env = target.make()
    inner = env.unwrapped
    if isinstance(inner, ExaminedEnv):
        with target.monitor.call("the examination of the robot", time_factor=6):
            findings = inner.examine(_SHARE * target.monitor.seconds)
        yield from (CheckResult(*finding) for finding in findings)
    target.close(env)
