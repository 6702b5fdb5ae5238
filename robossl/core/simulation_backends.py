"""Names of the backends that simulate the robots of robossl."""

from __future__ import annotations

from robossl.core.errors import UsageError

DEFAULT = "mujoco"  # MuJoCo on the CPU
WARP = "warp"  # MuJoCo Warp on a GPU
BACKENDS = (DEFAULT, WARP)


def check_backend_name(backend: str) -> str:
    """Return the name of a backend; UsageError if there is none of this name."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; available: {', '.join(BACKENDS)}")
    return backend
