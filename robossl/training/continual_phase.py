"""Measurements for the report section "continual": the model and the agent at several moments of a run.

Without a variation the reward-free model and the final one are compared on the held-out episodes of exploration. With
a variation, model and agent are also measured on the changed physics: before the physics of the agents' envs
change, at the end, and, for the curve, after every iteration.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable
from contextlib import closing
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.evaluation import continual
from robossl.evaluation.context import recorded_settings
from robossl.evaluation.metrics.prediction import MIN_WINDOWS
from robossl.evaluation.split_data import load_split
from robossl.logging.throughput import memory_metrics
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.training.agent_rows import AGENT
from robossl.training.experiment import Experiment

CHANGED_STREAM = "changed-physics"  # folder of the held-out episodes with changed physics
_MAX_ENVS = 16  # sub-environments that share the episodes
_HELDOUT_FRACTION = 10  # one of so many steps of exploration is held out for tests


def measure_iteration(run: Experiment) -> None:
    """Append a point to the curve of a run with a variation; before the physics change, measure more episodes."""
    config, iteration = run.config, run.state.iteration
    if iteration == 1:
        run.state.continual["memory"] = {"first": _memory(run)}
    if math.isinf(config.variation_iteration):
        return
    is_last_before = iteration == config.variation_iteration
    episodes = config.evaluate.episodes if is_last_before else config.evaluate.curve_episodes
    moment = "before" if is_last_before else "newest"
    if not _store(run, moment, lambda: _measure(run, episodes)):
        return
    if is_last_before:
        _store(run, "random", lambda: {name: _random(run, name) for name in continual.PHYSICS})
    measured = run.state.continual["moments"][moment]
    point = {name: continual.estimates(measured[name], run.evaluation_seed) for name in continual.PHYSICS}
    run.state.continual.setdefault("curve", []).append({"steps": run.env_steps, **point})


def measure_final(run: Experiment) -> None:
    """Measure the newest model and agent, and store the section; if it cannot be measured, the reason."""
    config, state, seed = run.config, run.state, run.evaluation_seed
    memory = {"memory": {**state.continual["memory"], "last": _memory(run)}}
    if state.iteration <= config.variation_iteration:
        try:
            with run.timed("evaluate continual learning"):
                first, last = _measure_models(run)
                state.sections["continual"] = continual.compare_models(first, last, seed) | memory
                state.missing.pop("continual", None)
        except UsageError as error:
            run.set_missing("continual", str(error))
        return
    _store(run, "final", lambda: _measure(run, config.evaluate.episodes))
    moments = state.continual.get("moments", {})
    if "before" not in moments or "final" not in moments:
        return  # the reason is in `missing`
    state.missing.pop("continual", None)
    state.sections["continual"] = {
        "at_step": config.explore_steps + int(config.variation_iteration) * config.iteration_steps,
        "randomization": dict(config.variation.randomization),
        "iteration_steps": {"agent": config.iteration_agent_steps, "explore": config.iteration_explore_steps},
        **continual.compare_physics(moments, state.continual["curve"], seed),
        **memory,
    }


def _memory(run: Experiment) -> dict[str, float]:
    """Return the environment steps so far, and the memory of the process [MiB]."""
    return {"steps": run.env_steps, "mib": round(memory_metrics()["memory/rss_mib"], 1)}


def _measure_models(run: Experiment) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the reward-free and the newest model on held-out episodes of exploration and, if any, of the agent."""
    seed = run.evaluation_seed
    others = {}
    with contextlib.suppress(UsageError):  # few episodes
        others["acting"] = load_split(run.acted, "test", seed)
    if "acting" in others and len(others["acting"].starts(1)) < MIN_WINDOWS:
        others = {}
    first, last = (
        {"steps": steps, **continual.measure_skill(model, run.explored, seed, others)}
        for steps, model in ((run.config.explore_steps, run.model), (run.env_steps, run.trainer.ema_model))
    )
    return first, last


def _store(run: Experiment, moment: str, measure: Callable[[], dict[str, Any]]) -> bool:
    """Measure a moment and return whether it worked; if not, the reason is stored for the report."""
    try:
        with run.timed("evaluate continual learning"), run.preserved_agents():
            measured = measure()
    except UsageError as error:
        run.set_missing("continual", str(error))
        return False
    run.state.continual.setdefault("moments", {})[moment] = {"steps": run.env_steps, **measured}
    return True


def _measure(run: Experiment, episodes: int) -> dict[str, Any]:
    """Measure the newest model and the agent on both physics."""
    seed = run.evaluation_seed
    changed = {"new": load_split(changed_stream(run), None, seed)}
    skills = continual.measure_skill(run.trainer.ema_model, run.explored, seed, changed)
    found = {"old": skills["exploration"], "new": skills["new"]}
    for name in continual.PHYSICS:
        with closing(_make_envs(run, name, episodes)) as envs:
            found[name] |= continual.measure_returns(envs, run.runners[AGENT].agent, episodes, seed)
    return found


def _random(run: Experiment, physics: str) -> dict[str, Any]:
    """Measure random actions on one physics."""
    episodes = run.config.evaluate.episodes
    with closing(_make_envs(run, physics, episodes)) as envs:
        return continual.measure_random(envs, episodes, run.evaluation_seed)


def _make_envs(run: Experiment, physics: str, episodes: int) -> VectorEnv:
    """Return envs for so many episodes; the caller closes them."""
    settings = recorded_settings(run.stream())
    if physics == "new":
        settings["randomization"] = dict(run.config.variation.randomization)
    return run.evaluation_context().envs(min(episodes, _MAX_ENVS), **settings)


def changed_stream(run: Experiment) -> Stream:
    """Return held-out episodes of the exploration policy with changed physics, as many as of exploration.

    The model is never trained on them. They are recorded when they are needed first.
    """
    path, config = run.folder / CHANGED_STREAM, run.config
    if path.is_dir():
        return Stream.open(path)
    partial = path.with_name(f"{CHANGED_STREAM}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    num_envs = min(config.explore.num_envs, _MAX_ENVS)
    with closing(_make_envs(run, "new", num_envs)) as envs:
        recorder = Recorder.create(envs, partial, policy=config.explore.policy, seed=run.evaluation_seed)
        policy = registry.policy(config.explore.policy)(
            envs.single_action_space, num_envs, seed=run.seed("changed physics", "policy")
        )
        steps = config.explore_steps // _HELDOUT_FRACTION
        collect_steps(recorder, policy, steps, run.seed("changed physics"), NullProgress())
        recorder.finish()
    partial.rename(path)
    return Stream.open(path)
