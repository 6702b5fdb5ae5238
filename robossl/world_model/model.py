"""The world model: encoder, forward dynamics, inverse dynamics and decoder over one latent space."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.core.seeding import derive
from robossl.core.spaces import format_space, is_image, model_inputs
from robossl.world_model import model_files
from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.array_types import match_array_type, to_tensor
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.custom_encoder import CustomEncoder
from robossl.world_model.device import resolve
from robossl.world_model.fixed_encoders import make_fixed_encoder
from robossl.world_model.goal_heads.heads import GoalHeads
from robossl.world_model.model_display import model_html, model_text
from robossl.world_model.networks import MLP, DynamicsEnsemble, Encoder
from robossl.world_model.objectives import objective
from robossl.world_model.observation_processor import ObservationProcessor

Heads = Literal["mean", "first"]


class WorldModel(nn.Module):
    """Encoder, forward dynamics, inverse dynamics and decoder over one latent space.

    The methods take env observations and env actions, single or in batches of any rank. For numpy arrays they return
    arrays, without gradients; for tensors they return tensors, with gradients.

    Example:
        model = robossl.from_pretrained("reacher")
        z = model.encode(observation)  # (n, latent_dim)
        z_next = model.predict(z, action)  # (n, latent_dim)
        model.infer_action(z, z_next)  # (n, A)
    """

    def __init__(
        self,
        config: WorldModelConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        seed: int = 0,
        encoder: nn.Module | None = None,
    ) -> None:
        """Create a model with random weights.

        Args:
            config: Sizes and objectives.
            observation_space: Observation space of a single env.
            action_space: Action space of a single env.
            seed: Seed of the weights.
            encoder: A module to use instead of the built-in encoder; `custom_encoder.py` documents its input and
                output. The model holds a copy.

        Raises:
            UsageError: The spaces, the objectives or the encoder do not fit.
        """
        super().__init__()
        self.config, self.seed = config, int(seed)
        self.observation_space, self.action_space = observation_space, action_space
        self.latent_dim = config.latent_dim  # Z
        self.version = 0  # increased by WorldModelTrainer.publish
        self.metadata: dict[str, Any] = {}  # for the model card: training data, diagnostics
        self.goal_heads: GoalHeads | None = None  # set by fit_goal_heads; not part of the state dict
        _check_image_settings(config, observation_space)
        self.decoder: MLP | None = None  # images are not decoded
        with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
            torch.default_generator.manual_seed(derive(seed, "world", "weights"))
            self.observation_processor = ObservationProcessor(observation_space)
            self.action_processor = ActionProcessor(action_space)
            vector_dim, action_dim = self.observation_processor.vector_dim, self.action_processor.dim
            channels = {path: shape[-1] for path, shape in self.observation_processor.images.items()}
            self.encoder = _make_encoder(config, self.observation_processor.dims, channels, encoder)
            self.dynamics = DynamicsEnsemble(
                config.latent_dim,
                action_dim,
                config.dynamics_hidden,
                config.ensemble_size,
                config.linear_skip,
                normalize=config.encoder == "network",
            )
            self.inverse = MLP(2 * config.latent_dim, config.inverse_hidden, action_dim, config.linear_skip)
            if self.observation_processor.vectors:
                self.decoder = MLP(config.latent_dim, config.decoder_hidden, vector_dim, config.linear_skip)
            # Initialize detached heads last so that adding one does not change the other initial weights.
            names = sorted(config.weights(), key=lambda name: objective(name).detached)
            make_heads = {name: objective(name).make_head for name in names}
            self.heads = nn.ModuleDict(
                {name: make(config, action_dim) for name, make in make_heads.items() if make is not None}
            )
        self.eval()

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.observation_processor.mean.device

    @property
    def training_window(self) -> int:
        """Actions of a training window: the open-loop predictions, and with images one step before them."""
        return self.config.unroll_steps + bool(self.observation_processor.images)

    def __repr__(self) -> str:
        return model_text(self)

    def _repr_html_(self) -> str:
        """Return inputs, size, training and diagnostics as HTML, for a notebook."""
        return model_html(self)

    def _apply(self, fn: Any, recurse: bool = True) -> WorldModel:
        """Apply a function, as of `to(device)`, to the tensors of the model and of its goal heads."""
        if self.goal_heads is not None:
            self.goal_heads.apply(fn)
        return super()._apply(fn, recurse)

    def encode(self, observation: Any, previous: Any = None) -> Any:
        """Return latents (..., Z) of observations.

        Args:
            observation: Observations; of a goal env the dict or the value of its key `observation`.
            previous: The observations one step earlier. Only their images are used, to encode velocity. None: the
                images of `observation` are used, that is, zero velocity.
        """
        return match_array_type(observation, previous, compute=lambda: self._encode(observation, previous))

    def _encode(self, observation: Any, previous: Any) -> Tensor:
        processor = self.observation_processor
        leaves = processor.select(observation)
        vector = processor.normalize(leaves) if processor.vectors else None
        images = {path: processor.image(path, leaves[path]) for path in processor.images}
        before = images
        if previous is not None:
            earlier = processor.select(previous)
            before = {path: processor.image(path, earlier[path]) for path in processor.images}
        return self.encoder(vector, {path: (images[path], before[path]) for path in images})

    def predict(self, z: Any, action: Any, heads: Heads = "mean") -> Any:
        """Return the next latents (..., Z) after env actions at z (..., Z).

        Args:
            z: Latents.
            action: Env actions.
            heads: "mean" averages the ensemble; "first" evaluates one head, 9 times faster on a CPU.
        """
        return match_array_type(
            z,
            action,
            compute=lambda: self.step(to_tensor(z, self.device), self.action_processor(action), heads),
        )

    def imagine(self, z: Any, actions: Any, heads: Heads = "mean") -> Any:
        """Return the open-loop prediction (..., T+1, Z) from z (..., Z) through env actions (..., T, *A)."""

        def compute() -> Tensor:
            encoded = self.action_processor(actions)  # (..., T, A)
            latents = [to_tensor(z, self.device)]
            for action in encoded.unbind(-2):
                latents.append(self.step(latents[-1], action, heads))
            return torch.stack(latents, -2)

        return match_array_type(z, actions, compute=compute)

    def step(self, z: Tensor, action: Tensor, heads: Heads = "mean") -> Tensor:
        """Return the next latents (..., Z), as `predict`, for encoded actions (..., A)."""
        if heads == "first":
            return self.ensemble_predictions(z, action, slice(0, 1))[0]
        return self.ensemble_predictions(z, action).mean(0)

    def ensemble_predictions(self, z: Tensor, action: Tensor, heads: slice = slice(None)) -> Tensor:
        """Return the next latents (E, ..., Z) of each head for z (..., Z) and encoded actions (..., A)."""
        lead = torch.broadcast_shapes(z.shape[:-1], action.shape[:-1])
        count = len(range(*heads.indices(self.dynamics.num_heads)))
        inputs = [
            x.expand(*lead, x.shape[-1]).reshape(-1, x.shape[-1]).expand(count, -1, -1) for x in (z, action)
        ]
        return self.dynamics(*inputs, heads).reshape(count, *lead, self.latent_dim)

    def uncertainty(self, z: Any, action: Any) -> Any:
        """Return the expected RMS error (...) of `predict`, in standard deviations of a latent dimension.

        The root of the sum of two squares: the disagreement of the ensemble and the RMS error predicted by the
        `error_prediction` head (trained on log error, so outliers have little weight). It ranks the errors of recorded
        steps best; outside the training data use `disagreement`. Without the head it equals the disagreement.
        """

        def compute() -> Tensor:
            latents, encoded = to_tensor(z, self.device), self.action_processor(action)
            squared = _variance(self.ensemble_predictions(latents, encoded))
            if "error_prediction" in self.heads:
                latents, encoded = (x.expand(*squared.shape, x.shape[-1]) for x in (latents, encoded))
                squared = squared + self.heads["error_prediction"](latents, encoded).exp()
            return squared.sqrt()

        return match_array_type(z, action, compute=compute)

    def disagreement(self, z: Any, action: Any) -> Any:
        """Return the RMS deviation (...) of the ensemble heads from their mean; large outside the training data."""
        return match_array_type(
            z,
            action,
            compute=lambda: disagreement(
                self.ensemble_predictions(to_tensor(z, self.device), self.action_processor(action))
            ),
        )

    def infer_action(self, z: Any, next_latent: Any, steps: int = 1) -> Any:
        """Return the inferred env actions (..., *A) at z (..., Z) that lead to `next_latent` (..., Z).

        Args:
            z: Latents.
            next_latent: Latents `steps` steps later.
            steps: Number of steps between the two; more than 1 needs the objective `multistep_inverse`.
        """

        def compute() -> Tensor:
            now, later = to_tensor(z, self.device), to_tensor(next_latent, self.device)
            if steps == 1:
                return self.action_processor.decode(self.inverse(torch.cat([now, later - now], -1)))
            if "multistep_inverse" not in self.heads:
                raise UsageError(
                    f"infer_action: expected steps=1 for this model, got {steps}; train it with the objective "
                    "'multistep_inverse' in world_model.objectives"
                )
            head = self.heads["multistep_inverse"]
            return self.action_processor.decode(head(now, later, torch.tensor(float(steps))))

        return match_array_type(z, next_latent, compute=compute)

    def decode(self, z: Any) -> Any:
        """Return the observation without images (of a goal env its `observation`) that z (..., Z) encodes."""
        decoder, processor = self.decoder, self.observation_processor
        if decoder is None:
            raise UsageError("decode: expected a model with vector observations, got one with images only")
        return match_array_type(
            z, compute=lambda: processor.to_observation(decoder(to_tensor(z, self.device)))
        )

    def frozen_copy(self) -> WorldModel:
        """Return a copy without gradients, in evaluation mode."""
        frozen = copy.deepcopy(self).eval()
        for parameter in frozen.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        return frozen

    def trainable_copy(self) -> WorldModel:
        """Return a copy in training mode with gradients, except for the frozen parts of a custom encoder."""
        trainable = copy.deepcopy(self).requires_grad_()
        if isinstance(trainable.encoder, CustomEncoder):
            trainable.encoder.requires_grad_(False)
            for parameter in trainable.encoder.trainable_parameters():
                parameter.requires_grad_()
        return trainable.train()

    def reinitialized(self, config: WorldModelConfig) -> WorldModel:
        """Return an untrained model with another config and the same spaces and seed.

        A custom encoder keeps its weights.
        """
        encoder = self.encoder.unwrapped() if isinstance(self.encoder, CustomEncoder) else None
        return WorldModel(config, self.observation_space, self.action_space, self.seed, encoder)

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and card.md into `folder`; with goal heads, goal_heads.safetensors."""
        custom = type(self.encoder.module).__name__ if isinstance(self.encoder, CustomEncoder) else None
        header = model_files.ModelHeader(
            self.config,
            self.observation_space,
            self.action_space,
            self.seed,
            self.version,
            self.metadata,
            custom,
        )
        model_files.save(Path(folder), header, self)
        model_files.save_goal_heads(Path(folder), self.goal_heads, self.version)

    @classmethod
    def load(
        cls, folder: str | Path, device: str | torch.device = "auto", encoder: nn.Module | None = None
    ) -> WorldModel:
        """Read a model that `save` wrote.

        Args:
            folder: The model's folder.
            device: Device of the weights.
            encoder: For a model with a custom encoder, a module of the same structure. Its weights are replaced; its
                `requires_grad` flags are kept.

        Raises:
            UsageError: The folder does not hold a model, or `encoder` is missing or does not fit.
            CorruptedFileError: A file is damaged.
        """
        folder = Path(folder)
        header = model_files.read_header(folder)
        custom = header.custom_encoder
        if custom is not None and encoder is None:
            raise UsageError(
                f"{folder}: expected the custom encoder {custom} of this model, got none; call "
                f"WorldModel.load(folder, encoder={custom}(...)) and pass the model instead of its folder"
            )
        if custom is None and encoder is not None:
            raise UsageError(
                f"{folder}: expected no encoder for a model with the built-in one, got {type(encoder).__name__}"
            )
        arguments = (header.config, header.observation_space, header.action_space, header.seed)
        if custom is None:
            model_files.check_size(folder, lambda: cls(*arguments))
        model = cls(*arguments, encoder)
        try:
            model_files.load_weights(folder, model, header.version)
        except UsageError as error:
            if custom is None:
                raise
            raise UsageError(
                f"the encoder {type(encoder).__name__} does not fit the saved {custom}: {error}"
            ) from None
        model.version, model.metadata = header.version, header.metadata
        model.goal_heads = model_files.load_goal_heads(folder, header.version)
        return model.to(resolve(device))


def _make_encoder(
    config: WorldModelConfig, dims: dict[str, int], channels: dict[str, int], module: nn.Module | None
) -> nn.Module:
    """Return the built-in encoder of `config`, or an adapter of the user's module."""
    if module is not None:
        if config.encoder != "network":
            raise UsageError(
                f"world_model.encoder: expected network with a custom encoder, got {config.encoder}"
            )
        return CustomEncoder(module, dims, channels, config.image_size, config.latent_dim)
    vector_dim = sum(dims.values())
    if config.encoder != "network":
        return make_fixed_encoder(config.encoder, vector_dim, channels, config.latent_dim)
    return Encoder(
        vector_dim, channels, config.image_size, config.encoder_hidden, config.latent_dim, config.linear_skip
    )


def disagreement(predictions: Tensor) -> Tensor:
    """Return the RMS deviation (...) of predictions (E, ..., Z) from their mean."""
    return _variance(predictions).sqrt()


def _variance(predictions: Tensor) -> Tensor:
    return (predictions - predictions.mean(0)).square().mean((0, -1))


def _check_image_settings(config: WorldModelConfig, observation_space: spaces.Space) -> None:
    """Raise UsageError if a setting needs images and the observation space has none."""
    if any(is_image(leaf) for leaf in model_inputs(observation_space).values()):
        return
    expected = f"expected image observations, got {format_space(observation_space)}"
    if config.random_shift:
        raise UsageError(f"world_model.random_shift={config.random_shift}: {expected}; set it to 0")
    for name in config.weights():
        if objective(name).images:
            raise UsageError(f"objective {name!r}: {expected}; remove it from world_model.objectives")
