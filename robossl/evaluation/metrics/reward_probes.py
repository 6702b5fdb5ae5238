"""Probes of rewards that the model was never trained on: the recorded task reward and four synthetic ones."""

from __future__ import annotations

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.metrics.probes import varying_quantities
from robossl.evaluation.metrics.ridge import fit_random_features, fit_ridge, r2
from robossl.evaluation.split_data import SplitData

_NUM_SYNTHETIC = 4  # synthetic rewards
_MAX_STEPS = 5000  # time steps that a probe is fitted on
_CONSTANT_STD = 1e-6  # a reward with a smaller standard deviation is constant
_NUM_FEATURES = 256  # width of the random-feature regressor

Labels = tuple[np.ndarray, np.ndarray]  # rewards on probe (N,) and on test (M,)


def reward_probe(heldout: HeldOutData) -> dict[str, dict[str, float]]:
    """Return R2 of rewards read from z, fitted on probe and scored on test.

    The reward "task" is the recorded reward of reaching a time step; `missing_task_reward_reason` returns why it is
    missing. A synthetic reward decreases with the distance of one quantity (privileged state if the stream has it,
    else an observed value) from its value at a time step drawn from probe: 1 there, 0.1 one standard deviation away.

    Returns:
        {"task" | "<quantity> near step <index>": {"linear", "random_features", "observation"}}: a linear and a
        random-feature regressor on z, and the random-feature regressor on the raw observation.

    Raises:
        UsageError: No quantity varies.
    """
    rewards: dict[str, Labels] = {}
    if missing_task_reward_reason(heldout) is None:
        rewards["task"] = _arrival_reward(heldout.probe), _arrival_reward(heldout.test)
    rewards |= _synthetic_rewards(heldout)
    if not rewards:
        raise UsageError("all quantities are constant: no reward can be built from them")
    return {name: _probe_scores(heldout, *labels) for name, labels in rewards.items()}


def missing_task_reward_reason(heldout: HeldOutData) -> str | None:
    """Return why the task reward cannot be probed; None if it can."""
    if heldout.test.reward is None or heldout.probe.reward is None:
        return "the stream has no rewards"
    if isinstance(heldout.test.observation, dict) and "desired_goal" in heldout.test.observation:
        return "the task reward depends on a goal, which is not part of the latent"
    for data in (heldout.probe, heldout.test):
        rewards = _arrival_reward(data)
        rewards = rewards[np.isfinite(rewards)]
        if len(rewards) == 0 or np.std(rewards) <= _CONSTANT_STD:
            return "the recorded reward is constant"
    return None


def _arrival_reward(data: SplitData) -> np.ndarray:
    """Return the (N,) reward of the step that led to each time step; nan where no step did."""
    assert data.reward is not None
    rewards = np.full(len(data.valid), np.nan)
    starts = data.starts(1)
    rewards[starts + 1] = data.reward[starts]
    return rewards


def _synthetic_rewards(heldout: HeldOutData) -> dict[str, Labels]:
    """Return up to `_NUM_SYNTHETIC` rewards for one quantity being close to its value at a time step."""
    random = generator(heldout.seed, "rewards")
    varying = varying_quantities(heldout)
    if not varying:
        return {}
    names = [list(varying)[i] for i in random.permutation(len(varying))]
    num_steps = len(heldout.probe.valid)
    steps = random.choice(num_steps, min(_NUM_SYNTHETIC, num_steps), replace=False)
    rewards = {}
    for i, step in enumerate(steps):
        name = names[i % len(names)]
        on_probe, on_test = varying[name]
        std = float(np.sqrt(np.mean((on_probe - on_probe.mean(0)) ** 2, 0).sum()))
        near = [1 / (1 + 9 * np.sum((q - on_probe[step]) ** 2, 1) / std**2) for q in (on_probe, on_test)]
        rewards[f"{name} near step {step}"] = near[0], near[1]
    return rewards


def _probe_scores(
    heldout: HeldOutData, probe_reward: np.ndarray, test_reward: np.ndarray
) -> dict[str, float]:
    steps = subsample(np.flatnonzero(np.isfinite(probe_reward)), _MAX_STEPS, heldout.seed, "rewards", "rows")
    test_steps = np.flatnonzero(np.isfinite(test_reward))
    groups = heldout.probe.episode[steps]
    y, truth = probe_reward[steps, None], test_reward[test_steps, None]
    z, test_z = heldout.standardized_z[0][steps], heldout.standardized_z[1][test_steps]
    raw = heldout.normalize(heldout.probe.values)[steps]
    test_raw = heldout.normalize(heldout.test.values)[test_steps]

    def random_features(x: np.ndarray, test_x: np.ndarray) -> float:
        random = generator(heldout.seed, "rewards", "features")
        return _finite_r2(truth, fit_random_features(x, y, groups, random, _NUM_FEATURES)(test_x))

    return {
        "linear": _finite_r2(truth, fit_ridge(z, y, groups)(test_z)),
        "random_features": random_features(z, test_z),
        "observation": random_features(raw, test_raw),
    }


def _finite_r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.nan_to_num(r2(truth, predicted)[0]))
