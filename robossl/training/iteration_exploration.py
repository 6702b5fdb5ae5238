"""How the world model keeps up with the physics of the envs: exploration in each iteration, and recent windows.

An agent that is good stays near its goal, and its steps hardly show what changed; the exploration policy does.
"""

from __future__ import annotations

from contextlib import closing

from robossl import registry
from robossl.core.interfaces import LearningPolicy
from robossl.rollout import collect_steps
from robossl.streams import Recorder
from robossl.streams.sampling import LaneRange, Mixed, Sampler, Uniform
from robossl.training.config import AUTO, ExploreConfig, LearnConfig
from robossl.training.episode_metrics import episode_metrics
from robossl.training.experiment import Experiment

_CHANGED_RECENT_FRACTION = 0.9  # pretrain.recent_fraction since the physics changed


def explore_iteration(run: Experiment) -> None:
    """Record the exploration policy at the beginning of an iteration, in the physics that the agents' envs have.

    A policy that learns is replaced by the default one: it would begin to learn again in each iteration.
    """
    config, iteration = run.config, run.state.iteration
    steps, num_envs = config.iteration_explore_steps, config.agent.num_envs
    if not steps:
        return
    changed = iteration >= config.variation_iteration
    settings = {"randomization": dict(config.variation.randomization)} if changed else {}
    with run.timed("explore"):
        run.progress.start(f"{run.iteration_name}: explore", steps, "steps")
        envs = registry.make_envs(config.env, num_envs, threads=run.threads, pixels=config.pixels, **settings)
        stream, seed = run.stream(), run.seed("policy", iteration)
        policy = registry.policy(config.explore.policy)(envs.single_action_space, num_envs, seed=seed)
        if isinstance(policy, LearningPolicy):
            policy = registry.policy(ExploreConfig.policy)(envs.single_action_space, num_envs, seed=seed)
        with closing(Recorder(envs, stream, sum(config.lane_groups) - num_envs)) as recorder:
            lanes = recorder.lanes.tolist()
            first_row = int(stream.lengths[lanes].max())
            collect_steps(recorder, policy, steps, run.seed("explore", iteration), run.progress)
        run.logger.scalars(run.env_steps + steps, episode_metrics(stream, "explore", lanes, first_row))
        run.progress.stop()


def window_sampler(config: LearnConfig, iteration: int) -> Sampler | None:
    """Return the sampler of the windows that the world model is trained on after `iteration` iterations; None: uniform.

    Half of the recent windows begin in steps of the exploration policy, if it takes any, the others in those of the
    agent.
    """
    changed = iteration > config.variation_iteration
    fraction = config.pretrain.recent_fraction
    if fraction == AUTO:
        fraction = _CHANGED_RECENT_FRACTION if changed else 0.0
    if fraction == 0:
        return None
    num_envs, first = config.agent.num_envs, config.explore.lanes
    iterations = iteration - int(config.variation_iteration) if changed else 1
    acted, explored = (
        iterations * steps // num_envs
        for steps in (config.iteration_agent_steps, config.iteration_explore_steps)
    )
    recent: Sampler = LaneRange(first, num_envs, acted)
    if explored:
        recent = Mixed(0.5, LaneRange(first + num_envs, num_envs, explored), recent)
    return Mixed(float(fraction), recent, Uniform())
