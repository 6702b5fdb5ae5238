"""Loss of the embedding: prediction of its own future over an imagined rollout, masked after the end of an episode."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import two_hot
from .embedding import Embedding, Prediction
from .presets import SelfPredictiveConfig

_TEMPERATURE = 0.1  # of the contrastive loss
_EXCLUDED = 1e4  # subtracted from the logit of what is no candidate


class UnrollBatch(NamedTuple):
    """B windows of T steps; input_dim I, action_dim A."""

    inputs: Tensor  # (B, T + 1, I)
    action: Tensor  # (B, T, A) in [-1, 1]
    reward: Tensor  # (B, T)
    terminated: Tensor  # (B, T) 0 or 1
    mask: Tensor  # (B, T) 1 in the episode that the window begins in, else 0
    has_reward: Tensor  # (B,) 1 where the reward is known, else 0


def embedding_loss(
    embedding: Embedding, target: Embedding, batch: UnrollBatch, config: SelfPredictiveConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss and its unweighted terms by name.

    The rollout is open-loop: each step continues from the predicted z_s. The terms are means over the windows, summed
    over the T steps; steps after the end of the episode count as zero.
    """
    with torch.no_grad():
        next_z = target.encode(batch.inputs[:, 1:]).transpose(0, 1)  # (T, B, Z)
    action = batch.action.transpose(0, 1)  # (T, B, A)
    z, predictions = [embedding.encode(batch.inputs[:, 0])], []
    for step_action in action:
        predictions.append(embedding.predict(embedding.join(z[-1], step_action)))
        z.append(predictions[-1].next_z)
    predicted = Prediction(*(torch.stack(parts) for parts in zip(*predictions)))
    inferred = embedding.infer_action(torch.stack(z[:-1]), next_z)
    reward, terminated, mask = (
        x.transpose(0, 1) for x in (batch.reward, batch.terminated, batch.mask)
    )  # (T, B)
    errors = {  # (T, B)
        "next_z": (predicted.next_z - next_z).square().mean(-1),
        "contrastive": contrastive_error(predicted.next_z, next_z, mask),
        "reward": two_hot.cross_entropy(predicted.reward, reward) * batch.has_reward,
        "termination": F.binary_cross_entropy_with_logits(
            predicted.termination, terminated, reduction="none"
        ),
        "inverse": (inferred - action).square().mean(-1),
    }
    terms = {name: (error * mask).mean(1).sum() for name, error in errors.items()}
    loss = (
        terms["next_z"]
        + config.contrastive_weight * terms["contrastive"]
        + config.reward_weight * terms["reward"]
        + config.termination_weight * terms["termination"]
        + config.inverse_weight * terms["inverse"]
    )
    return loss, terms


def contrastive_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy (T, B) of finding each target (T, B, Z) among those of its step, by cosine similarity.

    Targets where `mask` (T, B) is 0 are no candidates. Source: van den Oord et al., "Representation Learning with
    Contrastive Predictive Coding" (InfoNCE), 2018.
    """
    similarity = F.normalize(predicted, dim=-1) @ F.normalize(target, dim=-1).transpose(1, 2)  # (T, B, B)
    logits = similarity / _TEMPERATURE - _EXCLUDED * (1 - mask[:, None])
    return -F.log_softmax(logits, -1).diagonal(dim1=1, dim2=2)
