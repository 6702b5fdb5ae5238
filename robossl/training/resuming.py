"""Resume or extend any work of robossl from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from robossl.core.interfaces import Agent, ProgressReporter
from robossl.logging.notebook_progress import default_progress
from robossl.training import output_dirs
from robossl.training.agent_training import resume_agent_training
from robossl.training.continuation import resume_collection
from robossl.training.phases import learn
from robossl.training.pretraining import resume_pretraining

if TYPE_CHECKING:
    from robossl.evaluation.results import EvaluationReport
    from robossl.streams import Stream
    from robossl.training.extension import Steps
    from robossl.world_model import WorldModel


def resume(
    folder: str | Path,
    amount: Steps | None = None,
    accept_changes: bool = False,
    progress: ProgressReporter | None = None,
    encoder: nn.Module | None = None,
) -> EvaluationReport | Stream | WorldModel | Agent:
    """Finish interrupted work, or extend finished work; on a CPU to the bytes of uninterrupted work.

    Example:
        stream = robossl.resume("streams/reacher")  # after Ctrl-C
        model = robossl.resume("models/reacher", "+1000")  # 1,000 gradient steps more

    Args:
        folder: Folder of a run, stream, model or agent.
        amount: New total of env steps (of a model: gradient steps), "+N" for N more, or for a run "unlimited"; None: as
            many as were requested.
        accept_changes: Go on although what decides the result has changed: versions, robot, config, device.
        progress: Receives the progress.
        encoder: The custom encoder of a model, if it has one.

    Returns:
        The report of a run, the stream, the model or the agent.

    Raises:
        UsageError: The folder has nothing to resume, or what decides the result has changed.
    """
    kind = output_dirs.read_manifest(folder, "run", "stream", "model", "agent")["kind"]
    if kind == "run":
        return learn(resume=folder, progress=progress, steps=amount, accept_changes=accept_changes)
    progress = progress or default_progress()
    if kind == "stream":
        return resume_collection(folder, progress, amount, accept_changes)
    if kind == "model":
        return resume_pretraining(folder, progress, amount, accept_changes, encoder)
    return resume_agent_training(folder, progress, amount, accept_changes).agent
