"""Inverse dynamics on held-out steps: how well z and the next z identify the action, and what z alone explains."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.seeding import generator
from robossl.core.statistics import Estimate, bootstrap_ratio, proportion_ci
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.latents import infer_action
from robossl.evaluation.metrics.ridge import fit_random_features
from robossl.world_model import WorldModel

GAPS = (1, 3, 5, 10)  # [steps] between the two latents from which an action is inferred
_MIN_PAIRS = 20  # pairs of latents
_MAX_STEPS = 5000  # held-out steps
_NUM_FEATURES = 128  # width of the random-feature regressor


def inverse_r2(model: WorldModel, heldout: HeldOutData) -> Estimate:
    """Return R2 of the action inferred by the model on test, averaged over action dimensions (box actions).

    The interval is a bootstrap over episodes.
    """
    steps = _test_steps(heldout)
    truth = heldout.encode_action(heldout.test.action[steps])
    inferred = infer_action(model, heldout.test_z[steps], heldout.test_z[steps + 1]).reshape(truth.shape)
    return _explained_variance(truth, inferred, heldout.test.episode[steps], heldout.seed)


def inverse_accuracy(model: WorldModel, heldout: HeldOutData) -> dict[str, Any]:
    """Return the accuracy of the inferred action beside always predicting the most frequent one (discrete actions).

    Returns:
        {"accuracy": Estimate, "majority": float, "excess": float}. "majority" is the accuracy of the most frequent
        action of train. "excess" is (accuracy - majority) / (1 - majority): 0 at chance, 1 if always right.
    """
    steps = _test_steps(heldout)
    truth = np.rint(heldout.test.action[steps]).astype(np.int64).reshape(-1)
    inferred = infer_action(model, heldout.test_z[steps], heldout.test_z[steps + 1])
    inferred = np.rint(inferred).astype(np.int64).reshape(-1)
    accuracy = proportion_ci(int((truth == inferred).sum()), len(truth))
    majority = _majority_accuracy(heldout, truth)
    excess = (accuracy["mean"] - majority) / (1 - majority) if majority < 1 else 0.0
    return {"accuracy": accuracy, "majority": majority, "excess": excess}


def inverse_excess_r2(model: WorldModel, heldout: HeldOutData) -> float:
    """Return R2(a | z, z') - R2(a | z): what the change of z adds to the information in z about the action.

    The first term is the better of the model's own inverse and a random-feature regressor on z and z' (fitted on
    probe); the second is such a regressor on z. Both are evaluated on test and floored at 0. The model's own inverse
    was trained on more steps than the regressor on z, so the difference is an upper estimate if actions are correlated
    in time; if they are independent at every step, z alone has no information. For discrete actions accuracy replaces
    R2.
    """
    if heldout.discrete_actions:
        model_score = inverse_accuracy(model, heldout)["accuracy"]
    else:
        model_score = inverse_r2(model, heldout)
    with_next = max(model_score["mean"], _regressor_score(heldout, use_next=True)["mean"], 0.0)
    return with_next - max(_regressor_score(heldout, use_next=False)["mean"], 0.0)


def inverse_excess_curve(heldout: HeldOutData) -> dict[str, float]:
    """Return R2(a | z, z k steps later) - R2(a | z) by k, both with a random-feature regressor and floored at 0.

    Gaps with fewer than 20 pairs in the probe or test split are omitted.
    """
    curve = {}
    for gap in GAPS:
        if min(len(heldout.probe.starts(gap)), len(heldout.test.starts(gap))) >= _MIN_PAIRS:
            with_next = _regressor_score(heldout, use_next=True, gap=gap)["mean"]
            alone = _regressor_score(heldout, use_next=False, gap=gap)["mean"]
            curve[str(gap)] = max(with_next, 0.0) - max(alone, 0.0)
    return curve


def inverse_regressor_r2(heldout: HeldOutData) -> Estimate:
    """Return R2(a | z, z') of a random-feature regressor: comparable between models with and without an inverse."""
    return _regressor_score(heldout, use_next=True)


def _regressor_score(heldout: HeldOutData, use_next: bool, gap: int = 1) -> Estimate:
    inputs, targets, groups = {}, {}, {}
    change_scale = 1.0
    for name, data, z in zip(("probe", "test"), (heldout.probe, heldout.test), heldout.scaled_z):
        steps = subsample(data.starts(gap), _MAX_STEPS, heldout.seed, "inverse", name)
        change = z[steps + gap] - z[steps]
        if name == "probe":
            change_scale = float(np.sqrt(np.mean(change**2))) or 1.0
        columns = [z[steps], change / change_scale] if use_next else [z[steps]]
        inputs[name] = np.concatenate(columns, 1)
        targets[name] = heldout.encode_action(data.action[steps])
        groups[name] = data.episode[steps]
    random = generator(heldout.seed, "inverse", "features")
    regressor = fit_random_features(
        inputs["probe"], targets["probe"], groups["probe"], random, _NUM_FEATURES, min_std=0.0
    )
    predicted = regressor(inputs["test"])
    if heldout.discrete_actions:
        correct = predicted.argmax(1) == targets["test"].argmax(1)
        return proportion_ci(int(correct.sum()), len(correct))
    return _explained_variance(targets["test"], predicted, groups["test"], heldout.seed)


def _explained_variance(truth: np.ndarray, predicted: np.ndarray, episode: np.ndarray, seed: int) -> Estimate:
    """Return R2 of (N, A), averaged over the dimensions that vary, with an interval over episodes."""
    variance = truth.var(0)
    varies = variance > 1e-12
    if not varies.any():
        return {"mean": 0.0, "low": 0.0, "high": 0.0, "n": len(truth)}
    error = np.mean((truth - predicted)[:, varies] ** 2 / variance[varies], 1)
    low, high = bootstrap_ratio(error, np.ones_like(error), episode, seed)
    return {"mean": 1 - float(error.mean()), "low": 1 - high, "high": 1 - low, "n": len(truth)}


def _test_steps(heldout: HeldOutData) -> np.ndarray:
    return subsample(heldout.test.starts(1), _MAX_STEPS, heldout.seed, "inverse", "test")


def _majority_accuracy(heldout: HeldOutData, truth: np.ndarray) -> float:
    train_actions = np.rint(heldout.train.action[heldout.train.valid]).astype(np.int64).reshape(-1)
    actions, counts = np.unique(train_actions, return_counts=True)
    return float(np.mean(truth == actions[counts.argmax()]))
