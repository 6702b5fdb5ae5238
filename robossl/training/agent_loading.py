"""Loading of agents and world models from folders, and the choice of an agent and its representation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import Agent, Representation
from robossl.core.io import read_json
from robossl.core.seeding import derive
from robossl.evaluation.context import recorded_settings
from robossl.streams import LaneView, Stream
from robossl.training import output_dirs
from robossl.training.agent_runner import AGENT_FORMAT
from robossl.world_model import WorldModel, data_validation
from robossl.world_model.config import default_config_for

_REPRESENTATION = "representation"  # folder of the world model that an agent acts on


def resolve_agent(name: str, action_space: gym.Space) -> str:
    """Return the name of an agent; `auto` is sac for continuous actions and dqn for discrete ones."""
    if name != "auto":
        registry.agent(name)
        return name
    return "dqn" if isinstance(action_space, gym.spaces.Discrete) else "sac"


def resolve_representation(
    encoder: str, representation: Representation | str | Path | None, envs: gym.vector.VectorEnv, seed: int
) -> Representation | None:
    """Return the representation that an agent starts with; None if it acts on observations.

    Args:
        encoder: `none`; `random` (an untrained encoder); `frozen`, `finetune` or `cotrain` (that of `representation`);
            `scratch` (the agent creates it, with the sizes and the normalizer of `representation` if there is one).
        representation: A world model, or the folder of one or of a run; an untrained encoder has the same sizes.
        envs: The envs of the agent.
        seed: Seed of an untrained encoder.
    """
    if encoder == "none":
        return None
    model = load_model(representation) if isinstance(representation, (str, Path)) else representation
    if model is not None and not hasattr(model, "latent_dim"):
        raise UsageError(
            "representation: expected a world model, the folder of one or an object with latent_dim, version and "
            f"encode, got {type(model).__name__}"
        )
    if encoder == "random":
        space, action = envs.single_observation_space, envs.single_action_space
        config = model.config if isinstance(model, WorldModel) else default_config_for(space)
        config = dataclasses.replace(config, encoder="network")  # a fixed encoder has no fresh weights
        return WorldModel(config, space, action, derive(seed, "random representation")).frozen_copy()
    if not isinstance(model, WorldModel):
        return model
    check_fits(model, envs)
    return model.frozen_copy()


def check_fits(model: WorldModel, envs: gym.vector.VectorEnv) -> None:
    """Raise UsageError if a model was made for other observations or actions."""
    data_validation.check_spaces_match(
        model, envs.single_observation_space, envs.single_action_space, "this env"
    )


def load(path: str | Path, envs: gym.vector.VectorEnv) -> Agent:
    """Return the agent of a run (the one with the encoder) or of an agent folder, ready to act in `envs`."""
    path = Path(path)
    output_dirs.read_manifest(path, "run", "agent")
    if not (path / "agent").is_dir():
        content = ", ".join(sorted(p.name for p in path.iterdir()))
        raise UsageError(
            f"{path}: expected a folder agent, which is written when an agent was trained, got {content}"
        )
    return load_from(path / "agent", envs)


def load_from(folder: str | Path, envs: gym.vector.VectorEnv, device: str = "auto") -> Agent:
    """Return the agent that `AgentRunner.save` wrote into `folder`, ready to act in `envs`.

    Raises:
        UsageError: If the agent is unknown, or was trained for other spaces.
        CorruptedFileError: If a file is damaged.
    """
    path = Path(folder) / "agent.json"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != AGENT_FORMAT:
        raise UsageError(f"{path}: expected an agent of format {AGENT_FORMAT}; train it again")
    for key, expected_type in (("agent", str), ("observation_space", dict), ("action_space", dict)):
        if not isinstance(content.get(key), expected_type):
            raise CorruptedFileError(
                f"{path} is damaged: {key}: expected {expected_type.__name__}, got {content.get(key)!r:.100}"
            )
    env_spaces = {"observation": envs.single_observation_space, "action": envs.single_action_space}
    for name, space in env_spaces.items():
        saved = spaces.from_json(content[f"{name}_space"])
        if saved != space:
            raise UsageError(
                f"the agent in {folder} was trained for {name}s {spaces.format_space(saved)}; "
                f"this env has {spaces.format_space(space)}"
            )
    factory: Any = registry.agent(content["agent"])
    return factory.load(folder, envs, device)


def env_of(path: str | Path) -> str:
    """Return the env that a run, agent, model or stream folder was made for."""
    manifest = output_dirs.read_manifest(path, "run", "agent", "model", "stream")
    if "env" not in manifest:
        raise UsageError(f"{path}: expected a manifest with the name of an env, got none")
    return registry.check_recorded_env(manifest["env"], Path(path) / output_dirs.MANIFEST)


def env_settings(path: str | Path) -> dict[str, Any]:
    """Return the settings of the envs that the agents of a run or agent folder were trained in: pixels, camera, ..."""
    stream = Path(path) / "stream"
    return recorded_settings(Stream.open(stream)) if stream.is_dir() else {}


def training_stream(path: str | Path) -> Stream | None:
    """Return the steps that the model of a model folder or a run was trained on, if they are still there.

    Of the model of a run these are the lanes of exploration, without those of its agent.
    """
    path = Path(path)
    folder = path if (path / "model.safetensors").is_file() else path / "model"
    stream = output_dirs.training_stream_of(folder)
    if stream is None:
        return None
    lanes = output_dirs.manifest_of(folder).get("exploration_lanes")
    return Stream.open(stream) if lanes is None else LaneView(stream, 0, int(lanes))


def has_representation(path: str | Path) -> bool:
    """Return whether a folder is that of an agent with the world model that it acts on."""
    path = Path(path)
    is_agent = output_dirs.manifest_of(path).get("kind") == "agent"
    return is_agent and (path / "agent" / _REPRESENTATION / "model.safetensors").is_file()


def load_model(path: str | Path, device: str = "auto") -> WorldModel:
    """Return the world model of a model folder, of a run, or of an agent that acts on one."""
    path = Path(path)
    if has_representation(path):
        path = path / "agent" / _REPRESENTATION
    if not (path / "model.safetensors").is_file():
        if output_dirs.read_manifest(path, "run", "model", "agent")["kind"] == "agent":
            raise UsageError(f"{path}: expected an agent that acts on a world model, got one without")
        path = path / "model"
        if not path.is_dir():
            raise UsageError(f"{path.parent} has no model yet; it is written after the phase pretrain")
    return WorldModel.load(path, device)
