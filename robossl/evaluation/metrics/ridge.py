"""Ridge regression in closed form; its strength is cross-validated over whole episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STRENGTHS = 10.0 ** np.arange(-7.0, 2.0)  # per row, of inputs scaled to spread 1
_FOLDS = 5
_LEAST = 0.3  # spread of a network's hidden unit, at least: about half of what one of its kind has
_DEAD = 1e-7  # an input that spreads less than this, relative to its size, says nothing


@dataclass(frozen=True)
class Ridge:
    """y = x @ weights + bias."""

    weights: np.ndarray  # (X, Y)
    bias: np.ndarray  # (Y,)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predictions (N, Y) for x (N, X)."""
        return x @ self.weights + self.bias


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    intercept: bool = True,
    used_on: np.ndarray | None = None,
    least: float = 0.0,
) -> Ridge:
    """The ridge from x (N, X) to y (N, Y); rows of one group (N,) are never on both sides of a fold.

    Without intercept, zero input gives zero: a readout of changes. Where the ridge will be asked about less certain
    inputs than it is fitted on, `used_on` (N, X) has them, row by row: its strength is then the best one for these.
    Inputs are scaled to spread 1, those that spread less than `least` as if they spread that much: what moves in one
    row of a hundred must not weigh a hundredfold elsewhere.
    """
    centre = x.mean(0) if intercept else np.zeros(x.shape[1])
    offset = y.mean(0) if intercept else np.zeros(y.shape[1])
    spread = np.sqrt(np.mean((x - centre) ** 2, 0))
    alive = spread > _DEAD * (1 + np.abs(centre))
    scale = np.where(alive, np.maximum(spread, least), 1.0)
    inputs, outputs = ((x - centre) / scale)[:, alive], y - offset
    asked = inputs if used_on is None else ((used_on - centre) / scale)[:, alive]
    weights = np.zeros((x.shape[1], y.shape[1]))
    if alive.any():
        weights[alive] = _solve(inputs, outputs, asked, folds(groups)) / scale[alive, None]
    return Ridge(weights, offset - centre @ weights)


def folds(groups: np.ndarray) -> np.ndarray:
    """(N,) a fold for every row, by group; by stretches of rows where there are fewer than two groups."""
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.arange(len(groups)) * _FOLDS // max(len(groups), 1)
    return index % min(_FOLDS, len(names))


def _solve(x: np.ndarray, y: np.ndarray, asked: np.ndarray, fold: np.ndarray) -> np.ndarray:
    parts = [x[fold == f] for f in np.unique(fold)]
    answers = [y[fold == f] for f in np.unique(fold)]
    grams = [p.T @ p for p in parts]
    crosses = [p.T @ a for p, a in zip(parts, answers)]
    gram, cross = sum(grams), sum(crosses)
    errors = np.zeros(len(_STRENGTHS))
    questions = [asked[fold == f] for f in np.unique(fold)]
    for part, question, answer, g, c in zip(parts, questions, answers, grams, crosses):
        values, vectors = np.linalg.eigh(gram - g)
        turned = vectors.T @ (cross - c)
        for i, strength in enumerate(_STRENGTHS * max(len(x) - len(part), 1)):
            weights = vectors @ (turned / (np.maximum(values, 0) + strength)[:, None])
            errors[i] += np.sum((answer - question @ weights) ** 2)
    values, vectors = np.linalg.eigh(gram)
    strength = _STRENGTHS[int(np.argmin(errors))] * len(x)
    return vectors @ ((vectors.T @ cross) / (np.maximum(values, 0) + strength)[:, None])


@dataclass(frozen=True)
class RandomFeatureRegressor:
    """A small MLP: its first layer was drawn and stays, what reads it and its input is a ridge.

    In closed form there is no step size and no number of steps to choose, so it judges all models alike.
    """

    layer: np.ndarray  # (X + 1, F) weights, and biases in the last row
    line: Ridge

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predictions (N, Y) for x (N, X)."""
        return self.line(_features(x, self.layer))


def fit_random_features(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    random: np.random.Generator,
    width: int,
    least: float = _LEAST,
) -> RandomFeatureRegressor:
    """The network from x (N, X), of about unit scale, to y (N, Y) with `width` hidden units; see `fit_ridge`."""
    layer = random.normal(size=(x.shape[1] + 1, width)) / np.sqrt(max(x.shape[1], 1))
    return RandomFeatureRegressor(layer, fit_ridge(_features(x, layer), y, groups, least=least))


def _features(x: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """x (N, X) beside ReLU features of it (N, X + F)."""
    return np.concatenate([x, np.maximum(x @ layer[:-1] + layer[-1], 0)], 1)


def r2(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(Y,) share of the variance of truth (N, Y) explained; nan where the truth does not vary."""
    variance = np.mean((truth - truth.mean(0)) ** 2, 0)
    varies = variance > (_DEAD * (1 + np.abs(truth.mean(0)))) ** 2
    error = np.mean((truth - predicted) ** 2, 0)
    return np.where(varies, 1 - error / np.where(varies, variance, 1.0), np.nan)
