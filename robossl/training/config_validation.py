"""Validation of a config before a run starts: nothing is written yet."""

from __future__ import annotations

import dataclasses
from contextlib import closing

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.training.agent_loading import resolve_agent
from robossl.training.agent_settings import check_settings
from robossl.training.config import LearnConfig
from robossl.training.metric_sinks import load_sinks
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import default_config_for
from robossl.world_model.device import resolve


def validate_config(config: LearnConfig) -> LearnConfig:
    """Check that everything a config names exists and fits the env.

    Returns:
        The config of the run: with the canonical env id, and, if its `world_model` is the default, with the default
        for the observations of the env.

    Raises:
        UsageError: An env, policy, agent, agent setting, objective, device or metric sink is unknown or does not fit.
    """
    registry.env_spec(config.env)
    config = dataclasses.replace(config, env=canonical_id(config.env))
    resolve(config.device)
    load_sinks(config.log)
    make_policy = registry.policy(config.explore.policy)
    if config.agent.name != "auto":
        registry.agent(config.agent.name)
    with closing(registry.make_envs(config.env, 1)) as envs:
        make_policy(envs.single_action_space, 1, seed=0)
        agent = resolve_agent(config.agent.name, envs.single_action_space)
        check_settings(agent, config.agent.settings, config.agent.encoder)
        if config.world_model == WorldModelConfig():
            config = dataclasses.replace(
                config, world_model=default_config_for(envs.single_observation_space)
            )
        WorldModel(config.world_model, envs.single_observation_space, envs.single_action_space)
    return config
