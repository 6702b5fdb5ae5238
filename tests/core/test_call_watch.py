"""A call of third-party code that takes long is named, and one that hangs is ended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from pathlib import Path

import pytest

from robossl.core import call_watch
from robossl.core.call_watch import HungCallError, watched
from robossl.core.errors import UsageError


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    """Warn after 0.05 s and end a call after 0.2 s."""
    monkeypatch.setattr(call_watch, "_POLL", 0.01)
    monkeypatch.setattr(call_watch, "_WARN_AFTER", 0.05)
    monkeypatch.setenv(call_watch.VARIABLE, "0.2")
    monkeypatch.setattr(call_watch._watcher, "_process", 0)  # a thread of this test, with these times
    monkeypatch.setattr(call_watch._Call.__init__, "__defaults__", (0.05, ""))


def _endless_loop() -> None:
    while True:
        pass


@pytest.mark.parametrize("hang", [_endless_loop, lambda: time.sleep(100), threading.Event().wait])
def test_call_that_hangs_is_ended_and_named(hang, caplog):
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(
            HungCallError, match=r"my/Env-v0: step hangs: it did not return in 0.2 s in sub-environment 3"
        ),
        watched("my/Env-v0: step", lambda thread: "in sub-environment 3"),
    ):
        hang()
    assert "my/Env-v0: step has not returned for" in caplog.text
    assert Path(__file__).name in caplog.text


def test_call_that_swallows_the_error_is_ended_all_the_same():
    with (
        pytest.raises(HungCallError),
        watched("my/Env-v0: step"),
        contextlib.suppress(Exception),  # as an env may do
    ):
        time.sleep(100)


def test_call_that_returns_and_its_errors_are_not_changed():
    with watched("my/Env-v0: reset"):
        time.sleep(0.02)
    with pytest.raises(KeyError), watched("my/Env-v0: reset"):
        raise KeyError


def test_no_limit_and_wrong_limit(monkeypatch):
    monkeypatch.setenv(call_watch.VARIABLE, "0")
    with watched("my/Env-v0: reset"):
        time.sleep(0.3)
    monkeypatch.setenv(call_watch.VARIABLE, "soon")
    with pytest.raises(
        UsageError, match="ROBOSSL_ENV_TIMEOUT: expected a number of seconds of 0 or more, got 'soon'"
    ):
        call_watch.timeout()
