"""The frozen encoder as an SB3 features extractor, for SB3 without robossl's agents, on `gymnasium.make` envs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from robossl.core import spaces
from robossl.core.encoding import decode, encoded_dim
from robossl.core.errors import UsageError
from robossl.world_model import WorldModel

from .parts import PartLayers


class RepresentationExtractor(BaseFeaturesExtractor):
    """Observations (B, ...) -> features (B, 64) of the latent and of the numbers of the observation and the goals.

    Latent and numbers pass `PartLayers`, which are trained with the policy. Actor, critic and targets share the
    encoder, which is not a submodule of theirs: it gets no gradient, is not reinitialized, and is not saved with them.
    A saved policy has the path of the model's folder and a fingerprint of its weights; it does not load with other
    weights in that folder.

    Example:
        SAC("MultiInputPolicy", gymnasium.make("robossl/Reacher-v0"), policy_kwargs=dict(
            features_extractor_class=robossl.agents.RepresentationExtractor,
            features_extractor_kwargs=dict(model="models/reacher")))
    """

    fingerprint: Tensor  # () int64 of the encoder's weights

    def __init__(self, observation_space: gym.Space, model: str | Path | WorldModel) -> None:
        """Create the extractor.

        Args:
            observation_space: Box, Discrete, MultiBinary or a flat Dict of them.
            model: A world model for these observations, or its folder.

        Raises:
            UsageError: For other spaces, or a model for other observations.
        """
        self._leaves = _supported_leaves(observation_space)
        shared = _share(model)
        if shared.model.observation_space != observation_space:
            raise UsageError(
                f"expected a model for observations {spaces.format_space(observation_space)}, "
                f"got one for {spaces.format_space(shared.model.observation_space)}"
            )
        dim = shared.model.latent_dim
        super().__init__(observation_space, PartLayers.features_dim)
        self._shared = shared
        self.layers = PartLayers(dim, sum(map(encoded_dim, self._leaves.values())))
        self.register_buffer("fingerprint", torch.tensor(shared.fingerprint))

    def forward(self, observations: Any) -> Tensor:
        """Return features (B, F) of observations as SB3 prepares them: tensors, categories one-hot."""
        return self.layers(*self.inputs(observations))

    def inputs(self, observations: Any) -> tuple[Tensor, Tensor]:
        """Return the latent (B, Z) and the numbers (B, K) of such observations."""
        parts = {"": observations} if isinstance(observations, Tensor) else observations
        columns = {path: parts[path].flatten(1).float() for path in self._leaves}
        originals = {path: _env_value(leaf, parts[path]) for path, leaf in self._leaves.items()}
        with torch.no_grad():
            z = self._shared.to(self.fingerprint.device).encode(originals.get("", originals))
        return z, torch.cat(list(columns.values()), 1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load the state; raise UsageError if it was trained with another encoder."""
        saved = state_dict.get(f"{prefix}fingerprint")
        if saved is not None and int(saved) != int(self.fingerprint):
            raise UsageError(
                f"expected the representation that the policy was trained on (fingerprint {int(saved):x}), "
                f"got another one ({int(self.fingerprint):x}); pass the folder of the former"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _SharedModel:
    """A frozen model that deep copies of its owner share."""

    def __init__(self, model: WorldModel, fingerprint: int) -> None:
        self.model, self.fingerprint = model.frozen_copy(), fingerprint

    def to(self, device: torch.device) -> WorldModel:
        """Return the model, moved to a device."""
        if self.model.device != device:
            self.model = self.model.to(device)
        return self.model

    def __deepcopy__(self, memo: dict[int, Any]) -> _SharedModel:
        return self


# by fingerprint, as long as a policy uses them
_SHARED_MODELS: WeakValueDictionary[int, _SharedModel] = WeakValueDictionary()


def _share(model: str | Path | WorldModel) -> _SharedModel:
    """Return the one frozen copy of a model, or of the model in a folder."""
    loaded = model if isinstance(model, WorldModel) else WorldModel.load(model, "cpu")
    fingerprint = _fingerprint(loaded)
    shared = _SHARED_MODELS.get(fingerprint)
    if shared is None:
        shared = _SHARED_MODELS[fingerprint] = _SharedModel(loaded, fingerprint)
    return shared


def _fingerprint(model: WorldModel) -> int:
    """Return 63 bits of a hash of everything that `encode` depends on."""
    hashed = hashlib.blake2b(json.dumps(spaces.to_json(model.observation_space)).encode(), digest_size=8)
    for module in (model.observation_processor, model.encoder):
        for name, value in module.state_dict().items():
            hashed.update(name.encode() + value.cpu().numpy().tobytes())
    return int.from_bytes(hashed.digest(), "big") >> 1


def _supported_leaves(space: gym.Space) -> dict[str, Any]:
    """Return the leaves by path; raise UsageError for those that SB3 passes on in another form than the env."""
    leaves = spaces.leaves(space)
    for path, leaf in leaves.items():
        supported = isinstance(leaf, (gym.spaces.Box, gym.spaces.MultiBinary, gym.spaces.Discrete))
        if spaces.is_image(leaf) or not supported or "." in path:
            raise UsageError(
                f"observations {path!r}: expected Box, Discrete, MultiBinary or a flat Dict of them, "
                f"got {spaces.format_space(leaf)}; robossl.train supports images and nested observations"
            )
    return leaves


def _env_value(leaf: gym.Space, value: Tensor) -> Tensor:
    """Return an observation as the env returned it; SB3 makes categories one-hot."""
    if isinstance(leaf, gym.spaces.Discrete):
        return decode(leaf, value)
    return value
