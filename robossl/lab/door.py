"""At the door of a run: what cannot work is told before a folder is made and anything waited for."""

from __future__ import annotations

import dataclasses

from robossl.core.naming import written
from robossl.lab import plugins
from robossl.lab.config import LearnConfig
from robossl.world import WorldConfig, WorldModel
from robossl.world.config import recipe
from robossl.world.device import resolve


def admit(config: LearnConfig) -> LearnConfig:
    """`RequestError` for an env, a policy, an agent, an objective or a device that is not there or does not fit.

    Gives the config as it is to be written down, with the recipe that fits the observations where nothing was said
    about the world model.
    """
    plugins.env_spec(config.env)
    config = dataclasses.replace(config, env=written(config.env))
    resolve(config.device)
    explore = plugins.policy(config.explore.policy)
    if config.agent.name != "auto":
        plugins.agent(config.agent.name)
    envs = plugins.make_envs(config.env, 1)
    try:
        explore(envs.single_action_space, 1, seed=0)
        if config.world == WorldConfig():
            config = dataclasses.replace(config, world=recipe(envs.single_observation_space))
        WorldModel(config.world, envs.single_observation_space, envs.single_action_space)
    finally:
        envs.close()
    return config
