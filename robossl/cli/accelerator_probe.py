"""Accelerators of torch, each tested with a matrix product: `python -m robossl.cli.accelerator_probe`."""

from __future__ import annotations

import json
from typing import Any


def probe_accelerators() -> list[dict[str, Any]]:
    """Return kind, name, memory [bytes] and test result of each accelerator."""
    import torch

    devices: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        name = torch.cuda.get_device_name(index)
        devices.append({"kind": "cuda", "name": name, "memory": memory, **_multiply(torch, f"cuda:{index}")})
    if torch.backends.mps.is_available():
        memory = torch.mps.recommended_max_memory()
        devices.append({"kind": "mps", "name": "Apple GPU", "memory": memory, **_multiply(torch, "mps")})
    return devices


def _multiply(torch: Any, device: str) -> dict[str, Any]:
    try:
        square = torch.ones(64, 64, device=device)
        total = float((square @ square).sum())
    except RuntimeError as error:
        return {"works": False, "reason": str(error).splitlines()[0]}
    correct = total == 64.0**3
    return {
        "works": correct,
        "reason": "" if correct else f"a matrix product gave {total}, expected {64.0**3}",
    }


if __name__ == "__main__":
    print(json.dumps({"devices": probe_accelerators()}))
