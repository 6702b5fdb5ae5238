"""Spaces: flattening and unflattening are inverse, and so are writing and reading JSON."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from robossl.core.errors import UsageError
from robossl.core.spaces import (
    flatten_by_path,
    format_space,
    from_json,
    is_goal_space,
    is_image,
    leaves,
    model_inputs,
    to_json,
    unflatten_by_path,
)

INF = np.inf


def box(low, high, dtype=np.float32):
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


PLAIN = {
    "box": spaces.Box(-1, 1, (3,)),
    "scalar box": spaces.Box(-2, 0.1, (), np.float64),
    "empty box": spaces.Box(0, 1, (0,)),
    "empty rows": spaces.Box(0, 1, (3, 0)),
    "unbounded": spaces.Box(-INF, INF, (2, 3), np.float64),
    "mixed bounds": box([-INF, 0.1, -3], [1, INF, 0.3]),
    "half bounded": spaces.Box(-1, INF, (2,), np.float16),
    "finest bounds": box([0.1, -1e300], [np.nextafter(0.1, 1), 1e300], np.float64),
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "full range": spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
    "mixed integers": box([-(2**63), 5], [2**63 - 1, 6], np.int64),
    "unbounded integers": spaces.Box(-INF, INF, (2,), np.int64),
    "large counts": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    "truths": spaces.Box(0, 1, (2,), bool),
    "discrete": spaces.Discrete(5),
    "shifted discrete": spaces.Discrete(5, start=-2),
    "multi binary": spaces.MultiBinary(4),
    "multi binary of one axis": spaces.MultiBinary([4]),
    "multi binary grid": spaces.MultiBinary([2, 3]),
    "multi discrete": spaces.MultiDiscrete([2, 5, 3]),
    "multi discrete grid": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), dtype=np.int32),
    "shifted multi discrete": spaces.MultiDiscrete([2, 5], start=[-1, 7]),
}


def leaf_space(name):
    """Return a copy of a space, with its own generator."""
    return copy.deepcopy(PLAIN[name])


def goal():
    return spaces.Dict(
        {
            "observation": spaces.Dict({"joints": leaf_space("box"), "camera": leaf_space("image")}),
            "achieved_goal": spaces.Box(-1, 1, (2,)),
            "desired_goal": spaces.Box(-1, 1, (2,)),
        }
    )


GOAL = goal()
NESTED = {
    "all": spaces.Dict(PLAIN),
    "goal": goal(),
    "pair": spaces.Tuple([leaf_space("box"), leaf_space("discrete")]),
    "deep": spaces.Dict(
        {"a": spaces.Tuple([spaces.Dict({"b": leaf_space("box"), "c": goal()}), leaf_space("image")])}
    ),
    "odd keys": spaces.Dict(
        {"": leaf_space("box"), "a": leaf_space("discrete"), "a.b": leaf_space("box"), "0": goal()}
    ),
    "prefixes": spaces.Dict({"arm": spaces.Dict({"x": leaf_space("box")}), "arm2": leaf_space("box")}),
    "empty dict": spaces.Dict({}),
    "empty tuple": spaces.Tuple([]),
    "many": spaces.Tuple([spaces.Discrete(i + 2) for i in range(12)]),  # "10" and "11" after "9"
    "unsorted": spaces.Dict(OrderedDict([("z", leaf_space("box")), ("a", leaf_space("discrete"))])),
}
SPACES = PLAIN | NESTED


def assert_same(left, right):
    assert type(left) is type(right) or not isinstance(left, (dict, tuple))
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", SPACES)
def test_unflatten_inverts_flatten(name):
    space = SPACES[name]
    space.seed(3)
    value = space.sample()
    parts = flatten_by_path(space, value)
    assert list(parts) == list(leaves(space))
    for path, leaf in leaves(space).items():
        assert parts[path].shape == leaf.shape
    assert_same(value, unflatten_by_path(space, parts))
    assert flatten_by_path(space, unflatten_by_path(space, parts)).keys() == parts.keys()


@pytest.mark.parametrize("name", SPACES)
def test_unflatten_inverts_flatten_for_a_batch(name):
    space = SPACES[name]
    batched = batch_space(space, 4)
    batched.seed(3)
    value = batched.sample()
    parts = flatten_by_path(space, value)  # space of one value, batch of four
    for path, leaf in leaves(space).items():
        assert parts[path].shape == (4, *leaf.shape)
    assert_same(value, unflatten_by_path(space, parts))


def test_flatten_returns_views():
    value = {"a": np.zeros(3), "b": np.zeros(2)}
    parts = flatten_by_path(spaces.Dict({"a": spaces.Box(0, 1, (3,)), "b": spaces.Box(0, 1, (2,))}), value)
    assert parts["a"] is value["a"]


@pytest.mark.parametrize("name", SPACES)
def test_json_round_trip_gives_the_same_samples(name):
    space = SPACES[name]
    json_value = json.loads(json.dumps(to_json(space), allow_nan=False))
    restored = from_json(json_value)
    assert restored == space
    assert to_json(restored) == json_value
    assert list(leaves(restored)) == list(leaves(space))  # the order too
    space.seed(5)
    restored.seed(5)
    for _ in range(3):
        assert_same(space.sample(), restored.sample())


@pytest.mark.parametrize("name", [name for name in PLAIN if isinstance(PLAIN[name], spaces.Box)])
def test_json_round_trip_keeps_bounds_to_the_bit(name):
    space, restored = PLAIN[name], from_json(to_json(PLAIN[name]))
    for key in ("low", "high", "bounded_below", "bounded_above"):
        np.testing.assert_array_equal(getattr(space, key), getattr(restored, key), strict=True)


def test_equal_bounds_are_written_once():
    assert len(json.dumps(to_json(spaces.Box(0, 255, (64, 64, 3), np.uint8)))) < 120


def test_paths_name_nested_leaves():
    assert list(leaves(GOAL)) == [
        "achieved_goal",
        "desired_goal",
        "observation.camera",
        "observation.joints",
    ]
    assert leaves(PLAIN["box"]) == {"": PLAIN["box"]}


def test_duplicate_paths_raise():
    with pytest.raises(UsageError, match=r"two leaves of the space have the path 'a\.b'"):
        leaves(spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)}), "a.b": spaces.Discrete(2)}))


def test_model_inputs_exclude_the_goals():
    assert is_goal_space(GOAL)
    assert list(model_inputs(GOAL)) == ["observation.camera", "observation.joints"]
    leaf_space = spaces.Dict({"observation": PLAIN["box"], "achieved_goal": PLAIN["box"]})
    assert not is_goal_space(leaf_space)
    assert model_inputs(leaf_space) == leaves(leaf_space)
    assert not is_goal_space(PLAIN["box"])


def test_model_inputs_include_nested_leaves_named_like_a_goal():
    inner = spaces.Dict({"desired_goal": PLAIN["box"]})
    space = spaces.Dict({**GOAL.spaces, "observation": inner})
    assert list(model_inputs(space)) == ["observation.desired_goal"]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), True),
        (spaces.Box(0, 255, (8, 8, 12), np.uint8), True),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), False),  # channels first: rows would be taken for colors
        (spaces.Box(0, 255, (8, 8), np.uint8), False),
        (spaces.Box(0, 1, (8, 8, 3)), False),
        (spaces.Discrete(3), False),
        (GOAL, False),
    ],
)
def test_is_image_requires_uint8_height_width_channels(space, expected):
    assert is_image(space) is expected


UNSUPPORTED = [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)]


@pytest.mark.parametrize("space", UNSUPPORTED)
@pytest.mark.parametrize("function", [leaves, to_json])
def test_unsupported_space_raises_with_its_type(space, function):
    for nested in (space, spaces.Dict({"a": spaces.Tuple([space])})):
        with pytest.raises(UsageError, match=type(space).__name__):
            function(nested)


@pytest.mark.parametrize("function", [leaves, to_json, lambda space: flatten_by_path(space, {1: 0})])
def test_non_string_keys_raise(function):
    with pytest.raises(UsageError, match="got 1"):
        function(spaces.Dict({1: spaces.Discrete(2)}))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "Box",
        {},
        {"type": "Banana"},
        {"type": "Box"},
        {"type": "Box", "shape": [2], "dtype": "float32", "low": 0, "high": [1, 2, 3]},
        {"type": "Box", "shape": [2], "dtype": "object", "low": 0, "high": 1},
        {"type": "Box", "shape": [2], "dtype": "float99", "low": 0, "high": 1},
        {"type": "Box", "shape": [2], "dtype": "float32", "low": 1, "high": 0},
        {"type": "Box", "shape": [2], "dtype": "float32", "low": "word", "high": 0},
        {"type": "Box", "shape": [2], "dtype": "uint8", "low": 0, "high": 256},
        {"type": "Box", "shape": [-2], "dtype": "uint8", "low": 0, "high": 255},
        {"type": "Discrete", "n": 0, "start": 0},
        {"type": "Discrete", "n": "3", "start": 0},
        {"type": "MultiBinary", "n": [0]},
        {"type": "MultiDiscrete", "nvec": [2], "start": [0, 1], "dtype": "int64"},
        {"type": "Dict", "spaces": [1]},
        {"type": "Dict", "spaces": {"a": {"type": "Tuple", "spaces": 3}}},
    ],
    ids=repr,
)
def test_invalid_json_is_a_usage_error(value):
    with pytest.raises(UsageError):
        from_json(value)


def test_format_space_is_one_line():
    bounds = np.arange(1, 400, dtype=np.float32)
    wide = spaces.Dict({"far": spaces.Box(-bounds, bounds), "pick": spaces.Discrete(3)})
    assert len(str(wide).splitlines()) > 1
    assert format_space(wide) == "Dict(far: Box(-399 to 399, (399,), float32), pick: Discrete(3))"
    for space in PLAIN.values():
        assert "\n" not in format_space(space)
