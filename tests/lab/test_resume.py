"""Ended at any moment, a run goes on where it was and comes to the same bytes as one that was never ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from lives import Moment, live, outcome, tiny

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing ended."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert live(run, tiny()) == 0
    return run


# Each is another place in the loop: before any checkpoint, with one of an earlier phase, of this phase, between
# two actors, with nothing missing but the rename of the checkpoint, and right after it.
MOMENTS = [
    Moment("explore", 100),
    Moment("learn the world", 2),
    Moment("learn the world", 1),
    Moment("goals"),
    Moment("round 1 of 2: representation", 30),
    Moment("round 1 of 2: raw"),
    Moment("round 1 of 2: raw", 45),
    Moment("checkpoint"),
    Moment("round 2 of 2: representation", 50),
    Moment("round 2 of 2: raw", 10),
    Moment("checkpoint", renamed=True),
    Moment("diagnose", 3),
]


def test_killed_in_every_phase_it_ends_with_the_same_bytes(whole, tmp_path):
    run = tmp_path / "run"
    config = tiny()
    for moment in MOMENTS:
        assert live(run, config, end=moment, every=0.0) == KILLED, moment
        config = None
    assert live(run) == 0
    assert outcome(run) == outcome(whole)
