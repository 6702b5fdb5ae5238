"""Offline TD3: Stable-Baselines3's TD3, trained on a recorded stream with the rewards of a task, without env steps.

The stream is reward-free exploration that was relabeled (`robossl stream relabel`), so one stream serves all tasks of a
robot. Actor and critics have a layer norm after the first layer. After offline training the agent can go on in the env;
the part of a batch that are its own steps then grows to half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy

from robossl.core.agent_observation import TRAINED_ENCODERS
from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, NullProgress, ProgressReporter, Representation
from robossl.core.seeding import derive
from robossl.core.threads import is_small, one_thread
from robossl.streams import Stream

from .sb3.algorithms import Td3Agent
from .sb3.callbacks import MetricWriter
from .sb3.critic_pretraining import pretrain_critics
from .sb3.encoder_modes import EncoderSettings
from .sb3.hindsight import HindsightRelabeler, goal_reward
from .sb3.layer_norm import LayerNormEncoderTD3Policy, LayerNormTD3Policy
from .sb3.offline_replay import CachedReplay, OfflineReplayBuffer, RecordedReplay
from .sb3.replay import StreamReplayBuffer
from .sb3.stacked_td3 import train_together

_DEFAULTS = {
    "learning_rate": 3e-4,
    "batch_size": 256,
    "tau": 0.01,
    "gamma": 0.99,
    "target_policy_noise": 0.2,
    "target_noise_clip": 0.3,
}
_HIDDEN = (256, 256)
_OWN_SETTINGS = ("behavior_cloning", "critic_pretraining")
_UPDATES_PER_CALL = 50  # of progress
_LOG_INTERVAL = 1000  # [updates]


class OfflineTD3(TD3):
    """TD3 whose default policy has layer norms."""

    policy_aliases = {**TD3.policy_aliases, "MlpPolicy": LayerNormTD3Policy}  # noqa: RUF012


class OfflineTd3Agent(Td3Agent):
    """TD3 on a recorded stream (Fujimoto et al., 2018; Yarats et al., 2022).

    Attributes:
        needs_stream: It is trained with a recorded stream.
        needs_reward: Whose rewards are those of the task.
        offline_updates: Default number of updates.
    """

    name = "offline-td3"
    needs_stream = True
    needs_reward = True
    offline_updates = 20_000

    def __init__(
        self,
        envs: VectorEnv,
        representation: Representation | None = None,
        seed: int = 0,
        device: str = "auto",
        encoder: str | None = None,
        stream: Stream | None = None,
        learning_starts: int | None = None,
        behavior_cloning: float = 0.0,
        critic_pretraining: int = 0,
        **settings: Any,
    ) -> None:
        """Create the agent.

        Args:
            envs: The envs to act in, and to continue learning in.
            representation: A world model, or any object with `latent_dim`, `version` and `encode`.
            seed: Seed of weights, exploration and replay.
            device: Device of the networks.
            encoder: What the agent observes, as for the other SB3 agents; see docs/agents.md.
            stream: The recorded stream; None: the agent acts, and learns from its own steps only.
            learning_starts: Env steps with random actions, before the first gradient step in the env; None: 0 with a
                stream, else 500.
            behavior_cloning: Weight of the value over the distance from the recorded actions in the actor loss (TD3+BC;
                2.5 in the paper), for narrow data such as demonstrations; 0: no such distance.
            critic_pretraining: Updates before the first one, in which all layers of the critics but the last learn to
                predict the change of the observation.
            settings: Those of `Sb3Agent`, and arguments of SB3's TD3.

        Raises:
            UsageError: As `Sb3Agent`, or for settings that exclude each other.
        """
        own: dict[str, Any] = {"behavior_cloning": behavior_cloning, "critic_pretraining": critic_pretraining}
        for name, value in own.items():
            if value < 0:
                raise UsageError(f"{name}: expected 0 or more, got {value}")
            if value and encoder in TRAINED_ENCODERS:
                raise UsageError(f"{name}: expected encoder none, random or frozen, got {encoder}")
        if learning_starts is None:
            learning_starts = 500 if stream is None else 0
        self._recorded_stream = stream
        super().__init__(
            envs, representation, seed, device, encoder, learning_starts=learning_starts,
            stream=stream if _self_supervised(encoder, settings) else None, **own, **settings,
        )  # fmt: skip
        buffer = self._buffer
        if isinstance(buffer, OfflineReplayBuffer) and stream is not None:
            buffer.recorded = self._make_recorded_replay(envs, stream, buffer)

    @classmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        return OfflineTD3

    @classmethod
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        super()._trained_encoder_policy(mode)
        return LayerNormEncoderTD3Policy

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings; raise UsageError for an unknown one."""
        super().check_settings({name: value for name, value in settings.items() if name not in _OWN_SETTINGS})

    def _algorithm_arguments(
        self, arguments: dict[str, Any], updates_per_step: float, learning_starts: int
    ) -> dict[str, Any]:
        cloning = arguments.pop("behavior_cloning")
        self._pretraining_updates = int(arguments.pop("critic_pretraining"))
        arguments = super()._algorithm_arguments(
            {**_DEFAULTS, **arguments}, updates_per_step, learning_starts
        )
        if "replay_buffer_class" in arguments:
            arguments["replay_buffer_class"] = OfflineReplayBuffer
        policy = {"net_arch": list(_HIDDEN), **arguments.get("policy_kwargs", {})}
        return {
            **arguments,
            "policy_kwargs": {**policy, **({"behavior_cloning": cloning} if cloning else {})},
        }

    def _make_recorded_replay(
        self, envs: VectorEnv, stream: Stream, buffer: StreamReplayBuffer
    ) -> RecordedReplay:
        """Return the replay of the recorded stream: from memory, or from the files for goals, images and large ones."""
        seed, hindsight = derive(self.seed, "offline"), float(self.settings["hindsight"])
        reward = goal_reward(envs) if hindsight else None
        if reward is None and buffer.n_steps == 1 and CachedReplay.fits(stream, self.features):
            return CachedReplay(stream, self.features, buffer, seed)
        algorithm: Any = self.algorithm
        replay = StreamReplayBuffer(
            stream.lanes,
            algorithm.observation_space,
            algorithm.action_space,
            algorithm.device,
            stream.lanes,
            stream=stream,
            features=self.features,
            seed=seed,
            hindsight=None if reward is None else HindsightRelabeler(stream, reward, hindsight),
            n_steps=buffer.n_steps,
            random_shift=self.encoder.random_shift,
        )
        replay.gamma = buffer.gamma
        return replay

    # --- offline learning

    @property
    def offline_buffer(self) -> OfflineReplayBuffer:
        """The replay with the recorded stream.

        Raises:
            UsageError: If there is no stream, or `envs` is no Recorder.
        """
        buffer = self._buffer
        if not isinstance(buffer, OfflineReplayBuffer) or buffer.recorded is None:
            needed = "a recorded stream (--stream)" if self._recorded_stream is None else "a Recorder as envs"
            raise UsageError(f"{self.name} learns offline with {needed}, got none")
        return buffer

    def learn_offline(
        self, updates: int, progress: ProgressReporter | None = None, logger: MetricLogger | None = None
    ) -> None:
        """Run SB3's `train` on the recorded stream; learning for N and then for M updates equals N + M.

        Args:
            updates: Gradient steps.
            progress: Receives them.
            logger: Receives SB3's metrics, as `agent/train/critic_loss`, over the gradient steps.
        """
        buffer, algorithm, progress = self.offline_buffer, self.algorithm, progress or NullProgress()
        assert isinstance(algorithm, TD3)
        algorithm.set_logger(Logger(None, [] if logger is None else [MetricWriter(logger)]))
        self.pretrain_critic()
        buffer.offline = True
        try:
            with self._randomness.active(), one_thread(is_small(algorithm.policy.parameters())):
                while updates > 0:
                    count = min(updates, _UPDATES_PER_CALL - algorithm._n_updates % _UPDATES_PER_CALL)
                    algorithm.train(count, algorithm.batch_size)
                    updates -= count
                    loss = float(algorithm.logger.name_to_value.get("train/critic_loss", np.nan))
                    progress.update(count, critic_loss=loss)
                    if algorithm._n_updates % _LOG_INTERVAL == 0 or updates == 0:
                        algorithm.logger.dump(algorithm._n_updates)
        finally:
            buffer.offline = False

    @staticmethod
    def learn_offline_stacked(
        agents: Sequence[Any], updates: int, progress: ProgressReporter | None = None
    ) -> None:
        """Let several agents learn from their streams, each as `learn_offline(updates)` alone within float rounding.

        Agents with equal settings and hidden layers and no trained encoder learn as one batched network: their seeds,
        tasks and observations may differ. The others learn one after the other.

        Args:
            agents: Agents of this class.
            updates: Gradient steps of each; learning for N and then for M updates equals N + M.
            progress: Receives the gradient steps of all agents.
        """
        train_together(agents, updates, progress)

    def pretrain_critic(self) -> None:
        """Let the critics learn to predict the change of the observation, before the first update."""
        algorithm: Any = self.algorithm
        if self._pretraining_updates == 0 or algorithm._n_updates > 0:
            return
        recorded = self.offline_buffer.recorded
        assert recorded is not None
        generator = torch.Generator().manual_seed(derive(self.seed, "critic pretraining") % 2**63)
        pretrain_critics(
            list(algorithm.critic.q_networks),
            lambda: recorded.sample(algorithm.batch_size),
            self._pretraining_updates,
            float(algorithm.lr_schedule(1)),
            generator,
        )
        algorithm.critic_target.load_state_dict(algorithm.critic.state_dict())


def _self_supervised(encoder: str | None, settings: Mapping[str, Any]) -> bool:
    """Return whether the encoder mode has a self-supervised loss, which reads the recorded stream as well."""
    if encoder not in TRAINED_ENCODERS:
        return False
    return EncoderSettings.split(settings)[0].self_supervision(encoder) is not None


AGENTS = {"offline-td3": OfflineTd3Agent}
