"""report.json: keys of format 2, and a reason for everything that is missing."""

import json

import pytest
from evaluation_reports import complete_report, context_with
from evaluation_toys import ConstantModel, PerfectDiscreteModel, PerfectModel, ToyStream

from robossl.core.errors import UsageError
from robossl.evaluation.goal_reaching import CRITERIA
from robossl.evaluation.model_metrics import evaluate_world_model
from robossl.evaluation.report import report_file

ESTIMATE = {"mean", "low", "high", "n"}
KEYS = {
    "format", "env", "seed", "versions", "device", "seconds", "world_model", "goal_reaching", "control", "diagnostics",
    "provenance", "missing",
}  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return complete_report()


def test_keys_of_format_2(report):
    assert report["format"] == 2
    assert set(report) == KEYS
    world_model = report["world_model"]
    assert set(world_model["prediction_skill"]) == {"1", "5", "10", "25", "50"}
    assert all(set(estimate) == ESTIMATE for estimate in world_model["prediction_skill"].values())
    assert set(world_model["inverse_r2"]) == ESTIMATE
    for key in ("inverse_excess_r2", "effective_rank"):
        assert isinstance(world_model[key], float)
    assert {"forward_encoder_bound", "forward_shuffled", "forward_linear", "forward_curve"} <= set(
        world_model
    )
    assert set(world_model["probe_r2"]) == {"position", "velocity"}
    assert {"median", "low", "high", "n", "censored", "no_change"} <= set(
        world_model["valid_prediction_time"]
    )


def test_goal_reaching_rows_are_ordered_by_steps(report):
    rows = report["goal_reaching"]["rows"]
    assert list(rows) == ["planner", "inverse_policy", "random", "zero_action"]
    for row in rows.values():
        assert set(row) == set(report["goal_reaching"]["horizons"]) == {"5", "10"}
        assert all(set(row["10"][criterion]) == ESTIMATE for criterion in CRITERIA)
        assert set(row["10"]["chance_normalized"]) == set(CRITERIA)
        assert isinstance(row["10"]["ms_per_decision"], float)


def test_written_report_is_read_unchanged(report, tmp_path):
    path = report_file.write(tmp_path, report)
    assert path.name == "report.json"
    assert report_file.read(tmp_path) == report_file.read(path) == json.loads(json.dumps(report))


def test_every_missing_section_has_a_reason():
    context = context_with({"world_model": {"probe_r2": {}}}, {"goal_reaching": "the env has no goals"})
    report = report_file.build(context)
    assert report["missing"] == {
        "control": "not measured in this run",
        "goal_reaching": "the env has no goals",
    }
    assert report_file.missing_reason(report, "goal_reaching.rows.planner") == "the env has no goals"
    assert report_file.missing_reason(report, "world_model.probe_r2") is None
    assert report_file.missing_reason(report, "world_model.inverse_r2") == "not measured in this run"


def test_discrete_actions_have_accuracy_instead_of_r2():
    metrics, missing = evaluate_world_model(PerfectDiscreteModel(), ToyStream(discrete=True))
    assert metrics["inverse_accuracy"]["accuracy"]["mean"] == 1.0
    assert "inverse_accuracy" in missing["inverse_r2"]
    assert "inverse_excess_accuracy" in missing["inverse_excess_r2"]
    assert metrics["valid_prediction_time"]["unit"] == "steps"  # the duration of a step is unknown


def test_too_few_episodes_are_refused():
    with pytest.raises(UsageError, match="expected about ten finished episodes"):
        evaluate_world_model(PerfectModel(), ToyStream(episodes=3))


def test_collapsed_model_has_a_finite_report(tmp_path):
    metrics, _ = evaluate_world_model(ConstantModel(), ToyStream(), 0.1)
    assert metrics["effective_rank"] == 1.0
    report_file.write(tmp_path, report_file.build(context_with({"world_model": metrics})))


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({}, "expected a report"),
        ([], "expected a report"),
        ({"format": 1}, "expected a report of format 2, got format 1; evaluate again: robossl evaluate RUN"),
        ({"format": 2, "env": "x"}, "got none of seed, versions"),
    ],
)
def test_invalid_report_is_refused_in_one_line(invalid, message):
    with pytest.raises(UsageError, match=message) as error:
        report_file.check(invalid)
    assert "\n" not in str(error.value)


def test_missing_section_without_reason_is_refused(report):
    without = {key: value for key, value in report.items() if key != "control"}
    with pytest.raises(UsageError, match="got none of control"):
        report_file.check(without)


def test_section_that_is_no_object_is_refused(report):
    with pytest.raises(UsageError, match="expected a JSON object in control"):
        report_file.check({**report, "control": [1]})
