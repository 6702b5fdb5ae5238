"""Training of the self-predictive agent: when which update is made, on which batch, and what is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.interfaces import MetricLogger
from robossl.core.seeding import generator, generator_state, restore_generator

from .embedding_loss import UnrollBatch
from .learner import Learner, ReturnBatch
from .presets import SelfPredictiveConfig
from .prioritized_replay import Replay, WindowArrays, multi_step_return


class Training:
    """Updates of a learner from its own steps and from a recorded stream.

    Every `target_update_interval` updates of actor and critic the targets are copied and as many updates of the
    embedding follow. Each batch is half from the own steps and half from the recorded stream, if both can be used.
    Values and policy are trained on rows with known reward only.
    """

    def __init__(
        self,
        learner: Learner,
        config: SelfPredictiveConfig,
        own: Replay | None,
        recorded: Replay | None,
        has_reward: bool,
        seed: int,
    ) -> None:
        """Create the training.

        Args:
            learner: What is trained.
            config: Settings.
            own: The steps of the agent; None if they are not recorded.
            recorded: A recorded stream, or None.
            has_reward: Whether the rewards of `recorded` are those of the task.
            seed: Seed of the replay.
        """
        self.learner, self.config, self.own, self.recorded = learner, config, own, recorded
        self.has_reward = has_reward
        self.num_updates = 0  # of actor and critic
        self.num_offline = 0  # calls of `update_offline`
        self._random = generator(seed, "replay")
        self._sum_abs_reward, self._num_rewards = (
            recorded.sum_abs_reward() if recorded is not None and has_reward else (0.0, 0)
        )
        self._terms: dict[str, list[Tensor]] = {}  # since the last line of metrics

    def add_rewards(self, rewards: np.ndarray) -> None:
        """Count rewards (k,) of own steps, for the scale."""
        self._sum_abs_reward += float(np.abs(rewards).sum())
        self._num_rewards += len(rewards)

    @property
    def can_update(self) -> bool:
        """Whether actor and critic have transitions with rewards to learn from."""
        return bool(self._rewarded())

    def update(self, step: int, logger: MetricLogger | None) -> None:
        """Make one update of actor and critic; before it, at every interval, those of the embedding.

        Args:
            step: Env steps so far, for the metrics.
            logger: Receives the means of the losses at every interval.
        """
        interval = self.config.target_update_interval
        if self.num_updates % interval == 0:
            self.log(step, logger)
            self._copy_targets()
            for _ in range(interval):
                self._update_embedding()
        self._update_actor_critic()
        self.num_updates += 1

    def update_offline(self, logger: MetricLogger | None) -> None:
        """Make one update from the recorded stream: `update`, or without rewards one of the embedding alone."""
        if self.has_reward:
            self.update(self.num_offline, logger)
        else:
            if self.num_offline % self.config.target_update_interval == 0:
                self.log(self.num_offline, logger)
                self._copy_targets()
            self._update_embedding()
        self.num_offline += 1

    def _copy_targets(self) -> None:
        """Copy the targets and set the scale of the rewards to their mean absolute value."""
        self.learner.copy_targets(self._sum_abs_reward / self._num_rewards if self._num_rewards else 1.0)

    # --- batches

    def _usable(self) -> list[Replay]:
        """Return the replays that hold a window of every length in use."""
        length = max(self.config.unroll_steps, self.config.return_steps)
        return [replay for replay in (self.own, self.recorded) if replay is not None and replay.ready(length)]

    def _rewarded(self) -> list[Replay]:
        """Return the usable replays whose rewards are known."""
        return [replay for replay in self._usable() if replay is self.own or self.has_reward]

    def _sample(self, replays: list[Replay], length: int) -> list[WindowArrays]:
        """Return a batch of windows in equal parts from the replays."""
        size, count = self.config.batch_size, len(replays)
        sizes = [(size + index) // count for index in range(count)]
        return [replay.sample(n, length, self._random) for replay, n in zip(replays, sizes)]

    def _tensor(self, arrays: list[np.ndarray]) -> Tensor:
        """Return the parts of a batch as one float32 tensor."""
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return torch.from_numpy(joined.astype(np.float32, copy=False)).to(self.learner.device)

    # --- updates

    def _update_embedding(self) -> None:
        replays = self._usable()
        parts = self._sample(replays, self.config.unroll_steps)
        known = [replay is self.own or self.has_reward for replay in replays]
        batch = UnrollBatch(
            self._tensor([part.inputs for part in parts]),
            self._tensor([part.action for part in parts]),
            self._tensor([part.reward for part in parts]),
            self._tensor([part.terminated for part in parts]),
            self._tensor([part.mask for part in parts]),
            self._tensor([np.full(len(part.lane), k) for part, k in zip(parts, known)]),
        )
        self._store(self.learner.update_embedding(batch))

    def _update_actor_critic(self) -> None:
        replays = self._rewarded()
        parts = self._sample(replays, self.config.return_steps)
        returns = [multi_step_return(p.reward, p.terminated, p.mask, self.config.gamma) for p in parts]
        batch = ReturnBatch(
            self._tensor([part.inputs[:, 0] for part in parts]),
            self._tensor([part.action[:, 0] for part in parts]),
            self._tensor([returned for returned, _, _ in returns]),
            self._tensor([discount for _, discount, _ in returns]),
            self._tensor(
                [p.inputs[np.arange(len(p.lane)), steps] for p, (_, _, steps) in zip(parts, returns)]
            ),
        )
        noise = self._random.standard_normal(tuple(batch.action.shape), np.float32)
        losses, errors = self.learner.update_actor_critic(batch, self._tensor([noise]))
        self._store(losses)
        if self.config.priority_exponent:
            ends = np.cumsum([len(part.lane) for part in parts])[:-1]
            for replay, part, error in zip(replays, parts, np.split(errors.cpu().numpy(), ends)):
                replay.sampler.update(part.lane, part.start, error)

    # --- metrics

    def _store(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._terms.setdefault(name, []).append(value)

    def log(self, step: int, logger: MetricLogger | None) -> None:
        """Log the means since the last call."""
        if self._terms and logger is not None:
            means = {f"train/{name}": float(torch.stack(v).mean()) for name, v in self._terms.items()}
            logger.scalars(step, {**means, "train/reward_scale": self.learner.reward_scale})
        self._terms = {}

    # --- checkpoints

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines future updates, except the streams."""
        return {
            "learner": self.learner.get_state(),
            "num_updates": self.num_updates,
            "num_offline": self.num_offline,
            "random": generator_state(self._random),
            "rewards": {"sum": self._sum_abs_reward, "count": self._num_rewards},
            "own": None if self.own is None else self.own.sampler.get_checkpoint(),
            "recorded": None if self.recorded is None else self.recorded.sampler.get_checkpoint(),
            "terms": {name: torch.stack(values).cpu().numpy() for name, values in self._terms.items()},
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self.learner.set_state(tree["learner"])
        self.num_updates, self.num_offline = int(tree["num_updates"]), int(tree["num_offline"])
        restore_generator(self._random, tree["random"])
        self._sum_abs_reward, self._num_rewards = (
            float(tree["rewards"]["sum"]),
            int(tree["rewards"]["count"]),
        )
        for name, replay in (("own", self.own), ("recorded", self.recorded)):
            if replay is not None and tree[name] is not None:
                replay.sampler.set_checkpoint(tree[name])
        self._terms = {name: list(torch.from_numpy(np.array(v))) for name, v in tree["terms"].items()}
