"""Report section "control": the env's own goals and rewards, without reward and by trained agents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.core.agent_observation import ROWS
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import BASELINES, evaluate_control
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, label, number, percent
from robossl.evaluation.report.section import (
    Card,
    Data,
    Report,
    Section,
    Unavailable,
    Verdict,
    outcome_of,
)
from robossl.evaluation.reward_free import REWARD_FREE

# The main row of the agents is the first of these that the main agent has.
MAIN_ROWS = ("latent_observation", "latent", "observation")
_COMPLETE_STATE = (
    "; that is expected where the observation holds the complete state, to which a latent adds no information"
)


def main_row(names: Mapping[str, str | None], agent: str | None) -> str:
    """Return the name of the main row among those of trained agents.

    Args:
        names: Row -> name of its agent; None: that of the main one.
        agent: Name of the main agent.
    """
    own = [row for row, name in names.items() if name is None or name == agent] or list(names)
    return next((row for row in MAIN_ROWS if row in own), own[0])


def _main_row(data: Data) -> str | None:
    """Return the name of the main row of trained agents; None without one."""
    rows = data["rows"]
    names = {row: rows[row].get("agent") for row in agent_rows(rows)}
    return main_row(names, data.get("agent")) if names else None


def agent_rows(rows: Mapping[str, Any]) -> list[str]:
    """Return the names of the rows of agents that were trained with reward."""
    return [name for name in rows if name not in REWARD_FREE and name not in BASELINES]


def compute_control(context: EvaluationContext) -> Data:
    """Evaluate the rows of the context; a table of baselines alone is unavailable."""
    data = evaluate_rows(context)
    if not set(data["rows"]) - set(BASELINES):
        reasons = [
            context.missing[f"control.{row}"] for row in REWARD_FREE if f"control.{row}" in context.missing
        ]
        raise Unavailable(
            "; ".join(["a model alone was evaluated; no agent was given", *dict.fromkeys(reasons)])
        )
    return data


def evaluate_rows(context: EvaluationContext) -> Data:
    """Evaluate policies without reward, the agents of the context, and baselines on the same held-out episodes."""
    rows = evaluate_control(context, rows=context.control_rows)
    if rows and not any("success" in row for row in rows.values()):
        context.missing["control.success"] = (
            f"{context.env} does not report success: no is_success in its infos"
        )
    trained = {"agent": context.agent, "steps": context.agent_steps, "model": model_info(context)}
    return {**{key: value for key, value in trained.items() if value is not None}, "rows": rows}


def model_info(context: EvaluationContext) -> dict[str, int] | None:
    """Return the version of the model, its gradient steps, and the transitions it was trained on."""
    if context.model is None:
        return None
    metadata = context.model.metadata
    info = {"version": int(context.model.version)}
    info |= {str(key): int(metadata[key]) for key in ("updates", "transitions") if key in metadata}
    return info


# --- text


def summary(data: Data) -> list[str]:
    """Return sentences: control without reward, the trained agent beside it, and rows that are equal or bad."""
    rows = data["rows"]
    sentences = [*_reward_free_sentence(data), *_agent_sentence(data), *_observation_sentence(data)]
    random = rows.get("random")
    if random:
        worse = [label(name) for name in _measured(rows) if _relation(rows[name], random) == "lower"]
        if worse:
            sentences.append(f"Worse than random actions: {_listed(worse)}.")
    return sentences


def _measured(rows: Mapping[str, Any]) -> list[str]:
    return [name for name in rows if name not in BASELINES]


def _reward_free_sentence(data: Data) -> list[str]:
    rows = data["rows"]
    names = [name for name in REWARD_FREE if name in rows]
    if not names:
        return []
    texts = []
    for name in names:
        text = f"{_SUBJECTS[name]} has a return of {_result(rows[name])}"
        if "random" in rows and (relation := _relation(rows[name], rows["random"])) != "higher":
            text += (
                ", no better than random actions" if relation == "equal" else ", worse than random actions"
            )
        texts.append(text)
    sentence = f"Without any reward, {'; '.join(texts)}"
    if "random" in rows:
        sentence += f"; random actions have {_result(rows['random'])}"
    episodes = rows[names[0]]["return"]["n"]
    sentence += f" ({episodes} held-out episodes, the same for all, with the goals of the env)."
    sentences = [sentence]
    ratio = _cost_ratio(rows)
    if ratio is not None and ratio >= 1.5:
        sentences.append(
            f"A decision of the inverse policy takes {number(ratio, 0)} times less time than planning."
        )
    return sentences


_SUBJECTS = {"planner": "planning in the world model", "inverse_policy": "the inverse policy"}


def _cost_ratio(rows: Mapping[str, Any]) -> float | None:
    """Return how many times a decision of the planner takes as long as one of the inverse policy."""
    milliseconds = [rows.get(name, {}).get("ms_per_decision") for name in ("planner", "inverse_policy")]
    planner, inverse = milliseconds
    return planner / inverse if planner and inverse else None


def _agent_sentence(data: Data) -> list[str]:
    rows = data["rows"]
    name = _main_row(data)
    if name is None:
        return []
    main = rows[name]
    agent = _agent_name(data, name)
    trained = f"After {data['steps']:,} steps with reward, {agent}" if data.get("steps") else agent
    text = (
        f"{trained[0].upper()}{trained[1:]} on {_input_name(name)} has a return of {_result(main)} over "
        f"{main['return']['n']} episodes"
    )
    others = [(row, _SUBJECTS[row]) for row in REWARD_FREE if row in rows]
    if not others and "random" in rows:
        others = [("random", f"random actions ({_result(rows['random'])})")]
    by_return = _grouped(main, rows, others, "return")
    by_success = {} if "success" not in main else _grouped(main, rows, others, "success")
    relations = [f"{_RELATIONS[relation]} of {_listed(subjects)}" for relation, subjects in by_return.items()]
    text += f"{': ' if relations else ''}{_listed(relations)}"
    for relation in ("higher", "lower"):
        if relation in by_success:
            text += f"; its success is {_RELATIONS[relation]} of {_listed(by_success[relation])}"
    return [f"{text}."]


def _agent_name(data: Data, row: str) -> str:
    """Return the name of the agent of a row for a text: abbreviations such as SAC in capitals."""
    name = str(data["rows"][row].get("agent") or data.get("agent", "the agent"))
    return name.upper() if len(name) < 5 else name


def _grouped(
    main: Mapping[str, Any], rows: Mapping[str, Any], others: list[tuple[str, str]], key: str
) -> dict[str, list[str]]:
    """Return the texts of the rows `others`, (row, text), by how an estimate of `main` compares with theirs."""
    groups: dict[str, list[str]] = {}
    for row, text in others:
        if key in rows[row]:
            groups.setdefault(_relation(main, rows[row], key), []).append(text)
    return groups


_RELATIONS = {
    "higher": "higher than that",
    "lower": "lower than that",
    "equal": "within the intervals equal to that",
    "unknown": "measured on too few episodes to compare with that",
}


def _observation_sentence(data: Data) -> list[str]:
    """Compare the agents that differ in what they observe."""
    rows = data["rows"]
    names = [name for name in agent_rows(rows) if name in ROWS]
    if len(names) < 2:
        return []
    reference = "observation" if "observation" in names else names[0]
    agents = {name: _agent_name(data, name) for name in names}
    same = len(set(agents.values())) == 1
    groups: dict[str, list[str]] = {}
    for name in names:
        if name != reference:
            subject = _input_name(name) if same else f"{agents[name]} on {_input_name(name)}"
            groups.setdefault(_relation(rows[name], rows[reference]), []).append(
                f"{subject} ({number(rows[name]['return']['mean'])})"
            )
    other, of = ("the same agent", "with") if same else (agents[reference], "of")
    text = f"Compared with {other} on {_input_name(reference)} ({_result(rows[reference])}), the return {of} "
    parts = [f"{_listed(group)} is {_GROUP_RELATIONS[relation]}" for relation, group in groups.items()]
    expected = _COMPLETE_STATE if same and "equal" in groups and reference == "observation" else ""
    return [f"{text}{f'; {of} '.join(parts)}{expected}."]


_GROUP_RELATIONS = {
    "higher": "higher",
    "lower": "lower",
    "equal": "equal within the intervals",
    "unknown": "measured on too few episodes to compare",
}


def _input_name(row: str) -> str:
    names = {
        "latent_observation": "the latent and the observation",
        "latent": "the latent alone",
        "observation": "the observation alone",
        "random_latent": "the latent of an untrained encoder",
    }
    return names.get(row, f"the input “{label(row)}”")


def _relation(row: Mapping[str, Any], other: Mapping[str, Any], key: str = "return") -> str:
    """Compare an estimate of two rows: they differ if their intervals do not overlap."""
    return _OUTCOME_RELATIONS[outcome_of(row[key], other[key])]


_OUTCOME_RELATIONS = {"gain": "higher", "worse": "lower", "equal": "equal", "unknown": "unknown"}


def _result(row: Mapping[str, Any]) -> str:
    """Return a return with its interval, and the success if it is known."""
    text = f"{number(row['return']['mean'])} {interval(row['return'])}"
    return f"{text} with {percent(row['success']['mean'])} success" if "success" in row else text


def _listed(texts: list[str]) -> str:
    return " and ".join(part for part in (", ".join(texts[:-1]), *texts[-1:]) if part)


# --- page


def cards(data: Data) -> list[Card]:
    """Return the results without reward, and beside them that of the trained agent."""
    rows = data["rows"]
    shown = {name: f"{_CARDS[name]}, without any reward" for name in REWARD_FREE if name in rows}
    if name := _main_row(data):
        steps = f", {data['steps']:,} steps with reward" if data.get("steps") else ""
        shown[name] = f"return of {_agent_name(data, name)} on {_input_name(name)}{steps}"
    return [_card(rows, name, text) for name, text in shown.items()]


def verdicts(data: Data) -> list[Verdict]:
    """Return whether control without reward and the agent beat random actions, and the latent the observation alone."""
    rows = data["rows"]
    topic = "control without reward"
    pairs = [(name, "random", f"{label(name)} without reward", topic) for name in REWARD_FREE if name in rows]
    if name := _main_row(data):
        other = "observation" if "observation" in rows and name != "observation" else "random"
        topic = f"{_agent_name(data, name)} on {_input_name(name)}"
        pairs += [(name, baseline, topic, topic) for baseline in dict.fromkeys((other, "random"))]
    found = []
    for name, other, subject, topic in pairs:
        if other in rows:
            own, baseline = rows[name]["return"], rows[other]["return"]
            against = label(other)
            if other == "observation":
                agents = [_agent_name(data, row) for row in (name, other)]
                against = (
                    "the observation alone"
                    if agents[0] == agents[1]
                    else f"{agents[1]} on the observation alone"
                )
            result, reference = (f"{number(e['mean'])} {interval(e)}" for e in (own, baseline))
            text = f"{subject} over {against}"
            found.append(Verdict(outcome_of(own, baseline), text, f"return {result}", reference, topic))
    return found


_CARDS = {"planner": "return of planning", "inverse_policy": "return of the inverse policy"}


def _card(rows: Mapping[str, Any], name: str, text: str) -> Card:
    row = rows[name]
    details = [interval(row["return"])]
    if "success" in row:
        details.append(f"success {percent(row['success']['mean'])}")
    if "random" in rows:
        details.append(f"random {number(rows['random']['return']['mean'])}")
    details.append(f"n\u00a0=\u00a0{row['return']['n']}")
    return Card(number(row["return"]["mean"]), text, ", ".join(details))


def _curve_note(rows: Mapping[str, Any], curves: Mapping[str, Any]) -> str:
    """Return a sentence if the end of a curve and the table differ: they have other episodes."""
    differ = [
        label(name)
        for name, curve in curves.items()
        if "return" in rows[name] and abs(curve[-1][1] - rows[name]["return"]["mean"]) > 1e-6
    ]
    if not differ:
        return ""
    names = ", ".join(differ)
    return (
        f" A point of a curve has other, often fewer episodes than the table, so the ends differ ({names})."
    )


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the learning curves, the texts of the rows, and how many steps with reward each row had."""
    rows = data["rows"]
    curves = {name: row["curve"] for name, row in rows.items() if row.get("curve")}
    ends = "; ".join(f"{label(name)} {number(curve[-1][1])}" for name, curve in curves.items())
    steps = data.get("steps")
    names = agent_rows(rows)
    differ = len({_agent_name(data, name) for name in names}) > 1
    labels = {
        name: f"{label(name)} ({_agent_name(data, name)})" if differ and name in names else label(name)
        for name in rows
    }
    return {
        "curves": plots.learning_curves(rows, labels, tuple(REWARD_FREE)) if curves else None,
        "ends": ends,
        "curve_note": _curve_note(rows, curves),
        "main": tuple(REWARD_FREE),
        "row_labels": labels,
        "reward_steps": {
            name: ("–" if steps is None else f"{steps:,}") if name in names else "0" for name in rows
        },
    }


SECTIONS = {
    "control": Section(
        name="control",
        title="Control",
        compute=compute_control,
        template=Path(__file__).parent.parent / "templates" / "control.html.j2",
        summary=summary,
        cards=cards,
        verdicts=verdicts,
        view=view,
        order=200,
    )
}
