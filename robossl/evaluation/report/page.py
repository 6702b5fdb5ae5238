"""report.html: one self-contained page, no scripts, nothing fetched; for eyes, ears, phones and paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from robossl.core.env_ids import display_name
from robossl.core.errors import UsageError
from robossl.core.io import write_bytes_atomic
from robossl.evaluation.report import sections, tables
from robossl.evaluation.report.embedded_video import EmbeddedVideo, films
from robossl.evaluation.report.report_file import Report
from robossl.evaluation.report.style import STYLE
from robossl.evaluation.report.summary_cards import summary_cards
from robossl.evaluation.report.text import text_summary

NAME = "report.html"


def write(
    folder: str | Path,
    reports: Sequence[Report],
    names: Sequence[str] | None = None,
    videos: Sequence[EmbeddedVideo] = (),
) -> Path:
    """Write report.html into `folder`: the page of one report, or of several side by side; gives its path."""
    path = Path(folder) / NAME
    write_bytes_atomic(path, render(reports, names, videos).encode())
    return path


def render(
    reports: Sequence[Report], names: Sequence[str] | None = None, videos: Sequence[EmbeddedVideo] = ()
) -> str:
    """The page as text."""
    if not reports:
        raise UsageError("no reports given; expected at least one")
    if len(reports) == 1:
        return _one(reports[0], videos)
    names = list(names) if names else [f"{r['env']}, seed {r['seed']}" for r in reports]
    return _several(reports, names)


def _one(report: Report, videos: Sequence[EmbeddedVideo]) -> str:
    parts = [
        ("see", "What it looks like", films(videos)),
        ("learning", "Learning to act", sections.control(report)),
        ("goals", "Goals without reward", sections.goals(report)),
        ("prediction", "How far it sees", sections.prediction(report)),
        ("probes", "What the latent state knows", sections.probes(report)),
        ("ablation", "What each objective brings", sections.ablation(report)),
        ("health", "Health of the world model", sections.health(report)),
        ("made", "How it was made", sections.made(report)),
        ("absent", "What is not here", sections.absent(report)),
    ]
    there = [(key, title, body) for key, title, body in parts if body]
    links = "".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in there)
    facts = [f"seed {report['seed']}", f"on {report['device']}", _duration(sum(report["seconds"].values()))]
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in text_summary(report))
    head = (
        f'<p class="kind">robossl report</p><h1>{escape(display_name(report["env"]))}</h1>'
        f'<p class="facts">{escape(" · ".join(facts))}</p>'
        f'<div class="summary">{text}</div>{summary_cards(report)}'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
    )
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title">{escape(title)}</h2>{inside}</section>'
        for key, title, inside in there
    )
    return _document(
        f"{display_name(report['env'])} · robossl report", head, body, report["versions"].get("robossl")
    )


def _several(reports: Sequence[Report], names: Sequence[str]) -> str:
    head = f'<p class="kind">robossl reports</p><h1>{escape(" · ".join(names))}</h1>'
    body = f'<section aria-label="Side by side">{tables.compared(reports, names)}</section>'
    for name, report in zip(names, reports):
        text = "".join(f"<p>{escape(sentence)}</p>" for sentence in text_summary(report))
        body += f"<section><h2>{escape(name)}</h2>{text}</section>"
    return _document("robossl reports compared", head, body, reports[0]["versions"].get("robossl"))


def _document(title: str, head: str, body: str, version: str | None) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>\n'
        f"<body><header>{head}</header>\n<main>{body}</main>\n"
        f"<footer>Every number on this page is in report.json beside it. Written by robossl "
        f"{escape(version or '')}.</footer></body></html>\n"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
