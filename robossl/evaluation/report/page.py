"""report.html: one self-contained page without scripts, for screens, phones, screen readers and print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from robossl.core.env_ids import display_name
from robossl.core.errors import UsageError
from robossl.core.io import write_bytes_atomic
from robossl.evaluation.comparison import Group, compare
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import in_order
from robossl.evaluation.report import number_format, report_file, table_formats
from robossl.evaluation.report.section import (
    OUTCOMES,
    RESERVED_KEYS,
    Report,
    Section,
    compute_sections,
    load_sections,
    rendering,
)
from robossl.evaluation.report.text_summary import opening, verdict_sentence, verdicts

NAME = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"
_FILTERS = ("label", "number", "percent", "interval", "plain", "duration", "steps_ahead")


_MARKS = {"gain": "▲", "equal": "=", "worse": "▼", "unknown": "?"}  # of a verdict


class _RenderedSection(NamedTuple):
    name: str
    title: str
    body: Markup


def write_report(context: EvaluationContext) -> Report:
    """Compute the remaining sections, write report.json and report.html into the folder, and return the report."""
    if context.folder is None:
        raise UsageError("expected a folder to write the report to, got none")
    compute_sections(context)
    return _write_results(context, context.folder)


def write_interrupted(context: EvaluationContext) -> bool:
    """Write the report of an evaluation that was interrupted: what it has measured; False if that is nothing."""
    if context.control_rows:
        context.results.setdefault("control", {"rows": in_order(context.control_rows)})
    if not context.results or context.folder is None:
        return False
    for section in load_sections()[0]:
        if section.name not in context.results:
            context.missing.setdefault(section.name, "the evaluation was interrupted before")
    _write_results(context, context.folder)
    return True


def _write_results(context: EvaluationContext, folder: Path) -> Report:
    report = report_file.build(context)
    report_file.write(folder, report)
    write(folder, [report])
    return report


def write(
    folder: str | Path,
    reports: Sequence[Report],
    names: Sequence[str] | None = None,
    source: str | Path | None = None,
) -> Path:
    """Write report.html: the page of one report, or of several side by side.

    Args:
        folder: Folder of the page.
        reports: One or more reports.
        names: Headings of several reports.
        source: Folder of the files of a single report (videos); `folder` if None.

    Returns:
        The path of the page.
    """
    path = Path(folder) / NAME
    write_bytes_atomic(path, render(reports, names, Path(source or folder)).encode())
    return path


def render(reports: Sequence[Report], names: Sequence[str] | None = None, folder: Path | None = None) -> str:
    """Return the page as HTML; videos are read from `folder`."""
    if not reports:
        raise UsageError("expected at least one report, got none")
    if len(reports) == 1:
        return _render_one(reports[0], folder)
    names = list(names) if names else [f"{r['env']}, seed {r['seed']}" for r in reports]
    data = compare([Group(name, [report]) for name, report in zip(names, reports)])
    return _render_one(report_file.build_study("comparison", data, reports[0]), folder)


def _render_one(report: Report, folder: Path | None) -> str:
    sections, broken = load_sections()
    sentences, cards, failed = opening(report, sections)
    rendered = []
    for section in sections:
        if section.name not in report:
            continue
        with rendering(section, failed):
            body = _render_section(section, report, folder)
            rendered.append(_RenderedSection(section.name, section.title, body))
    known = {section.name for section in sections} | set(RESERVED_KEYS)
    for name in (key for key in report if key not in known):
        data_json = json.dumps(report[name], indent=2, ensure_ascii=False)
        body = Markup(_environment().get_template("unknown_section.html.j2").render(data_json=data_json))
        rendered.append(_RenderedSection(name, number_format.label(name), body))
    headings = [s.heading(report[s.name]) for s in sections if s.heading is not None and s.name in report]
    heading = headings[0] if headings else display_name(report["env"])
    answers = verdicts(report, sections)
    return _render(
        "report.html.j2",
        report["versions"],
        title=f"{heading} · robossl report",
        heading=heading,
        numbers_csv=table_formats.csv_link(_numbers_table(report)),
        of_several=not report_file.expected_sections(report),
        total_seconds=sum(report["seconds"].values()),
        report=report,
        verdicts=answers,
        verdict_sentence=verdict_sentence(answers),
        outcomes=OUTCOMES,
        marks=_MARKS,
        sentences=sentences,
        cards=cards,
        sections=rendered,
        missing=report["missing"] | broken | failed,
    )


def _render_section(section: Section, report: Report, folder: Path | None) -> Markup:
    data = report[section.name]
    variables = section.view(data, report, folder)
    return Markup(_template(section.source()).render(**variables, data=data, report=report))


def _render(template: str, versions: dict[str, str], **variables: Any) -> str:
    css = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    version = versions.get("robossl", "")
    return _environment().get_template(template).render(css=css, version=version, **variables)


def _numbers_table(report: Report) -> table_formats.Table:
    """Return all numbers of a report, one in each row."""
    rows = [[".".join(keys), value] for keys, value in _numbers(report, ())]
    return table_formats.Table("report", ["key", "value"], rows)


def _numbers(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the dotted key and value of each number and estimate; lists are left out."""
    if isinstance(value, dict) and value.keys() >= {"mean", "low", "high"}:
        yield keys, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*keys, str(key)))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield keys, {"mean": value, "low": "", "high": "", "n": ""}


def _missing_label(key: str) -> str:
    """Return a dotted key of missing parts for people: `control.rows.planner` as `control: planner`."""
    section, *parts = [part for part in key.split(".") if part != "rows"]
    return ": ".join(
        [number_format.label(section), *([", ".join(map(number_format.label, parts))] if parts else [])]
    )


def _breakable(text: str) -> Markup:
    """Return text that a browser may break after slashes, underscores and other marks of ids."""
    return Markup(re.sub(r"([/_.:?=])", r"\1<wbr>", str(escape(text))))


def _slug(text: str) -> str:
    """Return text as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@lru_cache(maxsize=64)
def _template(source: str) -> jinja2.Template:
    """Compile the template of a section once."""
    return _environment().from_string(source)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {name: getattr(number_format, name) for name in _FILTERS}
    environment.filters |= {
        "breakable": _breakable,
        "cell_text": table_formats.text_of,
        "csv_link": table_formats.csv_link,
        "slug": _slug,
        "missing_label": _missing_label,
    }
    return environment
