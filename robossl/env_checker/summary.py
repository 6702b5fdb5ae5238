"""Summary of the checks of an env: which commands work with it, and which sections its report will have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robossl.env_checker.check_result import SKIPPED, CheckResult, format_count, format_result

_COMMAND, _SECTION = "command: ", "report: "  # prefixes of the names of summary results
_STEP = (
    "construction",
    "action space",
    "observation space",
    "reset",
    "step",
    "random rollout",
    "observation shape",
    "reward",
    "unusable numbers",
    "robossl vector env",
)
COMMANDS = {  # command -> checks that must not fail
    "collect": _STEP,
    "pretrain": _STEP,
    "train": (*_STEP, "action bounds"),
    "learn": _STEP,
    "evaluate": _STEP,
    "play": (*_STEP, "rendering"),
    "imagine": _STEP,  # without rendering it draws curves
}
_MUST_FAIL = ("action bounds", "time limit")  # checks whose information is no reason
_SECTIONS = (  # report section, the check it needs, why the section is unavailable without
    ("goals", "goals", "the env has no goals"),
    ("goals", "physics state", "the env cannot be set to a recorded state"),
    ("control", "reward", "every reward was 0: an agent learns nothing unless exploration finds a reward"),
    ("control", "action bounds", "agents scale their actions by the bounds"),
    ("control", "time limit", "no episode ends, so that there is no return"),
    ("success", "is_success", "the env does not report success"),
    ("probes", "physics state", "the env does not report its true state"),
    ("videos", "rendering", "the env does not render"),
)


def summarize(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Return one result for each command, and one for each report section that will be unavailable."""
    known = {result.name: result for result in results if not result.message.startswith(SKIPPED)}
    return [
        *(_command(name, needs, known) for name, needs in COMMANDS.items()),
        *_unavailable_sections(known),
    ]


def _command(command: str, needs: tuple[str, ...], known: dict[str, CheckResult]) -> CheckResult:
    name = f"{_COMMAND}{command}"
    failed = [need for need in needs if need in known and known[need].ok is False]
    if failed:
        return CheckResult(name, False, "does not work", f"first fix {'; '.join(failed)}", "then check again")
    missing = [need for need in needs if need not in known]
    if missing:
        return CheckResult(name, None, "unknown", f"not checked: {', '.join(missing)}")
    if "rendering" in needs and known["rendering"].ok is not True:
        return CheckResult(name, None, "does not work: the env does not render", "", known["rendering"].fix)
    return CheckResult(name, True, "works")


def _unavailable_sections(known: dict[str, CheckResult]) -> list[CheckResult]:
    causes: dict[str, list[CheckResult]] = {}
    reasons: dict[str, list[str]] = {}
    for section, name, reason in _SECTIONS:
        result = known.get(name)
        if result is not None and (result.ok is False or (result.ok is None and name not in _MUST_FAIL)):
            causes.setdefault(section, []).append(result)
            reasons.setdefault(section, []).append(reason if result.ok is None else f"fix {name!r} first")
    return [
        CheckResult(f"{_SECTION}{section}", None, "unavailable", "; ".join(reasons[section]), results[0].fix)
        for section, results in causes.items()
    ]


def print_check(result: CheckResult) -> None:
    """Print a check at once; results of the summary come at the end (`describe_summary`)."""
    if not result.name.startswith((_COMMAND, _SECTION)):
        print("\n".join(format_result(result)), flush=True)


def describe(results: Sequence[CheckResult]) -> str:
    """Return all results as text for a terminal: the checks, then what works with the env."""
    checks = [r for r in results if not r.name.startswith((_COMMAND, _SECTION))]
    return "\n".join(
        [*(line for result in checks for line in format_result(result)), describe_summary(results)]
    )


def describe_summary(results: Sequence[CheckResult]) -> str:
    """Return what works with the env as text for a terminal."""
    checks = [r for r in results if not r.name.startswith((_COMMAND, _SECTION))]
    sections = [r for r in results if r.name.startswith(_SECTION)]
    lines = ["", *_format_commands([r for r in results if r.name.startswith(_COMMAND)])]
    if sections:
        lines.append("report sections unavailable")
        lines += [f"      {r.name.removeprefix(_SECTION)}: {r.reason}" for r in sections]
    return "\n".join([*lines, "", format_count(checks)])


def _format_commands(results: list[CheckResult]) -> list[str]:
    works = [r.name.removeprefix(_COMMAND) for r in results if r.ok]
    groups: dict[str, list[str]] = {}  # why -> commands
    for result in results:
        if not result.ok:
            message = f"{result.message}: {result.reason}" if result.reason else result.message
            groups.setdefault(message, []).append(result.name.removeprefix(_COMMAND))
    lines = [f"      {', '.join(names)}: {message}" for message, names in groups.items()]
    return [f"commands that work: {', '.join(works) or 'none'}", *lines]
