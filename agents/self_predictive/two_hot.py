"""Two-hot encoding of rewards: a number becomes two weights on neighboring bins, on a logarithmic scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_BINS = 65
_LIMIT = 10.0  # bins reach from symexp(-10) to symexp(10), about 22,000


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Return sign(x) (exp(|x|) - 1), the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


def bins() -> Tensor:
    """Return the values of the bins (65,)."""
    return symexp(torch.linspace(-_LIMIT, _LIMIT, NUM_BINS))


def two_hot(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower of the two bins (...,) int64 and the weight of the upper one (...,) of values (...,).

    `(1 - weight) * bins[lower] + weight * bins[lower + 1]` is the value, within the range of the bins.
    """
    position = (symlog(values).clamp(-_LIMIT, _LIMIT) + _LIMIT) * (NUM_BINS - 1) / (2 * _LIMIT)
    lower = position.floor().clamp(0, NUM_BINS - 2)
    edges = symexp(torch.stack([lower, lower + 1]) * (2 * _LIMIT) / (NUM_BINS - 1) - _LIMIT)
    weight = ((values - edges[0]) / (edges[1] - edges[0])).clamp(0, 1)
    return lower.long(), weight


def decode(logits: Tensor) -> Tensor:
    """Return the expected value (...,) of logits (..., 65)."""
    return logits.softmax(-1) @ bins().to(logits)


def cross_entropy(logits: Tensor, values: Tensor) -> Tensor:
    """Return the cross-entropy (...,) between logits (..., 65) and the two-hot encoding of values (...,)."""
    lower, weight = two_hot(values)
    log_probability = F.log_softmax(logits, -1)
    pair = log_probability.gather(-1, torch.stack([lower, lower + 1], -1))  # (..., 2)
    return -(1 - weight) * pair[..., 0] - weight * pair[..., 1]
