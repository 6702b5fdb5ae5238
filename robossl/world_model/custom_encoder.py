"""Adapter that uses any `torch.nn.Module` instead of the built-in encoder.

The module receives one batch of observations, `(B, ...)`:

* a vector leaf as the normalized vector `(B, D)` (one-hot for categories),
* an image leaf as floats in [0, 1], `(B, C, image_size, image_size)`.

With one observation leaf the input is a tensor, with several a dict of tensors by path of the leaf. The path is the
key in the observation dict; keys of nested dicts are joined by dots.

The output is `(B, F)` for any F. Without images the features are z if F is `latent_dim`; otherwise a trained linear
projection maps them to z. With images the module is applied to the current and to the previous image, and the
projection receives the features and their change, because a single image does not show velocity. LayerNorm gives z
zero mean and unit variance.

Parameters with `requires_grad=False` stay frozen. Submodules with frozen parameters only stay in evaluation mode, so
that a BatchNorm in a pretrained network does not change.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.world_model.networks import ImagePair, resize_images


class CustomEncoder(nn.Module):
    """Normalized vector and images -> z (..., Z) through a user-defined module.

    Args:
        module: The user's module; it is copied.
        vector_dims: Dimension of each vector leaf by path, in the order of the normalized vector.
        channels: Number of channels of each image leaf by path.
        image_size: Edge of the images that the module receives, in pixels.
        latent_dim: Dimension Z of the latent.

    Raises:
        UsageError: The module cannot process the inputs above, or does not return features (B, F).
    """

    def __init__(
        self,
        module: nn.Module,
        vector_dims: dict[str, int],
        channels: dict[str, int],
        image_size: int,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.vector_dims, self.channels, self.image_size = vector_dims, channels, image_size
        self.module = copy.deepcopy(module).cpu()
        self.frozen = frozenset(n for n, p in self.module.named_parameters() if not p.requires_grad)
        features = self._feature_dim()
        is_latent = not channels and features == latent_dim  # the features are z
        input_dim = 2 * features if channels else features
        self.projection = None if is_latent else nn.Linear(input_dim, latent_dim)
        self.norm = nn.LayerNorm(latent_dim, elementwise_affine=False)
        self.train(self.training)

    def forward(self, vector: Tensor | None, images: dict[str, ImagePair]) -> Tensor:
        """Return latents (..., Z); same arguments as `Encoder.forward`."""
        first = vector if vector is not None else next(iter(images.values()))[0]
        lead = first.shape[:-1] if vector is not None else first.shape[:-3]
        leaves: dict[str, Tensor] = {}
        if vector is not None:
            flat = vector.reshape(-1, vector.shape[-1])  # (B, D)
            leaves = dict(zip(self.vector_dims, flat.split(list(self.vector_dims.values()), -1)))
        features = self._features(leaves, {path: images[path][0] for path in self.channels})
        if self.channels:
            previous_features = features
            if any(now is not previous for now, previous in images.values()):
                previous_features = self._features(leaves, {path: images[path][1] for path in self.channels})
            features = torch.cat([features, features - previous_features], -1)
        z = features if self.projection is None else self.projection(features)
        return self.norm(z).reshape(*lead, -1)

    def train(self, mode: bool = True) -> CustomEncoder:
        """Set the training mode, except for frozen submodules: they stay in evaluation mode."""
        super().train(mode)
        if len(self.frozen) == len([*self.module.parameters()]):
            self.module.eval()
            return self
        for prefix, submodule in self.module.named_modules():
            names = [f"{prefix}.{name}" if prefix else name for name, _ in submodule.named_parameters()]
            if names and self.frozen.issuperset(names):
                submodule.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that training may change."""
        trainable = [p for name, p in self.module.named_parameters() if name not in self.frozen]
        return trainable if self.projection is None else [*trainable, *self.projection.parameters()]

    def unwrapped(self) -> nn.Module:
        """Return a copy of the user's module with its current weights and the original frozen parameters."""
        module = copy.deepcopy(self.module)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
        return module

    def _features(self, leaves: dict[str, Tensor], images: dict[str, Tensor]) -> Tensor:
        resized = {
            path: resize_images(image.reshape(-1, *image.shape[-3:]), self.image_size)
            for path, image in images.items()
        }
        inputs = {**leaves, **resized}
        return self.module(next(iter(inputs.values())) if len(inputs) == 1 else inputs)

    @torch.no_grad()
    def _feature_dim(self) -> int:
        """Return F, determined by one call with zeros."""
        shapes: dict[str, tuple[int, ...]] = {path: (dim,) for path, dim in self.vector_dims.items()}
        shapes |= {path: (count, self.image_size, self.image_size) for path, count in self.channels.items()}
        inputs = {path: torch.zeros(2, *shape) for path, shape in shapes.items()}
        expected = ", ".join(
            f"{path or 'observation'} (B, {', '.join(map(str, s))})" for path, s in shapes.items()
        )
        training = {m: m.training for m in self.module.modules()}
        self.module.eval()
        try:
            output = self.module(next(iter(inputs.values())) if len(inputs) == 1 else inputs)
        except Exception as error:  # any error of the user's code
            reason = str(error).strip().split("\n")[0]
            raise UsageError(
                f"the encoder {type(self.module).__name__} failed on an input of {expected}: {reason}"
            ) from error
        for submodule, mode in training.items():
            submodule.training = mode
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
            actual = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(
                f"the encoder {type(self.module).__name__}: expected an output (B, F) for an input of {expected} "
                f"with B = 2, got {actual}"
            )
        return int(output.shape[1])
