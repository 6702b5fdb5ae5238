"""Ridge regression in closed form; its strength is cross-validated over whole episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robossl.core.statistics import main_directions

_STRENGTHS = 10.0 ** np.arange(-7.0, 2.0)  # per sample, for inputs scaled to standard deviation 1
_NUM_FOLDS = 5
_MIN_FEATURE_STD = 0.3  # lower limit of the scale of a random feature: about half of a typical one
_MAX_INPUTS = 512  # more are replaced by that many main directions: the cost grows as their third power
_MAX_TARGETS = 512  # of which more are not needed to choose the strength
_CONSTANT_STD = 1e-7  # an input with a smaller standard deviation, relative to its size, is constant


@dataclass(frozen=True)
class Ridge:
    """Linear map y = x @ weights + bias."""

    weights: np.ndarray  # (X, Y)
    bias: np.ndarray  # (Y,)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return predictions (N, Y) for x (N, X)."""
        return x @ self.weights + self.bias


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    intercept: bool = True,
    validation_x: np.ndarray | None = None,
    min_std: float = 0.0,
) -> Ridge:
    """Fit a ridge regression from x (N, X) to y (N, Y).

    Args:
        x: Inputs (N, X).
        y: Targets (N, Y).
        groups: (N,) group of each sample; samples of one group are in the same cross-validation fold.
        intercept: Whether to fit a bias. Without it, zero input gives zero output.
        validation_x: Inputs (N, X) that replace `x` in the validation folds, such as imagined latents: the strength is
            then the best one for these less certain inputs.
        min_std: Inputs are divided by their standard deviation, or by this if theirs is smaller: an input that is
            non-zero in one sample of a hundred must not get a hundredfold weight.
    """
    center = x.mean(0) if intercept else np.zeros(x.shape[1])
    offset = y.mean(0) if intercept else np.zeros(y.shape[1])
    std = np.sqrt(np.mean((x - center) ** 2, 0))
    varies = std > _CONSTANT_STD * (1 + np.abs(center))
    scale = np.where(varies, np.maximum(std, min_std), 1.0)
    inputs, targets = ((x - center) / scale)[:, varies], y - offset
    validation = inputs if validation_x is None else ((validation_x - center) / scale)[:, varies]
    weights = np.zeros((x.shape[1], y.shape[1]))
    if varies.any():
        directions = main_directions(inputs, _MAX_INPUTS) if inputs.shape[1] > _MAX_INPUTS else None
        if directions is not None:
            inputs, validation = inputs @ directions, validation @ directions
        solved = _solve(inputs, targets, validation, folds(groups))
        solved = solved if directions is None else directions @ solved
        weights[varies] = solved / scale[varies, None]
    return Ridge(weights, offset - center @ weights)


def folds(groups: np.ndarray) -> np.ndarray:
    """Return the (N,) fold of every sample: by group, or by contiguous blocks if there are fewer than two groups."""
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.arange(len(groups)) * _NUM_FOLDS // max(len(groups), 1)
    return index % min(_NUM_FOLDS, len(names))


def _solve(x: np.ndarray, y: np.ndarray, validation: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the weights (X, Y) with the strength of least cross-validation error on `validation` (N, X)."""
    fold_x = [x[fold == f] for f in np.unique(fold)]
    fold_y = [y[fold == f] for f in np.unique(fold)]
    fold_validation = [validation[fold == f] for f in np.unique(fold)]
    grams = [p.T @ p for p in fold_x]
    crosses = [p.T @ t for p, t in zip(fold_x, fold_y)]
    gram, cross = sum(grams), sum(crosses)
    errors = np.zeros(len(_STRENGTHS))
    chosen = slice(None, None, -(-y.shape[1] // _MAX_TARGETS) or None)
    for part, target, inputs, fold_gram, fold_cross in zip(fold_x, fold_y, fold_validation, grams, crosses):
        eigenvalues, eigenvectors = np.linalg.eigh(gram - fold_gram)
        target = target[:, chosen]
        rotated = eigenvectors.T @ (cross - fold_cross)[:, chosen]
        for i, strength in enumerate(_STRENGTHS * max(len(x) - len(part), 1)):
            weights = eigenvectors @ (rotated / (np.maximum(eigenvalues, 0) + strength)[:, None])
            errors[i] += np.sum((target - inputs @ weights) ** 2)
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    strength = _STRENGTHS[int(np.argmin(errors))] * len(x)
    return eigenvectors @ ((eigenvectors.T @ cross) / (np.maximum(eigenvalues, 0) + strength)[:, None])


@dataclass(frozen=True)
class RandomFeatureRegressor:
    """Ridge regression on inputs and fixed random ReLU features.

    The closed-form fit has no step size and no number of steps to tune, so it is the same for all models.
    """

    layer: np.ndarray  # (X + 1, F) weights; biases in the last row
    ridge: Ridge

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return predictions (N, Y) for x (N, X)."""
        return self.ridge(_features(x, self.layer))


def fit_random_features(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    random: np.random.Generator,
    width: int,
    min_std: float = _MIN_FEATURE_STD,
) -> RandomFeatureRegressor:
    """Fit a regressor with `width` random features from x (N, X), of about unit scale, to y (N, Y).

    See `fit_ridge` for the other arguments.
    """
    layer = random.normal(size=(x.shape[1] + 1, width)) / np.sqrt(max(x.shape[1], 1))
    return RandomFeatureRegressor(layer, fit_ridge(_features(x, layer), y, groups, min_std=min_std))


def _features(x: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return x (N, X) and its ReLU features as (N, X + F)."""
    return np.concatenate([x, np.maximum(x @ layer[:-1] + layer[-1], 0)], 1)


def r2(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the (Y,) fraction of the variance of truth (N, Y) explained; nan where truth is constant."""
    variance = np.mean((truth - truth.mean(0)) ** 2, 0)
    varies = variance > (_CONSTANT_STD * (1 + np.abs(truth.mean(0)))) ** 2
    error = np.mean((truth - predicted) ** 2, 0)
    return np.where(varies, 1 - error / np.where(varies, variance, 1.0), np.nan)
