"""Principal component analysis of recorded observations, in batches, as the weights of a linear encoder.

Source: Ross et al., "Incremental Learning for Robust Visual Tracking", IJCV 2008: the components so far, weighted by
their singular values, are decomposed together with the next batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.streams import Stream
from robossl.world_model.fixed_encoders import LinearEncoder
from robossl.world_model.model import WorldModel

_BATCH = 512  # windows of one transition
_BATCHES = 32
_BATCHES_WITH_IMAGES = 16
_SPARE = 64  # components beyond those that are needed, so that the last ones are accurate
_DOUBLE_DIM = 1024  # values of a row up to which the precision is double
_MIN_VARIANCE = 1e-10  # of a component over the largest one; a smaller one is rounding


class IncrementalPca:
    """Mean and first components of rows that arrive in batches; exact if all components fit."""

    def __init__(self, dim: int, components: int) -> None:
        """Start without rows of `dim` values; keep so many components."""
        self._kept, self.count, self.total = min(dim, components + _SPARE), 0, 0.0
        dtype = torch.float64 if dim <= _DOUBLE_DIM else torch.float32
        self.mean = torch.zeros(dim, dtype=dtype)
        self._weighted = torch.zeros(0, dim, dtype=dtype)  # components times singular values

    def add(self, rows: Tensor) -> None:
        """Add rows (N, dim)."""
        rows = rows.to(self.mean)
        added, mean = len(rows), rows.mean(0)
        correction = (self.count * added / (self.count + added)) ** 0.5 * (self.mean - mean)
        stacked = torch.cat([self._weighted, rows - mean, correction[None]])
        self.total += float((rows - mean).square().sum() + correction.square().sum())
        if len(stacked) > stacked.shape[1]:  # the smaller of the two products
            values, vectors = torch.linalg.eigh(stacked.T @ stacked)
            weighted = (vectors * values.clamp_min(0).sqrt()).T[-self._kept :]
        else:
            _, vectors = torch.linalg.eigh(stacked @ stacked.T)
            weighted = vectors[:, -self._kept :].T @ stacked
        self._weighted = weighted.flip(0)
        self.mean = (self.count * self.mean + added * mean) / (self.count + added)
        self.count += added

    def components(self, number: int) -> tuple[Tensor, Tensor]:
        """Return at most `number` components (k, dim) of unit length and their variances (k,), largest first.

        Components without variance are left out; the largest entry of each is positive.
        """
        variance = self._weighted.square().sum(1) / max(self.count, 1)
        used = variance[:number] > _MIN_VARIANCE * variance.max()
        weighted, variance = self._weighted[:number][used], variance[:number][used]
        unit = weighted / weighted.norm(dim=1, keepdim=True)
        sign = torch.gather(unit, 1, unit.abs().argmax(1, keepdim=True)).sign()
        return unit * sign, variance


@torch.no_grad()
def fit_pca(model: WorldModel, stream: Stream, seed: int) -> None:
    """Set the linear encoder of `model` to the principal components of the train split of `stream`.

    The vector, each image and its change have the same total variance. One common factor gives the used dimensions of
    z a mean variance of 1; dimensions beyond the rank of the observations are 0. The explained fraction of the variance
    is stored in the metadata of the model.

    Raises:
        UsageError: The observations are constant.
    """
    encoder, random = model.encoder, generator(seed, "world", "pca")
    assert isinstance(encoder, LinearEncoder)
    scale = None
    images = bool(model.observation_processor.images)
    pca = IncrementalPca(sum(encoder.blocks), model.latent_dim)
    for _ in range(_BATCHES_WITH_IMAGES if images else _BATCHES):
        rows = _rows(model, encoder, stream, random)
        if scale is None:
            scale = _block_scale(rows, encoder.blocks)
        pca.add(rows * scale)
    assert scale is not None
    components, variance = pca.components(model.latent_dim)
    if len(components) == 0:
        raise UsageError("world_model.encoder pca: expected observations that vary, got constant ones")
    encoder.weight.zero_()
    encoder.weight[: len(components)] = (components / variance.mean().sqrt()).to(encoder.weight)
    encoder.mean.copy_(pca.mean / scale.to(pca.mean))
    encoder.scale.copy_(scale)
    model.metadata["pca_explained_variance"] = float(variance.sum() * pca.count / pca.total)


def _rows(model: WorldModel, encoder: LinearEncoder, stream: Stream, random: object) -> Tensor:
    """Return the inputs (N, I) of the encoder in random transitions of the train split."""
    processor = model.observation_processor
    window = stream.windows(_BATCH, 1, random, split="train")  # type: ignore[arg-type]
    leaves = processor.select(window.observation)
    vector = processor.normalize(leaves)[:, 1] if processor.vectors else None
    pairs = {path: processor.image(path, leaves[path]) for path in processor.images}
    return encoder.inputs(vector, {path: (image[:, 1], image[:, 0]) for path, image in pairs.items()}).cpu()


def _block_scale(rows: Tensor, blocks: list[int]) -> Tensor:
    """Return factors (I,) that give each block of the inputs a total variance of 1."""
    variances = [part.var(0, correction=0).sum() for part in rows.split(blocks, 1)]
    factors = [1 / v.sqrt() if v > 0 else torch.ones_like(v) for v in variances]
    return torch.cat([factor.expand(size) for factor, size in zip(factors, blocks)])
