"""Training state of an SB3 algorithm (weights, optimizers, counters, episode statistics) as a tree, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from robossl.core.errors import UsageError

_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate", "learning_starts")
PARTS = ("policy", "optimizers", "entropy", "counters")


def get_training_state(algorithm: BaseAlgorithm) -> dict[str, Any]:
    """Return copies of the weights (targets included), optimizer states, entropy coefficient and counters."""
    return {
        "policy": {name: _to_array(value) for name, value in algorithm.policy.state_dict().items()},
        "optimizers": {
            name: {
                index: {key: _to_array(value) for key, value in entry.items()}
                for index, entry in optimizer.state_dict()["state"].items()
            }
            for name, optimizer in _optimizers(algorithm).items()
        },
        "entropy": {name: _to_array(value) for name, value in _entropy(algorithm).items()},
        "counters": {name: getattr(algorithm, name) for name in _COUNTERS if hasattr(algorithm, name)},
    }


def set_training_state(algorithm: BaseAlgorithm, tree: Mapping[str, Any]) -> None:
    """Continue from `get_training_state`.

    Raises:
        UsageError: If the state is of another algorithm, or of networks of another size.
    """
    current = get_training_state(algorithm)
    for part in ("policy", "entropy"):
        _check_equal(
            {n: v.shape for n, v in current[part].items()}, {n: v.shape for n, v in tree[part].items()}
        )
    _check_equal(current["counters"].keys(), tree["counters"].keys())
    _check_equal(current["optimizers"].keys(), tree["optimizers"].keys())
    algorithm.policy.load_state_dict({name: _to_tensor(value) for name, value in tree["policy"].items()})
    with torch.no_grad():
        for name, value in _entropy(algorithm).items():
            value.copy_(_to_tensor(tree["entropy"][name]))
    for name, optimizer in _optimizers(algorithm).items():
        state = {
            index: {key: _to_tensor(value) for key, value in entry.items()}
            for index, entry in tree["optimizers"][name].items()
        }
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for name, value in tree["counters"].items():
        setattr(algorithm, name, value)


def get_episodes(algorithm: BaseAlgorithm) -> dict[str, np.ndarray]:
    """Return returns, lengths and successes of the last episodes, which SB3 logs as means."""
    episodes = list(algorithm.ep_info_buffer or [])
    return {
        "return": np.array([episode["r"] for episode in episodes], np.float64),
        "length": np.array([episode["l"] for episode in episodes], np.int64),
        "success": np.array(list(algorithm.ep_success_buffer or []), np.float64),
    }


def set_episodes(algorithm: BaseAlgorithm, tree: Mapping[str, Any]) -> None:
    """Continue from `get_episodes`."""
    pairs = zip(np.asarray(tree["return"]).tolist(), np.asarray(tree["length"]).tolist())
    size = algorithm._stats_window_size
    algorithm.ep_info_buffer = deque(({"r": r, "l": length} for r, length in pairs), maxlen=size)
    algorithm.ep_success_buffer = deque(np.asarray(tree["success"]).tolist(), maxlen=size)


def _optimizers(algorithm: Any) -> dict[str, torch.optim.Optimizer]:
    """Return all optimizers of the algorithm by what they train."""
    candidates = {
        "policy": getattr(algorithm.policy, "optimizer", None),
        "actor": getattr(getattr(algorithm, "actor", None), "optimizer", None),
        "critic": getattr(getattr(algorithm, "critic", None), "optimizer", None),
        "entropy": getattr(algorithm, "ent_coef_optimizer", None),
    }
    return {name: optimizer for name, optimizer in candidates.items() if optimizer is not None}


def _entropy(algorithm: Any) -> dict[str, torch.Tensor]:
    """Return the logarithm of SAC's entropy coefficient, if it is learned."""
    value = getattr(algorithm, "log_ent_coef", None)
    return {} if value is None else {"log_coefficient": value}


def _check_equal(current: Any, saved: Any) -> None:
    if current != saved:
        raise UsageError(
            "expected the saved state of an agent with the same algorithm, spaces and settings, "
            "got one of another kind or size"
        )


def _to_array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


def _to_tensor(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(value))
