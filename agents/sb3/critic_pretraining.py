"""Pre-training of critics: the layers before the value predict the change of the observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

_STATISTICS_BATCHES = 20  # that estimate the standard deviation of the change


def pretrain_critics(
    networks: Sequence[nn.Sequential],
    sample: Callable[[], Any],
    updates: int,
    learning_rate: float,
    generator: torch.Generator,
) -> list[float]:
    """Train all layers but the last of Q networks to predict the change from observation to next observation.

    The change is divided by its standard deviation. Each network has a separate linear head, which is dropped
    afterwards. No reward is needed.

    Args:
        networks: MLPs of observation and action (B, F + A).
        sample: Returns a batch with observations and next observations (B, F) and actions (B, A).
        updates: Gradient steps.
        learning_rate: Of Adam.
        generator: Random numbers of the heads' initial weights, on the CPU.

    Returns:
        The mean squared error, averaged over networks, of each update.
    """
    changes = torch.cat([_change(sample()) for _ in range(_STATISTICS_BATCHES)])
    scale = 1 / changes.std(0).clamp_min(1e-6)  # (F,)
    bodies = [network[:-1] for network in networks]
    heads = []
    for network in networks:
        last = network[-1]
        assert isinstance(last, nn.Linear)
        head = nn.utils.skip_init(  # draws nothing from the global generator
            nn.Linear, last.in_features, len(scale), device=last.weight.device
        )
        with torch.no_grad():
            weight = torch.empty(head.weight.shape).uniform_(-1, 1, generator=generator)
            head.weight.copy_(weight / math.sqrt(last.in_features))
            head.bias.zero_()
        heads.append(head)
    modules = nn.ModuleList([*bodies, *heads])
    optimizer = torch.optim.Adam(modules.parameters(), lr=learning_rate)
    losses = []
    for _ in range(updates):
        batch = sample()
        inputs, target = torch.cat([batch.observations, batch.actions], 1), _change(batch) * scale
        loss = torch.stack(
            [(head(body(inputs)) - target).square().mean() for body, head in zip(bodies, heads)]
        )
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(float(loss.mean().detach()))
    for parameter in modules.parameters():
        parameter.grad = None
    return losses


def _change(batch: Any) -> torch.Tensor:
    """Return the changes (B, F) of the observations of a batch."""
    return batch.next_observations - batch.observations
