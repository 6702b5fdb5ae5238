"""Curious exploration: half of the episodes seek what a world model does not know, half are colored noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import torch

from robossl.core.interfaces import NullProgress, Observation, ProgressReporter
from robossl.core.seeding import derive, generator
from robossl.core.spaces import is_image, model_inputs
from robossl.core.threads import one_thread
from robossl.streams import Stream
from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer
from robossl.world_model.config import PIXEL_CONFIG
from robossl.world_model.encoded_batch import encode_windows

from .noise import ColoredNoisePolicy
from .shared.imagined_explorer import ImaginedExplorer
from .shared.observation_encoder import ObservationEncoder

_STARTS = 2048  # recorded time steps where the rollouts of a round begin
_IMAGE_STARTS = 512
_OBJECTIVES = ("forward", "inverse", "reconstruction")
_MODEL = WorldModelConfig(  # a third of the size of the default: it is trained while the robot waits
    latent_dim=32, encoder_hidden=(128, 128), dynamics_hidden=(128, 128), inverse_hidden=(128,), decoder_hidden=(128,),
    objectives=_OBJECTIVES, unroll_steps=2, weight_decay=0.0,
)  # fmt: skip
_IMAGE_MODEL = replace(PIXEL_CONFIG, objectives=PIXEL_CONFIG.objectives[:-1])  # without error prediction


@dataclass(frozen=True)
class CuriousConfig:
    """Amount of training."""

    round_steps: int = 2000  # recorded env steps between two rounds of training
    growth: float = 0.05  # of the stream between two rounds, where that is more than `round_steps`
    model_updates: int = 100  # gradient steps of the world model in a round
    first_model_updates: int = 500  # in the first round: the disagreement of a poor model means nothing
    explorer_updates: int = 30  # gradient steps of the explorer in a round


class CuriousPolicy:
    """Plan2Explore in imagination: the episodes of each sub-environment alternate between explorer and colored noise.

    After each `round_steps` recorded steps a world model of its own is trained on the stream so far, and the explorer
    in imagined rollouts of it. Until the first round, and without `attach`, all episodes are colored noise. The world
    model is small and discarded at the end. Training uses one thread, so that the recorded bytes do not depend on
    the number of threads; images use all.
    """

    def __init__(
        self, action_space: gym.Space, num_envs: int, seed: int = 0, config: CuriousConfig | None = None
    ) -> None:
        """Create the policy.

        Args:
            action_space: Action space of one sub-environment: a float Box or Discrete.
            num_envs: Number of sub-environments.
            seed: Seed of noise, world model and explorer.
            config: Amount of training.

        Raises:
            UsageError: If the action space is neither a float Box nor Discrete.
        """
        self.num_envs, self.seed, self.config = num_envs, int(seed), config or CuriousConfig()
        self.rounds = 0  # of training so far
        self._noise = ColoredNoisePolicy(action_space, num_envs, seed)
        self._explores = np.arange(num_envs) % 2 == 1  # (n,) the first `reset` inverts it
        self._stream: Stream | None = None
        self._encoder: ObservationEncoder | None = None  # of the latest world model
        self._progress: ProgressReporter = NullProgress()

    def attach(
        self,
        stream: Stream,
        num_steps: int,
        device: str = "auto",
        progress: ProgressReporter | None = None,
    ) -> None:
        """Learn from the stream that the steps of this policy are recorded in.

        Args:
            stream: The stream; it may be empty.
            num_steps: Env steps that will be recorded.
            device: Device of world model and explorer.
            progress: Receives the number of rounds.

        Raises:
            UsageError: A world model cannot read the observations or actions.
        """
        space = stream.observation_space
        only_images = all(is_image(leaf) for leaf in model_inputs(space).values())
        config = _IMAGE_MODEL if only_images else _MODEL
        model = WorldModel(config, space, stream.action_space, derive(self.seed, "curious", "model"))
        self._trainer = WorldModelTrainer(
            model, stream, derive(self.seed, "curious", "trainer"), device=device
        )
        self._explorer = ImaginedExplorer(
            config.latent_dim, self._noise.space, derive(self.seed, "curious", "explorer"), model.device
        )
        self._actions_rng = torch.Generator().manual_seed(derive(self.seed, "curious", "actions"))
        self._starts_rng = generator(self.seed, "curious", "starts")
        self._stream, self._encoder, self.rounds = stream, None, 0
        self._progress = progress or NullProgress()
        self._next_round = stream.transitions + self.config.round_steps
        if num_steps <= self.config.round_steps:
            self._progress.message(
                f"curious: the explorer is trained after {self.config.round_steps} steps; all {num_steps} steps are "
                "colored noise"
            )

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool, or in all, with the other behavior."""
        chosen = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        self._explores = self._explores ^ chosen
        self._noise.reset(mask)
        if self._encoder is not None:
            self._encoder.reset(mask)

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) in the dtype of the space, or (n,) int64; train first if a round is due."""
        action = self._noise.act(observation, explore)
        if self._stream is None:
            return action
        with one_thread(not self._trainer.ema_model.observation_processor.images):
            if self._stream.transitions >= self._next_round and self._stream.counts["train"]:
                self._train(self._stream)
            if self._encoder is None:
                return action
            inputs, previous = self._encoder.step(observation)
            env_ids = np.flatnonzero(self._explores)
            if len(env_ids):
                z = self._encoder.encode(inputs, previous, env_ids)
                action[env_ids] = self._explorer.actor.act(z, self._actions_rng, explore)
        return action

    def _train(self, stream: Stream) -> None:
        """Train the world model on the stream so far, and the explorer in it."""
        config = self.config
        self._trainer.update(config.model_updates if self.rounds else config.first_model_updates)
        model = self._trainer.ema_model.frozen_copy()
        images = bool(model.observation_processor.images)
        count, length = (_IMAGE_STARTS, 2) if images else (_STARTS, 1)  # images need the previous ones
        window = stream.windows(count, length, self._starts_rng, split="train")
        with torch.no_grad():
            batch = encode_windows(model, window, torch.Generator())
        metrics = self._explorer.train(model, batch.z[:, 0], batch.action[:, 0], config.explorer_updates)
        if self._encoder is None:
            self._encoder = ObservationEncoder(model, stream.observation_space, self.num_envs)
        self._encoder.model = model
        self.rounds += 1
        steps = int(stream.transitions)
        self._next_round = steps + max(config.round_steps, int(config.growth * steps))
        self._progress.update(0, rounds=self.rounds, novelty=metrics.get("novelty", 0.0))


POLICIES = {"curious": CuriousPolicy}
