"""At the door of a run: what cannot work is told before a folder is made and anything waited for."""

from __future__ import annotations

import dataclasses

from robossl import registry
from robossl.core.env_ids import canonical_id
from robossl.training.config import LearnConfig
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import default_config_for
from robossl.world_model.device import resolve


def validate_config(config: LearnConfig) -> LearnConfig:
    """`RequestError` for an env, a policy, an agent, an objective or a device that is not there or does not fit.

    Gives the config as it is to be written down, with the recipe that fits the observations where nothing was said
    about the world model.
    """
    registry.env_spec(config.env)
    config = dataclasses.replace(config, env=canonical_id(config.env))
    resolve(config.device)
    explore = registry.policy(config.explore.policy)
    if config.agent.name != "auto":
        registry.agent(config.agent.name)
    envs = registry.make_envs(config.env, 1)
    try:
        explore(envs.single_action_space, 1, seed=0)
        if config.world_model == WorldModelConfig():
            config = dataclasses.replace(config, world_model=default_config_for(envs.single_observation_space))
        WorldModel(config.world_model, envs.single_observation_space, envs.single_action_space)
    finally:
        envs.close()
    return config
