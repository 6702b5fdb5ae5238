"""The ring, round by round: explore, learn the world, reach goals, act and learn, evaluate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from robossl.core.contracts import Progress
from robossl.core.errors import RequestError
from robossl.evaluation import report as reports
from robossl.lab import folders, measure, plugins
from robossl.lab.actor import Actor
from robossl.lab.config import LearnConfig, to_toml
from robossl.lab.gather import gather
from robossl.lab.minds import agent_for
from robossl.lab.progress import progress as shown
from robossl.lab.run import PHASES, Run
from robossl.streams import Recorder

_SLICE = 200  # updates between two chances to save


def learn(
    config: LearnConfig | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The main job, from nothing or from where a run was; returns its report.

    Interrupted by Ctrl-C it saves and raises `KeyboardInterrupt` with the words that say how to go on.
    """
    say = progress or shown()
    run = Run.resume(resume, say) if resume else Run.create(config or LearnConfig(), out, say)
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)  # a run's bits depend on it
    try:
        return proceed(run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted in phase {run.phase!r}; everything up to the last checkpoint is saved. "
            f"Go on with: robossl learn --resume {run.folder}"
        ) from None
    finally:
        say.close()
        run.close()
        torch.set_num_threads(threads)


def proceed(run: Run) -> dict[str, Any]:
    """All phases that are still to be done; returns the report."""
    steps = {"explore": explore, "pretrain": pretrain, "goals": goals, "act": act, "evaluate": evaluate}
    while run.phase != "done":
        steps[run.phase](run)
        run.save(phase=PHASES[PHASES.index(run.phase) + 1])
    return {**reports.read(run.folder), "folder": str(run.folder)}


def explore(run: Run) -> None:
    """Coloured noise in many lanes at once, into a stream with lanes left for the agent."""
    config = run.config
    folder = run.folder / "stream"
    if folder.exists():  # a life cut short before its first checkpoint: it is lived again, to the same bits
        shutil.rmtree(folder)
    with run.timed("explore"):
        run.progress.start("explore", config.explore_steps, "steps")
        envs = plugins.make_envs(config.env, config.explore.num_envs, threads=run.threads)
        recorder = Recorder.create(
            envs,
            folder,
            policy=config.explore.policy,
            seed=run.seed("explore"),
            lanes=config.explore.num_envs + config.agent.num_envs,
        )
        make = plugins.policy(config.explore.policy)
        policy = make(envs.single_action_space, config.explore.num_envs, seed=run.seed("policy"))
        try:
            gather(recorder, policy, config.explore_steps, run.seed("explore"), run.progress)
        finally:
            recorder.close()
        run.add_stream("stream", recorder.stream)
        run.progress.stop()


def pretrain(run: Run) -> None:
    """The world model learns from what was explored. No reward."""
    with run.timed("pretrain"):
        train_world(run, run.config.pretrain.updates, between=run.save_sometimes)
        run.learner.publish()
        save_model(run)


def train_world(run: Run, target: int, between: Callable[[], None] = lambda: None) -> None:
    """The learner goes on to its `target`-th update; `between` is called now and then."""
    learner = run.learner
    run.progress.start("learn the world", target - learner.updates, "updates")
    while learner.updates < target:
        learner.run(min(_SLICE, target - learner.updates), run.progress)
        between()
    run.progress.stop()


def goals(run: Run) -> None:
    """Goals from held-out episodes, reached by planning in the model, beside random and doing nothing."""
    config = run.config
    with run.timed("goals"):
        try:
            run.results["goals"] = measure.goals(
                config.env, run.learner.model, run.stream(), config.goals.offset, config.goals.pairs,
                run.evaluation_seed, run.threads, run.progress,
            )  # fmt: skip
        except RequestError as error:
            run.results["absent"] = {**run.results.get("absent", {}), "goals": str(error)}


def act(run: Run) -> None:
    """Rounds: the agents act and learn, the world model keeps learning, a new version is published and adopted."""
    reason = why_no_control(run)
    if reason:
        run.results["absent"] = {**run.results.get("absent", {}), "control": reason}
        run.progress.note(f"no agent is trained: {reason}")
        return
    config, rounds = run.config, run.config.agent.rounds
    if run.state["round"] < rounds:
        run.actors = cast_actors(run)
    while run.state["round"] < rounds:
        number = run.state["round"] + 1
        for name, actor in run.actors.items():
            with run.timed(f"act ({name})"):
                run.progress.start(f"round {number} of {rounds}: {name}", config.round_steps, "steps")
                actor.learn(config.round_steps, run.progress)
                run.progress.stop()
        curve_point(run, number * config.round_steps)
        if number == rounds:  # before the world is relearned: agents are judged with what they learned on
            judge(run)
        with run.timed("relearn the world"):
            train_world(run, config.pretrain.updates + number * config.pretrain.updates_per_round)
            representation = run.learner.publish()
            save_model(run)
        if number < rounds:
            run.actors["representation"].agent.adopt(representation)
        for name in ("stream", "raw"):
            run.mark(name)
        run.save(round=number)


def why_no_control(run: Run) -> str | None:
    """Why no agent is trained; None where one is."""
    if run.config.agent.rounds == 0 or run.config.round_steps == 0:
        return "no environment steps were left for an agent (see agent.rounds, steps, explore.share)"
    stream = run.stream()
    if any(stream.read(e.lane, e.start, e.stop, ["reward"])["reward"].any() for e in stream.episodes()):
        return None
    return f"the reward was 0 at all {stream.transitions:,} explored steps: there is nothing to learn from"


def cast_actors(run: Run) -> dict[str, Actor]:
    """The agent on the representation, and the same agent on raw observations in a stream of its own."""
    config = run.config
    name = agent_for(config.agent.name, run.stream().action_space)
    seed = run.seed("agent") % 2**31
    settings: dict[str, Any] = {
        "device": config.device,
        "updates_per_step": config.agent.updates_per_step,
        "learning_starts": config.agent.learning_starts,
    }
    shared = Recorder(agent_envs(run), run.stream(), first_lane=config.explore.num_envs)
    if "raw" in run.state["marks"]:
        alone = Recorder(agent_envs(run), run.stream("raw"))
    else:
        shutil.rmtree(run.folder / "raw", ignore_errors=True)  # cut short before its first checkpoint
        alone = Recorder.create(
            agent_envs(run), run.folder / "raw", policy=f"{name} on raw observations", seed=seed
        )
        run.add_stream("raw", alone.stream)
    made = {
        "representation": Actor(name, shared, seed, run.learner.model.freeze(), **settings),
        "raw": Actor(name, alone, seed, None, mode="raw", **settings),
    }
    for key, actor in made.items():
        if key in run.loaded.get("actors", {}):
            actor.set_checkpoint(run.loaded["actors"][key], run.progress)
    return made


def agent_envs(run: Run) -> Any:
    """The environments an agent acts in."""
    return plugins.make_envs(
        run.config.env, run.config.agent.num_envs, threads=run.threads, autoreset_mode=AutoresetMode.DISABLED
    )


def curve_point(run: Run, steps: int) -> None:
    """One more point of every agent's learning curve."""
    curves = run.results.setdefault("curves", {})
    with run.timed("measure the agents"):
        for name, actor in run.actors.items():
            episodes = run.config.evaluate.curve_episodes
            found = measure.returns(run.config.env, actor.agent, episodes, run.evaluation_seed, run.threads)
            point = found["return"]
            curves.setdefault(name, []).append([steps, point["mean"], point["low"], point["high"]])


def judge(run: Run) -> None:
    """The agents as they are, in their folders and in the results."""
    run.results["control"] = control_section(run)
    for name, actor in run.actors.items():
        actor.agent.save(run.folder / ("agent" if name == "representation" else f"{name}-agent"))


def control_section(run: Run) -> dict[str, Any]:
    """The section "control" of a report: every row on the same held-out episodes."""
    config, rows = run.config, {}
    with run.timed("measure the agents"):
        given: Any = (config.evaluate.episodes, run.evaluation_seed, run.threads)
        for name, actor in run.actors.items():
            rows[name] = measure.returns(config.env, actor.agent, *given)
            rows[name]["curve"] = run.results["curves"][name]
        rows |= measure.chance(config.env, run.stream().action_space, *given)
    steps = config.agent.rounds * config.round_steps
    return {"agent": agent_for(config.agent.name, run.stream().action_space), "steps": steps, "rows": rows}


def save_model(run: Run) -> None:
    """The model as last published, with its health on its card, in the run's folder."""
    for words in run.learner.health()["words"]:
        if not words.startswith("well"):
            run.progress.note(f"world model: {words}")
    run.learner.model.save(run.folder / "model")
    folders.sign(run.folder / "model", "model", env=run.config.env, seed=run.config.seed, stream="../stream")


def evaluate(run: Run) -> None:
    """The model on held-out episodes, videos, the report and its page."""
    config = run.config
    measures = measure.Measures(config.env, config.seed, device=str(run.learner.model.device))
    with run.timed("evaluate"):
        measures.world, measures.absent = measure.world(
            run.learner.model,
            run.stream(),
            config.env,
            run.evaluation_seed,
            run.learner.updates,
            run.progress,
        )
        measures.absent |= run.results.get("absent", {})
        measures.goals, measures.control = run.results.get("goals", {}), run.results.get("control", {})
        measures.health = run.learner.health()
        if config.evaluate.videos:
            measures.films = measure.films(
                run.folder, config.env, run.learner.model, run.stream(), run.agent(), run.evaluation_seed,
                measures.absent,
            )  # fmt: skip
        else:
            measures.absent["videos"] = "not asked for (evaluate.videos is false)"
    measures.seconds = run.state["seconds"]
    measure.write(run.folder, measures, to_toml(config))
