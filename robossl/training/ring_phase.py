"""The ring of a run: steps of sub-environments that are not recorded, which the world model is trained on."""

from __future__ import annotations

from pathlib import Path

import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.core.limits import format_bytes, free_memory
from robossl.rollout import autoreset_mode
from robossl.training.experiment import Experiment
from robossl.world_model.device import resolve
from robossl.world_model.device_ring import DeviceRing

_FILE = "ring.safetensors"


def exploration_ring(run: Experiment, envs: VectorEnv) -> DeviceRing | None:
    """Return a new ring for the steps of the exploration; None if the config has none.

    Raises:
        UsageError: The memory of the device is too small for it.
    """
    explore = run.config.explore
    if not explore.ring_steps:
        return None
    if autoreset_mode(envs) is not AutoresetMode.NEXT_STEP:
        raise UsageError("explore.ring_steps: expected envs with autoreset mode NEXT_STEP")
    device = resolve(run.config.device)
    spaces = envs.single_observation_space, envs.single_action_space
    lanes = envs.num_envs - explore.lanes
    needed = DeviceRing.num_bytes(*spaces, lanes, explore.ring_steps)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if free is not None and needed > free:
        raise UsageError(
            f"explore.ring_steps: expected at most about {int(explore.ring_steps * free / needed):,}, as the steps of "
            f"{lanes:,} sub-environments take {format_bytes(needed)} and {format_bytes(free)} are free, got "
            f"{explore.ring_steps:,}"
        )
    return DeviceRing(*spaces, envs.num_envs, explore.lanes, explore.ring_steps, device)


def save_ring(run: Experiment, ring: DeviceRing) -> None:
    """Write the ring into the folder of the run: a resumed run trains on the same steps."""
    save_tree(_path(run), ring.get_checkpoint())


def load_ring(run: Experiment) -> DeviceRing | None:
    """Return the ring that `save_ring` wrote; None if the config has none."""
    explore = run.config.explore
    if not explore.ring_steps:
        return None
    stream = run.stream()
    spaces = stream.observation_space, stream.action_space
    ring = DeviceRing(
        *spaces, explore.num_envs, explore.lanes, explore.ring_steps, resolve(run.config.device)
    )
    ring.set_checkpoint(load_tree(_path(run)))
    return ring


def remove_ring(run: Experiment) -> None:
    """Remove the file of `save_ring`, when the world model is trained."""
    _path(run).unlink(missing_ok=True)


def _path(run: Experiment) -> Path:
    return run.folder / _FILE
