"""Training of an actor-critic on recorded and imagined transitions, with rewards learned from labeled steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from robossl.core.seeding import derive, generator, generator_state, restore_generator
from robossl.streams import Stream
from robossl.streams.relabel import RewardFunction
from robossl.streams.sampling import LaneRange
from robossl.world_model import RewardModel, WorldModel, WorldModelEnv
from robossl.world_model.encoded_batch import encode_windows
from robossl.world_model.env import disagreement_threshold
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED
from robossl.world_model.labeled_steps import LabeledSteps, read_labeled_steps, window_rewards

from ..sb3.hindsight import HindsightRelabeler
from .actor_critic import ActorCritic, Transitions
from .latent_state import LatentState

_STARTS = 16_384  # time steps at which an imagined episode can start
_RING_STEPS = 64  # imagined vector steps that are kept
_REFIT_SHARE = 0.25  # of the first fit's gradient steps, in a later one that begins with the last weights
_THRESHOLD_STEPS = 25  # [steps] largest open-loop prediction for the disagreement limit


class Source(NamedTuple):
    """A stream that the learner reads."""

    stream: Stream
    lanes: LaneRange | None  # None: all
    labeled_steps: int | None  # number of steps whose reward may be used; None: all
    reward: RewardFunction | None = None  # computes the rewards in place of the recorded ones


@dataclass(frozen=True)
class LearnerConfig:
    """How much is imagined, and how."""

    batch_size: int = 256
    real_share: float = 0.5  # of a batch; the rest is imagined
    horizon: int = 20  # [steps] of an imagined episode
    disagreement_quantile: float = (
        0.999  # of recorded predictions, at which an imagined episode ends; 1: the maximum
    )
    num_imagined_envs: int = 128
    hindsight: float = 0.8  # fraction of recorded transitions of a goal env that get another goal
    reward_updates: int = 2000  # of the reward model


class RewardLearner:
    """Reward model, imagined env and actor-critic. `fit` must be called before `update`.

    Of a stream of which only some steps are labeled, all transitions are replayed, with predicted rewards. The
    actor-critic is trained on rewards divided by the standard deviation of the labeled ones.

    Args:
        model: The frozen world model.
        actor_critic: Is trained on states of `LatentState`.
        config: How much is imagined, and how.
        seed: Seed of all draws.
    """

    def __init__(
        self, model: WorldModel, actor_critic: ActorCritic, config: LearnerConfig, seed: int
    ) -> None:
        self.model, self.actor_critic, self.config, self.seed = model, actor_critic, config, seed
        self.reward: RewardModel | None = None
        self.imagined: WorldModelEnv | None = None
        self.sources: list[Source] = []
        self.num_fits = 0
        self._random = generator(seed, "reward learner")
        self._ring: Transitions | None = None  # of R imagined transitions
        self._ring_next = 0  # row of the ring that is written next

    @property
    def state(self) -> LatentState:
        """Return the conversion of latents to states."""
        return LatentState(self.model, self.reward, None if self.imagined is None else self.imagined.goals)

    # --- reward model and imagined env

    def read_labels(self, sources: Sequence[Source]) -> LabeledSteps:
        """Return the labeled steps of all sources; raise UsageError if they are too few or do not vary."""
        parts = [
            read_labeled_steps(
                self.model,
                source.stream,
                source.labeled_steps,
                derive(self.seed, "labels", index),
                None if source.lanes is not None else "train",
                source.lanes,
                source.reward,
            )
            for index, source in enumerate(sources)
        ]
        labeled = LabeledSteps.join(parts)
        labeled.check()
        return labeled

    def fit(self, sources: Sequence[Source]) -> None:
        """Fit the reward model to the labels of all sources, and start imagined episodes in them."""
        labeled = self.read_labels(sources)
        seed = derive(self.seed, "fit", self.num_fits)
        updates = self.config.reward_updates
        if self.reward is not None:
            updates = math.ceil(_REFIT_SHARE * updates)
        self.reward = RewardModel(self.model, labeled, updates, seed, start=self.reward)
        self.sources, self.num_fits = list(sources), self.num_fits + 1
        self.imagined = self._make_imagined(seed)
        self.imagined.reset(seed=seed % 2**31)
        self._ring, self._ring_next = None, 0

    def _make_imagined(self, seed: int) -> WorldModelEnv:
        config = self.config
        stream = self.sources[0].stream
        limit = disagreement_threshold(
            self.model, stream, min(config.horizon, _THRESHOLD_STEPS), seed, config.disagreement_quantile
        )
        return WorldModelEnv(
            self.model, stream, config.num_imagined_envs, config.horizon, self.reward, limit, seed,
            AutoresetMode.DISABLED, "episode", _STARTS, "train" if self.sources[0].lanes is None else None,
        )  # fmt: skip

    # --- updates

    def update(self) -> dict[str, float]:
        """Imagine one step in every imagined env, take one gradient step, and return metrics."""
        batch_size = self.config.batch_size
        num_real = round(self.config.real_share * batch_size)
        parts = [self._real(num_real)] if num_real else []
        metrics = {}
        if num_real < batch_size:
            metrics = self._imagine()
            parts.append(self._draw_imagined(batch_size - num_real))
        batch = Transitions.join(parts)
        assert self.reward is not None
        return {**metrics, **self.actor_critic.update(batch._replace(reward=batch.reward / self.reward.std))}

    def _real(self, count: int) -> Transitions:
        """Return recorded transitions, equally many of each source."""
        shares = np.diff(np.linspace(0, count, len(self.sources) + 1).round().astype(int))
        return Transitions.join(
            [self._replay(source, int(share)) for source, share in zip(self.sources, shares) if share]
        )

    @torch.no_grad()
    def _replay(self, source: Source, count: int) -> Transitions:
        """Return recorded transitions of one source."""
        assert self.reward is not None
        first = int(bool(self.model.observation_processor.images))
        proposals: dict[str, Any] = {} if source.lanes is None else {"sampler": source.lanes}
        window = source.stream.windows(count, 1 + first, self._random, split=None, **proposals)
        batch = encode_windows(self.model, window, torch.Generator())
        z, action = batch.z, batch.action[:, 0]
        recorded = window_rewards(self.model, window, first, source.reward)
        reward = torch.as_tensor(recorded, dtype=torch.float32, device=z.device)
        if self.reward.goal_reward is not None:
            relabel = HindsightRelabeler(
                source.stream, self.reward.goal_reward, self.config.hindsight
            ).relabel
            observation, _ = relabel(window, self._random)
            achieved, desired = (
                np.asarray(observation[name])[:, first : first + 2] for name in (ACHIEVED, DESIRED)
            )
            goals = [{ACHIEVED: achieved[:, t], DESIRED: desired[:, t]} for t in (0, 1)]
            reward = self.reward.of_goals(*(self.state.scale(goals[1][name]) for name in (ACHIEVED, DESIRED)))
            states = [self.state.of_observation(z[:, t], goals[t]) for t in (0, 1)]
        else:
            states = [z[:, 0], z[:, 1]]
            if source.labeled_steps is not None:
                reward = self.reward.of_latents(z[:, 0], action)
        terminated = torch.as_tensor(window.terminated[:, first], dtype=torch.float32, device=z.device)
        return Transitions(states[0], action, reward, states[1], terminated)

    def _imagine(self) -> dict[str, float]:
        """Take one imagined step with the exploring policy and keep its transitions."""
        envs = self.imagined
        assert envs is not None
        before = self._imagined_state(envs)
        action = self.actor_critic.act(before, explore=True)
        env_action = self.model.action_processor.decode(action).cpu().numpy()
        _, reward, terminated, truncated, infos = envs.step(env_action)
        rewards, ends = (
            torch.as_tensor(values, dtype=torch.float32, device=before.device)
            for values in (reward, terminated)
        )
        self._keep(Transitions(before, action, rewards, self._imagined_state(envs), ends))
        if (ended := terminated | truncated).any():
            envs.reset(options={"reset_mask": ended})
        uncertain = infos["truncation_reason"] == "uncertainty"
        return {
            "imagined_reward": float(reward.mean()),
            "ended_by_uncertainty": float(uncertain.mean()),
            "ended_by_termination": float(terminated.mean()),
        }

    def _imagined_state(self, envs: WorldModelEnv) -> Tensor:
        if envs.goals is None:
            return envs.z
        return self.state.of_latents(envs.z, self.state.scale(envs.goals.desired[envs.start_index]))

    def _keep(self, new: Transitions) -> None:
        count = len(new.reward)
        if self._ring is None:
            self._ring = Transitions(*(values[:0] for values in new))
        if len(self._ring.reward) < _RING_STEPS * count:
            self._ring = Transitions.join([self._ring, new])
            return
        for kept, values in zip(self._ring, new):
            kept[self._ring_next : self._ring_next + count] = values
        self._ring_next = (self._ring_next + count) % len(self._ring.reward)

    def _draw_imagined(self, count: int) -> Transitions:
        assert self._ring is not None
        rows = torch.from_numpy(self._random.integers(len(self._ring.reward), size=count))
        return Transitions(*(values[rows.to(values.device)] for values in self._ring))

    # --- checkpoints and files

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines later updates, given the model and the streams."""
        return {
            "actor_critic": self.actor_critic.get_checkpoint(),
            "reward": None if self.reward is None else self.reward.get_checkpoint(),
            "imagined": None if self.imagined is None else self.imagined.get_checkpoint(),
            "num_fits": self.num_fits,
            "random": generator_state(self._random),
            "ring": None if self._ring is None else [values.cpu().numpy().copy() for values in self._ring],
            "ring_next": self._ring_next,
        }

    def set_checkpoint(self, tree: Mapping[str, Any], sources: Sequence[Source]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        self.actor_critic.set_checkpoint(tree["actor_critic"])
        self.num_fits, self.sources = (
            int(tree["num_fits"]),
            list(sources) if tree["reward"] is not None else [],
        )
        restore_generator(self._random, tree["random"])
        device = self.model.device
        self.reward = self.imagined = self._ring = None
        if tree["reward"] is not None:
            self.reward = RewardModel.from_checkpoint(self.model, tree["reward"])
            self.imagined = self._make_imagined(derive(self.seed, "fit", self.num_fits - 1))
            self.imagined.set_checkpoint(tree["imagined"])
        if tree["ring"] is not None:
            self._ring = Transitions(*(torch.tensor(np.array(values)).to(device) for values in tree["ring"]))
        self._ring_next = int(tree["ring_next"])

    def get_files(self) -> dict[str, Any]:
        """Return what acting needs: the weights, and in a goal env the predicted goals."""
        goals = None if self.imagined is None else self.imagined.goals
        return {
            "actor_critic": self.actor_critic.get_weights(),
            "reward": None if self.reward is None else self.reward.get_checkpoint(),
            "goals": None if goals is None else goals.get_checkpoint(),
        }
