"""Is the world model well? Figures beside their floors, and the verdict in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator
from robossl.world_model.encoded_batch import EncodedBatch, encode_windows
from robossl.world_model.model import WorldModel

HORIZONS = (1, 2, 5, 10, 25)  # [steps]
_WINDOWS = 256
_REFERENCE = 2048  # transitions of train that the linear guess from z alone is fitted to
_STILL = 1e-2  # standard deviation below which a latent dimension is dead; one that lives has about 1
_LEAST_RANK = 2.0  # directions that a latent of a world uses at least,
_OF_OBSERVED = (
    0.75  # or this share of those that its observations use: a world of two numbers has no more than two
)
_RIDGE = 1e-3  # share of the mean variance added to the diagonal


@torch.no_grad()
def compute_diagnostics(model: WorldModel, stream: Any, seed: int = 0) -> dict[str, Any]:
    """Figures by name and `words`, from windows of the validation split (of train where that is empty).

    Errors are mean squares in latent space; a skill is 1 - error / error of the floor beside it.
    """
    batch, split = _windows(model, stream, seed)
    length = 1 + bool(model.observations.images)
    drawn = generator(seed, "world", "health", "train")
    reference = encode_windows(model, stream.windows(_REFERENCE, length, drawn, split="train"), batch.random)
    figures = {**_spread(batch), **_forward(batch, seed), **_inverse(batch, reference)}
    words = _verdict(figures, model, _least_rank(batch))
    if split != "validation":
        words.append("there is no validation episode yet; these figures are of the training episodes")
    return {**figures, "messages": words}


def _windows(model: WorldModel, stream: Any, seed: int) -> tuple[EncodedBatch, str]:
    """Windows as long as the longest horizon that fits."""
    random = torch.Generator().manual_seed(derive(seed, "world", "health"))
    extra = int(bool(model.observations.images))
    refused: UsageError | None = None
    for split in ("validation", "train"):
        for steps in reversed(HORIZONS):
            try:
                drawn = generator(seed, "world", "health")
                window = stream.windows(_WINDOWS, steps + extra, drawn, split=split)
                return encode_windows(model, window, random), split
            except UsageError as error:
                refused = error
    assert refused is not None
    raise refused


def _spread(batch: EncodedBatch) -> dict[str, float]:
    """Centred effective rank exp(entropy of the spectrum), and how much each dimension varies."""
    z = batch.z[batch.rows > 0]  # [N, Z]
    deviation = (z - z.mean(0)).square().mean(0).sqrt()
    return {
        "effective_rank": _rank(z),
        "spread_mean": float(deviation.mean()),
        "spread_least": float(deviation.min()),
        "dead_dimensions": float((deviation < _STILL).sum()),
    }


def _rank(rows: Tensor) -> float:
    """exp(entropy of the spectrum) of rows [N, D], centred; 1 where nothing varies."""
    centred = rows - rows.mean(0)
    spectrum = torch.linalg.eigvalsh((centred.T @ centred / len(rows)).cpu().double()).clamp_min(0)
    share = spectrum / spectrum.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return float(entropy.exp()) if float(spectrum.sum()) > 1e-8 else 1.0


def _least_rank(batch: EncodedBatch) -> float:
    """Directions below which a latent counts as collapsed: two, or fewer where little more is to be observed."""
    if batch.model.observations.images:
        return _LEAST_RANK
    return min(_LEAST_RANK, _OF_OBSERVED * _rank(batch.vector[batch.rows > 0]))


def _forward(batch: EncodedBatch, seed: int) -> dict[str, float]:
    """Open-loop error beside "nothing moves" and beside the same with actions of other windows."""
    model, steps = batch.model, batch.code.shape[1]
    order = torch.from_numpy(generator(seed, "world", "shuffle").permutation(len(batch.z))).to(batch.z.device)
    true, shuffled = (_roll(model, batch.z[:, 0], code) for code in (batch.code, batch.code[order]))
    figures: dict[str, float] = {}
    for k in (h for h in HORIZONS if h <= steps):
        real = batch.mask[:, k - 1] > 0
        if not bool(real.any()):
            break
        target = batch.z[real, k]
        error, still, other = (
            float((guess[real] - target).square().mean()) for guess in (true[k], batch.z[:, 0], shuffled[k])
        )
        if k == 1:
            figures |= {"forward_error": error, "nothing_moves_error": still, "shuffled_actions_error": other}
        figures[f"forward_skill_{k}"] = 1 - error / max(still, 1e-12)
        figures[f"shuffled_skill_{k}"] = 1 - other / max(still, 1e-12)
    return figures


def _roll(model: WorldModel, z: Tensor, code: Tensor) -> list[Tensor]:
    path = [z]
    for t in range(code.shape[1]):
        path.append(model.step(path[-1], code[:, t]))
    return path


def _inverse(batch: EncodedBatch, reference: EncodedBatch) -> dict[str, float]:
    """R2 of inferred actions (discrete: of their probabilities) beside what z_t alone tells."""
    model, real = batch.model, batch.mask > 0
    now, then, code = batch.z[:, :-1][real], batch.z[:, 1:][real], batch.code[real]  # [N, ...]
    guess = model.inverse(torch.cat([now, then - now], -1))
    if model.actions.discrete:
        guess = guess.softmax(-1)
    fitted = reference.mask[:, 0] > 0
    alone = _ridge(reference.z[fitted, 0], reference.code[fitted, 0], now)
    figures = {"inverse_r2_from_z": _r2(alone, code)}
    if "inverse" in model.config.weights():
        figures["inverse_r2"] = _r2(guess, code)
        figures["inverse_excess_r2"] = figures["inverse_r2"] - max(figures["inverse_r2_from_z"], 0.0)
    return figures


def _ridge(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Linear prediction at `at` of y from x."""
    centre, offset = x.mean(0), y.mean(0)
    gram = (x - centre).T @ (x - centre)
    gram = gram + _RIDGE * gram.diagonal().mean().clamp_min(1e-8) * torch.eye(len(gram), device=x.device)
    return (at - centre) @ torch.linalg.solve(gram, (x - centre).T @ (y - offset)) + offset


def _r2(guess: Tensor, true: Tensor) -> float:
    """Share of the variance explained, over all dimensions together; 0 where there is none."""
    total = float((true - true.mean(0)).square().mean())
    return 1 - float((guess - true).square().mean()) / total if total > 1e-8 else 0.0


def _verdict(figures: dict[str, float], model: WorldModel, least_rank: float) -> list[str]:
    words = []
    if figures["effective_rank"] < least_rank or figures["spread_mean"] < _STILL:
        words.append(
            f"COLLAPSED: {model.latent_dim} latent dimensions carry {figures['effective_rank']:.1f} directions; "
            "the model tells next to nothing apart"
        )
    elif figures["dead_dimensions"] > model.latent_dim / 2:
        words.append(f"{figures['dead_dimensions']:.0f} of {model.latent_dim} latent dimensions never change")
    skill = figures.get("forward_skill_1", np.nan)
    if skill < 0:
        words.append("it predicts one step worse than saying that nothing moves")
    if skill > 0.1 and figures["shuffled_skill_1"] > skill - 0.02:
        words.append("it predicts no worse with other actions: actions hardly matter to what it predicts")
    if figures.get("inverse_r2", 1.0) < 0.05:
        words.append("it cannot tell which action led from one observation to the next")
    elif figures.get("inverse_excess_r2", 1.0) < 0.05:
        words.append("it guesses actions from where the robot is, not from what they change")
    return words or ["well: it predicts, tells actions apart and keeps its latents spread"]
