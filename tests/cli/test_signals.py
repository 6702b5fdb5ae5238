"""SIGTERM and SIGHUP stop a command like Ctrl-C: the work so far is saved, the exit code is 130."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from robossl.cli.main import interrupt_on_signals
from robossl.core import interrupts
from robossl.streams import Stream

ROBOSSL = Path(sys.executable).with_name("robossl")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_the_recorded_steps(number, tmp_path):
    command = [ROBOSSL, "collect", "robossl/Reacher-v0", "--steps", "5_000_000", "--out", "stream"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "of 5,000,000 steps" in line)
        assert "Traceback" not in line
        process.send_signal(number)
        error = process.stderr.read()
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == (
        "robossl: interrupted; the recorded steps are in stream; to go on: robossl collect --resume stream"
    )
    assert Stream.open(tmp_path / "stream").transitions > 0


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt_on_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_end_with_the_command():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupt_on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    thread = threading.Thread(target=lambda: interrupt_on_signals().__enter__())
    thread.start()  # where handlers cannot be set
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def _wait_for_signal(connection: multiprocessing.connection.Connection) -> None:
    connection.send("ready")
    signal.pause()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_signal_ends_a_child_process_without_an_exception():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    with interrupt_on_signals():
        child = context.Process(target=_wait_for_signal, args=(there,))
        child.start()
        here.recv()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGTERM)
        child.join()
    assert child.exitcode == -signal.SIGTERM


def test_interruption_that_code_swallows_is_noted():
    with interrupt_on_signals():
        with contextlib.suppress(KeyboardInterrupt):  # as compiled modules do while they are imported
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    interrupts.check()
