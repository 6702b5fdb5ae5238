"""Third-party LeRobot datasets: convert their features to a stream schema and report the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.streams.formats.episode_data import Rows, all_finite, build_episode
from robossl.streams.formats.lerobot_features import INDEX, STATE_FEATURE, Feature
from robossl.streams.schema import Field, Schema, observation_name

_PREFIX = "observation."
_REWARDS = ("next.reward", "reward")  # the first that exists


def feature_list(feature_specs: Mapping[str, Any]) -> list[Feature]:
    """Return the features that a stream can store: observations, the action, the reward."""
    names = [name for name in feature_specs if name.startswith(_PREFIX) or name == "observation"]
    if not names or "action" not in feature_specs:
        raise UsageError(
            f"expected features observation.* and action in the dataset; available: {', '.join(feature_specs)}"
        )
    reward = next((name for name in _REWARDS if name in feature_specs), None)
    is_state_only = names == [STATE_FEATURE]
    features = []
    for name in names:
        path = "" if is_state_only else name.removeprefix(_PREFIX)
        features.append(_feature(name, feature_specs[name], observation_name(path), "observation"))
    features.append(_feature("action", feature_specs["action"], "action", "action"))
    return features + ([_feature(reward, feature_specs[reward], "reward", "reward")] if reward else [])


def _feature(name: str, entry: Mapping[str, Any], field: str, role: str) -> Feature:
    """Return one feature with the field that it becomes."""
    kind, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
    if kind in ("video", "image"):
        if len(shape) != 3:
            raise UsageError(f"expected an image of height, width, channels as {name!r}, got shape {shape}")
        channels_first = shape[0] in (1, 3) and shape[2] not in (1, 3)
        shape = (shape[1], shape[2], 3) if channels_first else (shape[0], shape[1], 3)
        return Feature(Field(field, "uint8", shape, role), name, kind)
    try:
        dtype = str(np.dtype(kind))
    except TypeError:
        raise UsageError(f"expected numbers, video or image as {name!r}, got type {kind!r}") from None
    is_scalar = role == "reward" or (role == "action" and dtype.startswith("int") and shape == (1,))
    return Feature(Field(field, dtype, () if is_scalar else shape, role), name, kind)


def thirdparty_schema(features: list[Feature]) -> Schema:
    """Return a schema with unbounded spaces: the dataset has no bounds."""
    tree: dict[str, Any] = {}
    for feature in features:
        if feature.field.role != "observation":
            continue
        *parents, last = feature.field.name.split(".")[1:] or [""]
        subtree = tree
        for name in parents:
            subtree = subtree.setdefault(name, {})
            if not isinstance(subtree, dict):
                raise UsageError(
                    f"{feature.name!r} is nested in another observation; expected either of them"
                )
        subtree[last] = _unbounded(feature.field)
    observation = tree[""] if set(tree) == {""} else _dict_space(tree)
    action = next(f for f in features if f.field.name == "action")
    return Schema.from_spaces(observation, _unbounded(action.field))


def _dict_space(tree: Mapping[str, Any]) -> spaces.Dict:
    return spaces.Dict({n: _dict_space(v) if isinstance(v, dict) else v for n, v in tree.items()})


def _unbounded(field: Field) -> spaces.Box:
    """Return a Box of all values of the field's dtype."""
    kind = np.dtype(field.dtype)
    if kind.kind == "f":
        return spaces.Box(-np.inf, np.inf, field.shape, kind.type)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return spaces.Box(low, high, field.shape, np.uint8 if kind.kind == "b" else kind.type)


def thirdparty_rows(schema: Schema, features: list[Feature], frames: Mapping[str, np.ndarray]) -> Rows:
    """Return the rows of an episode of F frames: F-1 transitions, since the last action has no next observation."""
    by_field = {f.field.name: frames[f.name] for f in features}
    action = by_field.pop("action")
    steps = len(action) - 1
    outcomes = {name: np.zeros(steps) for name in ("reward", "terminated", "truncated")}
    if "reward" in by_field:
        outcomes["reward"] = by_field.pop("reward")[:-1]
    rows = build_episode(schema, by_field, action[:-1], outcomes, {})
    for field in schema.fields:
        rows[field.name] = rows[field.name].astype(field.dtype, copy=False)
    if not all_finite(rows):
        raise UsageError("expected finite observations and rewards in the dataset")
    return rows


def thirdparty_losses(
    feature_specs: Mapping[str, Any], features: list[Feature], episodes: int, num_omitted: int
) -> list[str]:
    """Return what a stream does not keep of the dataset and what the dataset lacks, as text."""
    messages = [
        f"the last frame of each episode has no next observation: its action, reward and end "
        f"are omitted ({episodes - num_omitted} episodes)",
        "the dataset has no bounds of observations and actions: the spaces are unbounded",
    ]
    if num_omitted:
        messages.append(f"an episode of one frame is omitted ({num_omitted} episodes)")
    used = {feature.name for feature in features}
    if not any(feature.field.role == "reward" for feature in features):
        messages.append("the dataset has no reward: all rewards are zero")
    if any(f.field.name == "action" and f.kind == "float64" for f in features):
        messages.append("actions are float64; a stream keeps float32")
    omitted = sorted(set(feature_specs) - used - set(INDEX))
    return [*messages, f"features are omitted: {', '.join(omitted)}"] if omitted else messages
