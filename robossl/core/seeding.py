"""Random seeds: derive independent seeds and generators from one seed, by purpose."""

from __future__ import annotations

import hashlib
import json
import operator
from typing import Any

import numpy as np


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for one named purpose, independent of every other name.

    >>> derive(0, "explore") != derive(0, "learn")
    True
    """
    # JSON distinguishes ("a", "b") from ("a/b",) and 1 from "1"
    parts = [name if isinstance(name, str) else operator.index(name) for name in names]
    text = json.dumps([operator.index(seed), *parts])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def env_seed(seed: int, num_envs: int = 1) -> int:
    """Return the seed with which envs are reset: `seed` if all of seed, ..., seed + num_envs - 1 are below 2^31.

    A larger one is reduced, since many envs seed generators that take 32 bits.

    >>> env_seed(7, 64), env_seed(2**62 + 5) < 2**31
    (7, True)
    """
    return int(seed) % (2**31 - max(num_envs, 1) + 1)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a PCG64 generator for one named purpose."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names)))


def generator_state(random: np.random.Generator) -> dict[str, Any]:
    """Return the state of a PCG64 generator as JSON values."""
    state = random.bit_generator.state
    assert state["bit_generator"] == "PCG64", f"expected PCG64, got {state['bit_generator']}"
    return {
        "state": str(state["state"]["state"]),  # 128 bits: too large for many JSON readers
        "increment": str(state["state"]["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def restore_generator(random: np.random.Generator, state: dict[str, Any]) -> None:
    """Set a generator to a state from `generator_state`."""
    random.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(state["state"]), "inc": int(state["increment"])},
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }
