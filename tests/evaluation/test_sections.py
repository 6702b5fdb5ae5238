"""Report sections: data and text of each, and a failing third-party section is missing, not fatal."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_reports import complete_report, context_with

from robossl import registry
from robossl.core.errors import UsageError
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.section import (
    RESERVED_KEYS,
    Card,
    Section,
    Unavailable,
    compute_sections,
    load_sections,
)

BUILTIN = [
    "videos",
    "control",
    "goal_reaching",
    "world_model",
    "continual",
    "ablation",
    "diagnostics",
    "provenance",
]


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers a section for one test."""
    added = dict(registry._added)
    monkeypatch.setattr(registry, "_added", added)
    return lambda section: registry.register("report_sections", section.name, section)


def section(compute, template="<p>{{ data.text }}</p>", name="third_party", **options):
    return Section(name=name, title="Third party", compute=compute, template=template, **options)


def test_builtin_sections_are_in_page_order():
    sections, broken = load_sections()
    assert [s.name for s in sections if s.name in BUILTIN] == BUILTIN
    assert broken == {}


@pytest.mark.parametrize("name", BUILTIN)
def test_every_section_has_a_title_and_a_template(name):
    found = registry.load("report_sections", name)
    assert found.name == name
    assert found.title
    assert found.source().strip()
    assert not isinstance(found.template, Path) or found.template.is_file()


def test_data_of_a_section_is_in_report_json_and_on_the_page(register, tmp_path):
    data = {"text": "42 <steps>", "values": [1, 2.5, None, {"nested": True}]}
    register(
        section(
            lambda context: data,
            summary=lambda data: ["It has 42 steps."],
            cards=lambda data: [Card("42", "steps")],
            order=150,
        )
    )
    context = context_with({"control": complete_report()["control"]})
    compute_sections(context, ["third_party"])
    report_file.write(tmp_path, report_file.build(context))
    report = report_file.read(tmp_path)
    assert report["third_party"] == data
    assert list(report).index("third_party") < list(report).index("control")
    html = page.render([report])
    assert "<p>42 &lt;steps&gt;</p>" in html
    assert "It has 42 steps." in html
    assert html.index('id="third_party"') < html.index('id="control"')
    assert '<a href="#third_party">Third party</a>' in html


def fails(context):
    raise ValueError("the sensor\nis missing")


def not_json(context):
    return {"array": np.zeros(2)}


def not_finite(context):
    return {"value": float("nan")}


def not_a_dict(context):
    return [1]


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (fails, "ValueError: the sensor is missing at "),
        (not_json, "TypeError: "),
        (not_finite, "ValueError: "),
        (not_a_dict, "TypeError: expected a dict from compute, got list"),
    ],
)
def test_failing_section_is_missing_and_the_others_are_there(register, tmp_path, compute, reason):
    register(section(compute))
    context = context_with({"control": complete_report()["control"]})
    compute_sections(context, ["third_party", "provenance"])
    report = report_file.build(context)
    assert reason in report["missing"]["third_party"]
    assert "\n" not in report["missing"]["third_party"]
    assert {"control", "provenance"} <= set(report)
    assert report["missing"]["third_party"].replace("<", "&lt;")[:20] in page.render([report])


def test_reason_of_a_failing_section_names_file_and_line(register):
    register(section(fails))
    context = context_with({})
    compute_sections(context, ["third_party"])
    line = fails.__code__.co_firstlineno + 1
    assert f"test_sections.py:{line}" in context.missing["third_party"]


def test_unavailable_section_has_its_reason(register):
    def unavailable(context):
        raise Unavailable("the env has no camera")

    register(section(unavailable))
    context = context_with({})
    compute_sections(context, ["third_party"])
    assert context.missing == {"third_party": "the env has no camera"}
    assert context.results == {}


@pytest.mark.parametrize(
    "options",
    [
        {"template": "{{ data.unknown }}"},
        {"template": "{% if %}"},
        {"view": lambda data, report, folder: 1 / 0},
        {"summary": lambda data: data["unknown"]},
    ],
)
def test_section_that_cannot_be_rendered_is_listed_as_not_available(register, options):
    register(section(lambda context: {"text": "x"}, **options))
    context = context_with({"control": complete_report()["control"]})
    compute_sections(context, ["third_party"])
    html = page.render([report_file.build(context)])
    assert "third party: " in html
    assert 'id="control"' in html


def test_section_whose_package_is_not_installed_is_shown_as_json():
    report = complete_report() | {"third_party": {"text": "<42>"}}
    html = page.render([report])
    assert "not installed" in html
    assert "&#34;text&#34;: &#34;&lt;42&gt;&#34;" in html


def test_known_results_are_not_computed_again(register):
    calls = []
    register(section(lambda context: calls.append(1) or {"text": "new"}))
    context = context_with({"third_party": {"text": "old"}})
    compute_sections(context, ["third_party"])
    assert context.results["third_party"] == {"text": "old"}
    assert calls == []


@pytest.mark.parametrize("name", [*RESERVED_KEYS, "Upper", "with space", ""])
def test_invalid_section_name_is_refused(name):
    with pytest.raises(UsageError, match="lower-case identifier"):
        section(fails, name=name)


def test_section_without_title_is_refused():
    with pytest.raises(UsageError, match="expected a title and a template"):
        Section(name="third_party", title="", compute=fails, template="<p></p>")
