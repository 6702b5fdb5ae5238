"""SAC in imagined rollouts of a world model, with rewards learned from labeled steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import Space, spaces
from gymnasium.vector import VectorEnv
from torch import Tensor

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import MetricLogger, NullLogger, NullProgress, Observation, ProgressReporter
from robossl.core.io import load_tree, save_tree
from robossl.core.seeding import derive, generator, generator_state, restore_generator
from robossl.core.spaces import format_space, is_image, model_inputs
from robossl.core.threads import is_small, one_thread
from robossl.rollout import StepResult
from robossl.streams import Recorder, Stream
from robossl.streams.relabel import RewardFunction
from robossl.streams.sampling import LaneRange
from robossl.world_model import RewardModel, WorldModel
from robossl.world_model.data_validation import check_spaces_match
from robossl.world_model.device import resolve
from robossl.world_model.goal_predictor import GoalPredictor

from .shared.actor_critic import ActorCritic, ActorCriticConfig
from .shared.latent_state import LatentState
from .shared.loop_agent import LoopAgent
from .shared.observation_encoder import batch_size
from .shared.reward_learner import LearnerConfig, RewardLearner, Source
from .shared.settings_file import read_settings, write_settings

_FORMAT = 1  # of settings.json
_LOG_INTERVAL = 500  # updates between two lines of metrics
_RETRY_INTERVAL = 100  # [env steps] between attempts to fit a reward model to the first own steps
_MAX_UPDATES_PER_STEP = 4.0  # more overfit the model


@dataclass(frozen=True)
class ImaginationConfig:
    """Settings of `imagination-sac`."""

    labeled_steps: int | None = None  # steps of the stream whose reward is used; None: all
    real_share: float = 0.5  # of a batch; the rest is imagined
    imagined_horizon: int = 20  # [steps]
    num_imagined_envs: int = 128
    disagreement_quantile: float = 0.999  # an imagined episode ends at this quantile; 1: the maximum
    hindsight: float = 0.8  # fraction of recorded transitions of a goal env that get another goal
    reward_updates: int = 2000  # of the first fit of the reward model; a quarter of it in each later fit
    batch_size: int = 256
    updates_per_step: float = 1.0  # gradient steps for each env step
    learning_starts: int = 500  # env steps before the first gradient step; 0 with a stream
    fit_interval: int = 2000  # [env steps] between two fits of the reward model
    hidden: tuple[int, ...] = (128, 128)  # of actor and critics
    num_critics: int = 5
    learning_rate: float = 1e-3
    gamma: float = 0.99
    target_rate: float = 0.01

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        object.__setattr__(self, "hidden", tuple(self.hidden))
        at_least_one = (
            "imagined_horizon", "num_imagined_envs", "reward_updates", "batch_size", "fit_interval", "num_critics",
        )  # fmt: skip
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("real_share", "disagreement_quantile", "hindsight", "gamma"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if not 0 < self.updates_per_step <= _MAX_UPDATES_PER_STEP:
            raise UsageError(
                f"updates_per_step: expected more than 0 and at most {_MAX_UPDATES_PER_STEP:g}, "
                f"got {self.updates_per_step}"
            )
        for name in ("learning_rate", "target_rate"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name}: expected more than 0, got {getattr(self, name)}")


class ImaginationSac(LoopAgent):
    """SAC on latents, trained on recorded transitions and on imagined ones.

    A frozen world model imagines; a reward model, fitted to labeled steps, predicts their reward. With a `stream` the
    agent can learn without env steps (`learn_offline`). In `learn` its own steps are labeled as well. Imagined episodes
    start at recorded time steps, each follows one head of the ensemble, and ends where the heads disagree.

    Attributes:
        config: The settings.
        learner: Reward model, imagined env and actor-critic.
    """

    name = "imagination-sac"
    replays_own_steps = True
    config_class: ClassVar[type[ImaginationConfig]] = ImaginationConfig
    needs_representation = True
    needs_reward = True
    offline_updates = 5000

    def __init__(
        self,
        envs: VectorEnv,
        representation: WorldModel | None = None,
        seed: int = 0,
        device: str = "auto",
        stream: Stream | None = None,
        reward: RewardFunction | None = None,
        updates_per_step: float | None = None,
        learning_starts: int | None = None,
        **settings: Any,
    ) -> None:
        """Create the agent.

        Args:
            envs: The envs to act in; a `Recorder` to learn in.
            representation: The world model, without images.
            seed: Seed of weights, exploration and replay.
            device: Device of the networks and the world model; `auto` keeps that of the world model.
            stream: Recorded time steps of these envs, labeled or partly labeled; None: only own steps.
            reward: Known reward, a function of (observation, action, next observation); replaces recorded rewards. It
                is not saved: a loaded agent acts the same, and learns from recorded rewards.
            updates_per_step: Gradient steps for each env step; None: that of `config_class`.
            learning_starts: Env steps before the first gradient step; None: that of `config_class`.
            settings: Other fields of `config_class`.

        Raises:
            UsageError: For unknown settings, unsupported spaces, no world model, or a stream without useful rewards.
        """
        given = {"updates_per_step": updates_per_step, "learning_starts": learning_starts}
        settings |= {name: value for name, value in given.items() if value is not None}
        self.check_settings(settings)
        self.config = self.config_class(**settings)
        self.check_spaces(envs.single_observation_space, envs.single_action_space, settings)
        if not isinstance(representation, WorldModel):
            got = "none" if representation is None else type(representation).__name__
            raise UsageError(
                f"{self.name} imagines in a world model; expected --representation MODEL, got {got}"
            )
        check_spaces_match(
            representation, envs.single_observation_space, envs.single_action_space, "this env"
        )
        super().__init__(envs, seed)
        self.stream, self.reward = stream, reward
        model = representation.frozen_copy()
        if device != "auto":
            model = model.to(resolve(device))
        action_dim, config = model.action_processor.dim, self.config
        sizes = ActorCriticConfig(
            config.hidden, config.num_critics, config.learning_rate, config.gamma, config.target_rate
        )
        actor_critic = ActorCritic(LatentState.size(model), action_dim, sizes, self.seed, model.device)
        imagination = LearnerConfig(
            config.batch_size, config.real_share, config.imagined_horizon, config.disagreement_quantile,
            config.num_imagined_envs, config.hindsight, config.reward_updates,
        )  # fmt: skip
        self.learner = RewardLearner(model, actor_critic, imagination, derive(self.seed, self.name))
        self._loaded_state: LatentState | None = None
        self._random = generator(self.seed, self.name, "first actions")
        self._num_updates, self._pending_updates = 0, 0.0
        self._next_fit = 0  # [env steps]
        self._offline = [] if stream is None else [Source(stream, None, self.config.labeled_steps, reward)]
        if self._offline:
            self.learner.read_labels(self._offline)  # raises before the work starts

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings; raise UsageError for a wrong one."""
        fields = [field.name for field in dataclasses.fields(cls.config_class)]
        for name in settings:
            if name not in fields:
                raise unknown_name_error(f"{cls.name} setting", name, fields)
        cls.config_class(**settings)

    @classmethod
    def check_spaces(cls, observations: Space, actions: Space, settings: Mapping[str, Any]) -> None:
        """Raise UsageError for observations or actions that the agent does not support with these settings."""
        if not cls._supports(actions, settings):
            raise UsageError(
                f"{cls.name}: expected Box actions with bounds, got {format_space(actions)}; for discrete ones use "
                "dqn, or mpc with value false and policy_samples 0"
            )
        if any(is_image(leaf) for leaf in model_inputs(observations).values()):
            raise UsageError(
                f"{cls.name}: expected vector observations without images, got {format_space(observations)}"
            )

    @classmethod
    def _supports(cls, actions: Space, settings: Mapping[str, Any]) -> bool:
        """Return whether the policy supports the actions: it needs their range."""
        return isinstance(actions, spaces.Box) and actions.is_bounded("both")

    @property
    def model(self) -> WorldModel:
        """Return the world model."""
        return self.learner.model

    @property
    def state(self) -> LatentState | None:
        """Return the conversion of latents to states; None before the reward model is fitted."""
        return self.learner.state if self.learner.reward is not None else self._loaded_state

    # --- acting

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) for any n; uniform ones before the reward model is fitted."""
        return self.act_policy(observation, explore)

    def act_policy(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Return the actions (n, *A) of the policy, without a search."""
        if self.state is None:
            return self._first_actions(observation)
        state = self.state.of_observation(self._encode(observation), observation)
        return self._to_env(self.learner.actor_critic.act(state, explore))

    @torch.no_grad()
    def _encode(self, observation: Observation) -> Tensor:
        return torch.as_tensor(self.model.encode(observation), device=self.model.device)

    def _first_actions(self, observation: Observation) -> np.ndarray:
        shape = (batch_size(observation), self.model.action_processor.dim)
        uniform = self._random.uniform(-1, 1, shape)
        return self._to_env(torch.as_tensor(uniform, dtype=torch.float32))  # of a Discrete the largest one

    def _to_env(self, action: Tensor) -> np.ndarray:
        """Return env actions (n, *A) of encoded actions (n, A)."""
        return self._clip(self.model.action_processor.decode(action.to(self.model.device)).cpu().numpy())

    def _clip(self, action: np.ndarray) -> np.ndarray:
        """Return env actions (n, *A) within the bounds, with the dtype of the space: sums round."""
        space = self.envs.single_action_space
        converted = action.astype(space.dtype)
        return np.clip(converted, space.low, space.high) if isinstance(space, spaces.Box) else converted

    # --- learning

    def learn_offline(
        self, updates: int, progress: ProgressReporter | None = None, logger: MetricLogger | None = None
    ) -> None:
        """Learn from the stream for `updates` gradient steps, without env steps."""
        if not self._offline:
            raise UsageError(
                f"{self.name}: expected a stream to learn offline, got none; give --stream STREAM"
            )
        progress = progress or NullProgress()
        with one_thread(self._is_small):
            if self.learner.reward is None:
                self.learner.fit(self._offline)
            for _ in range(updates):
                self._update(logger, self._num_updates + 1)
                progress.update(1)

    @property
    def _is_small(self) -> bool:
        """Return whether all networks are small, so that one thread is as fast as several."""
        networks = self.model, self.learner.actor_critic.actor, self.learner.actor_critic.critics
        return is_small(weight for network in networks for weight in network.parameters())

    def _learn_from_step(self, step: StepResult, logger: MetricLogger | None) -> None:
        """Fit the reward model if it is time, then take the gradient steps of this vector step."""
        assert isinstance(self.envs, Recorder)
        with one_thread(self._is_small):
            self._fit_and_update(self.envs, int(step.real.sum()), logger)

    def _fit_and_update(self, envs: Recorder, new_steps: int, logger: MetricLogger | None) -> None:
        num_steps = self._loop.num_steps
        starts = 0 if self._offline else self.config.learning_starts
        if num_steps >= max(self._next_fit, starts):
            wait = self.config.fit_interval if self._fit(envs) else _RETRY_INTERVAL
            self._next_fit = num_steps + wait
        if self.learner.reward is None:
            return
        self._pending_updates += self.config.updates_per_step * new_steps
        while self._pending_updates >= 1:
            self._pending_updates -= 1
            self._update(logger, num_steps)

    def _fit(self, envs: Recorder) -> bool:
        """Fit the reward model to all labels; return False if there are too few own ones, or they do not vary yet."""
        sources = self._sources(envs)
        if not sources:
            return False
        if not self._offline:
            try:
                self.learner.read_labels(sources)
            except UsageError:
                return False
        self.learner.fit(sources)
        return True

    def _sources(self, envs: Recorder) -> list[Source]:
        """Return the streams to learn from."""
        assert envs.stream is not None
        first, count = int(envs.lanes[0]), envs.num_envs
        has_steps = envs.stream.lengths[first : first + count].max() > 2
        own = [Source(envs.stream, LaneRange(first, count), None, self.reward)] if has_steps else []
        return [*self._offline, *own]

    def _update(self, logger: MetricLogger | None, step: int) -> None:
        metrics = self.learner.update()
        self._num_updates += 1
        if self._num_updates % _LOG_INTERVAL == 0:
            (logger or NullLogger()).scalars(
                step, {f"train/{name}": value for name, value in metrics.items()}
            )

    def set_representation(self, representation: WorldModel) -> None:
        """Switch to a newer version of the world model; the reward model is fitted to it."""
        if not isinstance(representation, WorldModel) or representation.latent_dim != self.model.latent_dim:
            raise UsageError(f"{self.name}: expected a world model with latent_dim {self.model.latent_dim}")
        self.learner.model = representation.frozen_copy().to(self.model.device)
        if self.learner.reward is not None:
            with one_thread(self._is_small):
                self.learner.fit(self.learner.sources)
            self._next_fit = self._loop.num_steps + self.config.fit_interval
        elif self._loaded_state is not None:
            self._loaded_state.model = self.model

    # --- checkpoints

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future, except the world model, the envs and the streams."""
        return {
            "learner": self.learner.get_checkpoint(),
            "loop": self._loop.get_checkpoint(),
            "random": generator_state(self._random),
            "num_sources": len(self.learner.sources),
            "num_updates": self._num_updates,
            "pending_updates": self._pending_updates,
            "next_fit": self._next_fit,
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`; the envs and streams must have been restored as well."""
        sources = self._sources(self.envs) if isinstance(self.envs, Recorder) else self._offline
        self.learner.set_checkpoint(tree["learner"], sources[: int(tree["num_sources"])])
        self._loop.set_checkpoint(tree["loop"])
        restore_generator(self._random, tree["random"])
        self._num_updates, self._pending_updates = int(tree["num_updates"]), float(tree["pending_updates"])
        self._next_fit = int(tree["next_fit"])

    # --- files

    def save(self, folder: str | Path) -> None:
        """Write agent settings, weights and the world model, in the subfolder `representation`."""
        folder = Path(folder)
        self.model.save(folder / "representation")
        settings = dataclasses.asdict(self.config) | {"hidden": list(self.config.hidden)}
        write_settings(folder / "settings.json", {"format": _FORMAT, "agent": self.name}, self.seed, settings)
        save_tree(folder / "weights.safetensors", self.learner.get_files())

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> ImaginationSac:
        """Return the agent that `save` wrote, ready to act in `envs`; in a `Recorder` it can continue to learn."""
        folder = Path(folder)
        header = {"format": _FORMAT, "agent": cls.name}
        seed, settings = read_settings(folder / "settings.json", header, cls.name)
        model = WorldModel.load(folder / "representation", device)
        agent = cls(envs, model, seed, device, None, **settings)
        tree = load_tree(folder / "weights.safetensors")
        agent.learner.actor_critic.set_weights(tree["actor_critic"])
        if tree["reward"] is not None:
            space, goals = agent.model.observation_space, None
            if tree["goals"] is not None:
                assert isinstance(space, spaces.Dict)
                goals = GoalPredictor.from_checkpoint(space, tree["goals"])
            reward = RewardModel.from_checkpoint(agent.model, tree["reward"])
            agent._loaded_state = LatentState(agent.model, reward, goals)
        return agent


AGENTS = {"imagination-sac": ImaginationSac}
