"""EvaluationReport: the tables of a report, and the numbers as a DataFrame."""

from __future__ import annotations

import json

import pytest
from small_report import small_report

from robossl.core.errors import UsageError
from robossl.evaluation.report import report_file
from robossl.evaluation.results import EvaluationReport, as_report


@pytest.fixture
def written(tmp_path):
    report_file.write(tmp_path, small_report())
    return tmp_path


def test_report_is_the_dict_of_the_file(written):
    report = EvaluationReport.load(written)
    assert report == report_file.read(written) | {"folder": str(written)}
    assert report["control"] == json.loads((written / "report.json").read_text())["control"]
    assert report.page is None
    (written / "report.html").write_text("")
    assert report.page == written / "report.html"


def test_line_names_env_and_sections():
    text = repr(EvaluationReport(small_report()))
    assert "robossl/Reacher-v0" in text
    assert "goal_reaching" in text
    assert "\n" not in text


def test_html_has_every_row_of_the_tables_beside_its_baselines():
    html = EvaluationReport(small_report())._repr_html_()
    for text in ("inverse policy", "random actions", "linear dynamics", "10 steps", "success"):
        assert text in html


def test_html_of_a_report_without_sections_is_its_line():
    assert "EvaluationReport" in EvaluationReport({"env": "<x>"})._repr_html_()


def test_dataframe_has_every_number_once():
    content = small_report()
    frame = EvaluationReport(content).to_dataframe()
    assert list(frame.columns) == ["section", "key", "value", "low", "high", "n"]
    assert not frame.duplicated(["section", "key"]).any()
    row = frame[(frame.section == "control") & (frame.key == "rows.planner.return")].iloc[0]
    estimate = content["control"]["rows"]["planner"]["return"]
    assert (row.value, row.low, row.high, row.n) == tuple(estimate[k] for k in ("mean", "low", "high", "n"))


def test_dataframe_of_one_section_has_only_its_rows():
    report = EvaluationReport(small_report())
    assert set(report.to_dataframe("control").section) == {"control"}
    with pytest.raises(UsageError, match="did you mean 'control'"):
        report.to_dataframe("contrl")


def test_as_report_takes_reports_objects_with_one_and_paths(written):
    class Run:
        report = small_report()

    assert as_report(str(written))["env"] == as_report(Run())["env"] == as_report(Run.report)["env"]
    with pytest.raises(UsageError, match="got int"):
        as_report(3)
