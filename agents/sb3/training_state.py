"""What an SB3 algorithm has learned and counted, as a tree of arrays and numbers, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from robossl.core.errors import UsageError

_COUNTS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate", "learning_starts")


def get_training_state(algorithm: BaseAlgorithm) -> dict[str, Any]:
    """Copies of weights (targets included), optimisers, entropy coefficient and counts."""
    return {
        "policy": {name: _array(value) for name, value in algorithm.policy.state_dict().items()},
        "optimisers": {
            name: {
                index: {key: _array(value) for key, value in entry.items()}
                for index, entry in optimiser.state_dict()["state"].items()
            }
            for name, optimiser in _optimisers(algorithm).items()
        },
        "entropy": {name: _array(value) for name, value in _entropy(algorithm).items()},
        "counts": {name: getattr(algorithm, name) for name in _COUNTS if hasattr(algorithm, name)},
    }


def set_training_state(algorithm: BaseAlgorithm, tree: dict[str, Any]) -> None:
    """Go on with what `get_learned` gave; `RequestError` where that was of another kind or size."""
    ours = get_training_state(algorithm)
    for part in ("policy", "entropy"):
        _check({n: v.shape for n, v in ours[part].items()}, {n: v.shape for n, v in tree[part].items()})
    _check(ours["counts"].keys(), tree["counts"].keys())
    _check(ours["optimisers"].keys(), tree["optimisers"].keys())
    algorithm.policy.load_state_dict({name: _tensor(value) for name, value in tree["policy"].items()})
    with torch.no_grad():
        for name, value in _entropy(algorithm).items():
            value.copy_(_tensor(tree["entropy"][name]))
    for name, optimiser in _optimisers(algorithm).items():
        state = {
            index: {key: _tensor(value) for key, value in entry.items()}
            for index, entry in tree["optimisers"][name].items()
        }
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    for name, value in tree["counts"].items():
        setattr(algorithm, name, value)


def _optimisers(algorithm: Any) -> dict[str, torch.optim.Optimizer]:
    """All optimisers of the algorithm, by whose they are."""
    found = {
        "policy": getattr(algorithm.policy, "optimizer", None),
        "actor": getattr(getattr(algorithm, "actor", None), "optimizer", None),
        "critic": getattr(getattr(algorithm, "critic", None), "optimizer", None),
        "entropy": getattr(algorithm, "ent_coef_optimizer", None),
    }
    return {name: optimiser for name, optimiser in found.items() if optimiser is not None}


def _entropy(algorithm: Any) -> dict[str, torch.Tensor]:
    """The logarithm of SAC's entropy coefficient, where it learns one."""
    value = getattr(algorithm, "log_ent_coef", None)
    return {} if value is None else {"log_coefficient": value}


def _check(ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise UsageError(
            "what was saved is of another size or kind than this agent; it was made for other observations or "
            "actions, or with other settings"
        )


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


def _tensor(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(value))
