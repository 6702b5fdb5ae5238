"""Ended at any moment, a run goes on where it was and comes to the same bytes as one that was never ended."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from resume_helpers import Moment, flags, live, notes, outcome, tiny

from robossl.core.errors import OperationError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.streams import Stream, validate_stream
from robossl.training.phases import learn

KILLED = -signal.SIGKILL
ROBOSSL = Path(sys.executable).with_name("robossl")


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
    Moment("round 1 of 2: raw"),
    Moment("checkpoint"),
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


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
def test_an_env_that_cannot_be_saved_lives_its_life_again(env, tmp_path):
    whole, run, config = tmp_path / "whole", tmp_path / "run", tiny(env)
    assert live(whole, config) == 0
    assert live(run, config, end=Moment("round 2 of 2: raw", 20)) == KILLED
    assert live(run) == 0
    assert outcome(run) == outcome(whole)
    assert not notes(run).exists() or "taken up" not in notes(run).read_text()
    absent = read_json(run / "report.json")["absent"]
    assert "no desired_goal" in absent["goals"]
    assert "no is_success" in absent["control.success"]


def test_an_env_whose_seed_does_not_decide_its_life_goes_on_with_new_episodes(tmp_path):
    run = tmp_path / "run"
    assert live(run, tiny("thirdparty/GlobalRandom-v0"), end=Moment("round 2 of 2: raw", 5)) == KILLED
    assert live(run) == 0
    assert "could not be taken up where it was" in notes(run).read_text()
    assert read_json(run / "report.json")["control"]["rows"]["raw"]["return"]["n"] == 2


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its last round; to be copied."""
    run = tmp_path_factory.mktemp("half") / "run"
    assert live(run, tiny(), end=Moment("round 2 of 2: raw", 10)) == KILLED
    return run


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(whole, half, tmp_path):
    shutil.copytree(half, run := tmp_path / "run")
    newest = sorted((run / "checkpoints").glob("checkpoint-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert live(run) == 0
    assert newest.name in notes(run).read_text()
    assert outcome(run) == outcome(whole)


def test_a_damaged_chunk_is_named_with_its_repair_and_nothing_else_is_lost(half, tmp_path):
    shutil.copytree(half, run := tmp_path / "run")
    chunk = run / "stream" / "chunk-000001.safetensors"  # of the first round
    whole = chunk.read_bytes()
    for damaged in (whole[:-5], whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]):
        chunk.write_bytes(damaged)
        with pytest.raises(OperationError, match=chunk.name) as refused:
            learn(resume=run, progress=NullProgress())
        assert str(refused.value).endswith(f"robossl stream validate --repair {run / 'stream'}")
        assert "\n" not in str(refused.value)
    assert validate_stream(run / "stream", repair=True)["repaired"]
    explored = Stream.open(run / "stream").transitions
    assert explored == 1680
    assert live(run) == 0
    assert Stream.open(run / "stream").transitions > explored
    assert read_json(run / "report.json")["control"]["rows"]["representation"]["return"]["n"] == 2


def robossl(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """The command in a process of its own; its words come line by line on stderr."""
    return subprocess.Popen(
        [ROBOSSL, *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """As from a terminal: a shell starts what runs in the background deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def hears(process: subprocess.Popen[str], word: str) -> None:
    """Wait until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"it ended without saying {word!r}")


def test_the_command_is_killed_and_interrupted_at_any_time_and_resumed(whole, tmp_path):
    """A real SIGKILL and a real Ctrl-C, timed by the clock."""
    first = robossl("learn", *flags(), "--out", "run", cwd=tmp_path)
    hears(first, "round 1 of 2: raw")
    time.sleep(0.2)
    first.kill()
    first.communicate()
    second = robossl("learn", "--resume", "run", cwd=tmp_path)
    hears(second, "round 2 of 2: representation")
    time.sleep(0.2)
    second.send_signal(signal.SIGINT)
    out, said = second.communicate(timeout=60)
    assert second.returncode == 130, said
    assert out == ""
    assert said.splitlines()[-1].endswith("Go on with: robossl learn --resume run")
    assert "Traceback" not in said
    third = robossl("learn", "--resume", "run", "--quiet", cwd=tmp_path)
    out, said = third.communicate(timeout=120)
    assert third.returncode == 0, said
    assert out.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    assert outcome(tmp_path / "run") == outcome(whole)
