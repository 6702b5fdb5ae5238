"""A run that is extended, also after a change of the physics, ends with the bytes of one that was that long at once."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
from resume_helpers import DEFAULT_AGENT, Moment, flags, outcome, run_in_process, tiny
from test_resume import start_robossl, wait_for

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import read_json
from robossl.training import config_io, extension
from robossl.training.config import LearnConfig
from robossl.training.config_validation import check_iterations
from robossl.training.extension import describe, extended_config, parse_steps
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


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of three iterations; the physics change after the first one."""
    run = tmp_path_factory.mktemp("full") / "run"
    lengths = {"explore__steps": 1680, "agent__iteration_steps": 160, "agent__num_iterations": 3}
    assert run_in_process(run, tiny(steps=2160, **lengths, **CHANGED, **SHORT)) == 0
    return run


def test_killed_and_extended_run_with_changed_physics_equals_an_uninterrupted_one(full_run, tmp_path):
    run = tmp_path / "run"
    assert run_in_process(run, tiny(**CHANGED, **SHORT), kill_at=Moment("iteration 2 of 2", 20)) == KILLED
    assert run_in_process(run) == 0
    old_report = (run / "report.json").read_bytes()
    assert len(list((run / "checkpoints").iterdir())) == 1, "a finished run keeps the newest checkpoint only"
    assert run_in_process(run, steps="+160") == 0
    assert outcome(run) == outcome(full_run)
    assert stream_bytes(run) == stream_bytes(full_run)
    assert (run / "report-2000.json").read_bytes() == old_report
    with pytest.raises(UsageError, match="has taken 2,160: expected 2,320 or more"):
        learn(resume=run, progress=NullProgress(), steps=2160)


def test_extended_run_whose_agent_imagines_equals_an_uninterrupted_one(tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    lengths = {"explore__steps": 1680, "agent__iteration_steps": 160, "agent__num_iterations": 3}
    assert run_in_process(whole, tiny(steps=2160, **lengths, **CHANGED, **SHORT, **DEFAULT_AGENT)) == 0
    assert run_in_process(run, tiny(**CHANGED, **SHORT, **DEFAULT_AGENT)) == 0
    assert run_in_process(run, steps="+160") == 0
    assert outcome(run) == outcome(whole)
    assert stream_bytes(run) == stream_bytes(whole)


def test_changed_physics_are_measured_at_every_moment(full_run):
    section = read_json(full_run / "report.json")["continual"]
    assert section["at_step"] == 1840
    assert section["iteration_steps"] == {"agent": 120, "explore": 40}
    assert "the exploration policy took 40 steps and the agent 120" in (full_run / "report.html").read_text()
    assert [point["steps"] for point in section["curve"]] == [1840, 2000, 2160]
    assert set(section["rows"]) == {"before", "just_after", "recovered", "old_again"}
    assert {row["return"]["n"] for row in section["rows"].values()} == {2}
    assert section["rows"]["before"]["skill"] != section["rows"]["just_after"]["skill"]
    assert set(section["transfer"]) == {"forward", "recovery", "backward"}
    assert "changed" in (full_run / "report.html").read_text()


def test_unlimited_run_is_stopped_and_finished_as_a_limited_one(full_run, tmp_path):
    """SIGTERM stops it with a report; with a total it then ends with the bytes of a run of that total."""
    arguments = flags(steps="unlimited", explore__steps=1680, agent__iteration_steps=160, **CHANGED, **SHORT)
    process = start_robossl("learn", *arguments, "--out", "run", cwd=tmp_path)
    wait_for(process, "iteration 2: latent")
    process.terminate()
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert err.splitlines()[-1].endswith("To continue: robossl learn --resume run")
    report = read_json(tmp_path / "run" / "report.json")
    assert len(report["control"]["rows"]["latent_observation"]["curve"]) == 1
    assert run_in_process(tmp_path / "run", steps=2160) == 0
    assert stream_bytes(tmp_path / "run") == stream_bytes(full_run)
    expected, result = outcome(full_run), outcome(tmp_path / "run")
    for records in (expected, result):  # the command logs the losses at longer intervals
        losses = ("world_model/updates", "agent/train/n_updates")
        records["metrics"] = [r for r in records["metrics"] if not any(name in r for name in losses)]
        del records["report"]["training"]  # the curves of these losses
    assert result == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("96_000", 96_000), ("+4000", "+4000"), ("+4_000", "+4000"), ("unlimited", "unlimited")],
)
def test_steps_are_a_total_an_addition_or_unlimited(text, expected):
    assert parse_steps(text) == expected


@pytest.mark.parametrize("text", ["-5", "0", "+0", "x", "1e5", "", "++5", "5_", "unlimitd", "\u0665"])
def test_invalid_steps_are_one_line(text):
    with pytest.raises(UsageError, match="expected a whole number of 1 or more, \\+N or unlimited") as error:
        parse_steps(text)
    assert "\n" not in str(error.value)


def test_extended_config_keeps_the_lengths_of_exploration_and_iterations():
    config = LearnConfig()
    for steps, count in ((80_000, 8), ("+1", 5), ("+16000", 8), (64_001, 5), ("unlimited", math.inf)):
        longer = extended_config(config, RunState(phase="done", iteration=4), steps)
        assert (longer.explore_steps, longer.iteration_steps) == (48_000, 4_000)
        assert longer.num_iterations == count
        assert config_io.parse(LearnConfig, ("toml", _through_toml(longer))) == longer


def _through_toml(config: LearnConfig) -> dict[str, object]:
    return {name: value for name, value in config_io.flatten(config).items() if not isinstance(value, dict)}


def test_target_of_an_unfinished_run_moves_down_to_its_last_iteration():
    state = RunState(phase="act", iteration=2)
    assert extended_config(LearnConfig(), state, 56_000).num_iterations == 2
    with pytest.raises(UsageError, match="has taken 56,000: expected 56,000 or more, or \\+N"):
        extended_config(LearnConfig(), state, 50_000)
    unlimited = extended_config(LearnConfig(), state, "unlimited")
    assert extended_config(unlimited, state, "+8000").num_iterations == 4
    assert "until it is stopped" in describe(unlimited, state)
    assert "goes on to 64,000: 2 iterations of 4,000 steps" in describe(LearnConfig(), state)


def test_run_without_agent_cannot_be_extended():
    for config in (tiny(agent__num_iterations=0), tiny(explore__fraction=1.0)):
        with pytest.raises(UsageError, match="expected a run whose agent takes environment steps"):
            extended_config(config, RunState(phase="done"), 5000)
    state = RunState(phase="done", missing={"control": "the reward was 0"})
    with pytest.raises(UsageError, match="got one without: the reward was 0"):
        extended_config(LearnConfig(), state, 80_000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": "unlimited", "agent__num_iterations": 0}, "steps: unlimited: expected an agent"),
        ({"variation__at_step": 1840}, "expected variation.randomization with it"),
        ({**CHANGED, "variation__at_step": 1680}, "between the first iteration of the agent and the last"),
        ({**CHANGED, "variation__at_step": 1841}, "between the first iteration of the agent and the last"),
        (
            {**CHANGED, "env": "CartPole-v1"},
            "expected an env of robossl, whose physics can be changed, got CartPole",
        ),
        ({**CHANGED, "variation__randomization__mass": 2}, "variation.randomization: no 'mass'"),
        (
            {**CHANGED, "variation__randomization__joint_damping": 99},
            "expected joint_damping as numbers from 0.2",
        ),
    ],
)
def test_invalid_iterations_are_one_line(settings, message):
    with pytest.raises(UsageError) as error:
        check_iterations(tiny(**settings))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_report_is_kept_and_refreshed(tmp_path):
    assert not extension.refresh_report(tmp_path, RunState())
    extension.keep_report(tmp_path, 100)
    assert list(tmp_path.iterdir()) == []


def test_steps_of_python_are_checked(tmp_path):
    for steps in (-5, "all", 1.5):
        with pytest.raises(UsageError, match="steps: expected a whole number"):
            learn(resume=tmp_path, progress=NullProgress(), steps=steps)
    with pytest.raises(UsageError, match="expected a run to resume"):
        learn(LearnConfig(), progress=NullProgress(), steps=100)
    with pytest.raises(UsageError, match="is not a run folder"):
        learn(resume=tmp_path, progress=NullProgress(), steps=100)
