"""What torch can compute on, each proved with a small product: `python -m robossl.env_checker.accelerator_probe`."""

from __future__ import annotations

import json
from typing import Any


def compute() -> list[dict[str, Any]]:
    """Kind, name and memory [bytes] of each accelerator, and what came of a small product on it."""
    import torch

    found: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        name = torch.cuda.get_device_name(index)
        found.append({"kind": "cuda", "name": name, "memory": memory, **_prove(torch, f"cuda:{index}")})
    if torch.backends.mps.is_available():
        memory = torch.mps.recommended_max_memory()
        found.append({"kind": "mps", "name": "Apple GPU", "memory": memory, **_prove(torch, "mps")})
    return found


def _prove(torch: Any, device: str) -> dict[str, Any]:
    try:
        square = torch.ones(64, 64, device=device)
        total = float((square @ square).sum())
    except RuntimeError as error:
        return {"works": False, "reason": str(error).splitlines()[0]}
    right = total == 64.0**3
    return {"works": right, "reason": "" if right else f"a product came out as {total}, not {64.0**3}"}


if __name__ == "__main__":
    print(json.dumps({"devices": compute()}))
