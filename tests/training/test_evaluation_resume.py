"""An evaluation that is interrupted and resumed gives the report of an uninterrupted one."""

from __future__ import annotations

from pathlib import Path

import pytest

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.core.io import write_json
from robossl.evaluation import control, partial_results
from robossl.evaluation.report import report_file
from robossl.training.evaluation_runner import resume_evaluation, run_evaluation
from robossl.training.requests import EvaluateRequest
from robossl.world_model.config import WorldModelConfig


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Return the folders of a stream and of a small world model."""
    folder = tmp_path_factory.mktemp("inputs")
    settings = {"steps": 240, "num_envs": 4, "max_episode_steps": 10, "threads": 1}
    robossl.collect("robossl/PointMaze-v0", policy="random", out=folder / "s", **settings)
    widths = {"encoder_hidden": (8,), "dynamics_hidden": (8,), "inverse_hidden": (8,)}
    robossl.pretrain(
        folder / "s", updates=2, out=folder / "m", config=WorldModelConfig(latent_dim=6, **widths)
    )
    return folder


def request(inputs, out, **changes):
    """Return a request for a small report."""
    settings = {"episodes": 2, "goal_trials": 1, "goal_horizons": (3,), "head_updates": 2, "videos": False}
    return EvaluateRequest(inputs / "m", inputs / "s", out=out, threads=1, **(settings | changes))


def without_timings(report):
    """Return a report without the times that it measured."""
    if isinstance(report, dict):
        timings = ("seconds", "ms_per_decision", "folder", "provenance")
        return {k: without_timings(v) for k, v in report.items() if k not in timings}
    return report


def test_resumed_evaluation_equals_an_uninterrupted_one(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(inputs)
    whole = run_evaluation(request(Path(), tmp_path / "whole"), NullProgress())
    measured, evaluate = [], control.evaluate_returns

    def interrupted(*arguments, **keywords):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(arguments)
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr(control, "evaluate_returns", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"; to go on: robossl evaluate --resume .*/e"):
        run_evaluation(request(Path(), tmp_path / "e"), NullProgress())
    assert "interrupted" in str(report_file.read(tmp_path / "e")["missing"])
    monkeypatch.setattr(control, "evaluate_returns", lambda *a, **k: measured.append(a) or evaluate(*a, **k))
    monkeypatch.chdir(tmp_path)
    report = resume_evaluation(Path("e"), NullProgress())
    assert without_timings(report) == without_timings(whole)
    assert len(measured) == len(report["control"]["rows"]), "no row is measured twice"
    assert not (tmp_path / "e" / partial_results.NAME).exists()
    assert resume_evaluation(Path("e"), NullProgress()) == report


def test_evaluation_is_not_resumed_on_a_longer_stream(inputs, tmp_path, monkeypatch):
    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(control, "evaluate_returns", stop)
    with pytest.raises(KeyboardInterrupt):
        run_evaluation(request(inputs, tmp_path / "e"), NullProgress())
    parts = partial_results.read(tmp_path / "e")
    parts["provenance"]["config"]["rows of the stream"] -= 1
    write_json(tmp_path / "e" / partial_results.NAME, parts, checksum=True)
    with pytest.raises(UsageError, match=r"rows of the stream \d+ -> \d+; .*--resume .* --accept-changes"):
        resume_evaluation(tmp_path / "e", NullProgress())


def test_other_folders_are_refused(inputs):
    with pytest.raises(UsageError, match="expected an evaluation folder, got a model folder"):
        resume_evaluation(inputs / "m", NullProgress())
