"""Report section "world_model": prediction, probes and inverse dynamics on held-out episodes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.model_metrics import evaluate_world_model
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, label, number, percent, steps_ahead
from robossl.evaluation.report.section import (
    Card,
    Data,
    Report,
    Section,
    Unavailable,
    Verdict,
    outcome_of,
)

_HEADLINE_HORIZON = 25  # [steps]


def headline_horizon(horizons: Iterable[str]) -> str:
    """Return the horizon that a report is summarized by: 25 steps, or the longest one below, or the shortest."""
    names = list(horizons)
    return max((h for h in names if int(h) <= _HEADLINE_HORIZON), key=int, default=min(names, key=int))


def compute_world_model(context: EvaluationContext) -> Data:
    """Measure the world model of the context on its stream."""
    if context.model is None or context.stream is None:
        raise Unavailable("an agent alone was evaluated; no model was given")
    metrics, missing = evaluate_world_model(
        context.model, context.stream, context.step_seconds(), context.evaluation_seed, context.progress
    )
    context.missing |= {f"world_model.{key}": reason for key, reason in missing.items()}
    return {**metrics, "updates": context.updates, "transitions": context.stream.transitions}


def summary(data: Data) -> list[str]:
    """Return one sentence: training data, prediction skill beside its baselines, and inverse dynamics."""
    trained = "robossl trained a world model"
    if data.get("transitions") and data.get("updates"):
        trained = (
            f"From {data['transitions']:,} recorded steps and without reward, robossl trained a world model in "
            f"{data['updates']:,} updates"
        )
    parts = [trained, _prediction(data), _inverse(data)]
    return ["; ".join(part for part in parts if part) + "."]


def _prediction(data: Data) -> str:
    skill = data.get("prediction_skill")
    if not skill:
        return "its prediction skill could not be measured"
    horizon = headline_horizon(skill)
    estimate = skill[horizon]
    text = (
        f"{steps_ahead(horizon)} ahead its prediction skill on {estimate['n']:,} held-out forecasts is "
        f"{number(estimate['mean'])} {interval(estimate)}, where the no-change baseline scores 0 and a perfect model 1"
    )
    linear = data.get("forward_linear", {}).get(horizon)
    if linear is None:
        return text
    linear_text = number(linear) if linear > -1 else "less than −1"
    better = "" if estimate["low"] > linear else "no better than "
    return f"{text} ({better}linear dynamics: {linear_text})"


def _inverse(data: Data) -> str:
    if "inverse_r2" in data:
        return f"it infers the action taken with R² {number(data['inverse_r2']['mean'])}"
    if "inverse_accuracy" in data:
        accuracy = data["inverse_accuracy"]
        right, majority = percent(accuracy["accuracy"]["mean"]), percent(accuracy["majority"])
        return f"it infers the action taken in {right} of the steps; the most frequent action is right in {majority}"
    return ""


def verdicts(data: Data) -> list[Verdict]:
    """Return whether the model predicts better than linear dynamics."""
    skill = data.get("prediction_skill")
    if not skill:
        return []
    horizon = headline_horizon(skill)
    estimate, linear = skill[horizon], data.get("forward_linear", {}).get(horizon)
    name, baseline = ("no change", 0.0) if linear is None or linear < 0 else ("linear dynamics", linear)
    subject = f"prediction {steps_ahead(horizon)} ahead over {name}"
    result = f"skill {number(estimate['mean'])} {interval(estimate)}"
    return [Verdict(outcome_of(estimate, baseline), subject, result, number(baseline), "prediction")]


def validity_sentence(time: dict[str, Any]) -> str:
    """Return a sentence about "valid_prediction_time"."""
    unit = time["unit"]
    invalid = f"its error exceeds {time['tolerance']:g} standard deviations of the observation"
    lasting = (
        f"{percent(time['censored'])} of the {time['n']} forecasts were still valid at their end, after "
        f"{number(time['horizon'])} {unit}"
    )
    if time["censored"] >= 0.5:  # the median is not known
        median = number(time["median"])
        text = f"A forecast is valid for at least {median} {unit}: {lasting} (it is invalid once {invalid})"
    else:
        text = (
            f"A forecast is valid for {number(time['median'])} {unit} (median, 95 % interval {interval(time)}), until "
            f"{invalid}. {lasting}"
        )
    return f"{text}; the no-change baseline is valid for {number(time['no_change'])} {unit}."


def cards(data: Data) -> list[Card]:
    """Return the prediction skill and the valid prediction time."""
    shown: list[Card] = []
    skill = data.get("prediction_skill")
    if skill:
        horizon = headline_horizon(skill)
        estimate = skill[horizon]
        detail = f"{interval(estimate)}, no change 0, n\u00a0=\u00a0{estimate['n']:,}"
        shown.append(
            Card(number(estimate["mean"]), f"prediction skill, {steps_ahead(horizon)} ahead", detail)
        )
    time = data.get("valid_prediction_time")
    if time:
        least = "≥ " if time["censored"] >= 0.5 else ""
        detail = f"no change {number(time['no_change'])} {time['unit']}, n\u00a0=\u00a0{time['n']}"
        shown.append(
            Card(f"{least}{number(time['median'])} {time['unit']}", "a forecast is valid for", detail)
        )
    return shown


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the plots of prediction skill and probes."""
    time = data.get("valid_prediction_time")
    seconds = time["horizon"] / time["steps"] if time and time["unit"] == "s" else None
    variables: dict[str, Any] = {
        "step_seconds": seconds,
        "validity": validity_sentence(time) if time else "",
        "prediction_plot": None,
        "probe_plot": None,
        "reliability_plot": None,
    }
    curve = data.get("forward_curve")
    if curve:
        variables["prediction_plot"] = plots.prediction_curve(curve, seconds)
        first, last = number(curve["model"][0]), number(curve["model"][-1])
        variables["prediction_alt"] = (
            f"Prediction skill is {first} after one step and {last} after {len(curve['model'])} steps"
        )
    variables["quantities"] = sorted(data.get("quantity_errors", {}).items())
    reliability = data.get("calibration_curve")
    if reliability:
        predicted, true = reliability["predicted"], reliability["true"]
        variables["reliability_plot"] = plots.reliability(predicted, true)
        ratios = ", ".join(number(t / p) for p, t in zip(predicted, true) if p > 0)
        variables["reliability_alt"] = f"True over predicted error, from the smallest predicted one: {ratios}"
    probes = data.get("probes")
    if probes:
        variables["probe_plot"] = plots.probe_scores(probes)
        scores = (f"{label(name)} {number(score['r2'])}" for name, score in probes.items())
        variables["probe_alt"] = f"Linear probes, R²: {'; '.join(scores)}"
        variables["ordered_probes"] = sorted(probes.items(), key=lambda item: -item[1]["r2"])
    return variables


SECTIONS = {
    "world_model": Section(
        name="world_model",
        title="World model",
        compute=compute_world_model,
        template=Path(__file__).parent.parent / "templates" / "world_model.html.j2",
        summary=summary,
        cards=cards,
        verdicts=verdicts,
        view=view,
        order=400,
    )
}
