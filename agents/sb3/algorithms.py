"""Stable-Baselines3's algorithms by name: which actions they fit, what may be set, how one is made."""

from __future__ import annotations

import inspect
import json
import math
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import get_device

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.spaces import format_space
from robossl.world_model.device import resolve

from .replay import StreamReplayBuffer
from .vec_env import SB3VecEnv

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"sac": SAC, "td3": TD3, "ppo": PPO, "dqn": DQN}
_FITS = {"sac": ("Box",), "td3": ("Box",), "ppo": ("Box", "Discrete"), "dqn": ("Discrete",)}
_LEARNING_RATE = 1e-3  # off-policy: budgets of ten thousand steps reward haste; SB3's own is 3e-4
_LONGEST = 16  # [vector steps] between two bursts of updates
_ROLLOUT = 2048  # [steps] of ppo, all lanes together
_OURS = {
    "policy", "env", "seed", "device", "verbose", "_init_setup_model",  # every algorithm
    "buffer_size", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage",  # the stream's business
}  # fmt: skip
_OURS_REPLAYING = {"train_freq", "gradient_steps", "n_steps"}  # updates_per_step says it


def check(name: str, action_space: gym.Space, settings: dict[str, Any]) -> None:
    """`RequestError` for an algorithm there is not, actions it does not fit, or settings it does not know."""
    if name not in ALGORITHMS:
        raise unknown_name_error("SB3 agent", name, ALGORITHMS)
    kind = type(action_space).__name__
    if kind not in _FITS[name]:
        fitting = ", ".join(other for other, kinds in _FITS.items() if kind in kinds)
        raise UsageError(
            f"{name} needs {' or '.join(_FITS[name])} actions; this env has {format_space(action_space)}; "
            f"what fits: {fitting or 'nothing'}"
        )
    if isinstance(action_space, gym.spaces.Box) and not (
        np.issubdtype(action_space.dtype, np.floating) and action_space.is_bounded("both")
    ):
        raise UsageError(
            f"{name} needs actions of floats with bounds on both sides; this env has {format_space(action_space)}"
        )
    known = set(inspect.signature(ALGORITHMS[name].__init__).parameters) - _OURS - {"self"}
    for setting, value in settings.items():
        if setting not in known - (set() if name == "ppo" else _OURS_REPLAYING):
            ours = ["updates_per_step", "learning_starts", "hindsight"]
            raise unknown_name_error(f"{name} setting", setting, sorted(known) + ours)
        _check_plain(name, setting, value)


def _check_plain(name: str, setting: str, value: Any) -> None:
    """`RequestError` for what JSON cannot hold: an agent is saved with its settings."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name} was given {setting}={value!r}; expected numbers, words, lists and dicts of them ({error})"
        ) from error


def device_for(name: str, device: str) -> torch.device:
    """Where the algorithm computes; SB3 itself advises ppo against a GPU for networks as small as these."""
    if device == "auto":
        return torch.device("cpu") if name == "ppo" else get_device("auto")
    return resolve(device)


def make(
    name: str,
    envs: SB3VecEnv,
    settings: dict[str, Any],
    seed: int,
    device: torch.device,
    updates_per_step: float,
    learning_starts: int,
    replay: dict[str, Any] | None,
) -> BaseAlgorithm:
    """The algorithm, acting in `envs`; `replay` is what its `StreamReplayBuffer` is made with, if it has one."""
    given: dict[str, Any] = {"seed": seed % 2**31, "device": device, **settings}
    if name == "ppo":
        batch = given.get("batch_size", 64)
        whole = batch // math.gcd(batch, envs.num_envs)  # steps of all lanes that fill whole minibatches
        steps = given.get("n_steps", _ROLLOUT // envs.num_envs)
        given["n_steps"] = max(round(steps / whole), 1) * whole
        return _silent(PPO("MlpPolicy", envs, **given))
    rhythm = Fraction(updates_per_step * envs.num_envs).limit_denominator(_LONGEST)  # updates a vector step
    given |= {
        "learning_starts": learning_starts,
        "train_freq": rhythm.denominator if rhythm else _LONGEST,
        "gradient_steps": max(rhythm.numerator, 1),
        "buffer_size": envs.num_envs,
    }
    given.setdefault("learning_rate", _LEARNING_RATE)
    if replay is not None:
        given |= {"replay_buffer_class": StreamReplayBuffer, "replay_buffer_kwargs": replay}
    if name == "td3":
        given.setdefault("action_noise", 0.1)
    if isinstance(given.get("action_noise"), (int, float)):  # its standard deviation, of actions in [-1, 1]
        shape = envs.action_space.shape or ()
        given["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, given["action_noise"]))
    if name == "dqn":  # an exploration that does not depend on how long a round is
        given = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1, **given}
    return _silent(ALGORITHMS[name]("MlpPolicy", envs, **given))


def _silent(algorithm: BaseAlgorithm) -> BaseAlgorithm:
    """With a logger that keeps nothing, unless one was asked for: SB3's own makes a folder at every `learn`."""
    if algorithm.tensorboard_log is None:
        algorithm.set_logger(Logger(folder=None, output_formats=[]))
    return algorithm
