"""Report section "transfer": where the representation of a reward-free stream helps control, and where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import plots, study_plots
from robossl.evaluation.report.number_format import interval, label, number, percent
from robossl.evaluation.report.section import Card, Data, Report, Section, Unavailable, Verdict
from robossl.evaluation.report.study_tables import TABLES, VERDICTS, rows_table, task_name, tasks_table
from robossl.evaluation.report.table_formats import FORMATS

# Upper and lower bounds of a score; they are compared, and not called a gain.
BOUNDS = ("random", "zero_action", "reference", "oracle")
CONTROLS = ("scrambled_state", "noise", "time_shuffled")  # rows with a known answer, which test the protocol
# The headline row is the first of these; the plots show the first six with a curve in color.
_MAIN = (
    "latent", "latent_forecast", "latent_observation", "finetune", "cotrain", "latent_online",
    "latent_observation_online", "finetune_online",
)  # fmt: skip
_COLORED = 6


def compute(context: EvaluationContext) -> Data:
    """Raise Unavailable: `robossl transfer` measures it."""
    raise Unavailable("robossl transfer measures it, over tasks and seeds")


def main_row(data: Data) -> str | None:
    """Return the headline row: a representation that is compared with the baseline."""
    compared = [name for name, row in data["rows"].items() if "p_improvement" in row]
    candidates = [name for name in compared if not is_bound(name) and name not in CONTROLS]
    return next((name for name in _MAIN if name in candidates), next(iter(candidates), None))


def is_bound(row: str) -> bool:
    """Return whether a row is a bound or a baseline that learns nothing."""
    return row.startswith(BOUNDS) and not row.startswith("random_latent")


# --- text


def summary(data: Data) -> list[str]:
    """Return sentences: the headline row against its baseline, then all rows by verdict, tasks, controls, failures."""
    name = main_row(data)
    sentences = [_headline(data, name)] if name else ["No row could be compared with its baseline."]
    sentences += _scales(data)
    sentences += _by_verdict(data, name)
    if name:
        sentences += _by_task(data, name)
    sentences += _controls(data)
    failed = data["cells"]["failed"]
    if failed:
        total = failed + data["cells"]["done"]
        sentences.append(f"{failed} of {total} cells failed; they are listed below and have no score.")
    return sentences


def _headline(data: Data, name: str) -> str:
    row, baseline = data["rows"][name], data["rows"][data["rows"][name]["baseline"]]
    seeds = f"{_counted(data['stream_seeds'], 'stream seed')}, {_counted(data['agent_seeds'], 'agent seed')}"
    verdict = {
        "gain": "this is a gain",
        "equal": "no gain",
        "worse": "this is worse",
        "unknown": "too few runs",
    }[row["verdict"]]
    own, other = _scored_tasks(row), _scored_tasks(baseline)
    shared = [task for task in own if task in other]
    part = "" if len(shared) == len(data["tasks"]) else f"{len(shared)} of "
    text = (
        f"On {part}{_counted(data['tasks'], 'task')} of {data['robot']} ({seeds}), "
        f"{label(name)} has a score of {_estimate(row['score'])}{_elsewhere(own, shared)} and {label(row['baseline'])} "
        f"{_estimate(baseline['score'])}{_elsewhere(other, shared)} (interquartile mean; "
        f"0 is random actions, 1 the reference). A run of {label(name)} is better with probability "
        f"{_estimate(row['p_improvement'])}: {verdict}."
    )
    if len(data["stream_seeds"]) == 1:
        text += " With one stream seed the intervals do not include the variation between streams."
    return text


def _scored_tasks(row: Mapping[str, Any]) -> list[str]:
    """Return the tasks on which a row has a score."""
    return [task for task, entry in row["tasks"].items() if "score" in entry]


def _elsewhere(tasks: list[str], shared: list[str]) -> str:
    """Return a remark on a score over more tasks than those that two rows share."""
    return "" if len(tasks) == len(shared) else f" over {_counted(tasks, 'task')}"


def _scales(data: Data) -> list[str]:
    """Return sentences about tasks without scores, and about those that are measured by a row of the study."""
    without = [task_name(task) for task in data["tasks"] if data["references"].get(task) is None]
    sentences = []
    if without:
        sentences.append(
            f"Without score: {', '.join(without)}, because no return above that of random actions is known."
        )
    steps = data.get("steps", {})
    for task in map(task_name, data["tasks"]):
        if name := steps.get(f"reference of {task}"):
            sentences.append(f"The reference of {task} is the {name}.")
    return sentences


def _by_verdict(data: Data, main: str | None) -> list[str]:
    """Return a sentence for each baseline row that others are compared with."""
    sentences = []
    baselines: dict[str, dict[str, list[str]]] = {}
    for name, row in data["rows"].items():
        if "p_improvement" in row and name != main and not is_bound(name) and name not in CONTROLS:
            text = f"{label(name)} ({_probability(row)})"
            baselines.setdefault(row["baseline"], {}).setdefault(row["verdict"], []).append(text)
    for baseline, groups in baselines.items():
        parts = [
            f"{VERDICTS[verdict]}: {', '.join(groups[verdict])}" for verdict in VERDICTS if verdict in groups
        ]
        sentences.append(
            f"Other rows against {label(baseline)}, with the probability P that a run is better: {'; '.join(parts)}."
        )
    return sentences


def _by_task(data: Data, name: str) -> list[str]:
    groups: dict[str, list[str]] = {}
    for task, entry in data["rows"][name]["tasks"].items():
        if "verdict" in entry:
            groups.setdefault(entry["verdict"], []).append(f"{task_name(task)} ({_probability(entry)})")
    parts = [
        f"{VERDICTS[verdict]} on {', '.join(groups[verdict])}" for verdict in VERDICTS if verdict in groups
    ]
    return [f"Task by task, {label(name)}: {'; '.join(parts)}."] if parts else []


def _controls(data: Data) -> list[str]:
    """Return a sentence about the rows whose answer is known."""
    parts = []
    for name in CONTROLS:
        row = data["rows"].get(name, {})
        if "score" not in row:
            continue
        text = f"{label(name)} {_estimate(row['score'])}"
        if "p_improvement" in row:
            text += f", against {label(row['baseline'])} {VERDICTS[row['verdict']]} ({_probability(row)})"
        parts.append(text)
    return [f"Rows with a known answer, which test the protocol: {'; '.join(parts)}."] if parts else []


def _probability(row: Mapping[str, Any]) -> str:
    return f"P {_estimate(row['p_improvement'])}"


def _estimate(estimate: Mapping[str, Any]) -> str:
    return f"{number(estimate['mean'])} {interval(estimate)}"


def _counted(items: Iterable[Any], noun: str) -> str:
    count = len(list(items))
    return f"{count} {noun}{'s' * (count != 1)}"


def verdicts(data: Data) -> list[Verdict]:
    """Return whether the headline row is a gain, over all tasks and on each."""
    name = main_row(data)
    if not name:
        return []
    row = data["rows"][name]
    baseline = data["rows"][row["baseline"]]
    against = f"{label(name)} over {label(row['baseline'])}"
    parts = [("all tasks", row, baseline)]
    if len(row["tasks"]) == 1:
        parts = []  # the same numbers
    parts += [(task_name(task), entry, baseline["tasks"][task]) for task, entry in row["tasks"].items()]
    return [
        Verdict(
            entry["verdict"],
            f"{where}, {against}",
            f"score {_estimate(entry['score'])}, {_probability(entry)}",
            _estimate(other["score"]),
            f"“{label(name)}” on {where}",
        )
        for where, entry, other in parts
        if "verdict" in entry and "score" in other
    ]


def cards(data: Data) -> list[Card]:
    """Return the score of the headline row and its probability of improvement."""
    name = main_row(data)
    if not name:
        return []
    row = data["rows"][name]
    baseline = data["rows"][row["baseline"]]["score"]
    score, probability = row["score"], row["p_improvement"]
    details = f"{interval(score)}, {label(row['baseline'])} {number(baseline['mean'])}, n\u00a0=\u00a0{score['n']} runs"
    return [
        Card(number(score["mean"]), f"score of {label(name)} (IQM)", details),
        Card(
            number(probability["mean"]),
            f"probability of improvement over {label(row['baseline'])}",
            f"{interval(probability)}, {VERDICTS[row['verdict']]}",
        ),
    ]


# --- page


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the plots and tables."""
    rows = data["rows"]
    with_curve = {name: row for name, row in rows.items() if row.get("curve")}
    colored = _colored(data, with_curve)
    scored = {name: row for name, row in rows.items() if row.get("score")}
    return {
        "baseline": _baseline(data),
        "scored_tasks": [task for task in data["tasks"] if data["references"].get(task) is not None],
        "forest": study_plots.forest(rows, _baseline(data)) if scored else None,
        "forest_alt": "; ".join(
            f"{label(name)} {number(row['score']['mean'])}" for name, row in scored.items()
        ),
        "curves": [
            (axis, study_plots.scores_over_steps(with_curve, colored, axis))
            for axis in ("labeled_steps", "all_steps")
            if with_curve
        ],
        "curve_alt": "; ".join(
            f"{label(name)} {number(row['curve'][-1]['score']['mean'])}" for name, row in with_curve.items()
        ),
        "profile": study_plots.profiles(rows, _colored(data, scored), data["thresholds"]) if scored else None,
        "profile_names": _colored(data, scored),
        "goals": _goals(data.get("goals", {})),
        "tables": [rows_table(data), tasks_table(data)],
        "pasted": [
            (name, ending, convert(make_table(data)))
            for name, make_table in TABLES.items()
            for ending, convert in FORMATS.items()
        ],
        "failures": _failures(data),
        "replaced": "; ".join(
            f"{label(name)} {_estimate(row['score_failed_as_random'])}"
            for name, row in rows.items()
            if "score_failed_as_random" in row
        ),
        "verdicts": VERDICTS,
        "task_name": task_name,
        "main": main_row(data),
    }


def _failures(data: Data) -> dict[str, list[Any]]:
    """Return the failed cells by their error."""
    failures: dict[str, list[Any]] = {}
    for cell in data["failed"]:
        failures.setdefault(str(cell["error"]), []).append(cell)
    return failures


def _baseline(data: Data) -> str:
    """Return the row that the headline row is compared with."""
    main = main_row(data)
    return str(data["baseline"] if main is None else data["rows"][main]["baseline"])


def _colored(data: Data, rows: Mapping[str, Any]) -> list[str]:
    """Return the rows that a plot shows in color: the headline, its baseline, then the others in order."""
    main = main_row(data)
    first = [n for n in (main, _baseline(data), "random_latent", "finetune") if n is not None and n in rows]
    others = [name for name in rows if not is_bound(name) and name not in CONTROLS]
    return list(dict.fromkeys([*first, *others, *(n for n in rows if n not in others)]))[:_COLORED]


def _goals(goals: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the plot of goals reached against distance, and its table."""
    if not goals:
        return None
    horizons = sorted({h for row in goals.values() for h in row}, key=int)
    rows = {
        name: {h: {"reached_any": estimate} for h, estimate in row.items()} for name, row in goals.items()
    }
    rates = (
        f"{label(name)} " + ", ".join(f"{percent(row[h]['mean'])} at {h}" for h in horizons if h in row)
        for name, row in goals.items()
    )
    plot = plots.success_by_distance(rows, horizons)
    return {"plot": plot, "alt": "; ".join(rates), "horizons": horizons, "rows": goals}


SECTIONS = {
    "transfer": Section(
        name="transfer",
        title="Transfer to control",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "transfer.html.j2",
        summary=summary,
        cards=cards,
        verdicts=verdicts,
        view=view,
        order=150,
        measured=False,
        heading=lambda data: f"Transfer to control: {data['robot']}",
    )
}
