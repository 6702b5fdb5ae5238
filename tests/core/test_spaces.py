"""Laws of spaces: taking apart and putting together are inverse, and so are writing and reading."""

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


def plain(name):
    """A space of its own, with a generator of its own."""
    return copy.deepcopy(PLAIN[name])


def goal():
    return spaces.Dict(
        {
            "observation": spaces.Dict({"joints": plain("box"), "camera": plain("image")}),
            "achieved_goal": spaces.Box(-1, 1, (2,)),
            "desired_goal": spaces.Box(-1, 1, (2,)),
        }
    )


GOAL = goal()
NESTED = {
    "all": spaces.Dict(PLAIN),
    "goal": goal(),
    "pair": spaces.Tuple([plain("box"), plain("discrete")]),
    "deep": spaces.Dict({"a": spaces.Tuple([spaces.Dict({"b": plain("box"), "c": goal()}), plain("image")])}),
    "odd keys": spaces.Dict({"": plain("box"), "a": plain("discrete"), "a.b": plain("box"), "0": goal()}),
    "prefixes": spaces.Dict({"arm": spaces.Dict({"x": plain("box")}), "arm2": plain("box")}),
    "empty dict": spaces.Dict({}),
    "empty tuple": spaces.Tuple([]),
    "many": spaces.Tuple([spaces.Discrete(i + 2) for i in range(12)]),  # "10" and "11" after "9"
    "unsorted": spaces.Dict(OrderedDict([("z", plain("box")), ("a", plain("discrete"))])),
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
def test_join_undoes_split(name):
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
def test_join_undoes_split_for_a_batch(name):
    space = SPACES[name]
    batched = batch_space(space, 4)
    batched.seed(3)
    value = batched.sample()
    parts = flatten_by_path(space, value)  # the space of one, the value of four
    for path, leaf in leaves(space).items():
        assert parts[path].shape == (4, *leaf.shape)
    assert_same(value, unflatten_by_path(space, parts))


def test_parts_are_views_and_not_copies():
    value = {"a": np.zeros(3), "b": np.zeros(2)}
    parts = flatten_by_path(spaces.Dict({"a": spaces.Box(0, 1, (3,)), "b": spaces.Box(0, 1, (2,))}), value)
    assert parts["a"] is value["a"]


@pytest.mark.parametrize("name", SPACES)
def test_a_space_comes_back_from_json_with_the_same_samples(name):
    space = SPACES[name]
    written = json.loads(json.dumps(to_json(space), allow_nan=False))
    back = from_json(written)
    assert back == space
    assert to_json(back) == written
    assert list(leaves(back)) == list(leaves(space))  # the order too
    space.seed(5)
    back.seed(5)
    for _ in range(3):
        assert_same(space.sample(), back.sample())


@pytest.mark.parametrize("name", [name for name in PLAIN if isinstance(PLAIN[name], spaces.Box)])
def test_the_bounds_come_back_to_the_bit(name):
    space, back = PLAIN[name], from_json(to_json(PLAIN[name]))
    for key in ("low", "high", "bounded_below", "bounded_above"):
        np.testing.assert_array_equal(getattr(space, key), getattr(back, key), strict=True)


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


def test_a_path_names_one_leaf():
    with pytest.raises(UsageError, match=r"two parts of the space are called 'a\.b'"):
        leaves(spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)}), "a.b": spaces.Discrete(2)}))


def test_a_goal_space_shows_the_model_no_goal():
    assert is_goal_space(GOAL)
    assert list(model_inputs(GOAL)) == ["observation.camera", "observation.joints"]
    plain = spaces.Dict({"observation": PLAIN["box"], "achieved_goal": PLAIN["box"]})
    assert not is_goal_space(plain)
    assert model_inputs(plain) == leaves(plain)
    assert not is_goal_space(PLAIN["box"])


def test_a_part_that_is_called_like_a_goal_deeper_down_is_seen():
    inner = spaces.Dict({"desired_goal": PLAIN["box"]})
    space = spaces.Dict({**GOAL.spaces, "observation": inner})
    assert list(model_inputs(space)) == ["observation.desired_goal"]


@pytest.mark.parametrize(
    ("space", "answer"),
    [
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), True),
        (spaces.Box(0, 255, (8, 8, 12), np.uint8), True),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), False),  # frames first: rows would be taken for colours
        (spaces.Box(0, 255, (8, 8), np.uint8), False),
        (spaces.Box(0, 1, (8, 8, 3)), False),
        (spaces.Discrete(3), False),
        (GOAL, False),
    ],
)
def test_an_image_is_rows_by_columns_by_channels_of_bytes(space, answer):
    assert is_image(space) is answer


STRANGE = [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)]


@pytest.mark.parametrize("space", STRANGE)
@pytest.mark.parametrize("ask", [leaves, to_json])
def test_what_cannot_be_recorded_is_named(space, ask):
    for whole in (space, spaces.Dict({"a": spaces.Tuple([space])})):
        with pytest.raises(UsageError, match=type(space).__name__):
            ask(whole)


@pytest.mark.parametrize("ask", [leaves, to_json, lambda space: flatten_by_path(space, {1: 0})])
def test_keys_are_words(ask):
    with pytest.raises(UsageError, match="words; got 1"):
        ask(spaces.Dict({1: spaces.Discrete(2)}))


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
def test_json_that_describes_no_space_is_a_wrong_request(value):
    with pytest.raises(UsageError):
        from_json(value)


def test_a_space_of_any_size_is_told_in_one_line():
    bounds = np.arange(1, 400, dtype=np.float32)
    wide = spaces.Dict({"far": spaces.Box(-bounds, bounds), "pick": spaces.Discrete(3)})
    assert len(str(wide).splitlines()) > 1
    assert format_space(wide) == "Dict(far: Box(-399 to 399, (399,), float32), pick: Discrete(3))"
    for space in PLAIN.values():
        assert "\n" not in format_space(space)
