"""Conversion of env observations to those of SB3 agents: a flat vector, and images if the agent trains an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core import spaces
from robossl.core.agent_observation import images_only, observed_leaves
from robossl.core.encoding import encode, encoded_dim
from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation, Representation
from robossl.world_model import WorldModel

VECTOR = "vector"  # key of the numbers where SB3 also receives images


class FeatureBuilder:
    """Converts observations (n, ...) of an env to the observations of an SB3 agent.

    Without images: a flat vector (n, F) float32. It has the latent first (if there is a representation), then the
    vector leaves of `observed_leaves`, categories one-hot. Images reach this vector only as part of the latent. With
    `keep_images`: a dict of the vector, with all that the encoder reads, and of the images with those of the previous
    step (n, 2C, H, W) uint8, for an encoder that is part of the policy.

    The representation is referenced, not copied: `set_representation` changes it for acting and replay at once.
    """

    def __init__(
        self,
        space: gym.Space,
        representation: Representation | None = None,
        keep_images: bool = False,
        observed: str | None = None,
    ) -> None:
        """Create the converter.

        Args:
            space: Observation space of one sub-environment.
            representation: Frozen encoder, or None.
            keep_images: Pass images on, for an encoder in the policy; excludes a representation.
            observed: One of OBSERVED; None: `latent` if a latent is observed and comes from images, else everything.

        Raises:
            UsageError: If the observations are images and there is no encoder.
        """
        assert representation is None or not keep_images
        if images_only(space) and representation is None and not keep_images:
            raise UsageError(
                "observations are images only; expected encoder random, frozen, finetune, cotrain or scratch, got none"
            )
        self.observed = "latent" if observed is None and images_only(space) else observed
        self.space = space
        self.representation = representation
        leaves = spaces.leaves(space)
        self._observed = observed_leaves(space, self.observed)  # beside the latent
        inputs = spaces.model_inputs(space) if keep_images else {}
        self._vectors = {
            path: leaf
            for path, leaf in leaves.items()
            if path in self._observed or (path in inputs and not spaces.is_image(leaf))
        }
        self._images = {path: image_key(path) for path, leaf in inputs.items() if spaces.is_image(leaf)}
        encoded = keep_images or isinstance(representation, WorldModel)  # others encode no previous images
        # paths of the images whose change between two steps is encoded
        self.image_paths = tuple(
            p for p, leaf in spaces.model_inputs(space).items() if encoded and spaces.is_image(leaf)
        )
        self.latent_dim = representation.latent_dim if representation is not None else 0
        self.size = self.latent_dim + sum(encoded_dim(leaf) for leaf in self._vectors.values())  # F
        box = gym.spaces.Box(-np.inf, np.inf, (self.size,), np.float32)
        self.observation_space: gym.Space = box
        if self._images:
            shapes = {key: leaves[path].shape or () for path, key in self._images.items()}
            images = {
                key: gym.spaces.Box(0, 255, (2 * s[-1], *s[:-1]), np.uint8) for key, s in shapes.items()
            }
            self.observation_space = gym.spaces.Dict({**({VECTOR: box} if self.size else {}), **images})

    def __call__(
        self,
        observation: Observation,
        previous: Mapping[str, np.ndarray] | None = None,
        latents: np.ndarray | None = None,
    ) -> Any:
        """Return the flat vector (n, F) float32, or the dict with images, of a batch of env observations.

        Args:
            observation: Of n sub-environments.
            previous: Images (n, H, W, C) one step earlier by path; None: those of `observation`, that is, no motion.
            latents: z (n, Z) of the representation, if they are known.
        """
        parts = spaces.flatten_by_path(self.space, observation)
        columns = [encode(leaf, parts[path]) for path, leaf in self._vectors.items()]
        if self._images:
            vector = {VECTOR: np.concatenate(columns, axis=1)} if columns else {}
            before = parts if previous is None else previous
            images = {
                key: np.concatenate([np.moveaxis(each[path], -1, 1) for each in (parts, before)], 1)
                for path, key in self._images.items()
            }
            return vector | images
        if self.representation is not None:
            z = self._encode(observation, parts, previous) if latents is None else latents
            columns.insert(0, z)
        return np.concatenate(columns, axis=1)

    def _encode(
        self,
        observation: Observation,
        parts: Mapping[str, np.ndarray],
        previous: Mapping[str, np.ndarray] | None,
    ) -> np.ndarray:
        """Return z (n, Z) float32 of unit variance."""
        if not previous:
            return np.asarray(self.representation.encode(observation), np.float32)  # type: ignore[union-attr]
        assert isinstance(self.representation, WorldModel)
        earlier = spaces.unflatten_by_path(self.space, {**parts, **previous})
        return np.asarray(self.representation.encode(observation, earlier), np.float32)

    def images(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return the images (n, H, W, C) of a batch of observations by path, as `previous` of the next step."""
        if not self.image_paths:
            return {}
        parts = spaces.flatten_by_path(self.space, observation)
        return {path: parts[path] for path in self.image_paths}

    def set_representation(self, representation: Representation) -> None:
        """Switch to a newer version of the representation; raise UsageError if its latent has another size."""
        if self.representation is None:
            raise UsageError("this agent has no frozen representation that could be replaced")
        if representation.latent_dim != self.latent_dim:
            raise UsageError(
                f"expected a representation with latent_dim {self.latent_dim}, got {representation.latent_dim}"
            )
        self.representation = representation

    def encoder_inputs(self) -> EncoderInputs:
        """Return where an encoder in the policy finds its inputs."""
        inputs, columns, beside, first = spaces.model_inputs(self.space), [], [], self.latent_dim
        for path, leaf in self._vectors.items():
            last = first + encoded_dim(leaf)
            if path in inputs:
                columns += list(range(first, last))
            if path in self._observed:
                beside += list(range(first, last))
            first = last
        return EncoderInputs(tuple(columns), tuple(beside), dict(self._images))


@dataclass(frozen=True)
class EncoderInputs:
    """The inputs of an encoder within the observation that SB3 receives."""

    columns: tuple[int, ...]  # of the vector that the encoder reads, in its order
    beside: tuple[int, ...]  # of the vector that are observed beside the latent
    images: Mapping[str, str]  # path of the leaf -> key of the SB3 observation


def image_key(path: str) -> str:
    """Return the key of an image leaf; names of torch modules must not contain dots."""
    return f"image/{path.replace('.', '/')}" if path else "image"
