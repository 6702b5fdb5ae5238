"""The world model: what a robot's observations mean, and what its actions do to them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from robossl.core.errors import UsageError
from robossl.core.seeding import derive
from robossl.core.spaces import format_space
from robossl.world_model import model_files
from robossl.world_model.action_processor import ActionProcessor
from robossl.world_model.array_types import match_array_type, tensor
from robossl.world_model.config import WorldModelConfig
from robossl.world_model.networks import MLP, Encoder, Ensemble
from robossl.world_model.objectives import objective
from robossl.world_model.observation_processor import ObservationProcessor

if TYPE_CHECKING:
    from robossl.world_model.env import Reward, WorldModelEnv

Heads = Literal["mean", "first"]


class WorldModel(nn.Module):
    """Encoder, forward dynamics, inverse dynamics and decoder over one latent space.

    Every method takes env observations and env actions as they come (single or in batches of any
    rank), as numpy arrays (answered with arrays, without gradients) or as tensors (answered with
    tensors, with gradients).
    """

    def __init__(
        self,
        config: WorldModelConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        seed: int = 0,
    ) -> None:
        """A model with fresh weights drawn from `seed`; `RequestError` for spaces it cannot read."""
        super().__init__()
        self.config, self.seed = config, int(seed)
        self.observation_space, self.action_space = observation_space, action_space
        self.latent_dim = config.latent_dim  # Z
        self.version = 0  # raised by WorldLearner.publish
        self.metadata: dict[str, Any] = {}  # for the card: what it was trained on, its health
        with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
            torch.default_generator.manual_seed(derive(seed, "world", "weights"))
            self.observations = ObservationProcessor(observation_space)
            self.actions = ActionProcessor(action_space)
            self.encoder = Encoder(
                self.observations.size,
                {path: shape[-1] for path, shape in self.observations.images.items()},
                config.image_size,
                config.encoder_hidden,
                config.latent_dim,
                config.linear_skip,
            )
            self.dynamics = Ensemble(
                config.latent_dim,
                self.actions.size,
                config.dynamics_hidden,
                config.ensemble_size,
                config.linear_skip,
            )
            self.inverse = MLP(
                2 * config.latent_dim, config.inverse_hidden, self.actions.size, config.linear_skip
            )
            self.decoder = (
                MLP(config.latent_dim, config.decoder_hidden, self.observations.size, config.linear_skip)
                if self.observations.vectors
                else None  # images are not decoded
            )
            if config.random_shift and not self.observations.images:
                raise UsageError(
                    f"world_model.random_shift is {config.random_shift} and moves images; this model reads {format_space(observation_space)}"
                )
            for name in config.weights():
                if objective(name).images and not self.observations.images:
                    raise UsageError(
                        f"objective {name!r} looks at images; this model reads {format_space(observation_space)}"
                    )
            # what stands apart draws its weights last, so that everybody else draws the same without it
            names = sorted(config.weights(), key=lambda name: objective(name).detached)
            built = {name: objective(name).make_head for name in names}
            self.heads = nn.ModuleDict(
                {name: build(config, self.actions.size) for name, build in built.items() if build is not None}
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.observations.mean.device

    def encode(self, observation: Any, previous: Any = None) -> Any:
        """Latents [..., Z] of observations; of a goal env the full dict or its `observation` alone.

        Images are seen together with the frame before them, from `previous`; without it they are
        taken to be standing still.
        """
        return match_array_type(observation, previous, compute=lambda: self._encode(observation, previous))

    def _encode(self, observation: Any, previous: Any) -> Tensor:
        parts = self.observations.parts(observation)
        before = parts if previous is None else self.observations.parts(previous)
        vector = self.observations.vector(parts) if self.observations.vectors else None
        images = {
            path: (self.observations.image(path, parts[path]), self.observations.image(path, before[path]))
            for path in self.observations.images
        }
        return self.encoder(vector, images)

    def predict(self, z: Any, action: Any, heads: Heads = "mean") -> Any:
        """The latent [..., Z] after `action` at `z`. `heads="first"` asks one head: 9 times faster on a CPU."""
        return match_array_type(
            z, action, compute=lambda: self.step(tensor(z, self.device), self.actions(action), heads)
        )

    def imagine(self, z: Any, actions: Any, heads: Heads = "mean") -> Any:
        """Open loop from z [..., Z] through env actions [..., T, *A]: latents [..., T+1, Z]."""

        def compute() -> Tensor:
            codes = self.actions(actions)  # [..., T, A]
            path = [tensor(z, self.device)]
            for code in codes.unbind(-2):
                path.append(self.step(path[-1], code, heads))
            return torch.stack(path, -2)

        return match_array_type(z, actions, compute=compute)

    def step(self, z: Tensor, code: Tensor, heads: Heads = "mean") -> Tensor:
        """`predict` for action codes [..., A]."""
        if heads == "first":
            return self.ensemble_predictions(z, code, slice(0, 1))[0]
        return self.ensemble_predictions(z, code).mean(0)

    def ensemble_predictions(self, z: Tensor, code: Tensor, heads: slice = slice(None)) -> Tensor:
        """What each head expects after z [..., Z] and codes [..., A]: [E, ..., Z]."""
        lead = torch.broadcast_shapes(z.shape[:-1], code.shape[:-1])
        count = len(range(*heads.indices(self.dynamics.heads)))
        spread = [
            x.expand(*lead, x.shape[-1]).reshape(-1, x.shape[-1]).expand(count, -1, -1) for x in (z, code)
        ]
        return self.dynamics(*spread, heads).reshape(count, *lead, self.latent_dim)

    def uncertainty(self, z: Any, action: Any) -> Any:
        """A typical error [...] of `predict`, in units of a latent's spread, told before the step is made.

        The root of the sum of two squares: the disagreement of the ensemble, and the typical error of one head that
        the objective `error` foretells (a geometric mean: rare blows weigh little). It ranks the errors of real steps
        best; away from the data trust `disagreement`. Of a model without that objective it is the disagreement.
        """

        def compute() -> Tensor:
            now, code = tensor(z, self.device), self.actions(action)
            square = _variance(self.ensemble_predictions(now, code))
            if "error_prediction" in self.heads:
                now, code = (x.expand(*square.shape, x.shape[-1]) for x in (now, code))
                square = square + self.heads["error_prediction"](now, code).exp()
            return square.sqrt()

        return match_array_type(z, action, compute=compute)

    def disagreement(self, z: Any, action: Any) -> Any:
        """Root mean square deviation [...] of the ensemble's heads from their mean: large where nothing was learned."""
        return match_array_type(
            z,
            action,
            compute=lambda: disagreement(
                self.ensemble_predictions(tensor(z, self.device), self.actions(action))
            ),
        )

    def infer_action(self, z: Any, later: Any, steps: int = 1) -> Any:
        """The env action at z [..., Z] towards `later`, `steps` ahead (beyond 1: objective `multistep_inverse`)."""

        def compute() -> Tensor:
            now, then = tensor(z, self.device), tensor(later, self.device)
            if steps == 1:
                return self.actions.decode(self.inverse(torch.cat([now, then - now], -1)))
            if "multistep_inverse" not in self.heads:
                raise UsageError(
                    f"this model infers actions over 1 step, not {steps}; add 'multistep_inverse' to world_model.objectives"
                )
            return self.actions.decode(self.heads["multistep_inverse"](now, then, torch.tensor(float(steps))))

        return match_array_type(z, later, compute=compute)

    def decode(self, z: Any) -> Any:
        """The observation (its vector leaves; of a goal env its `observation`) that z [..., Z] stands for."""
        decoder = self.decoder
        if decoder is None:
            raise UsageError("this model reads images only; it has no vector observation to decode")
        return match_array_type(z, compute=lambda: self.observations.restore(decoder(tensor(z, self.device))))

    def frozen_copy(self) -> WorldModel:
        """A copy of its own, without gradients, that stays as it is while this model learns on."""
        frozen = copy.deepcopy(self).eval()
        for parameter in frozen.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        return frozen

    def as_env(
        self, stream: Any, num_envs: int, horizon: int = 25, reward: Reward | None = None, **settings: Any
    ) -> WorldModelEnv:
        """This model as a Gymnasium vector env that starts where the stream has been; see `DreamEnv`."""
        from robossl.world_model.env import WorldModelEnv

        return WorldModelEnv(self, stream, num_envs, horizon, reward, **settings)

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and card.md into `folder`."""
        model_files.save(self, folder)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "auto") -> WorldModel:
        """Read what `save` wrote; `RequestError` or `DamagedFile` for anything else."""
        return model_files.load(cls, folder, device)


def disagreement(fan: Tensor) -> Tensor:
    """Root mean square deviation [...] of predictions [E, ..., Z] from their mean."""
    return _variance(fan).sqrt()


def _variance(fan: Tensor) -> Tensor:
    return (fan - fan.mean(0)).square().mean((0, -1))
