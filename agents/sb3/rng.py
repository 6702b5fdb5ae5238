"""Isolation of the global random generators, which SB3 draws from, from the rest of the process."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class IsolatedGlobalRNG:
    """A separate state of the global generators of Python, NumPy and PyTorch (and of CUDA where it is in use)."""

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        """Create the state that the process would have after seeding with `seed`; nothing outside changes."""
        with self._keep_outside():
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 - SB3 draws from numpy's global state
            torch.default_generator.manual_seed(seed)
            if device is not None and device.type == "cuda":
                torch.cuda.manual_seed_all(seed)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the global generators continue from this state inside the block."""
        with self._keep_outside():
            _set_state(self._state)
            yield

    @contextmanager
    def _keep_outside(self) -> Iterator[None]:
        """Store the state at the end of the block in this object and restore the one before the block."""
        outside = _get_state()
        try:
            yield
        finally:
            self._state = _get_state()
            _set_state(outside)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return all states."""
        python, (_, keys, position, has_gauss, cached), torch_state, cuda = self._state
        version, internal, gauss = python
        return {
            "python": {"version": version, "internal": np.array(internal, np.int64), "gauss": gauss},
            "numpy": {"keys": keys, "position": position, "has_gauss": has_gauss, "cached": cached},
            "torch": torch_state.numpy().copy(),
            "cuda": [state.numpy().copy() for state in cuda],
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        python, numpy = tree["python"], tree["numpy"]
        keys = np.array(numpy["keys"], np.uint32)
        self._state = (
            (python["version"], tuple(int(w) for w in python["internal"]), python["gauss"]),
            ("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["cached"]),
            torch.from_numpy(np.array(tree["torch"], np.uint8)),
            [torch.from_numpy(np.array(state, np.uint8)) for state in tree["cuda"]],
        )


def _get_state() -> Any:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002


def _set_state(state: Any) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
    for index, cuda_state in enumerate(state[3][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda_state, index)
