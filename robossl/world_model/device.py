"""Where the tensors live: the one place that knows the names of accelerators."""

from __future__ import annotations

import torch

from robossl.core.errors import UsageError


def resolve(device: str | torch.device = "auto") -> torch.device:
    """`auto` becomes cuda, mps or cpu, whichever is there first; anything else is taken at its word."""
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(f"no device {str(device)!r}; there are: auto, {', '.join(available())}") from None
    if found.type not in available():
        raise UsageError(f"device {str(device)!r} is not here; there are: auto, {', '.join(available())}")
    return found


def available() -> list[str]:
    """The kinds of device of this machine."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
