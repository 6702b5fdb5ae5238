"""Report sections: the `Section` class, the list of registered sections, and how they are computed.

A section is one `Section` object. Sections are registered by a `SECTIONS` table in a module of `sections/`, by the
entry-point group `robossl.report_sections`, or by `registry.register("report_sections", name, section)`.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from robossl import registry
from robossl.core.errors import CorruptedFileError, OperationError, UsageError, one_line
from robossl.core.traceback_utils import format_location
from robossl.evaluation.context import EvaluationContext

Data = dict[str, Any]  # JSON object of a section in report.json
Report = dict[str, Any]  # JSON object of report.json
RESERVED_KEYS = ("format", "env", "seed", "versions", "device", "seconds", "missing")
GROUP = "report_sections"


class Unavailable(UsageError):
    """A section does not apply to what is evaluated; the message is the reason shown in the report."""


def check_requested(context: EvaluationContext, name: str) -> None:
    """Raise Unavailable unless an optional section is requested."""
    if name not in context.also:
        raise Unavailable(f"not requested; run: robossl evaluate RUN --also {name}")


class Card(NamedTuple):
    """A headline number at the top of the page."""

    value: str
    label: str
    detail: str = ""


class Verdict(NamedTuple):
    """The answer to one question of a report: a result beside its baseline."""

    outcome: str  # gain, equal, worse or unknown
    subject: str  # what is judged, and against what: "goals reached by planning, against random actions"
    result: str  # value with its interval
    baseline: str  # value of the baseline, with its interval if it has one
    topic: str  # short name of the question: "goals"


OUTCOMES = {
    "gain": "Gain",
    "equal": "No gain",
    "worse": "Worse",
    "unknown": "Not decided",
}  # in the order of a page


def outcome_of(estimate: Mapping[str, Any], baseline: Mapping[str, Any] | float) -> str:
    """Return how an estimate compares with a baseline: they differ if their intervals do not overlap."""
    low, high = (baseline["low"], baseline["high"]) if isinstance(baseline, Mapping) else (baseline, baseline)
    counts = [estimate["n"], *([baseline["n"]] if isinstance(baseline, Mapping) else [])]
    if min(counts) < 2:
        return "unknown"
    if estimate["low"] > high:
        return "gain"
    return "worse" if estimate["high"] < low else "equal"


def _no_text(data: Data) -> list[str]:
    return []


def _no_cards(data: Data) -> list[Card]:
    return []


def _no_verdicts(data: Data) -> list[Verdict]:
    return []


def _no_variables(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Section:
    """One key of report.json and one section of report.html."""

    name: str  # key in report.json: lower-case letters, digits and underscores
    title: str  # heading on the page
    compute: Callable[[EvaluationContext], Data]  # raises `Unavailable` if the section does not apply
    template: str | Path  # Jinja2 source, or a file with it; gets `data`, `report` and the `view` variables
    summary: Callable[[Data], Sequence[str]] = _no_text  # sentences at the top of the page
    cards: Callable[[Data], Sequence[Card]] = _no_cards  # headline numbers at the top of the page
    verdicts: Callable[[Data], Sequence[Verdict]] = _no_verdicts  # answers at the top of the page
    # further template variables, such as plots
    view: Callable[[Data, Report, Path | None], Mapping[str, Any]] = _no_variables
    # position on the page; built-in sections: 100 videos ... 600 diagnostics, 700 provenance
    order: int = 650
    measured: bool = True  # by an evaluation; False: another command writes its data
    heading: Callable[[Data], str] | None = None  # of the page, in place of the env

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name != self.name.lower() or self.name in RESERVED_KEYS:
            raise UsageError(
                f"expected a lower-case identifier other than {', '.join(RESERVED_KEYS)} as the name of a report "
                f"section, got {self.name!r}"
            )
        if not self.title or not str(self.template):
            raise UsageError(f"report section {self.name!r}: expected a title and a template")

    def source(self) -> str:
        """Return the Jinja2 source of the template."""
        return self.template.read_text(encoding="utf-8") if isinstance(self.template, Path) else self.template


def load_sections() -> tuple[list[Section], dict[str, str]]:
    """Return all registered sections in page order, and the names that could not be loaded with the reason."""
    sections, broken = [], {}
    for name in registry.names(GROUP):
        try:
            section = registry.load(GROUP, name)
        except UsageError as error:
            broken[name] = str(error)
            continue
        if isinstance(section, Section) and section.name == name:
            sections.append(section)
        else:
            broken[name] = f"expected a Section of this name, got {section!r:.80}"
    return sorted(sections, key=lambda section: (section.order, section.name)), broken


def compute_sections(context: EvaluationContext, names: Sequence[str] | None = None) -> None:
    """Compute sections and store their data in `context.results`, or the reason in `context.missing`.

    Sections that have data or a reason already are not computed again.

    Args:
        context: What is evaluated.
        names: Names of the sections; all registered ones if None.
    """
    sections, broken = load_sections()
    for section in sections:
        known = section.name in context.results or section.name in context.missing
        if section.measured and not known and (names is None or section.name in names):
            _compute(section, context)
            context.save()
    for name, reason in broken.items() if names is None else ():
        context.missing.setdefault(name, reason)


def _compute(section: Section, context: EvaluationContext) -> None:
    try:
        data = json.loads(json.dumps(section.compute(context), allow_nan=False))
        if not isinstance(data, dict):
            raise TypeError(f"expected a dict from compute, got {type(data).__name__}")
    except (UsageError, OperationError) as error:
        context.missing[section.name] = str(error)
    except Exception as error:  # noqa: BLE001 - one section must not cost the others, nor stop each resume
        context.missing[section.name] = describe_error(error)
    else:
        context.results[section.name] = data


def is_builtin(section: Section) -> bool:
    """Return whether a section belongs to robossl; its data must be shown, or the report is damaged."""
    return getattr(section.compute, "__module__", "").startswith("robossl.")


@contextmanager
def rendering(section: Section, failed: dict[str, str]) -> Iterator[None]:
    """Handle errors in the text of a section: of a third-party section, store one line in `failed`.

    Raises:
        CorruptedFileError: The data of a built-in section is not what its `compute` returns.
    """
    try:
        yield
    except Exception as error:
        if not is_builtin(section):
            failed[section.name] = describe_error(error)
        elif isinstance(error, (UsageError, OperationError)):
            raise
        else:
            raise CorruptedFileError(
                f"section {section.name!r} of the report cannot be shown ({describe_error(error)}); evaluate again"
            ) from error


def describe_error(error: Exception) -> str:
    """Return one line with the type, message and innermost location of an error of third-party code."""
    library_paths = (__file__, str(Path(jinja2.__file__).parent))
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(library_paths)
    ]
    location = format_location(frames)
    message = one_line(error)
    return f"{type(error).__name__}{f': {message}' if message else ''}{f' at {location}' if location else ''}"
