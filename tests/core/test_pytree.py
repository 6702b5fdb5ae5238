"""Laws of trees: what is saved comes back the same, to the bit, and nothing else comes back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import load_tree, save_tree, write_tensors
from robossl.core.seeding import generator

SCALARS = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    -(2**200),
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    "",
    "Grüße \u0000 \ud800 'quoted' \"twice\"",
    "inf",
]
KEYS = ["", "a", "a.b", "tree", "__metadata__", "000000", "crc32", "header_crc32", 0, -3, 2**70, "0"]


def some_array(random):
    shape = tuple(random.integers(0, 4, random.integers(0, 4)))
    dtype = random.choice(["bool", "u1", "i2", "i8", "u8", "f2", "f4", "f8"])
    return random.integers(0, 100, shape).astype(dtype)


def some_tree(random, depth=4):
    """A tree of odd leaves, odd keys and empty branches."""
    kind = random.integers(6) if depth else random.integers(3)
    if kind == 0:
        return SCALARS[random.integers(len(SCALARS))]
    if kind == 1:
        return some_array(random)
    if kind == 2:
        return torch.from_numpy(some_array(random).astype("f4"))
    size = random.integers(5)
    if kind == 3:
        return [some_tree(random, depth - 1) for _ in range(size)]
    keys = [KEYS[i] for i in random.permutation(len(KEYS))[:size]]
    return {key: some_tree(random, depth - 1) for key in keys}


def assert_same(left, right, where="tree"):
    if isinstance(left, torch.Tensor):
        left = left.numpy()
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert list(left) == list(right), where  # order too
        assert [type(k) for k in left] == [type(k) for k in right], where
        for key in left:
            assert_same(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, list):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(left, np.ndarray):
        np.testing.assert_array_equal(left, right, strict=True, err_msg=where)
        assert right.flags.writeable
    else:
        assert repr(left) == repr(right), where  # tells -0.0 from 0.0, knows nan


@pytest.mark.parametrize("seed", range(60))
def test_a_tree_comes_back_the_same(tmp_path, seed):
    tree = some_tree(generator(seed, "tree"))
    save_tree(tmp_path / "t", tree)
    assert_same(tree, load_tree(tmp_path / "t"))


def test_the_trees_of_this_test_are_odd_enough():
    trees = repr([some_tree(generator(seed, "tree")) for seed in range(60)])
    for oddity in ("nan", "-inf", "tensor", "dtype=float16", "{}", "[]", "__metadata__", "ud800"):
        assert oddity in trees, oddity


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_every_scalar_comes_back_the_same(tmp_path, value):
    save_tree(tmp_path / "t", value)
    assert_same(value, load_tree(tmp_path / "t"))


@pytest.mark.parametrize(
    ("given", "back"),
    [
        ((1, (2,)), [1, [2]]),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int8(3), 3),
        (np.bool_(True), True),
        ({np.int64(3): 1}, {3: 1}),
        (np.array(7), np.array(7)),
    ],
    ids=repr,
)
def test_what_has_no_place_of_its_own_comes_back_as_its_nearest(tmp_path, given, back):
    save_tree(tmp_path / "t", given)
    assert_same(back, load_tree(tmp_path / "t"))


def test_loaded_arrays_are_their_own_and_the_file_can_go(tmp_path):
    save_tree(tmp_path / "t", {"a": np.zeros(3)})
    loaded = load_tree(tmp_path / "t")
    loaded["a"][:] = 5
    assert load_tree(tmp_path / "t")["a"].tolist() == [0, 0, 0]


def test_a_network_and_its_optimiser_come_back(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    state = optimiser.state_dict()
    save_tree(tmp_path / "t", {"network": network.state_dict(), "optimiser": state})
    back = load_tree(tmp_path / "t")
    assert_same(dict(network.state_dict()), back["network"])
    assert list(back["optimiser"]["state"]) == [0, 1]  # numbers, not words
    for key, tensor in state["state"][0].items():
        np.testing.assert_array_equal(back["optimiser"]["state"][0][key], tensor.numpy())


@pytest.mark.parametrize(
    ("tree", "where"),
    [
        ({"a": [0, object()]}, r"object at tree\['a'\]\[1\]"),
        ({"a": {1.5: 0}}, r"1\.5 at tree\['a'\]"),
        ({True: 0}, "True at tree"),
        ({"a": {1, 2}}, r"set at tree\['a'\]"),
        (b"bytes", "bytes at tree"),
        (torch.device("cpu"), "device at tree"),
    ],
)
def test_what_cannot_be_saved_is_named_with_its_place(tmp_path, tree, where):
    with pytest.raises(TypeError, match=where):
        save_tree(tmp_path / "t", tree)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "value", [np.array(["word"]), np.array([None]), torch.zeros(2, dtype=torch.bfloat16)]
)
def test_what_a_file_cannot_hold_is_a_wrong_request(tmp_path, value):
    with pytest.raises(UsageError, match=r"tree\['a'\]"):
        save_tree(tmp_path / "t", {"a": value})


@pytest.mark.parametrize(
    "skeleton",
    [
        "{",
        "[]",
        "{}",
        "null",
        '{"strange": 1}',
        '{"array": "not there"}',
        '{"array": []}',
        '{"float": "one"}',
        '{"float": 1.0}',
        '{"list": 3}',
        '{"dict": [["a"]]}',
        '{"dict": [[{"word": 1}, {"value": 1}]]}',
        '{"value": 1, "list": []}',
        '{"list":[' * 5_000,
    ],
)
def test_a_skeleton_that_is_none_is_a_damaged_file(tmp_path, skeleton):
    write_tensors(tmp_path / "t", {"000000": np.zeros(1)}, {"tree": skeleton})
    with pytest.raises(CorruptedFileError, match=str(tmp_path / "t")):
        load_tree(tmp_path / "t")


def test_arrays_without_a_tree_are_not_taken_for_one(tmp_path):
    write_tensors(tmp_path / "t", {"a": np.zeros(1)}, {"other": json.dumps(1)})
    with pytest.raises(CorruptedFileError, match="no tree"):
        load_tree(tmp_path / "t")
