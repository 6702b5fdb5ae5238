"""Gymnasium's own check_env, with its messages explained."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from gymnasium.utils.env_checker import check_env

from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvCallError, EnvUnderTest

_NAME, _WARNING = "gymnasium check_env", "gymnasium warning"


class _Explanation(NamedTuple):
    """Meaning of a message of Gymnasium."""

    part: str  # text that the message contains
    meaning: str
    fix: str


_RANDOM = "in reset: super().reset(seed=seed), then draw from self.np_random"
_SEEDS = f"{_RANDOM}; returning an array that is written to later has the same effect: see the other results"
_OBSERVATIONS = "see the results on observations"
_ERRORS = (
    _Explanation(
        "is not within the observation space", "reset returns what is not in the space", _OBSERVATIONS
    ),
    _Explanation("call `super().reset(seed=seed)`", "the env does not seed its random generator", _RANDOM),
    _Explanation("random number generator", "the env does not seed its random generator", _RANDOM),
    _Explanation("np_random", "the random generator of the env is not the one its seed created", _RANDOM),
    _Explanation("is non-deterministic", "the same seed gives another first observation", _SEEDS),
    _Explanation(
        "are not equivalent for the same seed", "the same seed and action give another step", _SEEDS
    ),
    _Explanation("share an object", "an array is written to after it was returned", "return array.copy()"),
    _Explanation("truncates after 1 step", "truncated is not False after one step", "return bool(truncated)"),
    _Explanation(
        "keyword argument",
        "reset does not accept its arguments",
        "def reset(self, *, seed=None, options=None):",
    ),
)
_WARNINGS = (
    _Explanation("value is -infinity", "a bound is infinite: robossl measures the scale itself", ""),
    _Explanation("value is infinity", "a bound is infinite: robossl measures the scale itself", ""),
    _Explanation(
        "symmetric and normalized", "actions are not in [-1, 1]: robossl scales them by their bounds", ""
    ),
    _Explanation("values are equal", "a number of the space can never change", "remove it from the space"),
    _Explanation("int or np.int64", "a Discrete observation is not an integer", "return int(observation)"),
    _Explanation(
        "a numpy array", "an observation is not an array", "np.asarray(observation, dtype=space.dtype)"
    ),
    _Explanation(
        "dtype to be", "an observation has another dtype than its space", "observation.astype(space.dtype)"
    ),
    _Explanation("is not within the observation space", "an observation is not in its space", _OBSERVATIONS),
    _Explanation(
        "`seed` function", "env.seed(...) is an older API", "delete it; reset(seed=...) replaces it"
    ),
    _Explanation(
        "default seed argument", "reset has a default seed: every episode would be the same", "seed=None"
    ),
    _Explanation(
        "return_info", "return_info is an older API", "delete it; reset returns (observation, info)"
    ),
    _Explanation("although similar", "the same seed gives nearly the same", "run physics in a fixed order"),
    _Explanation("`env.close()`", "a second close raises", "return from close if it was called before"),
    _Explanation("signal to be a boolean", "terminated or truncated is not a bool", "see termination flags"),
    _Explanation("The reward", "a reward is not a finite number", "see reward"),
)


def check_gymnasium(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Run Gymnasium's check_env; yield one result for it and one for each kind of warning."""
    if target.spec.entry_point is None:
        yield check_info(_NAME, "it has only a vector entry point")
        return
    env = target.make().unwrapped
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with target.monitor.call(_NAME, time_factor=10):
                check_env(env, skip_render_check=True)  # it would open a window
            error = None
        except EnvCallError as raised:
            error = raised
    if error is None:
        yield check_passed(_NAME, "passes")
    else:
        known = _explain(error.message, _ERRORS)
        where = f" at {error.location}" if error.location else ""
        yield check_failed(
            _NAME,
            f"error: {_clean(error.message)}{where}",
            known.meaning if known else "libraries for Gymnasium rely on it",
            known.fix
            if known and known.fix
            else f"change the env until check_env(gymnasium.make({target.spec.id!r}).unwrapped) passes",
        )
    yield from _warning_results({_clean(str(warning.message)): None for warning in caught})


def _warning_results(messages: dict[str, None]) -> Iterator[CheckResult]:
    """Yield one result for each meaning."""
    reported = set()
    for message in messages:
        known = _explain(message, _WARNINGS)
        if known is None:
            yield check_info(_WARNING, message)
        elif known.meaning not in reported:
            reported.add(known.meaning)
            yield check_info(_WARNING, message, known.meaning, known.fix)


def _explain(message: str, explanations: tuple[_Explanation, ...]) -> _Explanation | None:
    return next((known for known in explanations if known.part in message), None)


def _clean(message: str) -> str:
    """Return a message without colors, prefixes and line breaks."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message)
    text = re.sub(r"^(AssertionError: |WARN: )+", "", " ".join(text.split()))
    return text.removeprefix("WARN: ")
