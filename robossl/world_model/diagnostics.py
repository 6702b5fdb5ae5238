"""Diagnostics of a world model on held-out windows: metrics with their baselines, and messages about problems."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator
from robossl.core.spaces import leaves
from robossl.core.statistics import effective_rank
from robossl.streams import Stream
from robossl.world_model.encoded_batch import EncodedBatch, encode_windows
from robossl.world_model.model import WorldModel

HORIZONS = (1, 2, 5, 10, 25)  # [steps]
NO_PROBLEMS = "no problems found: predictions, inferred actions and latents are above their baselines"
_WINDOWS = 256
_REFERENCE = 2048  # transitions of the train split to fit the linear baseline of inverse dynamics
_WINDOW_BYTES, _MIN_WINDOWS = 1 << 30, 16  # windows of large images are fewer, so that they fit in the memory
_DEAD_STD = 1e-2  # a latent dimension with a smaller standard deviation is dead; normal is about 1
# Collapse: the rank of the variance of z is below _MIN_VARIANCE_RANK, or below this fraction of the rank of the
# observations, which may have only two dimensions.
_MIN_VARIANCE_RANK = 2.0
_MIN_RANK_FRACTION = 0.75
_RIDGE = 1e-3  # times the mean variance


@torch.no_grad()
def compute_diagnostics(model: WorldModel, stream: Stream, seed: int = 0) -> dict[str, Any]:
    """Return the metrics of a model by name, and under `messages` a list of texts about problems.

    Errors are mean squares in latent space; a skill is 1 - error / baseline error.

    Args:
        model: The world model.
        stream: Windows come from its validation split, or from train if validation is empty.
        seed: Seed of the windows.
    """
    batch, split = _draw_windows(model, stream, seed)
    length = 1 + bool(model.observation_processor.images)
    random = generator(seed, "world", "health", "train")
    count = _window_count(stream, _REFERENCE, length)
    reference = encode_windows(model, stream.windows(count, length, random, split="train"), batch.random)
    metrics = {
        **_latent_metrics(batch),
        **_forward_metrics(batch, model, seed),
        **_inverse_metrics(batch, model, reference),
    }
    messages = _messages(metrics, model.latent_dim, _min_rank(batch))
    if split != "validation":
        messages.append("no validation episode yet: the metrics are those of training episodes")
    return {**metrics, "messages": messages}


def _window_count(stream: Stream, most: int, length: int) -> int:
    """Return the number of windows of `length` actions to read: `most`, or fewer if their observations are large."""
    parts = leaves(stream.observation_space).values()
    row = sum(math.prod(part.shape or ()) * np.dtype(part.dtype).itemsize for part in parts)  # [bytes]
    return min(most, max(_WINDOW_BYTES // (row * (length + 1) + 1), _MIN_WINDOWS))


def _draw_windows(model: WorldModel, stream: Stream, seed: int) -> tuple[EncodedBatch, str]:
    """Return windows of the longest possible horizon, and their split."""
    random = torch.Generator().manual_seed(derive(seed, "world", "health"))
    extra = int(bool(model.observation_processor.images))
    last_error: UsageError | None = None
    for split in ("validation", "train"):
        for steps in reversed(HORIZONS):
            try:
                window_random = generator(seed, "world", "health")
                count = _window_count(stream, _WINDOWS, steps + extra)
                window = stream.windows(count, steps + extra, window_random, split=split)
                return encode_windows(model, window, random), split
            except UsageError as error:
                last_error = error
    assert last_error is not None
    raise last_error


def _latent_metrics(batch: EncodedBatch) -> dict[str, float]:
    z = batch.z[batch.observation_mask > 0]  # (N, Z)
    std = (z - z.mean(0)).square().mean(0).sqrt()
    return {
        "effective_rank": effective_rank(z.cpu().double().numpy()),
        "variance_rank": effective_rank(z.cpu().double().numpy(), power=2),
        "latent_std_mean": float(std.mean()),
        "latent_std_min": float(std.min()),
        "dead_dimensions": float((std < _DEAD_STD).sum()),
    }


def _min_rank(batch: EncodedBatch) -> float:
    """Return the rank of the variance below which the latent counts as collapsed."""
    if batch.images:
        return _MIN_VARIANCE_RANK
    vectors = batch.vector[batch.observation_mask > 0].cpu().double().numpy()
    return min(_MIN_VARIANCE_RANK, _MIN_RANK_FRACTION * effective_rank(vectors, power=2))


def _forward_metrics(batch: EncodedBatch, model: WorldModel, seed: int) -> dict[str, float]:
    """Return open-loop errors and those of two baselines: no change, and the actions of other windows."""
    steps = batch.action.shape[1]
    order = torch.from_numpy(generator(seed, "world", "shuffle").permutation(len(batch.z))).to(batch.z.device)
    predicted, shuffled = (_open_loop(model, batch.z[:, 0], a) for a in (batch.action, batch.action[order]))
    metrics: dict[str, float] = {}
    for k in (horizon for horizon in HORIZONS if horizon <= steps):
        valid = batch.mask[:, k - 1] > 0
        if not bool(valid.any()):
            break
        target = batch.z[valid, k]
        error, no_change_error, shuffled_error = (
            float((prediction[valid] - target).square().mean())
            for prediction in (predicted[k], batch.z[:, 0], shuffled[k])
        )
        if k == 1:
            metrics |= {
                "forward_error": error,
                "no_change_error": no_change_error,
                "shuffled_actions_error": shuffled_error,
            }
        metrics[f"forward_skill_{k}"] = 1 - error / max(no_change_error, 1e-12)
        metrics[f"shuffled_skill_{k}"] = 1 - shuffled_error / max(no_change_error, 1e-12)
    return metrics


def _open_loop(model: WorldModel, z: Tensor, action: Tensor) -> list[Tensor]:
    latents = [z]
    for t in range(action.shape[1]):
        latents.append(model.step(latents[-1], action[:, t]))
    return latents


def _inverse_metrics(batch: EncodedBatch, model: WorldModel, reference: EncodedBatch) -> dict[str, float]:
    """Return R2 of inferred actions (for Discrete, of their probabilities) and of a linear map of z alone."""
    valid = batch.mask > 0
    now, after, action = batch.z[:, :-1][valid], batch.z[:, 1:][valid], batch.action[valid]  # (N, ...)
    inferred = model.inverse(torch.cat([now, after - now], -1))
    if model.action_processor.discrete:
        inferred = inferred.softmax(-1)
    valid_reference = reference.mask[:, 0] > 0
    from_z = _ridge_predict(reference.z[valid_reference, 0], reference.action[valid_reference, 0], now)
    metrics = {"inverse_r2_from_z": _r2(from_z, action)}
    if "inverse" in model.config.weights():
        metrics["inverse_r2"] = _r2(inferred, action)
        metrics["inverse_excess_r2"] = metrics["inverse_r2"] - max(metrics["inverse_r2_from_z"], 0.0)
    return metrics


def _ridge_predict(x: Tensor, y: Tensor, new_x: Tensor) -> Tensor:
    """Return the linear prediction of y at `new_x`, fitted to x and y."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    gram = (x - x_mean).T @ (x - x_mean)
    gram = gram + _RIDGE * gram.diagonal().mean().clamp_min(1e-8) * torch.eye(len(gram), device=x.device)
    return (new_x - x_mean) @ torch.linalg.solve(gram, (x - x_mean).T @ (y - y_mean)) + y_mean


def _r2(prediction: Tensor, target: Tensor) -> float:
    """Return the explained fraction of the total variance of all dimensions; 0 without variance."""
    total = float((target - target.mean(0)).square().mean())
    return 1 - float((prediction - target).square().mean()) / total if total > 1e-8 else 0.0


def _messages(metrics: dict[str, float], latent_dim: int, min_rank: float) -> list[str]:
    messages = []
    rank, dead = metrics["variance_rank"], metrics["dead_dimensions"]
    if rank < min_rank or metrics["latent_std_mean"] < _DEAD_STD:
        messages.append(
            f"COLLAPSED: the variance of the {latent_dim} latent dimensions has an effective rank of {rank:.1f}; z "
            "contains almost no information about the observation"
        )
    elif dead > latent_dim / 2:
        messages.append(f"{dead:.0f} of {latent_dim} latent dimensions are constant")
    skill = metrics.get("forward_skill_1", np.nan)
    if skill < 0:
        messages.append("the prediction of one step is worse than the no-change baseline")
    if skill > 0.1 and metrics["shuffled_skill_1"] > skill - 0.02:
        messages.append(
            "predictions with other actions are as good: actions have almost no effect on predictions"
        )
    if metrics.get("inverse_r2", 1.0) < 0.05:
        messages.append("the model cannot infer the action between two consecutive observations")
    elif metrics.get("inverse_excess_r2", 1.0) < 0.05:
        messages.append("the model infers actions from the state alone, not from its change")
    return messages or [NO_PROBLEMS]
