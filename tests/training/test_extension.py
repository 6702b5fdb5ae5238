"""A run that is extended, also after a change of the physics, ends with the bytes of one that was that long at once."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
from pathlib import Path

import pytest
from resume_helpers import Moment, flags, outcome, run_in_process, tiny
from test_resume import start_robossl, wait_for

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.training.config import LearnConfig
from robossl.training.config_validation import check_iterations, validate_config
from robossl.training.extension import extended_config, parse_steps
from robossl.training.phases import learn
from robossl.training.state import RunState

KILLED = -signal.SIGKILL
SHORT = {"goals__trials": 0, "goals__head_updates": 0, "agent__rows": ()}
CHANGED = {"variation__at_step": 1840, "variation__randomization__joint_damping": 2.0}


def stream_bytes(run: Path) -> dict[str, bytes]:
    """Return the files of the stream of a run, and its config."""
    return {path.name: path.read_bytes() for path in (run / "stream").glob("*.safetensors")} | {
        "config.toml": (run / "config.toml").read_bytes()
    }


def test_killed_and_extended_run_with_changed_physics_equals_an_uninterrupted_one(tmp_path):
    """Two iterations, the physics change after the first one, killed in the second, then extended to three."""
    full_run, run = tmp_path / "full", tmp_path / "run"
    full = tiny(
        steps=2160,
        explore__steps=1680,
        agent__iteration_steps=160,
        agent__num_iterations=3,
        **CHANGED,
        **SHORT,
    )
    assert run_in_process(full_run, full) == 0
    assert run_in_process(run, tiny(**CHANGED, **SHORT), kill_at=Moment("iteration 2 of 2", 20)) == KILLED
    assert run_in_process(run) == 0
    old_report = (run / "report.json").read_bytes()
    assert len(list((run / "checkpoints").iterdir())) == 1, "a finished run keeps the newest checkpoint only"
    assert run_in_process(run, steps="+160") == 0
    assert outcome(run) == outcome(full_run)
    assert stream_bytes(run) == stream_bytes(full_run)
    assert (run / "report-2000.json").read_bytes() == old_report
    section = read_json(run / "report.json")["continual"]
    assert section["at_step"] == 1840
    assert [point["steps"] for point in section["curve"]] == [1840, 2000, 2160]
    assert set(section["rows"]) == {"before", "just_after", "recovered", "old_again"}
