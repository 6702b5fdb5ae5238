"""The folder of a world model: config.json, model.safetensors, card.md, and goal_heads.safetensors if it has any."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import (
    check_tensors,
    map_tensors,
    read_json,
    write_bytes_atomic,
    write_json,
    write_tensors,
)
from robossl.core.spaces import format_space, from_json, to_json
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.goal_heads.heads import FILE, GoalHeads

FORMAT = 3
_KIND = "robossl world model"


@dataclass(frozen=True)
class ModelHeader:
    """The content of config.json: everything about a model except its weights."""

    config: WorldModelConfig
    observation_space: spaces.Space
    action_space: spaces.Space
    seed: int
    version: int
    metadata: dict[str, Any]
    custom_encoder: str | None  # the class name of a user-defined encoder, for messages


def save(folder: Path, header: ModelHeader, module: nn.Module) -> None:
    """Write a model into `folder`, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: _to_array(value) for name, value in module.state_dict().items()}
    write_tensors(folder / "model.safetensors", arrays, {"version": str(header.version)})
    weights = sum(p.numel() for p in module.parameters())
    write_bytes_atomic(folder / "card.md", _card(header, weights).encode())
    write_json(
        folder / "config.json",
        {
            "kind": _KIND,
            "format": FORMAT,
            "version": header.version,
            "seed": header.seed,
            "observation_space": to_json(header.observation_space),
            "action_space": to_json(header.action_space),
            "config": header.config.to_json(),
            "custom_encoder": header.custom_encoder,
            "metadata": header.metadata,
        },
        checksum=True,
    )


def read_header(folder: Path) -> ModelHeader:
    """Read config.json.

    Raises:
        UsageError: The folder does not hold a model of this format.
        CorruptedFileError: The file is damaged.
    """
    content = read_json(folder / "config.json")
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise UsageError(f"expected the folder of a {_KIND}, got {folder}")
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{folder}: expected model format {FORMAT}, got {content.get('format')!r}; train the model again from its "
            "stream with `robossl pretrain`"
        )
    try:
        encoder = content["custom_encoder"]
        return ModelHeader(
            WorldModelConfig.from_json(content["config"]),
            from_json(content["observation_space"]),
            from_json(content["action_space"]),
            int(content["seed"]),
            int(content["version"]),
            dict(content["metadata"]),
            None if encoder is None else str(encoder),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptedFileError(f"{folder / 'config.json'} is damaged: {error!r}") from error


def load_weights(folder: Path, module: nn.Module, version: int) -> None:
    """Copy the weights in `folder` into `module`.

    Raises:
        UsageError: The names or shapes differ from those of `module`.
        CorruptedFileError: The file is damaged or belongs to another version.
    """
    path = folder / "model.safetensors"
    arrays, metadata = map_tensors(path)
    check_tensors(path)
    if metadata.get("version") != str(version):
        raise CorruptedFileError(
            f"{path}: expected version {version} as in config.json, got {metadata.get('version')}"
        )
    load_arrays_strict(module, arrays, str(path))


def check_size(folder: Path, make: Callable[[], nn.Module]) -> None:
    """Check that the weights of a module fill no more than their file, before memory is allocated for them.

    Args:
        folder: Folder of the model.
        make: Creates the module; it is called once on the device `meta`, which has no memory.

    Raises:
        UsageError: The file is missing.
        CorruptedFileError: The sizes in config.json need more weights than the file has bytes.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UsageError(f"no file {path}; expected an existing file")
    try:
        with torch.device("meta"):
            tensors = make().state_dict().values()
        needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    except RuntimeError as error:  # more than an address can hold
        if "overflow" not in str(error):
            return
        needed = sys.maxsize
    if needed > path.stat().st_size:
        raise CorruptedFileError(
            f"{folder / 'config.json'} is damaged: its sizes need {needed:,} bytes of weights, {path.name} has "
            f"{path.stat().st_size:,}"
        )


def save_goal_heads(folder: Path, heads: GoalHeads | None, version: int) -> None:
    """Write the goal heads of a model of this version; without heads, remove the file of an older version."""
    if heads is None or heads.version != version:
        (folder / FILE).unlink(missing_ok=True)
    else:
        heads.save(folder)


def load_goal_heads(folder: Path, version: int) -> GoalHeads | None:
    """Return the goal heads in `folder`; None if it has none.

    Raises:
        CorruptedFileError: The file is damaged or belongs to another version of the model.
    """
    heads = GoalHeads.load(folder)
    if heads is not None and heads.version != version:
        raise CorruptedFileError(
            f"{folder / FILE}: expected version {version} as in config.json, got {heads.version}"
        )
    return heads


def load_arrays_strict(module: nn.Module, arrays: dict[str, Any], source: str) -> None:
    """Copy named arrays into the parameters and buffers of `module`.

    Args:
        module: Its state dict must have the names and shapes of `arrays`.
        arrays: Arrays by name.
        source: Where the arrays come from, for messages.

    Raises:
        UsageError: Names or shapes differ.
    """
    state = module.state_dict()
    if missing := sorted(state.keys() - arrays.keys()):
        raise UsageError(
            f"{source}: expected arrays {', '.join(missing[:5])}, got none of these names; it belongs to another model"
        )
    if unexpected := sorted(arrays.keys() - state.keys()):
        raise UsageError(
            f"{source}: got unexpected arrays {', '.join(unexpected[:5])}; it belongs to another model"
        )
    for name, value in state.items():
        if tuple(arrays[name].shape) != tuple(value.shape):
            raise UsageError(
                f"{source}: expected shape {tuple(value.shape)} of {name}, got {tuple(arrays[name].shape)}"
            )
        value.copy_(torch.tensor(arrays[name]))


def _to_array(value: torch.Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _card(header: ModelHeader, weights: int) -> str:
    """Return the model card: inputs, size, training metadata and diagnostics in Markdown."""
    encoder = f", encoder `{header.custom_encoder}`" if header.custom_encoder else ""
    call = '("<this folder>", encoder=...)' if header.custom_encoder else '("<this folder>")'
    lines = [
        f"# World model, version {header.version}",
        "",
        f"Observations `{format_space(header.observation_space)}`, actions `{format_space(header.action_space)}`.",
        f"Latent dimension {header.config.latent_dim}, {weights:,} weights{encoder}, "
        f"objectives {', '.join(header.config.objectives)}.",
        "Trained without reward, task, success or time. Load it with",
        f"`robossl.WorldModel.load{call}`.",
        "",
    ]
    table = {key: value for key, value in header.metadata.items() if key != "messages"}
    if table:
        lines += ["| name | value |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in table.items()), ""]
    lines += [f"* {message}" for message in header.metadata.get("messages", [])]
    return "\n".join(lines).rstrip() + "\n"
