"""A stranger's LeRobot data set read as a stream: what can be known of it, and what cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.streams.formats.episode_data import Rows, build_episode, finite
from robossl.streams.formats.lerobot_features import INDEX, STATE, Feature
from robossl.streams.schema import Field, Schema, observation_name

_PREFIX = "observation."
_REWARDS = ("next.reward", "reward")  # the first that there is


def feature_list(described: Mapping[str, Any]) -> list[Feature]:
    """The features that a stream can hold: observations, the action, the reward."""
    names = [name for name in described if name.startswith(_PREFIX) or name == "observation"]
    if not names or "action" not in described:
        raise UsageError(
            f"expected features observation.* and action in the data set; there are: {', '.join(described)}"
        )
    reward = next((name for name in _REWARDS if name in described), None)
    plain = names == [STATE]
    found = []
    for name in names:
        path = "" if plain else name.removeprefix(_PREFIX)
        found.append(_feature(name, described[name], observation_name(path), "observation"))
    found.append(_feature("action", described["action"], "action", "action"))
    return found + ([_feature(reward, described[reward], "reward", "reward")] if reward else [])


def _feature(name: str, entry: Mapping[str, Any], field: str, role: str) -> Feature:
    """One feature and the field it becomes."""
    kind, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
    if kind in ("video", "image"):
        if len(shape) != 3:
            raise UsageError(f"{name!r} is a picture of shape {shape}; expected height, width, channels")
        first = shape[0] if shape[0] in (1, 3) and shape[2] not in (1, 3) else None
        shape = (shape[1], shape[2], 3) if first else (shape[0], shape[1], 3)  # channels may be said first
        return Feature(Field(field, "uint8", shape, role), name, kind)
    try:
        dtype = str(np.dtype(kind))
    except TypeError:
        raise UsageError(f"{name!r} is of type {kind!r}; expected numbers, video or image") from None
    single = role == "reward" or (role == "action" and dtype.startswith("int") and shape == (1,))
    return Feature(Field(field, dtype, () if single else shape, role), name, kind)


def schema_of(features: list[Feature]) -> Schema:
    """Spaces without bounds: the data set tells none."""
    tree: dict[str, Any] = {}
    for feature in features:
        if feature.field.role != "observation":
            continue
        *above, last = feature.field.name.split(".")[1:] or [""]
        branch = tree
        for name in above:
            branch = branch.setdefault(name, {})
            if not isinstance(branch, dict):
                raise UsageError(
                    f"{feature.name!r} lies inside another observation; expected one or the other"
                )
        branch[last] = _unbounded(feature.field)
    observation = tree[""] if set(tree) == {""} else _joined(tree)
    action = next(f for f in features if f.field.name == "action")
    return Schema.of(observation, _unbounded(action.field))


def _joined(tree: Mapping[str, Any]) -> spaces.Dict:
    return spaces.Dict({n: _joined(v) if isinstance(v, dict) else v for n, v in tree.items()})


def _unbounded(field: Field) -> spaces.Box:
    """A box of everything its type can say."""
    kind = np.dtype(field.dtype)
    if kind.kind == "f":
        return spaces.Box(-np.inf, np.inf, field.shape, kind.type)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return spaces.Box(low, high, field.shape, np.uint8 if kind.kind == "b" else kind.type)


def rows_of_stranger(schema: Schema, features: list[Feature], found: Mapping[str, np.ndarray]) -> Rows:
    """The rows of an episode of F frames: F-1 transitions, for nothing is known after its last action."""
    by_field = {f.field.name: found[f.name] for f in features}
    action = by_field.pop("action")
    steps = len(action) - 1
    outcomes = {name: np.zeros(steps) for name in ("reward", "terminated", "truncated")}
    if "reward" in by_field:
        outcomes["reward"] = by_field.pop("reward")[:-1]
    rows = build_episode(schema, by_field, action[:-1], outcomes, {})
    for field in schema.fields:
        rows[field.name] = rows[field.name].astype(field.dtype, copy=False)
    if not finite(rows):
        raise UsageError("the data set has observations or rewards that are not finite")
    return rows


def losses_of(described: Mapping[str, Any], features: list[Feature], episodes: int, short: int) -> list[str]:
    """What a stream does not keep of the data set, or what the data set does not tell."""
    words = [
        f"the last frame of each episode has no observation after it: its action, reward and end "
        f"are left out ({episodes - short} episodes)",
        "no bounds of observations and actions are told: the spaces are unbounded",
    ]
    if short:
        words.append(f"an episode of one frame is left out ({short} episodes)")
    kept = {feature.name for feature in features}
    if not any(feature.field.role == "reward" for feature in features):
        words.append("no reward is told: all are zero")
    if any(f.field.name == "action" and f.kind == "float64" for f in features):
        words.append("actions are float64; a stream keeps float32")
    rest = sorted(set(described) - kept - set(INDEX))
    return [*words, f"features are left out: {', '.join(rest)}"] if rest else words
