"""Base class of the Stable-Baselines3 agents: SB3 algorithms that replay a stream and use a representation."""

from __future__ import annotations

import copy
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import get_device

from robossl.core.agent_observation import TRAINED_ENCODERS, resolve_observed
from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, NullProgress, Observation, ProgressReporter, Representation
from robossl.core.io import write_bytes_atomic
from robossl.core.seeding import derive, generator_state, restore_generator
from robossl.streams import Recorder
from robossl.world_model.device import resolve

from . import files
from .callbacks import Callback, MetricWriter, ProgressCallback, resolve_callbacks
from .encoder_modes import resolve_encoder
from .features import FeatureBuilder, latent_scale
from .hindsight import HindsightRelabeler, goal_reward
from .replay import StreamReplayBuffer
from .rng import IsolatedGlobalRNG
from .settings import algorithm_settings, check_action_space, check_json_settings
from .trained_encoder import TrainedEncoder
from .training_state import get_episodes, get_training_state, set_episodes, set_training_state
from .vec_env import SB3VecEnv

_OWN_SETTINGS = (
    "encoder", "observe", "updates_per_step", "learning_starts", "hindsight",
    "encoder_frozen_updates", "encoder_slow_updates", "encoder_lr_factors",
)  # fmt: skip
_LOG_INTERVAL = 4  # [episodes] between two lines of metrics, at least


class Sb3Agent(ABC):
    """An SB3 algorithm as an agent; a subclass names the algorithm.

    Off-policy algorithms replay the stream that `envs`, a `Recorder`, writes; in other envs they only act.
    Everything that SB3 draws from the global random generators is isolated from the rest of the process.

    Attributes:
        algorithm: SB3's algorithm.
        features: Converts env observations to those of the algorithm.
        settings: All settings, as JSON values.
    """

    name: ClassVar[str]
    action_spaces: ClassVar[tuple[str, ...]] = ("Box",)
    off_policy: ClassVar[bool] = True

    def __init__(
        self,
        envs: VectorEnv,
        representation: Representation | None = None,
        seed: int = 0,
        device: str = "auto",
        encoder: str | None = None,
        updates_per_step: float = 0.25,
        learning_starts: int = 500,
        hindsight: float = 0.8,
        encoder_frozen_updates: int | None = None,
        encoder_slow_updates: int | None = None,
        encoder_lr_factors: Sequence[float] | None = None,
        observe: str | None = None,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> None:
        """Create the agent.

        Args:
            envs: The envs to act and learn in.
            representation: A world model, or any object with `latent_dim`, `version` and `encode`.
            seed: Seed of weights, exploration and replay.
            device: Device of the networks.
            encoder: none, random, frozen, finetune or scratch (see `encoder_modes`); None: frozen with a
                representation, else none.
            updates_per_step: Gradient steps for each environment step, independent of `num_envs` (not ppo).
            learning_starts: Environment steps before the first gradient step (not ppo).
            hindsight: Fraction of the replayed transitions of a goal env that get another goal.
            encoder_frozen_updates: First gradient steps in which a trained encoder is not changed.
            encoder_slow_updates: Gradient steps with the first of `encoder_lr_factors`.
            encoder_lr_factors: Learning rate of a trained encoder over that of the agent, first and later.
            observe: latent or latent_observation, what is observed with an encoder (see `resolve_observed`).
            callbacks: SB3 callbacks of every `learn`, or functions of this agent that return one.
            settings: Arguments of SB3's algorithm as JSON values: learning_rate, batch_size, gamma, policy_kwargs...

        Raises:
            UsageError: If the algorithm does not support the actions, or for an unknown or invalid setting.
        """
        check_action_space(self.name, self.action_spaces, envs.single_action_space)
        self.check_settings(settings)
        if not 0 <= hindsight <= 1:
            raise UsageError(f"hindsight: expected 0 to 1, got {hindsight}")
        if updates_per_step <= 0:
            raise UsageError(f"updates_per_step: expected more than 0, got {updates_per_step}")
        self.encoder = resolve_encoder(
            encoder,
            representation,
            envs,
            seed,
            encoder_frozen_updates,
            encoder_slow_updates,
            encoder_lr_factors,
        )
        observed = resolve_observed(self.encoder.mode, observe, envs.single_observation_space)
        policy = self._trained_encoder_policy() if self.encoder.mode in TRAINED_ENCODERS else "MlpPolicy"
        self.seed = int(seed)
        optional = {
            "observe": observe,
            "encoder_frozen_updates": encoder_frozen_updates,
            "encoder_slow_updates": encoder_slow_updates,
            "encoder_lr_factors": None if encoder_lr_factors is None else list(encoder_lr_factors),
        }
        self.settings: dict[str, Any] = {
            "encoder": self.encoder.mode, "updates_per_step": updates_per_step, "learning_starts": learning_starts,
            "hindsight": hindsight,
            **{key: value for key, value in optional.items() if value is not None}, **settings,
        }  # fmt: skip
        trained = self.encoder.mode in TRAINED_ENCODERS
        self.features = FeatureBuilder(envs.single_observation_space, self.encoder.frozen, trained, observed)
        self._envs = self.wrap_envs(envs)
        self._callbacks = tuple(callbacks)
        self._target_steps = 0  # environment steps requested so far
        torch_device = self._resolve_device(device)
        arguments: dict[str, Any] = {"seed": self.seed % 2**31, "device": torch_device}
        arguments |= copy.deepcopy(settings)  # SB3 changes policy_kwargs
        arguments = self._algorithm_arguments(arguments, updates_per_step, learning_starts)
        if self.off_policy and (replay := self._replay_arguments(envs, hindsight)) is not None:
            arguments |= {"replay_buffer_class": StreamReplayBuffer, "replay_buffer_kwargs": replay}
        if self.encoder.initial is not None:
            arguments["policy_kwargs"] = {**arguments.get("policy_kwargs", {}), **self._extractor_arguments()}
        self._randomness = IsolatedGlobalRNG(self.seed, torch_device)
        with self._randomness.active():
            self.algorithm = self.algorithm_class()(policy, self._envs, **arguments)
        self.algorithm.set_logger(Logger(folder=None, output_formats=[]))
        if isinstance(self.algorithm, OffPolicyAlgorithm):  # not needed any more, and not in SB3's zip files
            self.algorithm.replay_buffer_class, self.algorithm.replay_buffer_kwargs = None, {}

    # --- what a subclass defines

    @classmethod
    @abstractmethod
    def algorithm_class(cls) -> type[BaseAlgorithm]:
        """Return SB3's algorithm."""

    @abstractmethod
    def _algorithm_arguments(
        self, arguments: dict[str, Any], updates_per_step: float, learning_starts: int
    ) -> dict[str, Any]:
        """Return the arguments of the algorithm, given those of the user."""

    @classmethod
    def _trained_encoder_policy(cls) -> type[BasePolicy]:
        """Return the policy class for encoders that the agent trains."""
        raise UsageError(f"{cls.name} cannot train an encoder; expected encoder none, random or frozen")

    # --- construction

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings.

        Raises:
            UsageError: For an unknown setting, or a value that JSON cannot hold.
        """
        known = algorithm_settings(cls.algorithm_class(), cls.off_policy)
        check_json_settings(cls.name, settings, sorted({*known, *_OWN_SETTINGS}))
        if settings.get("encoder") in TRAINED_ENCODERS:
            cls._trained_encoder_policy()

    @classmethod
    def _resolve_device(cls, device: str) -> torch.device:
        return get_device("auto") if device == "auto" else resolve(device)

    def _extractor_arguments(self) -> dict[str, Any]:
        """Return the `policy_kwargs` of a trained encoder."""
        initial = self.encoder.initial
        assert initial is not None
        return {
            "features_extractor_class": TrainedEncoder,
            "features_extractor_kwargs": {
                "model": initial,
                "inputs": self.features.encoder_inputs(),
                "scale": latent_scale(self.features.space, initial.latent_dim, self.features.observed),
                "schedule": self.encoder.schedule,
            },
            "normalize_images": False,  # the encoder does
        }

    def _replay_arguments(self, envs: VectorEnv, hindsight: float) -> dict[str, Any] | None:
        """Return the arguments of the replay buffer; None if `envs` records nothing."""
        if not isinstance(envs, Recorder) or envs.stream is None:
            return None
        reward = goal_reward(envs) if hindsight else None
        return {
            "stream": envs.stream,
            "features": self.features,
            "first_lane": int(envs.lanes[0]),
            "seed": self.seed,
            "hindsight": None if reward is None else HindsightRelabeler(envs.stream, reward, hindsight),
        }

    # --- acting and learning

    def wrap_envs(self, envs: VectorEnv) -> SB3VecEnv:
        """Return `envs` as a VecEnv with the observations of this agent, for example for SB3's EvalCallback."""
        return SB3VecEnv(envs, self.features, self.features.observation_space)

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) or (n,) for observations as the vector env returned them."""
        inputs = self.features(observation)
        if not explore:  # nothing is drawn
            return self._envs.to_env_actions(self.algorithm.predict(inputs, deterministic=True)[0])
        with self._randomness.active():
            return self._envs.to_env_actions(self.algorithm.predict(inputs)[0])

    def reset(self, mask: np.ndarray | None = None) -> None:  # noqa: B027 - complete
        """Start new episodes; the agent has no episode state."""

    def learn(
        self,
        envs: VectorEnv,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Run SB3's `learn` for `steps` more environment steps, summed over the sub-environments.

        SB3 takes `num_envs` steps at once, and ppo a whole rollout. Steps beyond `steps` count for the next call:
        learning for N and then for M steps equals learning for N + M.

        Args:
            envs: The envs that the agent was created with.
            steps: Environment steps.
            progress: Receives every vector step.
            logger: Receives SB3's metrics, as `agent/train/...`, `agent/rollout/...`, `agent/time/...`.
            callbacks: SB3 callbacks, or functions of this agent that return one. A callback may end this call early.
        """
        if envs is not self._envs.envs:
            raise UsageError("an SB3 agent learns in the envs it was created with, got others")
        algorithm = self.algorithm
        if isinstance(algorithm, OffPolicyAlgorithm):
            if self._buffer is None:
                raise UsageError(
                    f"{self.name} replays a stream and needs a Recorder as envs, got {type(envs).__name__}; "
                    "use Recorder.create(envs, path)"
                )
            if self._buffer.empty:  # at the start, in another stream, or in one that lost time steps
                earliest = algorithm.num_timesteps + 2 * envs.num_envs
                algorithm.learning_starts = max(algorithm.learning_starts, earliest)
        self._target_steps += steps
        remaining = self._target_steps - algorithm.num_timesteps
        if remaining <= 0:
            return
        user_callbacks = resolve_callbacks((*self._callbacks, *callbacks), self)
        algorithm.set_logger(Logger(None, [] if logger is None else [MetricWriter(logger)]))
        with self._randomness.active():
            algorithm.learn(
                remaining,
                callback=CallbackList([ProgressCallback(progress or NullProgress()), *user_callbacks]),
                log_interval=max(_LOG_INTERVAL, envs.num_envs) if self.off_policy else 1,
                reset_num_timesteps=False,
            )
        if algorithm.logger.name_to_value:  # recorded since the last line
            algorithm.logger.dump(algorithm.num_timesteps)
        if user_callbacks:  # one of them may have ended the call early
            self._target_steps = min(self._target_steps, algorithm.num_timesteps)

    def set_representation(self, representation: Representation) -> None:
        """Switch a frozen encoder to a newer version, for acting and replay; other encoders stay as they are."""
        if self.encoder.mode != "frozen":
            return
        self.features.set_representation(representation)
        if self.algorithm._last_obs is not None:
            self.algorithm._last_obs = self._envs.latest_observation()

    def reset_envs(self, envs: VectorEnv) -> None:
        """Reset the envs before the next step, with a seed that was not used before."""
        self.algorithm._last_obs = None
        self._envs.seed(derive(self.seed, "begin again", self.algorithm.num_timesteps) % 2**31)

    # --- checkpoints

    @property
    def _buffer(self) -> StreamReplayBuffer | None:
        buffer = getattr(self.algorithm, "replay_buffer", None)
        return buffer if isinstance(buffer, StreamReplayBuffer) else None

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future, except envs and stream; of ppo only between two `learn`."""
        algorithm, started = self.algorithm, self.algorithm._last_obs is not None
        return {
            "training": get_training_state(algorithm),
            "target_steps": self._target_steps,
            "randomness": self._randomness.get_checkpoint(),
            "actions": generator_state(algorithm.action_space.np_random),
            "replay": None if self._buffer is None else self._buffer.get_checkpoint(),
            "envs": self._envs.get_checkpoint() if started else None,
            "episode_starts": np.array(algorithm._last_episode_starts) if started else None,
            "episodes": get_episodes(algorithm),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`; envs and stream must have been restored as well."""
        algorithm = self.algorithm
        set_training_state(algorithm, tree["training"])
        self._target_steps = int(tree["target_steps"])
        self._randomness.set_checkpoint(tree["randomness"])
        restore_generator(algorithm.action_space.np_random, tree["actions"])
        if self._buffer is not None:
            self._buffer.set_checkpoint(tree["replay"])
        algorithm._last_obs = None
        if tree["envs"] is not None:
            self._envs.set_checkpoint(tree["envs"])
            algorithm._last_obs = self._envs.latest_observation()
            algorithm._last_episode_starts = np.array(tree["episode_starts"], bool)
        set_episodes(algorithm, tree["episodes"])

    # --- files

    def save(self, folder: str | Path) -> None:
        """Write sb3.json, sb3.safetensors and, of a frozen world model, the folder `representation`."""
        files.save(
            Path(folder), self.name, self.seed, self.settings, self.features.representation, self.encoder.initial,
            self.algorithm,
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        folder: str | Path,
        envs: VectorEnv,
        device: str = "auto",
        representation: Representation | None = None,
    ) -> Sb3Agent:
        """Return the agent that `save` wrote, ready to act in `envs`; in a `Recorder` it can continue to learn.

        Args:
            folder: The folder.
            envs: A vector env with the same spaces.
            device: Device of the networks.
            representation: The representation of an agent that was trained on one of the user's own classes.
        """
        saved = files.read(Path(folder), cls.name, envs, device, representation)
        agent = cls(envs, saved.representation, saved.seed, device, **saved.settings)
        if agent.encoder.mode == "random" and saved.representation is not None:
            agent.features.set_representation(saved.representation)  # rather than the same one drawn again
        set_training_state(agent.algorithm, files.read_training_state(Path(folder)))
        agent._target_steps = agent.algorithm.num_timesteps
        return agent

    def export_zip(self, path: str | Path) -> None:
        """Write SB3's own zip, for other tools; it acts on `features`. robossl does not read it.

        The zip of an agent with a trained encoder can be loaded where robossl is installed.
        """
        algorithm = copy.copy(self.algorithm)
        algorithm._last_obs = algorithm._last_episode_starts = None
        excluded = ["ep_info_buffer", "ep_success_buffer", "_last_original_obs"]
        if isinstance(algorithm, OffPolicyAlgorithm):
            excluded += ["replay_buffer_class", "replay_buffer_kwargs", "buffer_size"]
        archive = io.BytesIO()
        algorithm.save(archive, exclude=excluded)
        path = Path(path)
        write_bytes_atomic(path if path.suffix else path.with_suffix(".zip"), archive.getvalue())
