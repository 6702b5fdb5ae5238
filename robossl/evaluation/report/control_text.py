"""The sentences of the section "control", and the names of its rows and agents in texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robossl.core.agent_observation import ROWS
from robossl.evaluation.control import BASELINES
from robossl.evaluation.report.control_curves import early_returns
from robossl.evaluation.report.number_format import interval, label, number, percent, spelled_agent
from robossl.evaluation.report.section import Data, outcome_of
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


def main_row_of(data: Data) -> str | None:
    """Return the name of the main row of trained agents; None without one."""
    rows = data["rows"]
    names = {row: rows[row].get("agent") for row in agent_rows(rows)}
    return main_row(names, data.get("agent")) if names else None


def agent_rows(rows: Mapping[str, Any]) -> list[str]:
    """Return the names of the rows of agents that were trained with reward."""
    return [name for name in rows if name not in REWARD_FREE and name not in BASELINES]


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
    name = main_row_of(data)
    if name is None:
        return []
    main = rows[name]
    agent = agent_name(data, name)
    trained = f"After {data['steps']:,} steps with reward, {agent}" if data.get("steps") else agent
    text = (
        f"{trained[0].upper()}{trained[1:]} on {input_name(name)} has a return of {_result(main)} over "
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


def agent_name(data: Data, row: str) -> str:
    """Return the name of the agent of a row for a text: abbreviations such as SAC in capitals."""
    return spelled_agent(str(data["rows"][row].get("agent") or data.get("agent", "the agent")))


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
    agents = {name: agent_name(data, name) for name in names}
    same = len(set(agents.values())) == 1
    groups: dict[str, list[str]] = {}
    for name in names:
        if name != reference:
            subject = input_name(name) if same else f"{agents[name]} on {input_name(name)}"
            groups.setdefault(_relation(rows[name], rows[reference]), []).append(
                f"{subject} ({number(rows[name]['return']['mean'])})"
            )
    other, of = ("the same agent", "with") if same else (agents[reference], "of")
    text = f"Compared with {other} on {input_name(reference)} ({_result(rows[reference])}), the return {of} "
    parts = [f"{_listed(group)} is {_GROUP_RELATIONS[relation]}" for relation, group in groups.items()]
    expected = _COMPLETE_STATE if same and "equal" in groups and reference == "observation" else ""
    return [f"{text}{f'; {of} '.join(parts)}{expected}.", *_early_sentence(data, reference)]


def _early_sentence(data: Data, reference: str) -> list[str]:
    """Return what the main agent and that of the row `reference` had after a few steps with reward."""
    name = main_row_of(data)
    early = early_returns(data["rows"], name, reference, data.get("steps")) if name else None
    if early is None or name is None or name == reference:
        return []
    own, other = (f"{number(e['mean'])} {interval(e)}" for e in (early.own, early.other))
    subjects = [f"{agent_name(data, row)} on {input_name(row)}" for row in (name, reference)]
    return [
        f"After only {early.steps:,} steps with reward, {subjects[0]} had {own} and {subjects[1]} {other}."
    ]


_GROUP_RELATIONS = {
    "higher": "higher",
    "lower": "lower",
    "equal": "equal within the intervals",
    "unknown": "measured on too few episodes to compare",
}


def input_name(row: str) -> str:
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
