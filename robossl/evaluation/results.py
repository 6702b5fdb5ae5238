"""EvaluationReport: the content of report.json as an object that prints its tables and converts to a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robossl.core.display import dataframe, html_table, one_line
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.statistics import Estimate
from robossl.evaluation.report import number_format, report_file
from robossl.evaluation.report.section import RESERVED_KEYS

_HTML_NAME = "report.html"
_ESTIMATE_KEYS = {"mean", "low", "high"}


class EvaluationReport(dict[str, Any]):
    """A report: a dict with the keys of docs/report.md, and the folder that holds its page.

    Example:
        report = robossl.evaluate("models/reacher", stream="streams/reacher")
        report["control"]["rows"]["planner"]["return"]["mean"]
        report.to_dataframe("control")

    Attributes:
        folder: Folder of report.json and report.html; None for a report that was not written.
    """

    def __init__(self, content: Mapping[str, Any], folder: str | Path | None = None) -> None:
        """Create a report.

        Args:
            content: The content of report.json.
            folder: Folder of report.json and report.html; None for a report that was not written.
        """
        super().__init__(content)
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            self["folder"] = str(self.folder)

    @classmethod
    def load(cls, path: str | Path) -> EvaluationReport:
        """Return the report in a folder, or in a file report.json.

        Raises:
            UsageError: There is no report of the format that this version reads.
        """
        path = Path(path)
        return cls(report_file.read(path), path if path.is_dir() else path.parent)

    @property
    def page(self) -> Path | None:
        """Path of report.html; None if it was not written."""
        path = None if self.folder is None else self.folder / _HTML_NAME
        return path if path is not None and path.is_file() else None

    @property
    def sections(self) -> list[str]:
        """Names of the sections that were measured, for example control and world_model."""
        reserved = (*RESERVED_KEYS, "folder", "videos", "provenance")
        return [key for key, value in self.items() if key not in reserved and isinstance(value, dict)]

    def to_dataframe(self, section: str | None = None) -> Any:
        """Return all numbers as a pandas DataFrame with the columns section, key, value, low, high and n.

        Args:
            section: Name of one section, for example "control"; None: all.

        Returns:
            One row for each number. `key` has the keys inside the section, joined by dots; `low` and `high` are the
            ends of the 95 % interval where there is one.

        Raises:
            UsageError: pandas is not installed, or the report has no such section.
        """
        if section is not None and section not in self.sections:
            raise unknown_name_error("section", section, self.sections)
        names = self.sections if section is None else [section]
        rows = [(name, *row) for name in names for row in _numbers(self[name], ())]
        columns = zip(*rows) if rows else [[]] * 6
        return dataframe(
            {
                name: list(values)
                for name, values in zip(("section", "key", "value", "low", "high", "n"), columns)
            }
        )

    def __repr__(self) -> str:
        return one_line("EvaluationReport", self.get("env"), ", ".join(self.sections), self.folder)

    def _repr_html_(self) -> str:
        """Return the tables of control and of goal reaching, and the skill of the model, as HTML."""
        tables = [*self._control_table(), *self._goal_table(), *self._model_table()]
        page = "" if self.page is None else f"<p>Page: <code>{self.page.as_posix()}</code></p>"
        return "".join(tables or [html_table(repr(self), [])]) + page

    def _control_table(self) -> Iterator[str]:
        rows = self.get("control", {}).get("rows", {})
        if rows:
            cells = [
                (number_format.label(name), _estimate(row.get("return")), _percent(row.get("success")))
                for name, row in rows.items()
            ]
            yield html_table(
                f"Control on {self.get('env')}", cells, ("", "return [95 % interval]", "success")
            )

    def _goal_table(self) -> Iterator[str]:
        section = self.get("goal_reaching", {})
        horizons = list(section.get("horizons", {}))
        if horizons:
            cells = [
                (
                    number_format.label(name),
                    *(_percent(row.get(h, {}).get("reached_any")) for h in horizons),
                )
                for name, row in section.get("rows", {}).items()
            ]
            yield html_table("Goals reached", cells, ("", *(number_format.steps_ahead(h) for h in horizons)))

    def _model_table(self) -> Iterator[str]:
        section = self.get("world_model", {})
        skill, linear = section.get("prediction_skill", {}), section.get("forward_linear", {})
        if skill:
            cells = [
                ("world model", *(number_format.number(value["mean"]) for value in skill.values())),
                ("linear dynamics", *(number_format.number(linear[h]) if h in linear else "" for h in skill)),
            ]
            header = ("", *(number_format.steps_ahead(h) for h in skill))
            yield html_table("Prediction skill (1 perfect, 0 no change)", cells, header)


def as_report(source: Any) -> Mapping[str, Any]:
    """Return a report from a report, an object with a `report`, or a path.

    Raises:
        UsageError: It is none of them.
    """
    if isinstance(source, (str, Path)):
        return EvaluationReport.load(source)
    report = getattr(source, "report", source)
    if not isinstance(report, Mapping):
        raise UsageError(
            f"expected a report, a run or the path of one, got {type(source).__name__}; a run has a report when it ends"
        )
    return report


def _numbers(
    value: Any, keys: tuple[str, ...]
) -> Iterator[tuple[str, float, float | None, float | None, int | None]]:
    """Yield (key, value, low, high, n) for every number below `value`; lists are left out."""
    if isinstance(value, dict) and value.keys() >= _ESTIMATE_KEYS:
        yield ".".join(keys), value["mean"], value["low"], value["high"], value.get("n")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*keys, str(key)))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield ".".join(keys), float(value), None, None, None


def _estimate(value: Estimate | None) -> str:
    if value is None:
        return ""
    return f"{number_format.number(value['mean'])} {number_format.interval(value)}"


def _percent(value: Estimate | None) -> str:
    return "" if value is None else number_format.percent(value["mean"])
