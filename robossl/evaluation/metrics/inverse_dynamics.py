"""Whether z tells what was done: inverse dynamics on held-out steps, and what it adds over z alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.seeding import generator
from robossl.core.statistics import Estimate, bootstrap_ratio, proportion_ci
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.latents import infer_action
from robossl.evaluation.metrics.ridge import fit_random_features

GAPS = (1, 3, 5, 10)  # [steps] between the two moments an action is told from
_FEWEST = 20  # pairs of such moments, at least
_STEPS = 5000  # at most so many held-out steps
_FEATURES = 128  # width of the fixed hidden layer of the small MLP


def inverse_r2(model: Any, held: HeldOutData) -> Estimate:
    """The model's own one-step inverse: R2 of the action on "test", the mean over its dimensions (boxes).

    The interval is a bootstrap over episodes.
    """
    steps = _steps(held)
    truth = held.actions.numbers(held.test.action[steps])
    guess = infer_action(model, held.test_z[steps], held.test_z[steps + 1]).reshape(truth.shape)
    return _explained(truth, guess, held.test.episode[steps], held.seed)


def inverse_accuracy(model: Any, held: HeldOutData) -> dict[str, Any]:
    """The same for choices: how often the inverse names the action, beside always naming the commonest one.

    Gives {"accuracy": Figure, "majority": float, "excess": float}; excess is (accuracy - majority) /
    (1 - majority), 0 at chance and 1 when always right. The commonest action is counted on "train".
    """
    steps = _steps(held)
    truth = np.rint(held.test.action[steps]).astype(np.int64).reshape(-1)
    guess = (
        np.rint(infer_action(model, held.test_z[steps], held.test_z[steps + 1])).astype(np.int64).reshape(-1)
    )
    accuracy = proportion_ci(int((truth == guess).sum()), len(truth))
    majority = _majority(held, truth)
    return {"accuracy": accuracy, "majority": majority, "excess": _over(accuracy["mean"], majority)}


def inverse_excess_r2(model: Any, held: HeldOutData) -> float:
    """R2(a | z, z') - R2(a | z): what the change of z tells about the action beyond what z gave away.

    The first by the model's own inverse or by a small network (a ridge on z, z' and 128 fixed ReLU features,
    fitted on "probe"), whichever reads better; the second by such a network. Both are judged on "test"; worse
    than the mean action counts as 0. The model's own inverse learned from more rows than the small network that
    sees z alone, so the difference is an upper estimate where actions are correlated in time; where they are
    drawn anew at every step, z alone can tell nothing. For choices the share of right answers takes the place
    of R2.
    """
    own = inverse_accuracy(model, held)["accuracy"] if held.actions.discrete else inverse_r2(model, held)
    return max(own["mean"], _fitted(held, True)["mean"], 0.0) - max(_fitted(held, False)["mean"], 0.0)


def inverse_excess_curve(held: HeldOutData) -> dict[str, float]:
    """By gap k: R2(a | z, z k steps later) - R2(a | z), both by the small network: how long an action can be told.

    Worse than the mean action counts as 0. Gaps that the held-out episodes are too short for are left out.
    """
    found = {}
    for gap in GAPS:
        if min(len(held.probe.pairs(gap)), len(held.test.pairs(gap))) >= _FEWEST:
            ahead, alone = _fitted(held, True, gap)["mean"], _fitted(held, False, gap)["mean"]
            found[str(gap)] = max(ahead, 0.0) - max(alone, 0.0)
    return found


def inverse_readout(held: HeldOutData) -> Estimate:
    """R2(a | z, z') of that small network by itself: comparable between models with an inverse and without."""
    return _fitted(held, True)


def _fitted(held: HeldOutData, ahead: bool, gap: int = 1) -> Estimate:
    inputs, answers, groups = {}, {}, {}
    change_scale = 1.0
    for name, rows, z in zip(("probe", "test"), (held.probe, held.test), held.scaled):
        steps = subsample(rows.pairs(gap), _STEPS, held.seed, "inverse", name)
        change = z[steps + gap] - z[steps]
        if name == "probe":
            change_scale = float(np.sqrt(np.mean(change**2))) or 1.0
        columns = [z[steps], change / change_scale] if ahead else [z[steps]]
        inputs[name] = np.concatenate(columns, 1)
        answers[name] = held.actions.numbers(rows.action[steps])
        groups[name] = rows.episode[steps]
    random = generator(held.seed, "inverse", "features")
    network = fit_random_features(
        inputs["probe"], answers["probe"], groups["probe"], random, _FEATURES, least=0.0
    )
    guess = network(inputs["test"])
    if held.actions.discrete:
        right = guess.argmax(1) == answers["test"].argmax(1)
        return proportion_ci(int(right.sum()), len(right))
    return _explained(answers["test"], guess, groups["test"], held.seed)


def _explained(truth: np.ndarray, guess: np.ndarray, episode: np.ndarray, seed: int) -> Estimate:
    """R2 (N, A), the mean over the dimensions that vary, with an interval over episodes."""
    variance = truth.var(0)
    varies = variance > 1e-12
    if not varies.any():
        return {"mean": 0.0, "low": 0.0, "high": 0.0, "n": len(truth)}
    error = np.mean((truth - guess)[:, varies] ** 2 / variance[varies], 1)
    low, high = bootstrap_ratio(error, np.ones_like(error), episode, seed)
    return {"mean": 1 - float(error.mean()), "low": 1 - high, "high": 1 - low, "n": len(truth)}


def _steps(held: HeldOutData) -> np.ndarray:
    return subsample(held.test.pairs(1), _STEPS, held.seed, "inverse", "test")


def _majority(held: HeldOutData, truth: np.ndarray) -> float:
    seen = np.rint(held.train.action[held.train.valid]).astype(np.int64).reshape(-1)
    values, counts = np.unique(seen, return_counts=True)
    return float(np.mean(truth == values[counts.argmax()]))


def _over(value: float, floor: float) -> float:
    return (value - floor) / (1 - floor) if floor < 1 else 0.0
