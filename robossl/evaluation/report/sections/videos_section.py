"""Report section "videos": the imagined rollout beside reality, first episodes of the planner and of an agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robossl.core.errors import OperationError, UsageError
from robossl.core.io import resolve_within
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report.control_text import main_row
from robossl.evaluation.report.embedded_video import embed
from robossl.evaluation.report.section import Data, Report, Section, Unavailable, describe_error
from robossl.evaluation.reward_free import missing_goals_reason, reward_free_policies
from robossl.evaluation.video.recording import record_agent, record_imagination

PLANNER = "planner"  # row of the section control


def compute_videos(context: EvaluationContext) -> Data:
    """Record the videos into the folder of the report; what cannot be recorded has its reason in `missing`."""
    if not context.videos:
        raise Unavailable("no videos were requested (evaluate.videos is false)")
    if context.folder is None:
        raise Unavailable("the report has no folder")
    folder, data = context.folder, {}
    recorders: dict[str, Callable[[Path], dict[str, Any]]] = {
        "imagination": lambda path: _record_imagination(context, path),
        "planner": lambda path: _record_planner(context, path),
        "agent": lambda path: _record_agent(context, path),
    }
    if not _plans_without_reward(context):
        del recorders["planner"]
    for name, record in recorders.items():
        try:
            data[name] = {"file": f"{name}.mp4", **record(folder / f"{name}.mp4")}
        except (UsageError, OperationError) as error:
            context.missing[f"videos.{name}"] = str(error)
        except Exception as error:  # noqa: BLE001 - a renderer or an encoder may raise anything
            context.missing[f"videos.{name}"] = describe_error(error)
    if not data:
        raise Unavailable("no video could be recorded")
    return data


def _record_imagination(context: EvaluationContext, path: Path) -> dict[str, Any]:
    if context.model is None or context.stream is None:
        raise Unavailable("no world model was given")
    video = record_imagination(path, context.env, context.model, context.stream, context.evaluation_seed)
    data: dict[str, Any] = {"frames": video.frames, "rendered": video.rendered}
    return data | ({"not_rendered_reason": video.not_rendered_reason} if video.not_rendered_reason else {})


def _plans_without_reward(context: EvaluationContext) -> bool:
    """Return whether the planner acts on the env's own goals, and is not the agent itself."""
    model = context.model
    return (
        context.reward_free_control
        and context.agent != PLANNER
        and model is not None
        and missing_goals_reason(model.observation_space) is None
    )


def _record_planner(context: EvaluationContext, path: Path) -> dict[str, Any]:
    settings = context.observation_settings
    envs = context.envs(1, **settings)
    try:
        policies, reasons = reward_free_policies(envs, context.model, context.evaluation_seed, [PLANNER])
    finally:
        envs.close()
    if reasons:
        raise Unavailable(reasons[PLANNER])
    record_agent(path, context.env, policies[PLANNER], context.evaluation_seed, **settings)
    return {"row": PLANNER}


def _record_agent(context: EvaluationContext, path: Path) -> dict[str, Any]:
    if not context.agents:
        raise Unavailable("no agent was trained")
    row = main_row({row: context.agent_names.get(row) for row in context.agents}, context.agent)
    agent, settings = context.agents[row], context.observation_settings
    record_agent(path, context.env, agent, context.evaluation_seed, **settings)
    return {"row": row}


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the videos that are still in the folder of the report as data URLs."""
    embedded = {}
    for name in data:
        path = None if folder is None else resolve_within(folder, str(data[name]["file"]))
        if path is not None and path.is_file():
            embedded[name] = embed(path)
    return {"embedded": embedded}


SECTIONS = {
    "videos": Section(
        name="videos",
        title="Videos",
        compute=compute_videos,
        template=Path(__file__).parent.parent / "templates" / "videos.html.j2",
        view=view,
        order=100,
    )
}
