"""Whether rewards that nobody trained on can be read from z: the task's own, and four that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import RequestError
from robossl.core.seeding import generator
from robossl.evaluation.held import Held, draw
from robossl.evaluation.probes import varying
from robossl.evaluation.ridge import fit_network, fit_ridge, r2

_PLACES = 4  # rewards that are made up
_ROWS = 5000  # rows a readout is fitted on, at most
_FEATURES = 256  # hidden units of the small network
_LEAST = 0.3  # spread of a hidden unit, at least: about half of what one of its kind has


def reward_probe(held: Held) -> dict[str, dict[str, Any]]:
    """R2 of rewards read from z: {"task": ..., "<quantity> near <row>": ...}, each {"line", "network", "observation"}.

    `task` is the reward that the stream recorded for coming to a row, which the model never saw; it is absent where
    that never varies, and of goal envs, whose reward is about a goal that z does not hold. The others fall with the
    distance of one quantity (privileged state where the stream has it, else an observed number) from what it is in a
    row drawn from "probe": 1 there, 0.1 one spread away. `line` and `network` read z, `observation` is the same network
    on the raw observation. Fitted on "probe", judged on "test".
    """
    rewards = dict(_made_up(held))
    if (task := _task(held)) is not None:
        rewards = {"task": task, **rewards}
    if not rewards:
        raise RequestError("nothing varies that a reward could be made of")
    return {name: _read(held, *pair) for name, pair in rewards.items()}


def _task(held: Held) -> tuple[np.ndarray, np.ndarray] | None:
    """The recorded reward (N,) and (M,) of having come to a row; nan at rows that nothing led to."""
    told = []
    for rows in (held.probe, held.test):
        if rows.reward is None or (isinstance(rows.observation, dict) and "desired_goal" in rows.observation):
            return None
        came = np.full(len(rows.valid), np.nan)
        starts = rows.pairs(1)
        came[starts + 1] = rows.reward[starts]
        told.append(came)
    varies = all(np.std(came[np.isfinite(came)]) > 1e-6 for came in told if np.isfinite(came).any())
    return (told[0], told[1]) if varies and all(np.isfinite(came).any() for came in told) else None


def _made_up(held: Held) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
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


def _read(held: Held, fitted: np.ndarray, judged: np.ndarray) -> dict[str, Any]:
    steps = draw(np.flatnonzero(np.isfinite(fitted)), _ROWS, held.seed, "rewards", "rows")
    asked = np.flatnonzero(np.isfinite(judged))
    groups, y, truth = held.probe.episode[steps], fitted[steps, None], judged[asked, None]
    z, z_asked = held.centred[0][steps], held.centred[1][asked]
    raw, raw_asked = held.normalised(held.probe)[steps], held.normalised(held.test)[asked]

    def network(x: np.ndarray, x_asked: np.ndarray) -> float:
        random = generator(held.seed, "rewards", "features")
        return _score(truth, fit_network(x, y, groups, random, _FEATURES, _LEAST)(x_asked))

    return {
        "line": _score(truth, fit_ridge(z, y, groups)(z_asked)),
        "network": network(z, z_asked),
        "observation": network(raw, raw_asked),
    }


def _score(truth: np.ndarray, guess: np.ndarray) -> float:
    return float(np.nan_to_num(r2(truth, guess)[0]))
