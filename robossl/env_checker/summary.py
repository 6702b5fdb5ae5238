"""What robossl can do with an environment, and what its report will lack, drawn from the findings."""

from __future__ import annotations

from collections.abc import Iterable

from robossl.env_checker.check_result import NOT_TRIED, CheckResult

_STEPS = (
    "made",
    "actions",
    "observations",
    "reset",
    "step",
    "lives",
    "observation shape",
    "observation finite",
    "reward",
    "batch, as robossl makes it",
)
_PRETRAIN = (*_STEPS, "actions bounded")
_LEARN = (*_PRETRAIN, "time limit")
VERBS = {  # verb: the findings that must not be bad
    "collect": _PRETRAIN,
    "pretrain": _PRETRAIN,
    "train": _LEARN,
    "learn": _LEARN,
    "evaluate": _LEARN,
    "play": (*_STEPS, "renders"),
    "imagine": (*_PRETRAIN, "renders"),
}
_ROWS = (  # a part of the report, the finding it rests on, why it is lacking without
    ("goals", "goals", "the env has no goals"),
    ("goals", "physical state", "the env cannot be put into a recorded state"),
    (
        "control",
        "reward",
        "no reward was seen: an agent has nothing to learn from unless exploring finds some",
    ),
    ("success", "is_success", "the env does not say when it succeeded"),
    ("probes", "physical state", "the env does not tell its true state"),
    ("videos", "renders", "the env cannot be looked at"),
)


def verdict(findings: Iterable[CheckResult]) -> list[CheckResult]:
    """A finding for every verb, and one for every part of the report that will be lacking."""
    known = {finding.name: finding for finding in findings if not finding.found.startswith(NOT_TRIED)}
    bad = {name for name, finding in known.items() if finding.ok is False}
    return [*(_verb(verb, needs, known, bad) for verb, needs in VERBS.items()), *_rows(known)]


def _verb(verb: str, needs: tuple[str, ...], known: dict[str, CheckResult], bad: set[str]) -> CheckResult:
    name = f"robossl {verb}"
    wrong = [need for need in needs if need in bad]
    if wrong:
        return CheckResult(name, False, "does not work", f"first mend {'; '.join(wrong)}", "then check again")
    unseen = [need for need in needs if need not in known]
    if unseen:
        return CheckResult(name, None, "not known", f"not tried: {', '.join(unseen)}")
    if "renders" in needs and known["renders"].ok is not True:
        return CheckResult(
            name, None, "does not work: the env cannot be looked at", "", known["renders"].mend
        )
    return CheckResult(name, True, "works")


def _rows(known: dict[str, CheckResult]) -> list[CheckResult]:
    lacking: dict[str, list[CheckResult]] = {}
    reasons: dict[str, list[str]] = {}
    for row, name, why in _ROWS:
        finding = known.get(name)
        if finding is not None and finding.ok is not True:
            lacking.setdefault(row, []).append(finding)
            reasons.setdefault(row, []).append(why if finding.ok is None else f"{name!r} is to be mended")
    return [
        CheckResult(f"report: {row}", None, "will be lacking", "; ".join(reasons[row]), found[0].mend)
        for row, found in lacking.items()
    ]
