"""Agents that run TQC and CrossQ of sb3-contrib; they need the extra `robossl[contrib]`."""

from __future__ import annotations

import importlib
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from robossl.core.errors import UsageError

from .algorithms import OffPolicyAgent
from .trained_encoder import CriticOwnsEncoder


def _import_contrib(agent: str, module: str = "sb3_contrib") -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"agent {agent} needs the package sb3-contrib, which is not installed: pip install 'robossl[contrib]'"
        ) from error


class TqcAgent(OffPolicyAgent):
    """Truncated quantile critics (Kuznetsov et al., 2020)."""

    name = "tqc"

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return _import_contrib(cls.name).TQC

    @classmethod
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        policy = _import_contrib(cls.name, "sb3_contrib.tqc.policies").TQCPolicy
        return type("EncoderTQCPolicy", (CriticOwnsEncoder, policy), {})


class CrossQAgent(OffPolicyAgent):
    """CrossQ: SAC with batch renormalization and without target networks (Bhatt et al., 2024)."""

    name = "crossq"

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return _import_contrib(cls.name).CrossQ


AGENTS = {"tqc": TqcAgent, "crossq": CrossQAgent}
