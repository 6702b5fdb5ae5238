"""Global random generators, lent to code that knows no others (SB3 does not), and given back unchanged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class IsolatedGlobalRNG:
    """A life of its own for the global generators of Python, numpy and torch, CUDA's where it is in use."""

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        """As if the process had been seeded with `seed`; nothing outside changes."""
        with self._kept():
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 - it is numpy's old global state that SB3 draws from
            torch.default_generator.manual_seed(seed)
            if device is not None and device.type == "cuda":
                torch.cuda.manual_seed_all(seed)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the global generators go on where they were the last time."""
        with self._kept():
            _put(self._state)
            yield

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """What happens inside to the global generators is remembered here and undone outside."""
        outside = _take()
        try:
            yield
        finally:
            self._state = _take()
            _put(outside)

    def get_checkpoint(self) -> dict[str, Any]:
        """All states."""
        python, (_, keys, position, has_gauss, cached), torch_state, cuda = self._state
        version, words, gauss = python
        return {
            "python": {"version": version, "words": np.array(words, np.int64), "gauss": gauss},
            "numpy": {"keys": keys, "position": position, "has_gauss": has_gauss, "cached": cached},
            "torch": torch_state.numpy().copy(),
            "cuda": [state.numpy().copy() for state in cuda],
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        python, numpy = tree["python"], tree["numpy"]
        keys = np.array(numpy["keys"], np.uint32)
        self._state = (
            (python["version"], tuple(int(w) for w in python["words"]), python["gauss"]),
            ("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["cached"]),
            torch.from_numpy(np.array(tree["torch"], np.uint8)),
            [torch.from_numpy(np.array(state, np.uint8)) for state in tree["cuda"]],
        )


def _take() -> Any:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002


def _put(state: Any) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
    for index, own in enumerate(state[3][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(own, index)
