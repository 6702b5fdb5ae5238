"""A world model in a folder: config.json, model.safetensors, card.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

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
from robossl.world_model.device import resolve

if TYPE_CHECKING:
    from robossl.world_model.model import WorldModel

FORMAT = 2  # 1 had no straight lines past its perceptrons
_KIND = "robossl world model"
Model = TypeVar("Model", bound="WorldModel")


def save(model: WorldModel, folder: str | Path) -> None:
    """Write `model` into `folder`, made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", arrays, {"version": str(model.version)})
    write_bytes_atomic(folder / "card.md", card(model).encode())
    write_json(
        folder / "config.json",
        {
            "kind": _KIND,
            "format": FORMAT,
            "version": model.version,
            "seed": model.seed,
            "observation_space": to_json(model.observation_space),
            "action_space": to_json(model.action_space),
            "config": model.config.to_json(),
            "metadata": model.metadata,
        },
    )


def load(kind: type[Model], folder: str | Path, device: str | torch.device = "auto") -> Model:
    """Read a model from `folder` onto `device`."""
    folder = Path(folder)
    head = read_json(folder / "config.json")
    if not isinstance(head, dict) or head.get("kind") != _KIND:
        raise UsageError(f"{folder} does not hold a {_KIND}")
    if head.get("format") != FORMAT:
        again = "; learn it again from its stream" if head.get("format") == 1 else ""
        raise UsageError(
            f"{folder} has format {head.get('format')!r}; this robossl reads format {FORMAT}{again}"
        )
    try:
        config, seed = WorldModelConfig.from_json(head["config"]), int(head["seed"])
        spaces = from_json(head["observation_space"]), from_json(head["action_space"])
        version, facts = int(head["version"]), dict(head["metadata"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptedFileError(f"{folder / 'config.json'} is damaged: {error!r}") from error
    model = kind(config, *spaces, seed=seed)
    path = folder / "model.safetensors"
    arrays, metadata = map_tensors(path)
    check_tensors(path)
    if metadata.get("version") != str(version):
        raise CorruptedFileError(
            f"{path} holds version {metadata.get('version')}, config.json speaks of version {version}"
        )
    load_arrays_strict(model, arrays, str(path))
    model.version, model.metadata = version, facts
    return model.to(resolve(device))


def load_arrays_strict(model: torch.nn.Module, arrays: dict[str, Any], where: str) -> None:
    """Copy named arrays into the weights and buffers of `model`; names and shapes must agree exactly."""
    own = model.state_dict()
    if missing := sorted(own.keys() - arrays.keys()):
        raise UsageError(f"{where} lacks {', '.join(missing[:5])}; it belongs to another model")
    if foreign := sorted(arrays.keys() - own.keys()):
        raise UsageError(f"{where} has {', '.join(foreign[:5])} besides; it belongs to another model")
    for name, value in own.items():
        if tuple(arrays[name].shape) != tuple(value.shape):
            raise UsageError(
                f"{where}: {name} has shape {tuple(arrays[name].shape)}; expected {tuple(value.shape)}"
            )
        value.copy_(torch.tensor(arrays[name]))


def card(model: WorldModel) -> str:
    """What a person should know about the model before using it."""
    sizes = sum(p.numel() for p in model.parameters())
    lines = [
        f"# World model, version {model.version}",
        "",
        f"Reads `{format_space(model.observation_space)}`, acts in `{format_space(model.action_space)}`.",
        f"Latent {model.latent_dim}, {sizes:,} weights, objectives {', '.join(model.config.objectives)}.",
        "It was trained without reward, task, success or time. Load it with",
        '`robossl.world_model.WorldModel.load("<this folder>")`.',
        "",
    ]
    facts = {k: v for k, v in model.metadata.items() if k != "messages"}
    if facts:
        lines += ["| fact | value |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in facts.items()), ""]
    lines += [f"* {word}" for word in model.metadata.get("messages", [])]
    return "\n".join(lines).rstrip() + "\n"
