"""Agents that run SAC, TD3, PPO and DQN of Stable-Baselines3."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.policies import BasePolicy

from robossl.core.errors import UsageError

from .agent import Sb3Agent
from .trained_encoder import EncoderDQNPolicy, EncoderPPOPolicy, EncoderSACPolicy, EncoderTD3Policy

# of off-policy algorithms: budgets of ten thousand steps need it; SB3's default is 3e-4
_LEARNING_RATE = 1e-3
_MAX_TRAIN_INTERVAL = 16  # [vector steps] between two bursts of updates
_ROLLOUT_STEPS = 2048  # of ppo, summed over the sub-environments


class OffPolicyAgent(Sb3Agent):
    """An off-policy algorithm."""

    def _algorithm_arguments(
        self, arguments: dict[str, Any], updates_per_step: float, learning_starts: int
    ) -> dict[str, Any]:
        """Set the update rate; `action_noise` is a standard deviation, for actions in [-1, 1]."""
        envs = self._envs
        # gradient steps per vector step
        rate = Fraction(updates_per_step * envs.num_envs).limit_denominator(_MAX_TRAIN_INTERVAL)
        arguments = {
            "learning_rate": _LEARNING_RATE,
            **arguments,
            "learning_starts": learning_starts,
            "train_freq": rate.denominator if rate else _MAX_TRAIN_INTERVAL,
            "gradient_steps": max(rate.numerator, 1),
            "buffer_size": envs.num_envs,  # the stream is the replay
        }
        std = arguments.get("action_noise")
        if isinstance(std, (int, float)):
            shape = envs.action_space.shape or ()
            arguments["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, std))
        return arguments


class SacAgent(OffPolicyAgent):
    """Soft actor-critic (Haarnoja et al., 2018)."""

    name = "sac"

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return SAC

    @classmethod
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        return EncoderSACPolicy


class Td3Agent(OffPolicyAgent):
    """Twin delayed DDPG (Fujimoto et al., 2018); Gaussian exploration noise of 0.1, set by `action_noise`."""

    name = "td3"

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return TD3

    @classmethod
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        return EncoderTD3Policy

    def _algorithm_arguments(
        self, arguments: dict[str, Any], updates_per_step: float, learning_starts: int
    ) -> dict[str, Any]:
        return super()._algorithm_arguments(
            {"action_noise": 0.1, **arguments}, updates_per_step, learning_starts
        )


class DqnAgent(OffPolicyAgent):
    """Deep Q-network (Mnih et al., 2015); explores with a constant epsilon of 0.1, independent of the run's length."""

    name = "dqn"
    action_spaces = ("Discrete",)

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return DQN

    @classmethod
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        return EncoderDQNPolicy

    def _algorithm_arguments(
        self, arguments: dict[str, Any], updates_per_step: float, learning_starts: int
    ) -> dict[str, Any]:
        epsilon = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1}
        return super()._algorithm_arguments({**epsilon, **arguments}, updates_per_step, learning_starts)


class PpoAgent(Sb3Agent):
    """Proximal policy optimization (Schulman et al., 2017); has its own update rate, and runs on the CPU by default."""

    name = "ppo"
    action_spaces = ("Box", "Discrete")
    off_policy = False

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return PPO

    @classmethod
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        if mode == "cotrain":
            raise UsageError(
                "ppo cannot train an encoder on the self-supervised loss as well, because its ratio of action "
                "probabilities needs an encoder that changes with its own loss only; expected another encoder mode"
            )
        return EncoderPPOPolicy

    @classmethod
    def _resolve_device(cls, device: str) -> torch.device:
        """Return the device; SB3 advises against a GPU for ppo with small networks."""
        return super()._resolve_device("cpu" if device == "auto" else device)

    def _algorithm_arguments(
        self, arguments: dict[str, Any], updates_per_step: float, learning_starts: int
    ) -> dict[str, Any]:
        """Round the rollout to whole minibatches."""
        num_envs = self._envs.num_envs
        batch_size = arguments.get("batch_size", 64)
        multiple = batch_size // math.gcd(batch_size, num_envs)  # vector steps that fill whole minibatches
        steps = arguments.get("n_steps", _ROLLOUT_STEPS // num_envs)
        return {**arguments, "n_steps": max(round(steps / multiple), 1) * multiple}


AGENTS = {"sac": SacAgent, "td3": Td3Agent, "ppo": PpoAgent, "dqn": DqnAgent}
