"""Fit of goal heads: readout, temporal distance and inverse policy from one reward-free stream."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.seeding import generator
from robossl.core.spaces import format_space
from robossl.streams import Stream
from robossl.world_model.data_validation import check_spaces_match
from robossl.world_model.goal_heads.heads import DEFAULT_UPDATES, MAX_STEPS, GoalHeads, goal_box
from robossl.world_model.goal_heads.latent_table import LatentTable, encode_stream
from robossl.world_model.model import WorldModel

BATCH_SIZE = 512
LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-4
_IMAGINED_STEPS = 12  # [steps] longest imagined rollout whose latents train the distance and the readout
_IMAGINED_STARTS = 4096
_RANDOM_GOALS = 0.25  # fraction of the goals that are drawn from any episode, for the distance
_REPORT_EVERY = 50  # [updates]
_VALIDATION_ROWS = 20_000
_CONSTANT = 1e-6  # a goal with a smaller relative standard deviation is constant


def create_goal_heads(model: WorldModel, max_steps: int = MAX_STEPS, seed: int = 0) -> GoalHeads:
    """Return heads with random weights for a model; UsageError if its env has goals that are no Box."""
    goals = goal_box(model.observation_space)
    goal_dim = model.latent_dim if goals is None else int(np.prod(goals.shape))
    heads = GoalHeads(
        model.latent_dim,
        model.action_processor.dim,
        goal_dim,
        goals is not None,
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
        training = _Training(model, heads, table, seed, updates, batch_size)
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

    def __init__(
        self,
        model: WorldModel,
        heads: GoalHeads,
        table: LatentTable,
        seed: int,
        updates: int,
        batch_size: int,
    ) -> None:
        self.model, self.heads, self.batch_size = model, heads, batch_size
        self.random = generator(seed, "goal heads", "batches")
        self.pairs = GoalPairs(heads, table, self.random)
        self.imagined_z, self.imagined_rows = imagine_table(model, table, self.random)
        self.action_scale = _action_scale(model, table)
        self.parameters = list(heads.networks.parameters())
        fused = model.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=fused
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, updates)

    def run(self, count: int) -> dict[str, float]:
        """Run gradient steps; return the mean of each loss."""
        history = torch.stack([self._step() for _ in range(count)]).mean(0).tolist()
        if not np.isfinite(history).all():
            raise OperationError(
                "the loss of the goal heads is not finite; check the observations and the world model"
            )
        return dict(zip(("inverse", "distance", "readout"), history))

    def _step(self) -> Tensor:
        losses = [self._inverse_loss(), *self._distance_losses()]
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        self.optimizer.step()
        self.schedule.step()
        return torch.stack(losses).detach()

    def _inverse_loss(self) -> Tensor:
        pairs, heads = self.pairs, self.heads
        rows, steps = pairs.draw(self.batch_size, pairs.starts, 1)
        output = heads.inverse(
            pairs.table.z[rows], pairs.goals[rows], pairs.goals[rows + steps], steps.float()
        )
        return inverse_loss(self.model, output, pairs.table.action[rows], self.action_scale)

    def _distance_losses(self) -> tuple[Tensor, Tensor]:
        """Return the losses of distance and readout; half of the latents are imagined."""
        pairs, heads, half = self.pairs, self.heads, self.batch_size // 2
        rows, steps = pairs.draw(half, pairs.starts, 0)
        chosen = torch.from_numpy(self.random.integers(len(self.imagined_z), size=half))
        later, later_steps = pairs.draw(half, self.imagined_rows[chosen.numpy()], 0, sample=False)
        z = torch.cat([pairs.table.z[rows], self.imagined_z[chosen.to(heads.device)]])
        rows, steps = torch.cat([rows, later]), torch.cat([steps, later_steps]).float()
        goal, target = pairs.goals[rows + steps.long()], steps.log1p()
        count = int(_RANDOM_GOALS * len(rows))
        if count:
            other = torch.from_numpy(self.random.integers(len(pairs.goals), size=count)).to(heads.device)
            goal[:: len(rows) // count][:count] = pairs.goals[other]
            target[:: len(rows) // count][:count] = math.log1p(2 * heads.max_steps)
        distance = (heads.log_distance(z, goal) - target).square().mean()
        readout = (heads.achieved(z) - pairs.goals[rows]).square().mean() if heads.has_goals else distance * 0
        return distance, readout


class GoalPairs:
    """Pairs of a time step and a later time step of the same episode."""

    def __init__(self, heads: GoalHeads, table: LatentTable, random: np.random.Generator) -> None:
        self.table, self.starts, self.random = table, table.starts, random
        self.max_steps, self.device = heads.max_steps, heads.device
        self.goals = heads.normalize_goal(table.goal) if heads.has_goals else table.z  # (N, G)

    def draw(
        self, count: int, candidates: np.ndarray, shortest: int, sample: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return rows (count,) and steps (count,) to their goals, uniform from `shortest` to K or the episode's end.

        Args:
            count: Number of pairs.
            candidates: Rows to draw from; without `sample`, the rows themselves (count,).
            shortest: Smallest number of steps.
            sample: Whether to draw.
        """
        rows = candidates[self.random.integers(len(candidates), size=count)] if sample else candidates
        longest = np.minimum(self.table.steps_left[rows], self.max_steps)
        steps = shortest + np.floor(self.random.random(count) * (longest - shortest + 1)).astype(np.int64)
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(steps).to(self.device)


@torch.no_grad()
def imagine_table(
    model: WorldModel, table: LatentTable, random: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Return latents (M, Z) imagined with recorded actions from earlier steps, and the rows (M,) that they predict."""
    steps = _IMAGINED_STEPS
    while steps > 1 and not (table.steps_left >= steps).any():
        steps -= 1
    candidates = np.flatnonzero(table.steps_left >= steps)
    starts = candidates[random.integers(len(candidates), size=min(_IMAGINED_STARTS, len(candidates)))]
    z = table.z[torch.from_numpy(starts).to(model.device)]
    latents, rows = [], []
    for t in range(steps):
        z = model.step(z, table.action[torch.from_numpy(starts + t).to(model.device)], "first")
        latents.append(z)
        rows.append(starts + t + 1)
    return torch.cat(latents), np.concatenate(rows)


def inverse_loss(model: WorldModel, output: Tensor, action: Tensor, scale: Tensor) -> Tensor:
    """Return the mean squared error in units of the variance of the actions; for Discrete the cross-entropy."""
    if model.action_processor.discrete:
        return F.cross_entropy(output, action.argmax(-1))
    return ((output - action) / scale).square().mean()


def _action_scale(model: WorldModel, table: LatentTable) -> Tensor:
    """Return the standard deviation (A,) of the recorded actions; 1 where it is 0."""
    std = table.action[torch.from_numpy(table.starts).to(model.device)].std(0, correction=0)
    return torch.where(std > _CONSTANT, std, torch.ones_like(std))


@torch.no_grad()
def evaluate_heads(model: WorldModel, heads: GoalHeads, table: LatentTable, seed: int) -> dict[str, float]:
    """Return the explained variance of each head on a table of held-out episodes.

    Returns:
        `readout_r2` (only with goals), `distance_r2` of log(1 + steps), and `inverse_r2` of the actions, for Discrete
        `inverse_accuracy`.
    """
    pairs = GoalPairs(heads, table, generator(seed, "goal heads", "validation"))
    rows, steps = pairs.draw(4 * BATCH_SIZE, pairs.starts, 1)
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
