"""Global random generators, lent to code that knows no others (SB3 does not), and given back unchanged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Randomness:
    """A life of its own for Python's, numpy's and torch's global generators."""

    def __init__(self, seed: int) -> None:
        """As if the process had been seeded with `seed`; nothing outside changes."""
        outside = _take()
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - it is numpy's old global state that SB3 draws from
        torch.manual_seed(seed)
        self._state = _take()
        _put(outside)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the global generators go on where they were the last time."""
        outside = _take()
        _put(self._state)
        try:
            yield
        finally:
            self._state = _take()
            _put(outside)

    def get_checkpoint(self) -> dict[str, Any]:
        """All three states."""
        python, (_, keys, position, has_gauss, cached), torch_state = self._state
        version, words, gauss = python
        return {
            "python": {"version": version, "words": np.array(words, np.int64), "gauss": gauss},
            "numpy": {"keys": keys, "position": position, "has_gauss": has_gauss, "cached": cached},
            "torch": torch_state,
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        python, numpy = tree["python"], tree["numpy"]
        self._state = (
            (python["version"], tuple(int(w) for w in python["words"]), python["gauss"]),
            (
                "MT19937",
                np.asarray(numpy["keys"], np.uint32),
                numpy["position"],
                numpy["has_gauss"],
                numpy["cached"],
            ),
            torch.from_numpy(np.array(tree["torch"], np.uint8)),
        )


def _take() -> Any:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _put(state: Any) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
