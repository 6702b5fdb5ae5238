"""Which agent fits an environment, what it sees, and how it is brought back from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Agent, Representation
from robossl.core.io import read_json
from robossl.core.seeding import derive
from robossl.training import output_dirs
from robossl.world_model import WorldModel, data_validation
from robossl.world_model.config import default_config_for


def resolve_agent(name: str, action_space: gym.Space) -> str:
    """The agent asked for; `auto` means sac for continuous actions and dqn for discrete ones."""
    if name != "auto":
        if not hasattr(registry.agent(name), "learn"):
            raise UsageError(
                f"{name} does not learn; to see it reach goals with a model: robossl evaluate MODEL --stream STREAM"
            )
        return name
    return "dqn" if isinstance(action_space, gym.spaces.Discrete) else "sac"


def resolve_representation(
    encoder: str, representation: Representation | str | Path | None, envs: gym.vector.VectorEnv, seed: int
) -> Representation | None:
    """Return the representation that an agent starts with; None if it acts on observations.

    Args:
        encoder: `none`; `random` or `scratch` (an untrained encoder); `frozen` or `finetune` (that of `representation`).
        representation: A world model, or the folder of one or of a run; an untrained encoder has the same sizes.
        envs: The envs of the agent.
        seed: Seed of an untrained encoder.
    """
    if encoder == "none":
        return None
    model = load_model(representation) if isinstance(representation, (str, Path)) else representation
    if encoder in ("random", "scratch"):
        space, action = envs.single_observation_space, envs.single_action_space
        config = model.config if isinstance(model, WorldModel) else default_config_for(space)
        return WorldModel(config, space, action, derive(seed, "random representation")).frozen_copy()
    if not isinstance(model, WorldModel):
        return model
    fits(model, envs)
    return model.frozen_copy()


def fits(model: WorldModel, envs: gym.vector.VectorEnv) -> None:
    """One line where a model was made for other observations or actions."""
    data_validation.check_spaces_match(
        model, envs.single_observation_space, envs.single_action_space, "this env"
    )


def load(path: str | Path, envs: gym.vector.VectorEnv) -> Agent:
    """The agent of a run (the one on the representation) or of an agent folder, ready to act in `envs`."""
    path = Path(path)
    output_dirs.read_manifest(path, "run", "agent")
    if not (path / "agent").is_dir():
        raise UsageError(
            f"{path} holds no agent yet; there are: {', '.join(sorted(p.name for p in path.iterdir()))}"
        )
    return load_from(path / "agent", envs)


def load_from(folder: Path, envs: gym.vector.VectorEnv) -> Agent:
    """The agent whose own files lie in `folder`."""
    card = read_json(folder / "agent.json")
    factory: Any = registry.agent(str(card.get("agent") if isinstance(card, dict) else None))
    return factory.load(folder, envs)


def env_of(path: str | Path) -> str:
    """The env that a folder of ours was made for."""
    mark = output_dirs.read_manifest(path, "run", "agent", "model", "stream")
    if "env" not in mark:
        raise UsageError(f"{path} does not say for which env it was made")
    return mark["env"]


def load_model(path: str | Path, device: str = "auto") -> WorldModel:
    """The world model of a model folder or a run."""
    path = Path(path)
    if not (path / "model.safetensors").is_file():
        output_dirs.read_manifest(path, "run")
        path = path / "model"
        if not path.is_dir():
            raise UsageError(
                f"{path.parent} holds no model yet; it is written after the first phase of learning"
            )
    return WorldModel.load(path, device)
