"""Fit of goal heads: readout, temporal distance and inverse policy from one reward-free stream."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.seeding import generator
from robossl.core.spaces import format_space, goal_box
from robossl.core.threads import is_small, one_thread
from robossl.streams import Stream
from robossl.world_model.data_validation import check_spaces_match
from robossl.world_model.goal_heads import DEFAULT_UPDATES
from robossl.world_model.goal_heads.goal_pairs import GoalPairs
from robossl.world_model.goal_heads.head_losses import HeadLosses, Losses
from robossl.world_model.goal_heads.heads import MAX_STEPS, GoalHeads
from robossl.world_model.goal_heads.latent_table import LatentTable, encode_stream
from robossl.world_model.model import WorldModel

BATCH_SIZE = 512
LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-4
_IMITATION = 0.4  # fraction of the updates in which the inverse policy only imitates
_REPORT_EVERY = 50  # [updates]
_VALIDATION_ROWS = 20_000
_CONSTANT = 1e-6  # a goal with a smaller relative standard deviation is constant


def create_goal_heads(model: WorldModel, max_steps: int = MAX_STEPS, seed: int = 0) -> GoalHeads:
    """Return heads with random weights for a model; UsageError if its env has goals that are no Box.

    Example:
        heads = robossl.world_model.goal_heads.create_goal_heads(model)  # untrained

    Args:
        model: The world model whose latents they read.
        max_steps: K [steps], longest distance in training.
        seed: Seed of the weights.
    """
    goals = goal_box(model.observation_space)
    goal_dim = model.latent_dim if goals is None else int(np.prod(goals.shape))
    heads = GoalHeads(
        model.latent_dim,
        model.action_processor.dim,
        goal_dim,
        goals is not None,
        model.action_processor.discrete,
        model.version,
        max_steps,
        seed,
    )
    heads.apply(lambda values: values.to(model.device))
    return heads


def fit_goal_heads(
    model: WorldModel,
    stream: Stream,
    updates: int = DEFAULT_UPDATES,
    seed: int = 0,
    progress: ProgressReporter | None = None,
    max_steps: int = MAX_STEPS,
    batch_size: int = BATCH_SIZE,
) -> GoalHeads:
    """Fit goal heads to the train split of a stream, and set them as `model.goal_heads`; rewards are not used.

    On a CPU the same seed and stream give bit-identical weights.

    Example:
        heads = robossl.world_model.goal_heads.fit_goal_heads(model, stream, updates=1500)
        model.save("models/reacher")

    Args:
        model: A frozen world model; it is not changed otherwise.
        stream: Recorded episodes; of a goal env with achieved goals.
        updates: Gradient steps.
        seed: Seed of weights and batches.
        progress: Receives the updates and the losses.
        max_steps: K [steps], longest distance between a time step and its goal.
        batch_size: Pairs of a time step and a goal, for each head.

    Raises:
        UsageError: The stream does not fit the model, its train split has no transition, or its goals are no Box.
        OperationError: A loss is not finite.
    """
    if updates < 1 or batch_size < 4:
        raise UsageError(
            f"goal heads: expected updates >= 1 and batch_size >= 4, got {updates} and {batch_size}"
        )
    check_spaces_match(model, stream.observation_space, stream.action_space, "the stream")
    heads = create_goal_heads(model, max_steps, seed)
    if heads.has_goals and goal_box(stream.observation_space) is None:
        raise UsageError(
            f"goal heads: expected a stream of a goal env, got observations {format_space(stream.observation_space)}"
        )
    progress = progress or NullProgress()
    progress.start("fit goal heads", updates, "updates")
    try:
        table = encode_stream(model, stream, "train", seed)
        _fit_normalizer(heads, table)
        random = generator(seed, "goal heads", "batches")
        losses = HeadLosses(model.frozen_copy(), heads, table, random, batch_size)
        training = _Training(heads, losses, updates)
        with one_thread(is_small(heads.networks.parameters())):
            for done in range(0, updates, _REPORT_EVERY):
                count = min(_REPORT_EVERY, updates - done)
                progress.update(count, **training.run(count))
    finally:
        progress.stop()
    heads = heads.frozen_copy()
    heads.networks.eval()
    try:
        heads.metrics = evaluate_heads(
            model, heads, encode_stream(model, stream, "validation", seed, _VALIDATION_ROWS), seed
        )
    except UsageError:  # the validation split is empty
        heads.metrics = {}
    model.goal_heads = heads
    return heads


def _fit_normalizer(heads: GoalHeads, table: LatentTable) -> None:
    """Set mean and scale of the goals; a constant goal has scale 1."""
    if not heads.has_goals:
        return
    mean, std = table.goal.mean(0), table.goal.std(0)
    scale = np.where(std > _CONSTANT * (1 + np.abs(mean)), std, 1.0)
    heads.set_normalizer(torch.as_tensor(mean), torch.as_tensor(scale))


class _Training:
    """Gradient steps on all heads with one optimizer; learning rate with cosine decay to 0."""

    def __init__(self, heads: GoalHeads, losses: HeadLosses, updates: int) -> None:
        self.losses, self.updates, self.done = losses, updates, 0
        parameters = list(heads.networks.parameters())
        fused = heads.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            parameters, lr=LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=fused
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, updates)

    def run(self, count: int) -> dict[str, float]:
        """Run gradient steps; return the mean of each loss."""
        means = torch.stack([self._step() for _ in range(count)]).mean(0).tolist()
        if not np.isfinite(means).all():
            raise OperationError(
                "the loss of the goal heads is not finite; check the observations and the world model"
            )
        return dict(zip(Losses._fields, means))

    def _step(self) -> Tensor:
        losses = torch.stack(self.losses.draw(improve=self.done >= _IMITATION * self.updates))
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        return losses.detach()


@torch.no_grad()
def evaluate_heads(model: WorldModel, heads: GoalHeads, table: LatentTable, seed: int) -> dict[str, float]:
    """Return the explained variance of each head on a table of held-out episodes.

    Returns:
        `readout_r2` (only with goals), `distance_r2` of log(1 + steps), and `inverse_r2` of the actions, for Discrete
        `inverse_accuracy`.
    """
    pairs = GoalPairs(heads, table, generator(seed, "goal heads", "validation"))
    rows, steps = pairs.draw(4 * BATCH_SIZE, shortest=1)
    z, goal, action = table.z[rows], pairs.goals[rows + steps], table.action[rows]
    metrics = {"distance_r2": _r2(heads.log_distance(z, goal), steps.float().log1p())}
    if heads.has_goals:
        metrics["readout_r2"] = _r2(heads.achieved(z), pairs.goals[rows])
    output = heads.inverse(z, pairs.goals[rows], goal, steps.float())
    if model.action_processor.discrete:
        metrics["inverse_accuracy"] = float((output.argmax(-1) == action.argmax(-1)).float().mean())
    else:
        metrics["inverse_r2"] = _r2(output, action)
    return metrics


def _r2(prediction: Tensor, target: Tensor) -> float:
    """Return the explained fraction of the total variance; 0 without variance."""
    total = float((target - target.mean(0)).square().mean())
    return 1 - float((prediction - target).square().mean()) / total if total > 1e-12 else 0.0
