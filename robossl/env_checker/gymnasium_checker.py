"""Gymnasium's own check_env, with what it says put into plain words."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from gymnasium.utils.env_checker import check_env

from robossl.env_checker.call_monitor import EnvCallError
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_NAME = "gymnasium check_env"


class _Plain(NamedTuple):
    """What a message of Gymnasium means, and what to do."""

    part: str  # of its message
    meaning: str
    mend: str


_RANDOM = "in reset: super().reset(seed=seed), then draw from self.np_random"
_SEEDS = f"{_RANDOM}; an array that is written to again looks like it too: see the other findings"
_SENSES = "see the findings on observations"
_ERRORS = (
    _Plain("is not within the observation space", "what reset gives is not in the space", _SENSES),
    _Plain("call `super().reset(seed=seed)`", "the env has no random generator of its own", _RANDOM),
    _Plain("random number generator", "the env has no random generator of its own", _RANDOM),
    _Plain("np_random", "the env's random generator is not the one its seed made", _RANDOM),
    _Plain("is non-deterministic", "the same seed brings another first observation", _SEEDS),
    _Plain("are not equivalent for the same seed", "the same seed and action bring another step", _SEEDS),
    _Plain("share an object", "an array already handed over is written to again", "return array.copy()"),
    _Plain("truncates after 1 step", "truncated is not False after one step", "return bool(truncated)"),
    _Plain(
        "keyword argument", "reset refuses what it is given", "def reset(self, *, seed=None, options=None):"
    ),
)
_WARNINGS = (
    _Plain("value is -infinity", "a bound is infinite: robossl measures the scale by itself", ""),
    _Plain("value is infinity", "a bound is infinite: robossl measures the scale by itself", ""),
    _Plain("symmetric and normalized", "actions are not in [-1, 1]: robossl scales them by their bounds", ""),
    _Plain("values are equal", "a number of the space can never change", "take it out of the space"),
    _Plain("int or np.int64", "a Discrete observation is no whole number", "return int(observation)"),
    _Plain("a numpy array", "an observation is no array", "np.asarray(observation, dtype=space.dtype)"),
    _Plain(
        "dtype to be", "an observation has another dtype than its space", "observation.astype(space.dtype)"
    ),
    _Plain("is not within the observation space", "an observation is not in its space", _SENSES),
    _Plain(
        "`seed` function", "env.seed(...) is of an older interface", "delete it; reset(seed=...) replaces it"
    ),
    _Plain("default seed argument", "reset has a seed by default: every life would be the same", "seed=None"),
    _Plain(
        "return_info", "return_info is of an older interface", "delete it; reset gives (observation, info)"
    ),
    _Plain("although similar", "the same seed brings nearly the same", "run physics in a fixed order"),
    _Plain(
        "`env.close()`", "closing a second time raises", "make close do nothing when it is already closed"
    ),
    _Plain("signal to be a boolean", "an ending is neither true nor false", "see the finding on endings"),
    _Plain("The reward", "a reward is no finite number", "see the finding on reward"),
)


def official(case: EnvUnderTest) -> Iterator[CheckResult]:
    """One finding for the check, one for each warning."""
    env = case.make().unwrapped
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with case.watch.call(_NAME, patience=10):
                check_env(env, skip_render_check=True)  # it would open a window
            fault = None
        except EnvCallError as raised:
            fault = raised
    if fault is None:
        yield check_passed(_NAME, "passes")
    else:
        plain = _plain(fault.words, _ERRORS)
        where = f" at {fault.where}" if fault.where else ""
        yield check_failed(
            _NAME,
            f"it says: {_clean(fault.words)}{where}",
            plain.meaning if plain else "tools made for Gymnasium rely on it",
            plain.mend
            if plain and plain.mend
            else f"change the env until check_env(gymnasium.make({case.spec.id!r}).unwrapped) passes",
        )
    yield from _warned({_clean(str(warning.message)): None for warning in caught})


def _warned(messages: dict[str, None]) -> Iterator[CheckResult]:
    """One finding for each meaning."""
    said = set()
    for message in messages:
        plain = _plain(message, _WARNINGS)
        if plain is None:
            yield check_info("gymnasium warns", message)
        elif plain.meaning not in said:
            said.add(plain.meaning)
            yield check_info("gymnasium warns", message, plain.meaning, plain.mend)


def _plain(message: str, known: tuple[_Plain, ...]) -> _Plain | None:
    return next((plain for plain in known if plain.part in message), None)


def _clean(message: str) -> str:
    """A message without colours, prefix and line breaks."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message)
    text = re.sub(r"^(AssertionError: |WARN: )+", "", " ".join(text.split()))
    return text.removeprefix("WARN: ")
