"""The top of a report page: sentences and headline numbers from the summaries of its sections."""

from __future__ import annotations

from robossl.evaluation.report.report_file import expected_sections, missing_reason
from robossl.evaluation.report.section import (
    Card,
    Report,
    Section,
    Verdict,
    load_sections,
    rendering,
)

_OPENING = ("transfer", "comparison", "control", "goal_reaching", "world_model")


def text_summary(report: Report) -> list[str]:
    """Return the summary sentences of a report, each with n and baselines."""
    return opening(report, load_sections()[0])[0]


def verdicts(report: Report, sections: list[Section]) -> list[Verdict]:
    """Return the answers of all sections, in the order of their sentences; a section that fails has none."""
    found: list[Verdict] = []
    for section in sorted(sections, key=_opening_order):
        if section.name in report:
            with rendering(section, {}):
                found += section.verdicts(report[section.name])
    return found


def verdict_sentence(found: list[Verdict]) -> str:
    """Return one sentence with the topics of all answers, by outcome; empty without an answer.

    A topic with different outcomes is named by its subjects.
    """
    mixed = {
        v.topic for v in found for other in found if v.topic == other.topic and v.outcome != other.outcome
    }
    parts = []
    for outcome, text in _COMPARED.items():
        names = dict.fromkeys(
            v.subject if v.topic in mixed else v.topic for v in found if v.outcome == outcome
        )
        if names:
            parts.append(f"{text}: {', '.join(names)}.")
    return " ".join(parts)


_COMPARED = {
    "gain": "Better than the baseline",
    "equal": "No better",
    "worse": "Worse",
    "unknown": "Not decided",
}


def report_text(report: Report) -> str:
    """Return the text for a terminal: the answers in one sentence, then the summary."""
    sentence = verdict_sentence(verdicts(report, load_sections()[0]))
    return "\n".join([*([sentence] if sentence else []), *text_summary(report)])


def opening(report: Report, sections: list[Section]) -> tuple[list[str], list[Card], dict[str, str]]:
    """Return the sentences and cards of all sections, and the sections whose summary failed with the error.

    What the model is good for is first: control, then goal reaching, then the model. If they are missing, the sentence
    is the reason.
    """
    sentences: list[str] = []
    cards: list[Card] = []
    failed: dict[str, str] = {}
    for section in sorted(sections, key=_opening_order):
        if section.name not in report:
            if section.name in expected_sections(report):
                sentences.append(f"{section.title}: not available ({missing_reason(report, section.name)}).")
            continue
        with rendering(section, failed):
            data = report[section.name]
            section_sentences, section_cards = section.summary(data), section.cards(data)
            sentences += map(str, section_sentences)
            cards += section_cards
    return sentences, cards, failed


def _opening_order(section: Section) -> tuple[int, int]:
    first = section.name in _OPENING
    return (_OPENING.index(section.name) if first else len(_OPENING), section.order)
