"""Validation of a config before a run starts: nothing is written yet."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import gymnasium as gym

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.core.errors import UsageError
from robossl.core.limits import check_disk, check_memory
from robossl.evaluation.reward_free import REWARD_FREE, missing_goals_reason
from robossl.streams.env_metadata import schema_from_env
from robossl.training.agent_loading import resolve_agent
from robossl.training.agent_settings import accepted_settings, check_settings, check_spaces
from robossl.training.config import AUTO, AgentConfig, LearnConfig
from robossl.training.metric_sinks import load_sinks
from robossl.training.shard_collection import shard_settings_of
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import default_config_for
from robossl.world_model.device import resolve

IMAGINING_AGENT = "imagination-sac"  # the agent that `auto` selects in `learn` where it can act


def validate_config(config: LearnConfig, out: str | Path | None = None, imagines: bool = True) -> LearnConfig:
    """Check that everything a config names exists and fits the env, and its time steps on the disk of `out`.

    Args:
        config: Configuration of the run.
        out: Folder of the run.
        imagines: Whether `imagination-sac` may be the agent that `auto` selects. Where several configs are compared,
            or a recorded one is of a version that selected sac, it may not.

    Returns:
        The config of the run: with the canonical env id, the agent that `auto` selects, and, if its `world_model` is
        the default, with the default for the observations of the env.

    Raises:
        UsageError: An env, policy, agent, agent setting, objective, device or metric sink is unknown or does not fit.
    """
    for name, num_envs in (("explore", config.explore.num_envs), ("agent", config.agent.num_envs)):
        check_memory(f"{name}.num_envs", num_envs)
    registry.env_spec(config.env)
    registry.check_backend(config.env, config.explore.backend, config.device)
    config = dataclasses.replace(config, env=canonical_id(config.env))
    resolve(config.device)
    load_sinks(config.log)
    make_policy = registry.policy(config.explore.policy)
    if config.agent.name != "auto":
        registry.agent(config.agent.name)
    with closing(registry.make_envs(config.env, 1, pixels=config.pixels)) as envs:
        make_policy(envs.single_action_space, 1, seed=0)
        check_disk(out or ".", _recorded_steps(config), schema_from_env(envs).row_bytes)
        config = with_default_agent(config, envs.single_observation_space, envs.single_action_space, imagines)
        agent = resolve_agent(config.agent.name, envs.single_action_space)
        check_agent(agent, config.agent)
        if config.agent.encoder == "none" and getattr(registry.agent(agent), "needs_representation", False):
            raise UsageError(
                f"agent.encoder: {agent} acts on the world model; expected frozen or random, got none"
            )
        check_goals(agent, config, envs.single_observation_space)
        if config.agent.name != AUTO:  # of auto the rows without reward are there even where no agent fits
            spaces = envs.single_observation_space, envs.single_action_space
            check_spaces(agent, *spaces, config.agent.settings)
        if config.world_model == WorldModelConfig():
            config = dataclasses.replace(
                config, world_model=default_config_for(envs.single_observation_space)
            )
        model = WorldModel(config.world_model, envs.single_observation_space, envs.single_action_space)
    check_exploration(config, model.training_window)
    check_iterations(config)
    if config.explore.workers:
        shard_settings_of(config, config.seed)
    return config


def with_default_agent(
    config: LearnConfig, observation_space: gym.Space, action_space: gym.Space, imagines: bool = True
) -> LearnConfig:
    """Return the config with the agent that `auto` selects; where none can act, `auto` stays.

    That is `imagination-sac`, which starts better than SAC (docs/control.md, "Which agent starts best"). It needs a
    world model with several heads that predicts, the encoder as it was trained, Box actions with bounds, and no
    images. Elsewhere it is sac, or dqn.

    Args:
        config: Configuration of the run.
        observation_space: Observation space of one sub-environment.
        action_space: Action space of one sub-environment.
        imagines: Whether `imagination-sac` may be selected.

    Raises:
        UsageError: The agent does not take the settings.
    """
    if config.agent.name != AUTO:
        return config
    names = [resolve_agent(AUTO, action_space)]
    if imagines and config.agent.encoder == "frozen" and _predicts(config.world_model):
        names.insert(0, IMAGINING_AGENT)
    for name in names:
        try:
            check_spaces(name, observation_space, action_space, {})
        except UsageError:
            continue
        try:
            check_agent(name, config.agent)
        except UsageError as error:
            raise UsageError(
                f"{error}; agent.name auto is {name} here, for settings of another agent name that one"
            ) from None
        return dataclasses.replace(config, agent=dataclasses.replace(config.agent, name=name))
    return config


def check_agent(name: str, config: AgentConfig) -> None:
    """Raise UsageError if an agent does not take the settings, the budget or the encoder of a config."""
    check_settings(name, accepted_settings(name, config.budget, config.settings), config.encoder)


def _predicts(config: WorldModelConfig) -> bool:
    """Return whether a world model learns to predict, and by several heads, whose disagreement ends imagination."""
    weights = config.weights()
    return "forward" in weights and weights["forward"] != 0 and config.ensemble_size > 1


def _recorded_steps(config: LearnConfig) -> int:
    """Return the number of time steps in the stream of a run: of exploration only those of some sub-environments."""
    explore = config.explore
    skipped = config.explore_steps - config.explore_steps * explore.lanes // explore.num_envs
    return max(config.planned_steps, config.explore_steps) - skipped


def check_goals(agent: str, config: LearnConfig, observation_space: gym.Space) -> None:
    """Raise UsageError if the agent acts on goals and the env gives it none."""
    reason = missing_goals_reason(observation_space)
    goal_agents = {name for name, _ in REWARD_FREE.values()}
    if agent in goal_agents and reason is not None and "goal_observation" not in config.agent.settings:
        raise UsageError(f"agent.name: {agent} acts on goals: {reason}")


def check_exploration(config: LearnConfig, window: int) -> None:
    """Raise UsageError if the exploration of a sub-environment is shorter than a training window of `window` steps."""
    num_envs = config.explore.num_envs
    each = config.explore_steps // num_envs
    if each < window:
        raise UsageError(
            f"steps: expected {window} or more exploration steps in each of the {num_envs} sub-environments, as in a "
            f"training window of the world model, got {each}; give more steps, or fewer explore.num_envs"
        )


def check_iterations(config: LearnConfig) -> None:
    """Check that an unlimited run has an agent, and that a change of the physics can be made.

    Raises:
        UsageError: They cannot.
    """
    if config.unlimited and config.iteration_steps == 0:
        raise UsageError(
            "steps: unlimited: expected an agent that takes environment steps, got none (agent.num_iterations, "
            "agent.iteration_steps, explore.fraction)"
        )
    variation = config.variation
    if not variation.randomization:
        if variation.at_step:
            raise UsageError(
                "variation.at_step: expected variation.randomization with it, for example "
                "--variation.randomization.gravity 1.3"
            )
        return
    if not 1 <= config.variation_iteration < config.num_iterations:
        raise UsageError(
            "variation.at_step: expected a step between the first iteration of the agent and the last one "
            f"({config.explore_steps:,} steps of exploration, then {config.num_iterations:g} iterations of "
            f"{config.iteration_steps:,}), got {variation.at_step:,}"
        )
    if not registry.is_native(registry.env_spec(config.env)):
        raise UsageError(
            f"variation.randomization: expected an env of robossl, whose physics can be changed, got {config.env}"
        )
    try:
        registry.make_envs(config.env, 1, randomization=dict(variation.randomization)).close()
    except UsageError as error:
        raise UsageError(f"variation.randomization: {error}") from None
