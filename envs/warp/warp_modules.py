"""Import of MuJoCo Warp, and the choice of its device."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

import torch

from robossl.core.errors import UsageError

EXTRA = "warp"
_streams: dict[int, Any] = {}  # of Warp, by the handle of CUDA


def load_warp() -> tuple[ModuleType, ModuleType]:
    """Return the modules `warp` and `mujoco_warp`.

    Raises:
        UsageError: They are not installed.
    """
    try:
        warp = importlib.import_module("warp")
        warp.config.log_level = warp.LOG_ERROR  # no line for each kernel, nor about a missing GPU
        warp.init()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mujoco_warp = importlib.import_module("mujoco_warp")
    except ImportError as error:
        raise UsageError(
            f"expected the packages of the extra {EXTRA!r} for backend='warp', got none ({error}); "
            f"pip install 'robossl[{EXTRA}]'"
        ) from error
    return warp, mujoco_warp


def warp_stream(device: torch.device) -> Any:
    """Return the stream that torch uses on a CUDA device now, as the one stream of Warp for it.

    Warp knows a captured stream by this object, so that it must be the same in the whole capture.
    """
    warp, _ = load_warp()
    current = torch.cuda.current_stream(device)
    if current.cuda_stream not in _streams:
        _streams[current.cuda_stream] = warp.stream_from_torch(current)
    return _streams[current.cuda_stream]


def warp_device(device: Any = None) -> torch.device:
    """Return the device of a batch: None and "auto" take a CUDA GPU if there is one, else the CPU.

    Raises:
        UsageError: The device does not exist, or Warp cannot use it.
    """
    warp, _ = load_warp()
    has_cuda = torch.cuda.is_available() and warp.is_cuda_available()
    available = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count() if has_cuda else 0))]
    if device is None or str(device) == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    known = "cpu" if chosen is None else str(chosen) if chosen.index is not None else f"{chosen.type}:0"
    if chosen is None or known.replace("cpu:0", "cpu") not in available:
        raise UsageError(
            f"expected a device of this machine for backend='warp', got {str(device)!r}; available: auto, "
            f"{', '.join(available)}"
        )
    return chosen
