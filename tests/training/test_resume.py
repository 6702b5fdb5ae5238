"""A run that is killed at any moment and resumed ends with the same bytes as an uninterrupted run."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from resume_helpers import DEFAULT_AGENT, Moment, flags, messages_file, outcome, run_in_process, tiny

from robossl.core.errors import OperationError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.streams import Stream, validate_stream
from robossl.training.phases import learn

KILLED = -signal.SIGKILL
ROBOSSL = Path(sys.executable).with_name("robossl")


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("full") / "run"
    assert run_in_process(run, tiny()) == 0
    return run


# Each is a different place in the run: before any checkpoint, after one of an earlier phase, after one of this phase,
# between two agents, just before the rename of a checkpoint, and just after it.
MOMENTS = [
    Moment("explore", 100),
    Moment("train world model", 2),
    Moment("train world model", 1),
    Moment("fit goal heads", 1),
    Moment("evaluate the world model", 3),
    Moment("reach goals", 2),
    Moment("run episodes", 1),
    Moment("iteration 1 of 2: observation"),
    Moment("checkpoint"),
    Moment("iteration 2 of 2: observation", 10),
    Moment("checkpoint", renamed=True),
]


def test_run_killed_in_every_phase_ends_with_the_same_bytes(full_run, tmp_path):
    run = tmp_path / "run"
    config = tiny()
    for moment in MOMENTS:
        assert run_in_process(run, config, kill_at=moment, interval=0.0) == KILLED, moment
        config = None
    assert run_in_process(run) == 0
    assert outcome(run) == outcome(full_run)


def test_run_that_trains_its_encoder_is_killed_and_ends_with_the_same_bytes(tmp_path):
    full_run, run, config = tmp_path / "full", tmp_path / "run", tiny(agent__encoder="finetune")
    assert run_in_process(full_run, config) == 0
    assert run_in_process(run, config, kill_at=Moment("iteration 2 of 2: latent_observation", 20)) == KILLED
    assert run_in_process(run) == 0
    assert outcome(run) == outcome(full_run)


def test_run_whose_agent_imagines_is_killed_and_ends_with_the_same_bytes(tmp_path):
    full_run, run, config = tmp_path / "full", tmp_path / "run", tiny(**DEFAULT_AGENT)
    assert run_in_process(full_run, config) == 0
    for moment in (Moment("iteration 1 of 2: latent", 25), Moment("iteration 2 of 2: latent", 20)):
        assert run_in_process(run, config, kill_at=moment, interval=0.0) == KILLED, moment
        config = None
    assert run_in_process(run) == 0
    assert outcome(run) == outcome(full_run)
    rows = read_json(run / "report.json")["control"]["rows"]
    assert {name: rows[name]["agent"] for name in ("latent", "observation")} == {
        "latent": "imagination-sac",
        "observation": "sac",
    }


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1"])
def test_env_without_checkpoint_is_resumed_by_replaying_actions(env, tmp_path):
    full_run, run, config = tmp_path / "full", tmp_path / "run", tiny(env)
    assert run_in_process(full_run, config) == 0
    assert run_in_process(run, config, kill_at=Moment("iteration 2 of 2: observation", 20)) == KILLED
    assert run_in_process(run) == 0
    assert outcome(run) == outcome(full_run)
    assert not messages_file(run).exists() or "not deterministic" not in messages_file(run).read_text()
    missing = read_json(run / "report.json")["missing"]
    assert "no desired_goal" in missing["goal_reaching"]
    assert "no is_success" in missing["control.success"]


def test_nondeterministic_env_continues_with_new_episodes(tmp_path):
    run = tmp_path / "run"
    assert (
        run_in_process(
            run, tiny("thirdparty/GlobalRandom-v0"), kill_at=Moment("iteration 2 of 2: observation", 5)
        )
        == KILLED
    )
    assert run_in_process(run) == 0
    assert "not deterministic" in messages_file(run).read_text()
    assert read_json(run / "report.json")["control"]["rows"]["observation"]["return"]["n"] == 2


@pytest.fixture(scope="module")
def partial_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its last iteration; to be copied."""
    run = tmp_path_factory.mktemp("partial") / "run"
    assert run_in_process(run, tiny(), kill_at=Moment("iteration 2 of 2: observation", 10)) == KILLED
    return run


def test_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(full_run, partial_run, tmp_path):
    shutil.copytree(partial_run, run := tmp_path / "run")
    newest = sorted((run / "checkpoints").glob("checkpoint-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert run_in_process(run) == 0
    assert newest.name in messages_file(run).read_text()
    assert outcome(run) == outcome(full_run)


def test_damaged_chunk_is_named_with_its_repair_command(partial_run, tmp_path):
    shutil.copytree(partial_run, run := tmp_path / "run")
    chunk = run / "stream" / "chunk-000001.safetensors"  # of the first iteration
    data = chunk.read_bytes()
    for damaged in (data[:-5], data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]):
        chunk.write_bytes(damaged)
        with pytest.raises(OperationError, match=chunk.name) as caught:
            learn(resume=run, progress=NullProgress())
        assert str(caught.value).endswith(f"robossl stream validate --repair {run / 'stream'}")
        assert "\n" not in str(caught.value)
    assert validate_stream(run / "stream", repair=True)["repaired"]
    explored = Stream.open(run / "stream").transitions
    assert explored >= 1680  # and the rows of the tail, of the second iteration
    assert run_in_process(run) == 0
    assert Stream.open(run / "stream").transitions > explored
    assert read_json(run / "report.json")["control"]["rows"]["latent_observation"]["return"]["n"] == 2


def start_robossl(*args: object, cwd: Path) -> subprocess.Popen[str]:
    """Start the command line in a new process; it prints progress lines on stderr."""
    return subprocess.Popen(
        [ROBOSSL, *map(str, args)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=enable_ctrl_c,
    )


def enable_ctrl_c() -> None:
    """React to Ctrl-C as in a terminal: processes in the background of a shell ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Wait until the process prints a line with this text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the process ended without printing {text!r}")


def _is_loss(name: str) -> bool:
    return name == "world_model/updates" or "/train/" in name


def test_command_is_killed_interrupted_and_resumed(full_run, tmp_path):
    """A SIGKILL and a Ctrl-C from outside."""
    first = start_robossl("learn", *flags(), "--out", "run", cwd=tmp_path)
    wait_for(first, "iteration 1 of 2: observation")
    first.kill()
    first.communicate()
    second = start_robossl("learn", "--resume", "run", cwd=tmp_path)
    wait_for(second, "iteration 2 of 2: latent_observation")
    second.send_signal(signal.SIGINT)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1].endswith("To continue: robossl learn --resume run")
    assert "Traceback" not in err
    third = start_robossl("learn", "--resume", "run", "--quiet", cwd=tmp_path)
    out, err = third.communicate(timeout=120)
    assert third.returncode == 0, err
    assert out.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    expected, result = outcome(full_run), outcome(tmp_path / "run")
    for values in (expected, result):  # the losses of full_run are logged at shorter intervals
        values["report"].pop("training")
        values["metrics"] = [r for r in values["metrics"] if not any(map(_is_loss, r))]
    assert result == expected
