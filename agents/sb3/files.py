"""An SB3 agent in a folder: agent.json, agent.safetensors, and the world model it acts on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from robossl.core import spaces
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import load_tree, read_json, save_tree, write_json
from robossl.world_model import WorldModel

from .features import FeatureBuilder
from .training_state import get_training_state

_FORMAT = 1
_KINDS = {"agent": str, "seed": int, "settings": dict, "observation_space": dict, "action_space": dict}
_NO_SETTINGS = {"name", "envs", "representation", "seed", "device", "mode"}  # said otherwise
_NOT_SAVED = {"tensorboard_log"}  # a path of this machine; and no file may say where to write


def save(
    folder: str | Path,
    name: str,
    seed: int,
    settings: dict[str, Any],
    features: FeatureBuilder,
    envs: Any,
    algorithm: BaseAlgorithm,
) -> None:
    """Write an agent into `folder`, made if need be."""
    folder = Path(folder)
    model = features.representation
    if not (model is None or isinstance(model, WorldModel)):
        raise UsageError(
            f"the agent acts on a {type(model).__name__}; only an agent on a WorldModel can be saved"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if model is not None:
        model.save(folder / "representation")
    save_tree(folder / "agent.safetensors", get_training_state(algorithm))
    card = {
        "format": _FORMAT,
        "agent": name,
        "seed": seed,
        "settings": {key: value for key, value in settings.items() if key not in _NOT_SAVED},
        "representation": None if model is None else model.version,
        "observation_space": spaces.to_json(features.space),
        "action_space": spaces.to_json(envs.single_action_space),
    }
    write_json(folder / "agent.json", card)


def read(folder: str | Path, envs: Any, device: str) -> tuple[dict[str, Any], WorldModel | None]:
    """The card of the agent in `folder`, checked against the spaces of `envs`, and the model it acts on."""
    folder = Path(folder)
    path = folder / "agent.json"
    card = read_json(path)
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise UsageError(f"{path} does not describe an agent of format {_FORMAT}")
    for key, kind in _KINDS.items():
        if not isinstance(card.get(key), kind):
            raise CorruptedFileError(
                f"{path} is damaged: {key} is {card.get(key)!r:.100}; expected {kind.__name__}"
            )
    if wrong := sorted(card["settings"].keys() & _NO_SETTINGS):
        raise CorruptedFileError(f"{path} is damaged: {', '.join(wrong)} among the settings")
    for what, space in (("observation", envs.single_observation_space), ("action", envs.single_action_space)):
        made_for = spaces.from_json(card[f"{what}_space"])
        if made_for != space:
            raise UsageError(
                f"the agent in {folder} was made for {what}s {spaces.format_space(made_for)}; "
                f"this env has {spaces.format_space(space)}"
            )
    card["settings"] = {key: value for key, value in card["settings"].items() if key not in _NOT_SAVED}
    if card.get("representation") is None:
        return card, None
    return card, WorldModel.load(folder / "representation", device).frozen_copy()


def read_learned(folder: str | Path) -> dict[str, Any]:
    """What the agent in `folder` has learned, for `set_learned`."""
    path = Path(folder) / "agent.safetensors"
    tree = load_tree(path)
    if not isinstance(tree, dict) or not {"policy", "optimisers", "entropy", "counts"} <= tree.keys():
        raise CorruptedFileError(f"{path} is damaged: it does not hold what an agent has learned")
    return tree
