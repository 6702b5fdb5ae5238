"""The phases of `robossl learn`: explore, pretrain, fit goal heads, reach goals, act and learn, evaluate."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.cells.work import Run
from robossl.core import interrupts
from robossl.core.display import in_notebook
from robossl.core.env_ids import EnvName
from robossl.core.errors import OperationError, UsageError, shell_path
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.evaluation.control import time_limit_warning
from robossl.evaluation.report.page import write_report
from robossl.evaluation.report.section import compute_sections
from robossl.evaluation.report.sections.control_section import evaluate_rows
from robossl.evaluation.results import EvaluationReport
from robossl.logging.file_progress import FileProgress
from robossl.logging.notebook_progress import NotebookProgress
from robossl.logging.progress import make_progress
from robossl.logging.throughput import ThroughputProgress
from robossl.registry import EnvLike
from robossl.streams import Recorder, Stream
from robossl.streams.storage.lock import remove_stream
from robossl.training.agent_phase import act
from robossl.training.agent_rows import STREAM, AgentRow, agent_rows
from robossl.training.collect_loop import CollectLoop
from robossl.training.collection import attach
from robossl.training.config import LearnConfig, head_update_count
from robossl.training.config_validation import validate_config
from robossl.training.episode_metrics import episode_metrics
from robossl.training.experiment import MODEL, Experiment
from robossl.training.extension import Steps, parse_steps, refresh_report
from robossl.training.loss_curves import loss_curves
from robossl.training.opening import create_run, resume_run
from robossl.training.recorded_envs import backend_arguments, make_recorder
from robossl.training.ring_phase import exploration_ring, load_ring, remove_ring, save_ring
from robossl.training.seed_runs import is_seeds_folder, learn_seeds, resume_seeds, run_seed, seeds_config
from robossl.training.shard_phase import explore_in_shards, remove_shards
from robossl.training.world_model_phase import few_episodes_warning, fit_heads, save_model, train_world_model
from robossl.world_model.device_ring import DeviceRing


def learn(
    config: LearnConfig | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    progress: ProgressReporter | None = None,
    steps: Steps | None = None,
    accept_changes: bool = False,
    seeds: Sequence[int] | None = None,
    env: EnvLike | None = None,
    seeds_at_once: int = 1,
) -> EvaluationReport:
    """Explore, train a world model, train an agent on it, and evaluate; or resume or extend such a run.

    Example:
        report = robossl.learn(robossl.LearnConfig(env="robossl/Reacher-v0", steps=64_000), out="runs/reacher")
        report["control"]["rows"]["planner"]["success"]["mean"]

    Args:
        config: The configuration. If `world_model` is the default, the default for the observations of the env
            is used instead (state or images).
        out: Folder of the run; must be empty or missing. Default: runs/NAME.
        resume: Folder of a run to continue; then `config` and `out` are not used.
        progress: Receives the progress; None: a progress bar or lines on stderr.
        steps: Of a resumed run: new total of environment steps, "+N" for N more than planned, or "unlimited".
        accept_changes: Resume although versions, robot, config or device differ from those of the start, which decide
            the result.
        seeds: Repeat the run with each of these seeds, in the folders seed-0, seed-1, ... of `out`, and report over all
            of them. A finished seed is not repeated, an unfinished one is resumed.
        env: Env of a new run, in place of the one of the config: a name, a function that makes an env, an env, a
            vector env or a spec.
        seeds_at_once: Seeds at the same time, each in a process of its own with its share of the cores.

    Returns:
        The report: a dict as report.json, which a notebook shows as tables; `folder` is the folder of the run.

    Raises:
        KeyboardInterrupt: The run was interrupted; its state is saved and the message has the command to continue.
    """
    if config is not None and not isinstance(config, LearnConfig):
        raise UsageError(f"config: expected a LearnConfig, got {type(config).__name__}")
    progress = progress or (NotebookProgress() if in_notebook() else make_progress())
    if seeds is not None:
        if resume or steps is not None:
            raise UsageError("seeds: expected a config, got a run to resume; give its folder as out instead")
        config = config or LearnConfig()
        registry.trust_env(config.env)
        return learn_seeds(learn, validate_config(config, out), seeds, out, progress, seeds_at_once)
    if resume and is_seeds_folder(resume):
        if steps is not None:
            raise UsageError(
                f"steps: expected one run to extend, got the seeds of {resume}; extend each of them"
            )
        return resume_seeds(learn, resume, progress, seeds_at_once, accept_changes=accept_changes)
    if resume:
        run = resume_run(
            resume,
            progress,
            None if steps is None else parse_steps(str(steps)),
            accept_changes,
            lambda env: resume_command(Path(resume), env),
        )
    elif steps is not None:
        raise UsageError("steps: expected a run to resume with it, got none; set it in the config")
    else:
        config = config or LearnConfig()
        config = dataclasses.replace(config, env=registry.name_of(config.env if env is None else env))
        run = create_run(validate_config(config, out), out, progress)
    run.progress = progress = FileProgress(progress, run.folder)
    if warning := time_limit_warning(run.config.env):
        progress.message(warning)
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)  # results depend on it, bit by bit
    try:
        return run_phases(run)
    except KeyboardInterrupt:
        if run.config.unlimited:
            try:
                refresh_report(run.folder, run.state)
            except (UsageError, OperationError) as error:
                progress.message(f"the report of the run is not brought up to date: {error}")
        raise KeyboardInterrupt(
            f"interrupted in phase {run.state.phase!r}; everything up to the last checkpoint is saved. "
            f"To continue: {resume_command(run.folder, run.config.env)}"
        ) from None
    finally:
        progress.close()
        run.close()
        torch.set_num_threads(threads)


def seed_runner(settings: dict[str, Any]) -> Run:
    """Return what runs the seeds of the folder `settings["folder"]`, in a worker process.

    Args:
        settings: folder, threads, trusted (packages of envs that the user typed), options of resumed runs.
    """
    for env in settings["trusted"]:
        registry.trust_env(env)
    folder = Path(settings["folder"])
    config = dataclasses.replace(seeds_config(folder), threads=settings["threads"])
    return lambda job: run_seed(learn, config, folder, job["seed"], NullProgress(), settings["options"])


def resume_command(folder: Path, env: str) -> str:
    """Return the command line that resumes a run."""
    trust = f" --trust-env {shlex.quote(env)}" if EnvName.parse(env).modules else ""
    return f"robossl learn --resume {shell_path(folder)}{trust}"


def run_phases(run: Experiment) -> EvaluationReport:
    """Run the remaining phases and return the report."""
    functions = {
        "explore": explore_in_shards if run.config.explore.workers else explore,
        "pretrain": pretrain, "heads": heads, "goals": goals,
        "act": lambda run: act(run, evaluate), "evaluate": evaluate,
    }  # fmt: skip
    while run.state.phase != "done":
        interrupts.check()
        functions[run.state.phase](run)
        run.state.phase = run.state.next_phase
        run.save()
    run.checkpoints.keep_newest()
    return EvaluationReport.load(run.folder)


def explore(run: Experiment) -> None:
    """Record the exploration policy in many sub-environments; the stream also has lanes for the agent."""
    config = run.config
    with run.timed("explore"):
        run.progress.start("explore", config.explore_steps, "steps")
        envs = registry.make_envs(
            config.env,
            config.explore.num_envs,
            threads=run.threads,
            pixels=config.pixels,
            **backend_arguments(config.explore.backend, config.device),
        )
        with closing(envs):
            ring = exploration_ring(run, envs)
            recorder = _exploration_recorder(run, envs, ring)
            make_policy = registry.policy(config.explore.policy)
            policy = make_policy(envs.single_action_space, config.explore.num_envs, seed=run.seed("policy"))
            try:
                saved = run.loaded.get("explore")
                counted = (0, 0) if saved is None else saved["counted"]
                progress = ThroughputProgress(run.progress, run.logger, 0, counted)
                attach(policy, recorder, config.explore_steps, config.device, progress)
                loop = CollectLoop(recorder, policy, run.seed("explore"))
                if saved is not None and (reason := loop.set_checkpoint(saved)):
                    run.progress.message(f"exploration goes on with new episodes: {reason}")
                run.progress.update(loop.num_steps)
                loop.run(
                    config.explore_steps,
                    progress,
                    # steps in a ring are not saved on the way: an interrupted exploration is recorded again
                    None if ring else lambda tree: run.save(explore={**tree, "counted": progress.counted}),
                )
                progress.log()
            finally:
                recorder.close()
        run.register_stream(STREAM, recorder.stream)
        run.loaded.pop("explore", None)
        if ring is not None:
            save_ring(run, ring)
        run.logger.scalars(
            config.explore_steps, episode_metrics(run.stream(), "explore", range(config.explore.lanes))
        )
        run.progress.stop()
    if warning := few_episodes_warning(run.stream()):
        run.progress.message(warning)


def _exploration_recorder(run: Experiment, envs: VectorEnv, ring: DeviceRing | None) -> Any:
    """Return a recorder into the stream as the newest checkpoint has it, or into a new stream."""
    config, folder = run.config, run.folder / STREAM
    if (tree := run.loaded.get("explore")) is not None:
        stream = Stream.open(folder)
        stream.truncate(tree["stream"])
        return make_recorder(envs, config.explore.record_envs, lambda made: Recorder(made, stream))
    remove_stream(folder)  # from a start without a checkpoint: recorded again, bit by bit

    def create(made: VectorEnv) -> Recorder:
        return Recorder.create(
            made,
            folder,
            policy=config.explore.policy,
            seed=run.seed("explore"),
            lanes=sum(config.lane_groups),
            lane_groups=config.lane_groups,  # the agent acts later
        )

    return make_recorder(envs, config.explore.record_envs, create, ring)


def pretrain(run: Experiment) -> None:
    """Train the world model on the exploration data, without reward."""
    step = run.config.explore_steps
    remove_shards(run.folder)
    with run.timed("pretrain"):
        run.trainer.window_source = load_ring(run)
        train_world_model(run, run.config.pretrain.updates, step, after_slice=run.save_if_due)
        run.trainer.window_source = None
        run.trainer.publish()
        run.state.sections["diagnostics"] = save_model(run, step, MODEL)


def heads(run: Experiment) -> None:
    """Fit the goal heads to the exploration data, without reward, if the env has goals."""
    config = run.config
    remove_ring(run)
    updates = head_update_count(config.goals.head_updates, config.pretrain.updates)
    with run.timed("fit goal heads"):
        metrics = fit_heads(run.model, run.explored, updates, run.seed("goal heads"), run.progress)
    if metrics:
        run.model.save(run.folder / MODEL)
        run.logger.scalars(run.env_steps, metrics)


def goals(run: Experiment) -> None:
    """Measure the model on held-out episodes, and what it does without reward: reach goals, act in the env."""
    context = run.evaluation_context()
    with run.timed("goals"):
        for section in ("world_model", "goal_reaching"):
            compute_sections(context, [section])
            run.save_if_due()
        run.state.sections["control"] = evaluate_rows(context)  # the phase `act` adds agents


def evaluate(run: Experiment) -> None:
    """Compute the remaining sections, record videos, and write the report."""
    context = run.evaluation_context()
    context.results, context.missing = dict(context.results), dict(context.missing)  # not part of the state
    agent = run.agent()
    if agent is not None:
        context.agents = {_rows(run)[0].row: agent}
    with run.timed("evaluate"), run.preserved_agents():
        compute_sections(context)
    if curves := loss_curves(run.folder, _metric_prefixes(run)):
        context.results["training"] = curves
    write_report(context)


def _metric_prefixes(run: Experiment) -> dict[str, str]:
    """Return the prefix of the metrics of each agent, and its row in the report."""
    return {row.metric_prefix: row.row for row in _rows(run)}


def _rows(run: Experiment) -> list[AgentRow]:
    """Return the agents of the run, the main one first."""
    return agent_rows(run.config.agent, run.stream().observation_space, run.stream().action_space)[0]
