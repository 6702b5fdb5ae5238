"""report.json: format 1, stable keys, and a reason for everything that is not there."""

import json

import pytest
from evaluation_reports import whole
from evaluation_toys import ConstantModel, PerfectChooser, PerfectModel, ToyStream

from robossl.core.errors import UsageError
from robossl.evaluation.model_metrics import diagnose
from robossl.evaluation.report import report_file as reports

FIGURE = {"mean", "low", "high", "n"}


@pytest.fixture(scope="module")
def report():
    return whole()


def test_the_keys_of_format_1(report):
    assert report["format"] == 1
    assert {"env", "seed", "versions", "device", "seconds", "world", "goals", "control", "absent"} <= set(
        report
    )
    world = report["world"]
    assert set(world["forward_skill"]) == {"1", "5", "10", "25", "50"}
    assert all(isinstance(value, float) for value in world["forward_skill"].values())
    for key in ("inverse_r2", "inverse_excess_r2", "effective_rank"):
        assert isinstance(world[key], float)
    assert set(world["probe_r2"]) == {"position", "velocity"}
    assert {"median", "low", "high", "n", "censored"} <= set(world["valid_prediction_time"])
    for row in report["goals"]["rows"].values():
        assert all(set(row[criterion]) == FIGURE for criterion in ("any", "final", "held"))
        assert isinstance(row["ms_per_decision"], float)
    assert {"planner", "random", "do_nothing"} <= set(report["goals"]["rows"])


def test_what_is_written_is_read(report, tmp_path):
    path = reports.write(tmp_path, report)
    assert path.name == "report.json"
    assert reports.read(tmp_path) == reports.read(path) == json.loads(json.dumps(report))


def test_everything_missing_has_its_reason():
    report = reports.build(
        "Toy-v0", 3, {}, "cpu", {}, world={"probe_r2": {}}, absent={"goals": "it has none"}
    )
    assert report["absent"]["goals"] == "it has none"
    assert {"control", "world.inverse_r2", "world.updates"} <= set(report["absent"])
    assert reports.reason(report, "goals.rows.planner") == "it has none"
    assert reports.reason(report, "world.probe_r2") is None
    assert "not measured" in reports.reason(report, "world.inverse_r2")


def test_choices_have_accuracy_and_say_where_the_r2_is():
    world, absent = diagnose(PerfectChooser(), ToyStream(discrete=True))
    assert world["inverse_accuracy"]["accuracy"]["mean"] == 1.0
    assert "inverse_accuracy" in absent["world.inverse_r2"]
    assert "world.inverse_excess_r2" in absent
    assert world["valid_prediction_time"]["unit"] == "steps"  # nobody knows how long a step is


def test_too_short_a_stream_is_all_reasons():
    world, absent = diagnose(PerfectModel(), ToyStream(episodes=3))
    assert world == {}
    assert all("needs about ten finished episodes" in why for why in absent.values())
    assert {"world", *(f"world.{key}" for key in reports.WORLD_KEYS)} == set(absent)


def test_a_collapsed_model_gets_a_finite_report(tmp_path):
    world, absent = diagnose(ConstantModel(), ToyStream(), 0.1)
    assert world["effective_rank"] == 1.0
    reports.write(tmp_path, reports.build("Toy-v0", 0, {}, "cpu", {}, world=world, absent=absent))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({}, "not a report"),
        ([], "not a report"),
        ({"format": 2}, "format 2"),
        ({"format": 1, "env": "x"}, "lacks seed, versions"),
    ],
)
def test_what_is_no_report_is_refused(broken, words):
    with pytest.raises(UsageError, match=words):
        reports.check(broken)
