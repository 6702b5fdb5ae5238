"""The frozen encoder as SB3's features extractor, for those who use SB3 by itself on `gymnasium.make` envs."""

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
from robossl.core.errors import UsageError
from robossl.world_model import WorldModel

from .features import latent_scale, width


class RepresentationExtractor(BaseFeaturesExtractor):
    """Observations (B, ...) -> features (B, F): concat(z, the observation's numbers, goals), as `Features` has them.

        SAC("MultiInputPolicy", gymnasium.make("robossl/Reacher-v0"), policy_kwargs=dict(
            features_extractor_class=robossl.agents.RepresentationExtractor,
            features_extractor_kwargs=dict(model="models/reacher")))

    Actor, critic and targets share one encoder, which is none of their modules: it gets no gradient, no
    fresh weights, no running mean, and is not saved with them. A saved policy names the model's folder and
    knows its fingerprint; with another model in that folder it does not load.
    """

    fingerprint: Tensor  # () int64 of the encoder's weights

    def __init__(self, observation_space: gym.Space, model: str | Path | WorldModel) -> None:
        """`model` is a world model, or its folder, made for observations of `observation_space`."""
        self._leaves = _readable(observation_space)
        shared = _shared(model)
        if shared.model.observation_space != observation_space:
            raise UsageError(
                f"the model was made for observations {spaces.format_space(shared.model.observation_space)}; "
                f"this env has {spaces.format_space(observation_space)}"
            )
        super().__init__(observation_space, shared.model.latent_dim + sum(map(width, self._leaves.values())))
        self._shared, self._scale = shared, latent_scale(observation_space, shared.model.latent_dim)
        self.register_buffer("fingerprint", torch.tensor(shared.fingerprint))

    def forward(self, observations: Any) -> Tensor:
        """Features (B, F) of observations as SB3 prepares them: tensors, categories one-hot."""
        parts = {"": observations} if isinstance(observations, Tensor) else observations
        columns = {path: parts[path].flatten(1).float() for path in self._leaves}
        raw = {path: _undone(leaf, parts[path]) for path, leaf in self._leaves.items()}
        with torch.no_grad():
            z = self._shared.on(self.fingerprint.device).encode(raw.get("", raw))
        return torch.cat([z * self._scale, *columns.values()], 1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Refuse weights that were learned on another encoder."""
        theirs = state_dict.get(f"{prefix}fingerprint")
        if theirs is not None and int(theirs) != int(self.fingerprint):
            raise UsageError(
                f"the policy was trained on another representation (fingerprint {int(theirs):x}; "
                f"this model has {int(self.fingerprint):x}); give it the folder of that one"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Shared:
    """A frozen model that is never copied: whoever copies its owner gets the same one."""

    def __init__(self, model: WorldModel, fingerprint: int) -> None:
        self.model, self.fingerprint = model.frozen_copy(), fingerprint

    def on(self, device: torch.device) -> WorldModel:
        """The model, on that device from now on."""
        if self.model.device != device:
            self.model = self.model.to(device)
        return self.model

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


_SHARED: WeakValueDictionary[int, _Shared] = (
    WeakValueDictionary()
)  # by fingerprint, while a policy holds them


def _shared(model: str | Path | WorldModel) -> _Shared:
    """The one frozen copy of a model, or of the one in a folder."""
    loaded = model if isinstance(model, WorldModel) else WorldModel.load(model, "cpu")
    fingerprint = _fingerprint(loaded)
    found = _SHARED.get(fingerprint)
    if found is None:
        found = _SHARED[fingerprint] = _Shared(loaded, fingerprint)
    return found


def _fingerprint(model: WorldModel) -> int:
    """63 bits of everything that `encode` computes with."""
    hashed = hashlib.blake2b(json.dumps(spaces.to_json(model.observation_space)).encode(), digest_size=8)
    for module in (model.observation_processor, model.encoder):
        for name, value in module.state_dict().items():
            hashed.update(name.encode() + value.cpu().numpy().tobytes())
    return int.from_bytes(hashed.digest(), "big") >> 1


def _readable(space: gym.Space) -> dict[str, Any]:
    """The leaves by path; `RequestError` for those that SB3 hands over in another form than the env."""
    leaves = spaces.leaves(space)
    for path, leaf in leaves.items():
        plain = isinstance(leaf, (gym.spaces.Box, gym.spaces.MultiBinary, gym.spaces.Discrete))
        if spaces.is_image(leaf) or not plain or "." in path:
            raise UsageError(
                f"observations {path!r} of {spaces.format_space(leaf)} cannot be read through SB3; there are: Box, Discrete, "
                "MultiBinary and flat Dicts of them (robossl.train reads images and nested ones)"
            )
    return leaves


def _undone(leaf: gym.Space, value: Tensor) -> Tensor:
    """An observation as the env gave it: SB3 makes categories one-hot."""
    if isinstance(leaf, gym.spaces.Discrete):
        return value.argmax(-1) + int(leaf.start)
    return value
