"""Files of an SB3 agent: sb3.json, sb3.safetensors, and the frozen world model it acts on."""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import Representation
from robossl.core.io import load_tree, read_json, save_tree, write_bytes_atomic, write_json
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.custom_encoder import CustomEncoder

from .training_state import PARTS, get_training_state

_FORMAT = 1
_FOLDER = "representation"
_TYPES = {"algorithm": str, "seed": int, "settings": dict, "representation": dict}
# arguments of the constructor that sb3.json does not store as settings
_NOT_SETTINGS = {"envs", "representation", "seed", "device", "callbacks"}


@dataclass(frozen=True)
class SavedAgent:
    """The content of sb3.json, and the representation."""

    seed: int
    settings: dict[str, Any]
    representation: Representation | None


def save(
    folder: Path,
    algorithm_name: str,
    seed: int,
    settings: dict[str, Any],
    representation: Representation | None,
    initial: WorldModel | None,
    algorithm: BaseAlgorithm,
) -> None:
    """Write an agent into `folder`.

    A frozen or cotrained world model is written as a whole. Of another trained encoder only the config is written: its
    weights are those of the policy. A representation of another class is described; `read` expects it as an argument.
    """
    folder.mkdir(parents=True, exist_ok=True)
    description: dict[str, Any] = {"type": "none"}
    if isinstance(representation, WorldModel) and not isinstance(representation.encoder, CustomEncoder):
        representation.save(folder / _FOLDER)
        description = {"type": "world_model"}
    elif representation is not None:
        description = {
            "type": "custom",
            "class": type(representation).__name__,
            "latent_dim": int(representation.latent_dim),
            "version": int(representation.version),
        }
    elif initial is not None and isinstance(initial.encoder, CustomEncoder):
        description = {
            "type": "custom",
            "class": type(initial).__name__,
            "latent_dim": initial.latent_dim,
            "version": 0,
        }
    elif initial is not None:
        description = {"type": "trained_encoder", "config": initial.config.to_json()}
    save_tree(folder / "sb3.safetensors", get_training_state(algorithm))
    write_json(
        folder / "sb3.json",
        {
            "format": _FORMAT,
            "algorithm": algorithm_name,
            "seed": seed,
            "settings": settings,
            "representation": description,
        },
        checksum=True,
    )


def read(
    folder: Path, algorithm: str, envs: VectorEnv, device: str, representation: Representation | None
) -> SavedAgent:
    """Read sb3.json and the representation of the agent in `folder`.

    Raises:
        UsageError: If the agent is of another format or algorithm, or `representation` is missing or does not fit.
        CorruptedFileError: If the file is damaged.
    """
    path = folder / "sb3.json"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UsageError(f"{path}: expected an SB3 agent of format {_FORMAT}")
    for key, expected_type in _TYPES.items():
        if not isinstance(content.get(key), expected_type):
            raise CorruptedFileError(
                f"{path} is damaged: {key}: expected {expected_type.__name__}, got {content.get(key)!r:.100}"
            )
    if content["algorithm"] != algorithm:
        raise UsageError(f"{path}: expected an agent {algorithm}, got {content['algorithm']}")
    settings = content["settings"]
    if wrong := sorted(settings.keys() & _NOT_SETTINGS):
        raise CorruptedFileError(f"{path} is damaged: settings: unexpected {', '.join(wrong)}")
    saved = _read_representation(folder, content["representation"], envs, device, representation)
    return SavedAgent(content["seed"], settings, saved)


def _read_representation(
    folder: Path,
    description: dict[str, Any],
    envs: VectorEnv,
    device: str,
    representation: Representation | None,
) -> Representation | None:
    representation_type = description.get("type")
    if representation_type == "world_model":
        return WorldModel.load(folder / _FOLDER, device).frozen_copy()
    if representation_type == "trained_encoder":
        config = WorldModelConfig.from_json(description["config"])
        return WorldModel(config, envs.single_observation_space, envs.single_action_space)
    if representation_type == "custom":
        if representation is None:
            raise UsageError(
                f"the agent in {folder} was trained on a representation {description.get('class')}, which is not "
                "saved with it; load it with load(folder, envs, representation=...)"
            )
        if representation.latent_dim != description.get("latent_dim"):
            raise UsageError(
                f"expected a representation with latent_dim {description.get('latent_dim')}, "
                f"got {representation.latent_dim}"
            )
        return representation
    if representation_type != "none":
        raise CorruptedFileError(
            f"{folder / 'sb3.json'} is damaged: unexpected representation {representation_type!r:.100}"
        )
    return None


def read_training_state(folder: Path) -> dict[str, Any]:
    """Return the training state of the agent in `folder`, for `set_training_state`."""
    path = folder / "sb3.safetensors"
    tree = load_tree(path)
    if not isinstance(tree, dict) or not set(PARTS) <= tree.keys():
        raise CorruptedFileError(f"{path} is damaged: expected the training state of an agent")
    return tree


def export_zip(algorithm: BaseAlgorithm, path: Path) -> None:
    """Write SB3's own zip of an algorithm, without what belongs to its envs and its replay."""
    copied = copy.copy(algorithm)
    copied._last_obs = copied._last_episode_starts = None
    excluded = ["ep_info_buffer", "ep_success_buffer", "_last_original_obs"]
    if isinstance(copied, OffPolicyAlgorithm):
        excluded += ["replay_buffer_class", "replay_buffer_kwargs", "buffer_size"]
    archive = io.BytesIO()
    copied.save(archive, exclude=excluded)
    write_bytes_atomic(path if path.suffix else path.with_suffix(".zip"), archive.getvalue())
