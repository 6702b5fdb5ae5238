"""Iterations of the phase `act`: agents act and learn, the world model is trained, a new version is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core import interrupts
from robossl.core.errors import UsageError
from robossl.core.spaces import is_goal_space
from robossl.evaluation.control import BASELINES, evaluate_control, in_order
from robossl.logging.logger import ScopedLogger
from robossl.logging.throughput import ThroughputProgress
from robossl.streams import Recorder, Stream
from robossl.streams.storage.lock import remove_stream
from robossl.training import continual_phase
from robossl.training.agent_loading import resolve_representation
from robossl.training.agent_rows import AGENT, AgentRow, agent_rows
from robossl.training.agent_runner import AgentRunner
from robossl.training.agent_settings import accepted_settings
from robossl.training.episode_metrics import episode_metrics
from robossl.training.experiment import LATEST_MODEL, Experiment
from robossl.training.iteration_exploration import explore_iteration, window_sampler
from robossl.training.world_model_phase import save_model, train_world_model

_SLICE = 1000  # env steps between two chances to write a checkpoint inside an iteration


def act(run: Experiment, report: Callable[[Experiment], None] = lambda run: None) -> None:
    """Run the remaining iterations and evaluate the agents; if none can be trained, store the reason for the report.

    Args:
        run: The run.
        report: Writes a report of an unlimited run, after the first iteration and then every `evaluate.every`.
    """
    config, state = run.config, run.state
    if reason := skip_reason(run) or create_agents(run):
        set_missing_agents(run, reason)
        run.progress.message(f"no agent is trained: {reason}")
        return
    if warning := equal_rewards_warning(run):
        run.progress.message(warning)
    while state.iteration < config.num_iterations:
        if not state.acting:  # not resumed inside an iteration
            begin_iteration(run)
        for name, runner in run.runners.items():
            with run.timed(f"act ({row_of(run, name)})"):
                run.progress.start(
                    f"{run.iteration_name}: {row_of(run, name)}", config.iteration_agent_steps, "steps"
                )
                learn_and_log(run, name, runner)
                run.progress.stop()
        state.iteration += 1
        state.acting = {}
        append_curve_point(run)
        with run.timed("train world model"):
            updates = config.pretrain.updates + state.iteration * config.pretrain.updates_per_iteration
            run.trainer.sampler = window_sampler(config, state.iteration)
            train_world_model(run, updates, run.env_steps)
            run.trainer.publish()
            save_model(run, run.env_steps, LATEST_MODEL)
        for name in state.stream_offsets:
            run.record_offset(name)
        continual_phase.measure_iteration(run)
        run.save()
        if config.unlimited and (state.iteration == 1 or state.iteration % config.evaluate.every == 0):
            final_evaluation(run)
            report(run)
    if state.measured_at < state.iteration:
        final_evaluation(run)


def begin_iteration(run: Experiment) -> None:
    """Give the agents the newest encoder and, in the iteration of the variation, other physics; then explore."""
    iteration = run.state.iteration
    if iteration > 0:
        run.acting_model = representation = run.trainer.ema_model.frozen_copy()
        for name, row in rows_of(run).items():
            if row.encoder not in ("none", "random") and name in run.runners:
                run.runners[name].agent.set_representation(representation)
    if iteration == run.config.variation_iteration:
        run.progress.message(
            f"the physics of the agents' envs change after {run.env_steps:,} environment steps"
        )
        for runner in run.runners.values():
            runner.change_physics(run.config.variation.randomization)
    explore_iteration(run)


def learn_and_log(run: Experiment, name: str, runner: AgentRunner) -> None:
    """Let one agent act and learn for one iteration; log its metrics on the step axis of the run."""
    prefix, steps = rows_of(run)[name].metric_prefix, run.config.iteration_agent_steps
    first_step = run.env_steps + run.config.iteration_explore_steps
    acted = run.state.iteration * steps  # env steps of the agent in earlier iterations
    stream, lanes = runner.recorder.stream, runner.recorder.lanes
    assert stream is not None
    start = {"steps": 0, "rows": int(stream.lengths[lanes].max()), "counted": (0, 0), "logged": False}
    done = run.state.acting.setdefault(name, start)
    if done["logged"]:
        return
    run.progress.update(done["steps"])
    progress = ThroughputProgress(run.progress, run.logger, first_step, done["counted"])
    while done["steps"] < steps:
        count = min(_SLICE, steps - done["steps"])
        runner.learn(count, progress, ScopedLogger(run.logger, prefix, first_step - acted))
        interrupts.check()
        done |= {"steps": done["steps"] + count, "counted": progress.counted}
        if done["steps"] < steps:
            run.save_iteration_if_due()
    progress.log()
    metrics = episode_metrics(stream, prefix, map(int, lanes), done["rows"])
    run.logger.scalars(first_step + steps, metrics)
    done["logged"] = True
    run.save_iteration_if_due()


def rows_of(run: Experiment) -> dict[str, AgentRow]:
    """Return the agents of a run by folder, the main one first."""
    rows, _ = agent_rows(run.config.agent, run.stream().observation_space, run.stream().action_space)
    return {row.folder: row for row in rows}


def row_of(run: Experiment, name: str) -> str:
    """Return the report row of an agent of the run."""
    return rows_of(run)[name].row


def set_missing_agents(run: Experiment, reason: str) -> None:
    """Store why no agent is trained; without a policy that needs no reward, there is no section "control"."""
    rows = run.state.sections.get("control", {}).get("rows", {})
    if not set(rows) - set(BASELINES):
        run.state.sections.pop("control", None)
        run.set_missing("control", reason)
    for row in rows_of(run).values():
        run.set_missing(f"control.{row.row}", reason)
    run.set_missing("continual", reason)


def skip_reason(run: Experiment) -> str | None:
    """Return why no agent is trained; None if one is."""
    if run.config.iteration_steps == 0:
        return (
            "no environment steps are left for an agent (see agent.num_iterations, steps, explore.fraction)"
        )
    if run.state.iteration > 0:
        return None
    steps = f"{run.stream().transitions:,} explored steps"
    if not _any_nonzero(run, "reward"):
        return f"the reward was 0 at all {steps}, so there is nothing to learn from"
    limit = registry.env_spec(run.config.env).max_episode_steps
    if limit is None and not _any_nonzero(run, "terminated") and not _any_nonzero(run, "truncated"):
        hint = "give the env a time limit: --env.max_episode_steps 1000"
        return f"no episode ended in {steps}, so there are no returns; {hint}"
    return None


def equal_rewards_warning(run: Experiment) -> str | None:
    """Return a line if the explored rewards teach the agent nothing that fits a reward model; None if they do."""
    agent = rows_of(run)[AGENT].agent
    factory = registry.agent(agent)
    fits = all(getattr(factory, need, False) for need in ("needs_reward", "needs_representation"))
    if run.state.iteration > 0 or not fits:
        return None
    stream = run.stream()
    low, high = reward_range(stream)
    is_goal_env = is_goal_space(stream.observation_space)
    if low < high or (not is_goal_env and _any_nonzero(run, "terminated")):
        return None
    return (
        f"the reward was {low:g} at all {stream.transitions:,} explored steps: {agent} takes random actions until it "
        "varies; sac may learn earlier from other goals (--agent.name sac)"
    )


def reward_range(stream: Stream) -> tuple[float, float]:
    """Return the smallest and the largest reward of the transitions of a stream."""
    parts = [
        stream.read(lane, 0, int(length), ["reward", "valid"])
        for lane, length in enumerate(stream.lengths)
        if length
    ]
    rewards = np.concatenate([part["reward"][part["valid"]] for part in parts])
    return float(rewards.min()), float(rewards.max())


def _any_nonzero(run: Experiment, field: str) -> bool:
    """Return whether a field of the stream is nonzero at any time step."""
    stream = run.stream()
    return any(
        stream.read(lane, 0, int(length), [field])[field].any() for lane, length in enumerate(stream.lengths)
    )


def create_agents(run: Experiment) -> str | None:
    """Create an agent for each row, with the same seed and budget; restore them from the checkpoint.

    Returns:
        Why the main agent does not fit the env; None if it does.
    """
    config = run.config.agent
    _, reasons = agent_rows(config, run.stream().observation_space, run.stream().action_space)
    for row, reason in reasons.items():
        run.set_missing(f"control.{row}", reason)
    seed = run.seed("agent") % 2**31
    for folder, agent_row in rows_of(run).items():
        name, recorder = agent_row.agent, make_recorder(run, agent_row, seed)
        try:
            representation = resolve_representation(
                agent_row.encoder, run.acting_model, recorder, run.config.seed
            )
            run.runners[folder] = AgentRunner(
                name, recorder, seed, representation, device=run.config.device,
                **accepted_settings(name, {**config.budget, "encoder": agent_row.encoder}, agent_row.settings),
            )  # fmt: skip
        except UsageError as error:
            recorder.env.close()
            if folder == AGENT:
                return str(error)
            run.set_missing(f"control.{agent_row.row}", str(error))
    for key, runner in run.runners.items():
        if key in run.loaded.get("agents", {}):
            runner.set_checkpoint(run.loaded["agents"][key], run.progress)
    return None


def make_recorder(run: Experiment, row: AgentRow, seed: int) -> Recorder:
    """Return the environments of an agent: the main one records into the stream of the run, others into their own."""
    envs = make_agent_envs(run)
    if row.folder == AGENT:
        return Recorder(envs, run.stream(), first_lane=run.config.explore.lanes)
    if row.stream in run.state.stream_offsets:
        return Recorder(envs, run.stream(row.stream))
    folder = run.folder / row.stream
    remove_stream(folder)  # from a start without a checkpoint
    recorder = Recorder.create(envs, folder, policy=f"{row.agent} on {row.row}", seed=seed)
    run.register_stream(row.stream, recorder.stream)
    return recorder


def make_agent_envs(run: Experiment) -> VectorEnv:
    """Return the environments that an agent acts in; the run closes them."""
    return run.make_envs(run.config.agent.num_envs, autoreset_mode=AutoresetMode.DISABLED)


def append_curve_point(run: Experiment) -> None:
    """Evaluate every agent and append a point to its learning curve."""
    steps = run.state.iteration * run.config.iteration_agent_steps
    with run.timed("evaluate agents"):
        rows = evaluate_agents(run, run.config.evaluate.curve_episodes)
    for name, row in rows.items():
        point = row["return"]
        run.state.curves.setdefault(name, []).append([steps, point["mean"], point["low"], point["high"]])
        metrics = {f"evaluation/{name}/return_mean": point["mean"]}
        if "success" in row:
            metrics[f"evaluation/{name}/success_rate"] = row["success"]["mean"]
        run.logger.scalars(run.env_steps, metrics)


def final_evaluation(run: Experiment) -> None:
    """Measure the agents for the report, every row on the same held-out episodes, and save them.

    They act with the encoder that they learned on: the newest one is theirs from the next iteration on.
    """
    config = run.config
    with run.timed("evaluate agents"), run.preserved_agents():
        rows = evaluate_agents(run, config.evaluate.episodes)
    for name, runner in run.runners.items():
        runner.save(run.folder / name)
        row = row_of(run, name)
        if row in rows:
            run.state.missing.pop(f"control.{row}", None)  # set by an earlier iteration
            rows[row]["curve"] = run.state.curves.get(row, [])
    section = run.state.sections.setdefault("control", {})
    section |= {
        "agent": rows_of(run)[AGENT].agent,
        "steps": run.state.iteration * config.iteration_agent_steps,
    }
    section["rows"] = in_order({**section.get("rows", {}), **rows})
    continual_phase.measure_final(run)
    run.state.measured_at = run.state.iteration


def evaluate_agents(run: Experiment, episodes: int) -> dict[str, Any]:
    """Return the returns of the agents by row."""
    context = run.evaluation_context()
    context.agents = {row_of(run, name): runner.agent for name, runner in run.runners.items()}
    context.agent_names = {row.row: row.agent for row in rows_of(run).values()}
    return evaluate_control(context, episodes, reward_free=False, baselines=False)
