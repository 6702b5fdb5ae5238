"""Rounds: the agents act and learn, the world model keeps learning, a new version is published and adopted."""

from __future__ import annotations

import shutil
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.streams import Recorder
from robossl.training import evaluation_steps
from robossl.training.agent_loading import resolve_agent
from robossl.training.agent_runner import AgentRunner
from robossl.training.experiment import Experiment
from robossl.training.world_model_phase import save_model, train_world_model


def act(run: Experiment) -> None:
    """All rounds that are still to be lived; where no agent can be trained the report will say why."""
    config, rounds = run.config, run.config.agent.num_iterations
    if run.state["round"] < rounds:
        reason = skip_reason(run) or create_agents(run)
        if reason:
            run.absent("control", reason)
            run.progress.message(f"no agent is trained: {reason}")
            return
    while run.state["round"] < rounds:
        number = run.state["round"] + 1
        for name, actor in run.actors.items():
            with run.timed(f"act ({name})"):
                run.progress.start(f"round {number} of {rounds}: {name}", config.iteration_steps, "steps")
                actor.learn(config.iteration_steps, run.progress)
                run.progress.stop()
        append_curve_point(run, number * config.iteration_steps)
        if number == rounds:  # before the world is relearned: agents are judged with what they learned on
            final_evaluation(run)
        with run.timed("relearn the world"):
            train_world_model(run, config.pretrain.updates + number * config.pretrain.updates_per_iteration)
            representation = run.learner.publish()
            save_model(run)
        if number < rounds:
            run.actors["representation"].agent.set_representation(representation)
        for name in run.state["marks"]:
            run.mark(name)
        run.save(round=number)


def skip_reason(run: Experiment) -> str | None:
    """Why no agent is trained; None where one is."""
    if run.config.iteration_steps == 0:
        return "no environment steps were left for an agent (see agent.num_iterations, steps, explore.fraction)"
    if run.state["round"] > 0:
        return None
    steps = f"{run.stream().transitions:,} explored steps"
    if not _ever(run, "reward"):
        return f"the reward was 0 at all {steps}: there is nothing to learn from"
    limit = registry.env_spec(run.config.env).max_episode_steps
    if limit is None and not _ever(run, "terminated") and not _ever(run, "truncated"):
        return f"no episode ended in {steps}, so there are no returns; register it with max_episode_steps"
    return None


def _ever(run: Experiment, field: str) -> bool:
    """Was the field anything but 0, in any lane?"""
    stream = run.stream()
    return any(
        stream.read(lane, 0, int(rows), [field])[field].any() for lane, rows in enumerate(stream.lengths)
    )


def create_agents(run: Experiment) -> str | None:
    """The actors take their places: the agent on the representation, and the same one on raw observations.

    Returns why there is no agent that fits this env, or None.
    """
    name = resolve_agent(run.config.agent.name, run.stream().action_space)
    seed = run.seed("agent") % 2**31
    settings: dict[str, Any] = {
        "device": run.config.device,
        "updates_per_step": run.config.agent.updates_per_step,
        "learning_starts": run.config.agent.learning_starts,
    }
    shared = Recorder(agent_envs(run), run.stream(), first_lane=run.config.explore.num_envs)
    try:
        actor = AgentRunner(name, shared, seed, run.learner.ema_model.frozen_copy(), **settings)
    except UsageError as error:
        shared.env.close()
        return str(error)
    run.actors["representation"] = actor
    if all(spaces.is_image(leaf) for leaf in spaces.leaves(run.stream().observation_space).values()):
        run.absent("control.raw", "there are images only, which an agent sees through a representation alone")
    else:
        run.actors["raw"] = AgentRunner(
            name, raw_recorder(run, name, seed), seed, None, mode="raw", **settings
        )
    for key, actor in run.actors.items():
        if key in run.loaded.get("actors", {}):
            actor.set_checkpoint(run.loaded["actors"][key], run.progress)
    return None


def raw_recorder(run: Experiment, agent: str, seed: int) -> Recorder:
    """Environments for the agent on raw observations, in a stream of its own."""
    if "raw" in run.state["marks"]:
        return Recorder(agent_envs(run), run.stream("raw"))
    folder = run.folder / "raw"
    shutil.rmtree(folder, ignore_errors=True)  # cut short before its first checkpoint
    recorder = Recorder.create(agent_envs(run), folder, policy=f"{agent} on raw observations", seed=seed)
    run.add_stream("raw", recorder.stream)
    return recorder


def agent_envs(run: Experiment) -> VectorEnv:
    """The environments an agent acts in."""
    return registry.make_envs(
        run.config.env, run.config.agent.num_envs, threads=run.threads, autoreset_mode=AutoresetMode.DISABLED
    )


def append_curve_point(run: Experiment, steps: int) -> None:
    """One more point of every agent's learning curve."""
    curves = run.results.setdefault("curves", {})
    with run.timed("measure the agents"):
        for name, found in evaluate_agents(run, run.config.evaluate.curve_episodes, chance=False).items():
            point = found["return"]
            curves.setdefault(name, []).append([steps, point["mean"], point["low"], point["high"]])


def final_evaluation(run: Experiment) -> None:
    """The section "control" of the report, every row on the same held-out episodes; the agents in their folders."""
    config = run.config
    with run.timed("measure the agents"):
        rows = evaluate_agents(run, config.evaluate.episodes, chance=True)
    for name, actor in run.actors.items():
        actor.agent.save(run.folder / ("agent" if name == "representation" else f"{name}-agent"))
        if name in rows:
            run.results.get("absent", {}).pop(f"control.{name}", None)  # of an earlier round
            rows[name]["curve"] = run.results["curves"].get(name, [])
    if not any("success" in row for row in rows.values()):
        run.absent("control.success", f"{config.env} says nothing of success: no is_success in its infos")
    agent = resolve_agent(config.agent.name, run.stream().action_space)
    run.results["control"] = {"agent": agent, "steps": config.agent.num_iterations * config.iteration_steps, "rows": rows}


def evaluate_agents(run: Experiment, episodes: int, chance: bool) -> dict[str, Any]:
    """Returns of the agents by row, and of those who know nothing; what cannot be measured has its reason."""
    policies = {name: actor.agent for name, actor in run.actors.items()}
    absent: dict[str, str] = {}
    rows = evaluation_steps.evaluate_policies(
        run.config.env, policies, chance, episodes, run.evaluation_seed, run.threads, absent
    )
    for key, reason in absent.items():
        run.absent(key, reason)
    return rows
