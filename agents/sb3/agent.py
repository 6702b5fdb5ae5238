"""Base class of the Stable-Baselines3 agents: SB3 algorithms that replay a stream and use a representation."""

from __future__ import annotations

import copy
import dataclasses
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

from robossl.core.agent_observation import TRAINED_ENCODERS
from robossl.core.errors import UsageError
from robossl.core.interfaces import MetricLogger, NullProgress, Observation, ProgressReporter, Representation
from robossl.core.seeding import derive, generator_state, restore_generator
from robossl.core.threads import is_small, one_thread
from robossl.streams import Recorder, Stream
from robossl.world_model.device import resolve

from ..shared.agent_display import DisplayedAgent
from . import files
from .callbacks import Callback, MetricWriter, ProgressCallback, resolve_callbacks
from .encoder_modes import EncoderSettings, off_policy_arguments, resolve_encoder
from .features import FeatureBuilder
from .hindsight import HindsightRelabeler, goal_reward
from .image_history import ImageHistory
from .replay import StreamReplayBuffer
from .rng import IsolatedGlobalRNG
from .self_supervision import OldAndRecentStream, SelfSupervision
from .settings import ActionCheck, algorithm_settings, check_json_settings
from .training_state import get_episodes, get_training_state, set_episodes, set_training_state
from .vec_env import SB3VecEnv

_OWN_SETTINGS = ("encoder", "updates_per_step", "learning_starts", "hindsight")
_LOG_INTERVAL = 4  # [episodes] between two lines of metrics, at least


class Sb3Agent(ActionCheck, DisplayedAgent, ABC):
    """An SB3 algorithm as an agent; a subclass names the algorithm.

    Off-policy algorithms replay the stream that `envs`, a `Recorder`, writes; in other envs they only act.
    Everything that SB3 draws from the global random generators is isolated from the rest of the process.

    Example:
        agent = robossl.train("robossl/Reacher-v0", "sac", representation="models/reacher", steps=5_000)
        agent.algorithm  # stable_baselines3.SAC

    Attributes:
        algorithm: SB3's algorithm.
        features: Converts env observations to those of the algorithm.
        settings: All settings, as JSON values.
    """

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
        stream: Stream | None = None,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> None:
        """Create the agent.

        Args:
            envs: The envs to act and learn in.
            representation: A world model, or any object with `latent_dim`, `version` and `encode`.
            seed: Seed of weights, exploration and replay.
            device: Device of the networks.
            encoder: none, random, frozen, finetune, cotrain or scratch (see `encoder_modes`); None: frozen with a
                representation, else none.
            updates_per_step: Gradient steps for each environment step, independent of `num_envs` (not ppo).
            learning_starts: Environment steps before the first gradient step (not ppo).
            hindsight: Fraction of the replayed transitions of a goal env that get another goal.
            stream: Recorded time steps for the self-supervised loss of encoder `cotrain` and `finetune`; None: those in
                the stream of `envs`, in the lanes before those of the agent.
            callbacks: SB3 callbacks of every `learn`, or functions of this agent that return one.
            settings: Those of `EncoderSettings`, and arguments of SB3's algorithm as JSON values: learning_rate,
                batch_size, gamma, n_steps (of a return; of ppo, of a rollout), policy_kwargs...

        Raises:
            UsageError: If the algorithm does not support the actions, or for an unknown or invalid setting.
        """
        self.check_spaces(envs.single_observation_space, envs.single_action_space, settings)
        self.check_settings(settings)
        if not 0 <= hindsight <= 1:
            raise UsageError(f"hindsight: expected 0 to 1, got {hindsight}")
        if updates_per_step <= 0:
            raise UsageError(f"updates_per_step: expected more than 0, got {updates_per_step}")
        encoder_settings, algorithm_arguments = EncoderSettings.split(settings)
        self.encoder = resolve_encoder(encoder, representation, envs, seed, encoder_settings)
        trained = self.encoder.mode in TRAINED_ENCODERS
        policy = self._trained_encoder_policy(self.encoder.mode) if trained else "MlpPolicy"
        if stream is not None and self.encoder.self_supervision is None:
            raise UsageError(
                f"{self.name} with encoder {self.encoder.mode} learns from no recorded stream; "
                "expected encoder cotrain or finetune, or no stream"
            )
        self.seed = int(seed)
        self.settings: dict[str, Any] = {
            "encoder": self.encoder.mode, "updates_per_step": updates_per_step, "learning_starts": learning_starts,
            "hindsight": hindsight, **settings,
        }  # fmt: skip
        space = envs.single_observation_space
        self.features = FeatureBuilder(space, self.encoder.frozen, trained, self.encoder.observed)
        self._envs = self.wrap_envs(envs)
        self._callbacks = tuple(callbacks)
        self._history = ImageHistory()  # of `act`
        self._begins: np.ndarray | None = None  # (n,) sub-environments reset since the last `act`; None: none
        self._target_steps = 0  # environment steps requested so far
        torch_device = self._resolve_device(device)
        arguments: dict[str, Any] = {"seed": self.seed % 2**31, "device": torch_device}
        arguments |= copy.deepcopy(algorithm_arguments)  # SB3 changes policy_kwargs
        if self.off_policy:
            arguments, n_steps = off_policy_arguments(arguments, space)
            if (replay := self._replay_arguments(envs, hindsight, n_steps)) is not None:
                arguments |= {"replay_buffer_class": StreamReplayBuffer, "replay_buffer_kwargs": replay}
        arguments = self._algorithm_arguments(arguments, updates_per_step, learning_starts)
        if extractor := self.encoder.policy_arguments(self.features):
            arguments["policy_kwargs"] = {**arguments.get("policy_kwargs", {}), **extractor}
        self._randomness = IsolatedGlobalRNG(self.seed, torch_device)
        with self._randomness.active():
            self.algorithm = self.algorithm_class()(policy, self._envs, **arguments)
        self.algorithm.set_logger(Logger(folder=None, output_formats=[]))
        if isinstance(self.algorithm, OffPolicyAlgorithm):  # not needed any more, and not in SB3's zip files
            self.algorithm.replay_buffer_class, self.algorithm.replay_buffer_kwargs = None, {}
        if self._buffer is not None:
            self._buffer.gamma = float(self.algorithm.gamma)  # type: ignore[attr-defined]
        self._self_supervision = self._make_self_supervision(envs, stream)

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
    def _trained_encoder_policy(cls, mode: str) -> type[BasePolicy]:
        """Return the policy class for an encoder mode in which the agent trains it."""
        raise UsageError(
            f"{cls.name} cannot train an encoder; expected encoder none, random or frozen, got {mode}"
        )

    # --- construction

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings.

        Raises:
            UsageError: For an unknown setting, or a value that JSON cannot hold.
        """
        known = algorithm_settings(cls.algorithm_class(), cls.off_policy)
        own = {field.name for field in dataclasses.fields(EncoderSettings)}
        check_json_settings(cls.name, settings, sorted({*known, *_OWN_SETTINGS, *own}))
        if (mode := settings.get("encoder")) in TRAINED_ENCODERS:
            cls._trained_encoder_policy(mode)

    @classmethod
    def _resolve_device(cls, device: str) -> torch.device:
        return get_device("auto") if device == "auto" else resolve(device)

    def _replay_arguments(self, envs: VectorEnv, hindsight: float, n_steps: int) -> dict[str, Any] | None:
        """Return the arguments of the replay buffer; None if `envs` records nothing."""
        if not isinstance(envs, Recorder) or envs.stream is None:
            return None
        reward = goal_reward(envs) if hindsight else None
        relabeler = None if reward is None else HindsightRelabeler(envs.stream, reward, hindsight)
        return {
            "stream": envs.stream, "features": self.features, "first_lane": int(envs.lanes[0]), "seed": self.seed,
            "hindsight": relabeler, "n_steps": n_steps, "random_shift": self.encoder.random_shift,
        }  # fmt: skip

    def _make_self_supervision(self, envs: VectorEnv, old: Stream | None) -> SelfSupervision | None:
        """Return the self-supervised loss on the encoder; None if the mode has none, or if there are no time steps."""
        settings, policy = self.encoder.self_supervision, self.algorithm.policy
        if settings is None or not isinstance(envs, Recorder) or envs.stream is None:
            return None
        stream = OldAndRecentStream(envs.stream, int(envs.lanes[0]), envs.num_envs, old, settings.recent)
        if not stream.old_transitions():
            return None
        assert self.encoder.initial is not None
        extractor: Any = policy.encoder_owner.features_extractor  # type: ignore[union-attr]
        loss = SelfSupervision(
            self.encoder.initial, stream, extractor, settings, derive(self.seed, "self-supervised")
        )
        optimizer = policy.make_encoder_optimizer(self.algorithm.lr_schedule)  # type: ignore[operator]
        optimizer.after_step = self._after_update
        return loss

    def _after_update(self) -> None:
        assert self._self_supervision is not None
        self._self_supervision.after_update()
        if (loss := self._self_supervision.loss) is not None:
            self.algorithm.logger.record("train/self_supervised_loss", loss)

    # --- acting and learning

    def wrap_envs(self, envs: VectorEnv) -> SB3VecEnv:
        """Return `envs` as a VecEnv with the observations of this agent, for example for SB3's EvalCallback."""
        return SB3VecEnv(envs, self.features)

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) or (n,) for observations as the vector env returned them."""
        previous = self._history.step(self.features.images(observation), self._begins)
        inputs = self.features(observation, previous)
        self._begins = None
        if not explore:  # nothing is drawn
            return self._envs.to_env_actions(self.algorithm.predict(inputs, deterministic=True)[0])
        with self._randomness.active():
            return self._envs.to_env_actions(self.algorithm.predict(inputs)[0])

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes: the first images of an episode have no previous ones."""
        if mask is None:
            self._history.clear()
            self._begins = None
        else:
            begins = np.array(mask, bool)
            self._begins = begins if self._begins is None else self._begins | begins

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
        if self.encoder.mode == "cotrain" and self._self_supervision is None:
            raise UsageError(
                "encoder cotrain needs time steps recorded before the agent, got none; give --stream STREAM"
            )
        algorithm = self.algorithm
        if isinstance(algorithm, OffPolicyAlgorithm):
            if self._buffer is None:
                raise UsageError(
                    f"{self.name} replays a stream and needs a Recorder as envs, got {type(envs).__name__}; "
                    "use Recorder.create(envs, path)"
                )
            if self._buffer.empty:  # at the start, in another stream, or in one that lost time steps
                earliest = algorithm.num_timesteps + (self._buffer.n_steps + 1) * envs.num_envs
                algorithm.learning_starts = max(algorithm.learning_starts, earliest)
        self._target_steps += steps
        remaining = self._target_steps - algorithm.num_timesteps
        if remaining <= 0:
            return
        user_callbacks = resolve_callbacks((*self._callbacks, *callbacks), self)
        algorithm.set_logger(Logger(None, [] if logger is None else [MetricWriter(logger)]))
        with self._randomness.active(), one_thread(is_small(algorithm.policy.parameters())):
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
        algorithm, loss = self.algorithm, self._self_supervision
        started = algorithm._last_obs is not None
        return {
            "training": get_training_state(algorithm),
            "target_steps": self._target_steps,
            "randomness": self._randomness.get_checkpoint(),
            "actions": generator_state(algorithm.action_space.np_random),
            "replay": None if self._buffer is None else self._buffer.get_checkpoint(),
            "envs": self._envs.get_checkpoint() if started else None,
            "episode_starts": np.array(algorithm._last_episode_starts) if started else None,
            "episodes": get_episodes(algorithm),
            "self_supervision": None if loss is None else loss.get_checkpoint(),
            "history": self._history.get_checkpoint(),
            "begins": None if self._begins is None else self._begins.copy(),
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
        if self._self_supervision is not None:
            self._self_supervision.set_checkpoint(tree["self_supervision"])
        self._history.set_checkpoint(tree["history"])
        self._begins = None if tree["begins"] is None else np.array(tree["begins"], bool)

    # --- files

    def save(self, folder: str | Path) -> None:
        """Write sb3.json, sb3.safetensors and, of a frozen or cotrained world model, the folder `representation`."""
        cotrained = None if self._self_supervision is None else self._self_supervision.trainer.model
        files.save(
            Path(folder), self.name, self.seed, self.settings, self.features.representation or cotrained,
            self.encoder.initial, self.algorithm,
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

        If the agent trains its encoder, or observes latent and numbers, the zip can be loaded where robossl is
        installed, because it names classes of robossl.
        """
        files.export_zip(self.algorithm, Path(path))
