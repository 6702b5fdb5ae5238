"""Iterations of the phase `act`: agents act and learn, the world model is trained, a new version is published."""

from __future__ import annotations

import shutil
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core.agent_observation import images_only, row_name
from robossl.core.errors import UsageError
from robossl.evaluation.control import evaluate_control
from robossl.logging.logger import ScopedLogger
from robossl.logging.throughput import ThroughputProgress
from robossl.streams import Recorder
from robossl.training.agent_loading import resolve_agent, resolve_representation
from robossl.training.agent_runner import AgentRunner
from robossl.training.agent_settings import accepted_settings
from robossl.training.episode_metrics import episode_metrics
from robossl.training.experiment import AGENT, CONTROL, CONTROL_STREAM, Experiment
from robossl.training.world_model_phase import save_model, train_world_model

_METRIC_PREFIXES = {AGENT: "agent", CONTROL: "observation_agent"}


def act(run: Experiment) -> None:
    """Run the remaining iterations; if no agent can be trained, store the reason for the report."""
    config, state = run.config, run.state
    count = config.agent.num_iterations
    if state.iteration < count:
        reason = skip_reason(run) or create_agents(run)
        if reason:
            run.set_missing("control", reason)
            run.progress.message(f"no agent is trained: {reason}")
            return
    while state.iteration < count:
        iteration = state.iteration + 1
        for name, runner in run.runners.items():
            with run.timed(f"act ({row_of(run, name)})"):
                run.progress.start(
                    f"iteration {iteration} of {count}: {row_of(run, name)}", config.iteration_steps, "steps"
                )
                learn_and_log(run, name, runner)
                run.progress.stop()
        state.iteration = iteration
        append_curve_point(run)
        if iteration == count:
            final_evaluation(
                run
            )  # before the world model changes, with the encoder that the agents learned on
        with run.timed("train world model"):
            updates = config.pretrain.updates + iteration * config.pretrain.updates_per_iteration
            train_world_model(run, updates, run.env_steps)
            representation = run.trainer.publish()
            save_model(run, run.env_steps)
        if iteration < count:
            run.runners[AGENT].agent.set_representation(representation)
        for name in state.stream_offsets:
            run.record_offset(name)
        run.save()


def learn_and_log(run: Experiment, name: str, runner: AgentRunner) -> None:
    """Let one agent act and learn for one iteration; log its metrics on the step axis of the run."""
    prefix, steps = _METRIC_PREFIXES[name], run.config.iteration_steps
    stream, lanes = runner.recorder.stream, runner.recorder.lanes
    assert stream is not None
    since = int(stream.lengths[lanes].max())
    progress = ThroughputProgress(run.progress, run.logger, run.env_steps)
    runner.learn(steps, progress, ScopedLogger(run.logger, prefix, run.config.explore_steps))
    progress.log()
    metrics = episode_metrics(stream, prefix, map(int, lanes), since)
    run.logger.scalars(run.env_steps + steps, metrics)


def row_of(run: Experiment, name: str) -> str:
    """Return the report row of an agent of the run."""
    config = run.config.agent
    encoder, observed = (config.encoder, config.settings.get("observe")) if name == AGENT else ("none", None)
    return row_name(encoder, run.stream().observation_space, observed)


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
        return (
            f"no episode ended in {steps}, so there are no returns; register the env with max_episode_steps"
        )
    return None


def _any_nonzero(run: Experiment, field: str) -> bool:
    """Return whether a field of the stream is nonzero at any time step."""
    stream = run.stream()
    return any(
        stream.read(lane, 0, int(length), [field])[field].any() for lane, length in enumerate(stream.lengths)
    )


def create_agents(run: Experiment) -> str | None:
    """Create the agent, and as a control the same agent on observations; restore both from the checkpoint.

    Returns:
        Why this agent does not fit the env; None if it does.
    """
    config, space = run.config.agent, run.stream().observation_space
    name = resolve_agent(config.name, run.stream().action_space)
    defaults = {"updates_per_step": config.updates_per_step, "learning_starts": config.learning_starts}
    settings = accepted_settings(name, defaults, config.settings)
    seed = run.seed("agent") % 2**31
    recorder = Recorder(make_agent_envs(run), run.stream(), first_lane=run.config.explore.num_envs)
    try:
        representation = resolve_representation(
            config.encoder, run.trainer.ema_model, recorder, run.config.seed
        )
        run.runners[AGENT] = AgentRunner(
            name, recorder, seed, representation, device=run.config.device,
            **accepted_settings(name, {"encoder": config.encoder}, settings),
        )  # fmt: skip
    except UsageError as error:
        recorder.env.close()
        return str(error)
    if images_only(space):
        run.set_missing(
            "control.observation", "observations are images only, which an agent uses through an encoder"
        )
    elif config.encoder != "none" and not getattr(registry.agent(name), "needs_representation", False):
        control = make_control_recorder(run, name, seed)
        settings.pop("observe", None)  # of an encoder
        run.runners[CONTROL] = AgentRunner(
            name, control, seed, None, device=run.config.device,
            **accepted_settings(name, {"encoder": "none"}, settings),
        )  # fmt: skip
    for key, runner in run.runners.items():
        if key in run.loaded.get("agents", {}):
            runner.set_checkpoint(run.loaded["agents"][key], run.progress)
    return None


def make_control_recorder(run: Experiment, agent: str, seed: int) -> Recorder:
    """Return the environments of the control, recorded into a separate stream."""
    if CONTROL_STREAM in run.state.stream_offsets:
        return Recorder(make_agent_envs(run), run.stream(CONTROL_STREAM))
    folder = run.folder / CONTROL_STREAM
    shutil.rmtree(folder, ignore_errors=True)  # from a start without a checkpoint
    recorder = Recorder.create(make_agent_envs(run), folder, policy=f"{agent} on observations", seed=seed)
    run.register_stream(CONTROL_STREAM, recorder.stream)
    return recorder


def make_agent_envs(run: Experiment) -> VectorEnv:
    """Return the environments that an agent acts in; the run closes them."""
    return run.make_envs(run.config.agent.num_envs, autoreset_mode=AutoresetMode.DISABLED)


def append_curve_point(run: Experiment) -> None:
    """Evaluate every agent and append a point to its learning curve."""
    steps = run.state.iteration * run.config.iteration_steps
    with run.timed("evaluate agents"):
        rows = evaluate_agents(run, run.config.evaluate.curve_episodes, baselines=False)
    for name, row in rows.items():
        point = row["return"]
        run.state.curves.setdefault(name, []).append([steps, point["mean"], point["low"], point["high"]])
        metrics = {f"evaluation/{name}/return_mean": point["mean"]}
        if "success" in row:
            metrics[f"evaluation/{name}/success_rate"] = row["success"]["mean"]
        run.logger.scalars(run.env_steps, metrics)


def final_evaluation(run: Experiment) -> None:
    """Measure the section "control" of the report, every row on the same held-out episodes; save the agents."""
    config = run.config
    with run.timed("evaluate agents"):
        rows = evaluate_agents(run, config.evaluate.episodes, baselines=True)
    for name, runner in run.runners.items():
        runner.save(run.folder / name)
        row = row_of(run, name)
        if row in rows:
            run.state.missing.pop(f"control.{row}", None)  # set by an earlier iteration
            rows[row]["curve"] = run.state.curves.get(row, [])
    if not any("success" in row for row in rows.values()):
        run.set_missing(
            "control.success", f"{config.env} does not report success: no is_success in its infos"
        )
    agent = resolve_agent(config.agent.name, run.stream().action_space)
    steps = config.agent.num_iterations * config.iteration_steps
    run.state.sections["control"] = {"agent": agent, "steps": steps, "rows": rows}


def evaluate_agents(run: Experiment, episodes: int, baselines: bool) -> dict[str, Any]:
    """Return the returns of the agents by row, with `baselines` also those of policies that do not learn."""
    context = run.evaluation_context()
    context.agents = {row_of(run, name): runner.agent for name, runner in run.runners.items()}
    return evaluate_control(context, episodes, baselines)
