"""Whether rewards that nobody trained on can be read from z: the task's own, and four that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.evaluation.heldout import HeldOutData, subsample
from robossl.evaluation.metrics.probes import varying
from robossl.evaluation.metrics.ridge import fit_random_features, fit_ridge, r2
from robossl.evaluation.split_data import SplitData

_PLACES = 4  # rewards that are made up
_ROWS = 5000  # rows a readout is fitted on, at most
_STILL = 1e-6  # a reward that spreads no more never varies
_FEATURES = 256  # hidden units of the small network


def reward_probe(held: HeldOutData) -> dict[str, dict[str, Any]]:
    """R2 of rewards read from z: {"task": ..., "<quantity> near <row>": ...}, each {"line", "network", "observation"}.

    `task` is the reward that the stream recorded for coming to a row, which the model never saw; `no_task` says why
    it is absent. The others fall with the distance of one quantity (privileged state where the stream has it, else an
    observed number) from what it is in a row drawn from "probe": 1 there, 0.1 one spread away. `line` and `network`
    read z, `observation` is the same network on the raw observation. Fitted on "probe", judged on "test".
    """
    rewards = {} if missing_task_reward_reason(held) else {"task": (_came(held.probe), _came(held.test))}
    rewards |= _made_up(held)
    if not rewards:
        raise UsageError("nothing varies that a reward could be made of")
    return {name: _read(held, *pair) for name, pair in rewards.items()}


def missing_task_reward_reason(held: HeldOutData) -> str | None:
    """Why there is no reward of the task to be read; None where there is one."""
    if held.test.reward is None or held.probe.reward is None:
        return "the stream has no rewards"
    if isinstance(held.test.observation, dict) and "desired_goal" in held.test.observation:
        return "the task's reward is about a goal, which a latent does not hold"
    came = [told[np.isfinite(told)] for told in map(_came, (held.probe, held.test))]
    if any(len(told) == 0 or np.std(told) <= _STILL for told in came):
        return "the recorded reward does not vary"
    return None


def _came(rows: SplitData) -> np.ndarray:
    """The recorded reward (N,) of having come to a row; nan at rows that nothing led to."""
    assert rows.reward is not None
    came = np.full(len(rows.valid), np.nan)
    starts = rows.pairs(1)
    came[starts + 1] = rows.reward[starts]
    return came


def _made_up(held: HeldOutData) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """`_PLACES` rewards for being near where one quantity was in some row."""
    random = generator(held.seed, "rewards")
    there_is = varying(held)
    if not there_is:
        return []
    order = [list(there_is)[i] for i in random.permutation(len(there_is))]
    places = random.choice(len(held.probe.valid), min(_PLACES, len(held.probe.valid)), replace=False)
    found = []
    for place, there in enumerate(places):
        name = order[place % len(order)]
        fitted, judged = there_is[name]
        spread = float(np.sqrt(np.mean((fitted - fitted.mean(0)) ** 2, 0).sum()))
        near = [1 / (1 + 9 * np.sum((q - fitted[there]) ** 2, 1) / spread**2) for q in (fitted, judged)]
        found.append((f"{name} near row {there}", (near[0], near[1])))
    return found


def _read(held: HeldOutData, fitted: np.ndarray, judged: np.ndarray) -> dict[str, Any]:
    steps = subsample(np.flatnonzero(np.isfinite(fitted)), _ROWS, held.seed, "rewards", "rows")
    asked = np.flatnonzero(np.isfinite(judged))
    groups, y, truth = held.probe.episode[steps], fitted[steps, None], judged[asked, None]
    z, z_asked = held.centred[0][steps], held.centred[1][asked]
    raw, raw_asked = held.normalised(held.probe.numbers)[steps], held.normalised(held.test.numbers)[asked]

    def network(x: np.ndarray, x_asked: np.ndarray) -> float:
        random = generator(held.seed, "rewards", "features")
        return _score(truth, fit_random_features(x, y, groups, random, _FEATURES)(x_asked))

    return {
        "line": _score(truth, fit_ridge(z, y, groups)(z_asked)),
        "network": network(z, z_asked),
        "observation": network(raw, raw_asked),
    }


def _score(truth: np.ndarray, guess: np.ndarray) -> float:
    return float(np.nan_to_num(r2(truth, guess)[0]))
