"""The ring, round by round: explore, learn the world, reach goals, act and learn, evaluate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.evaluation.report import report_file as reports
from robossl.logging.progress import make_progress
from robossl.rollout import collect_steps
from robossl.streams import Recorder
from robossl.training import evaluation_steps
from robossl.training.agent_phase import act
from robossl.training.config import LearnConfig
from robossl.training.config_io import to_toml
from robossl.training.config_validation import validate_config
from robossl.training.experiment import PHASES, Experiment
from robossl.training.world_model_phase import few_episodes_warning, save_model, train_world_model


def learn(
    config: LearnConfig | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    progress: ProgressReporter | None = None,
) -> dict[str, Any]:
    """The main job, from nothing or from where a run was; returns its report.

    A config that leaves `world` as it is takes the recipe that fits what the env shows: numbers, or pictures only.
    Interrupted by Ctrl-C it saves and raises `KeyboardInterrupt` with the words that say how to go on.
    """
    say = progress or make_progress()
    if resume:
        run = Experiment.resume(resume, say)
    else:
        run = Experiment.create(validate_config(config or LearnConfig()), out, say)
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)  # a run's bits depend on it
    try:
        return run_phases(run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted in phase {run.phase!r}; everything up to the last checkpoint is saved. "
            f"Go on with: robossl learn --resume {run.folder}"
        ) from None
    finally:
        say.close()
        run.close()
        torch.set_num_threads(threads)


def run_phases(run: Experiment) -> dict[str, Any]:
    """All phases that are still to be done; returns the report."""
    steps = {"explore": explore, "pretrain": pretrain, "goals": goals, "act": act, "evaluate": evaluate}
    while run.phase != "done":
        steps[run.phase](run)
        run.save(phase=PHASES[PHASES.index(run.phase) + 1])
    return {**reports.read(run.folder), "folder": str(run.folder)}


def explore(run: Experiment) -> None:
    """Coloured noise in many lanes at once, into a stream with lanes left for the agent."""
    config = run.config
    folder = run.folder / "stream"
    if folder.exists():  # a life cut short before its first checkpoint: it is lived again, to the same bits
        shutil.rmtree(folder)
    with run.timed("explore"):
        run.progress.start("explore", config.explore_steps, "steps")
        envs = registry.make_envs(config.env, config.explore.num_envs, threads=run.threads)
        recorder = Recorder.create(
            envs,
            folder,
            policy=config.explore.policy,
            seed=run.seed("explore"),
            lanes=config.explore.num_envs + config.agent.num_envs,
        )
        make = registry.policy(config.explore.policy)
        policy = make(envs.single_action_space, config.explore.num_envs, seed=run.seed("policy"))
        try:
            collect_steps(recorder, policy, config.explore_steps, run.seed("explore"), run.progress)
        finally:
            recorder.close()
        run.add_stream("stream", recorder.stream)
        run.progress.stop()
    if words := few_episodes_warning(run.stream()):
        run.progress.message(words)


def pretrain(run: Experiment) -> None:
    """The world model learns from what was explored. No reward."""
    with run.timed("pretrain"):
        train_world_model(run, run.config.pretrain.updates, between=run.save_sometimes)
        run.learner.publish()
        save_model(run)


def goals(run: Experiment) -> None:
    """Goals from held-out episodes, reached by planning in the model, beside random and doing nothing."""
    config = run.config
    with run.timed("goals"):
        try:
            run.results["goals"] = evaluation_steps.goals(
                config.env, {"planner": run.learner.ema_model}, run.stream(), config.goals.horizon, config.goals.trials,
                run.evaluation_seed, run.threads, run.progress,
            )  # fmt: skip
        except UsageError as error:
            run.absent("goals", str(error))


def evaluate(run: Experiment) -> None:
    """The model on held-out episodes, videos, the report and its page."""
    config = run.config
    measures = evaluation_steps.EvaluationResults(
        config.env, config.seed, device=str(run.learner.ema_model.device)
    )
    with run.timed("evaluate"):
        measures.world, measures.absent = evaluation_steps.evaluate_world_model(
            run.learner.ema_model,
            run.stream(),
            config.env,
            run.evaluation_seed,
            run.learner.updates,
            run.progress,
        )
        measures.absent |= run.results.get("absent", {})
        measures.goals, measures.control = run.results.get("goals", {}), run.results.get("control", {})
        measures.health = run.results["health"]
        if config.evaluate.videos:
            measures.films = evaluation_steps.record_videos(
                run.folder, config.env, run.learner.ema_model, run.stream(), run.agent(), run.evaluation_seed,
                measures.absent,
            )  # fmt: skip
        else:
            measures.absent["videos"] = "not asked for (evaluate.videos is false)"
    measures.seconds = run.state["seconds"]
    evaluation_steps.write(run.folder, measures, to_toml(config))
