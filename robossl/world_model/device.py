"""Selection of the torch device: the only module that names accelerators."""

from __future__ import annotations

import torch

from robossl.core.errors import UsageError


def resolve(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device; `auto` is the first available of cuda, mps and cpu.

    Raises:
        UsageError: The device does not exist or is not available on this machine.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    choices = f"available: auto, {', '.join(available())}"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise UsageError(f"expected a device, got {str(device)!r}; {choices}") from None
    if resolved.type not in available():
        raise UsageError(f"device {str(device)!r} is not available on this machine; {choices}")
    return resolved


def available() -> list[str]:
    """Return the device types of this machine."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices
