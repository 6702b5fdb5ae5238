"""Pytrees: saved trees are read back unchanged, and malformed files raise."""

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


def random_array(random):
    shape = tuple(random.integers(0, 4, random.integers(0, 4)))
    dtype = random.choice(["bool", "u1", "i2", "i8", "u8", "f2", "f4", "f8"])
    return random.integers(0, 100, shape).astype(dtype)


def random_tree(random, depth=4):
    """Return a tree with unusual leaves, unusual keys and empty branches."""
    kind = random.integers(6) if depth else random.integers(3)
    if kind == 0:
        return SCALARS[random.integers(len(SCALARS))]
    if kind == 1:
        return random_array(random)
    if kind == 2:
        return torch.from_numpy(random_array(random).astype("f4"))
    size = random.integers(5)
    if kind == 3:
        return [random_tree(random, depth - 1) for _ in range(size)]
    keys = [KEYS[i] for i in random.permutation(len(KEYS))[:size]]
    return {key: random_tree(random, depth - 1) for key in keys}


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
        assert repr(left) == repr(right), where  # distinguishes -0.0 from 0.0, and compares nan


@pytest.mark.parametrize("seed", range(60))
def test_tree_round_trip(tmp_path, seed):
    tree = random_tree(generator(seed, "tree"))
    save_tree(tmp_path / "t", tree)
    assert_same(tree, load_tree(tmp_path / "t"))


def test_random_trees_cover_the_special_cases():
    trees = repr([random_tree(generator(seed, "tree")) for seed in range(60)])
    for special_case in ("nan", "-inf", "tensor", "dtype=float16", "{}", "[]", "__metadata__", "ud800"):
        assert special_case in trees, special_case


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_scalar_round_trip(tmp_path, value):
    save_tree(tmp_path / "t", value)
    assert_same(value, load_tree(tmp_path / "t"))


@pytest.mark.parametrize(
    ("value", "expected"),
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
def test_unsupported_types_are_read_back_as_the_closest_type(tmp_path, value, expected):
    save_tree(tmp_path / "t", value)
    assert_same(expected, load_tree(tmp_path / "t"))


def test_loaded_arrays_are_copies(tmp_path):
    save_tree(tmp_path / "t", {"a": np.zeros(3)})
    loaded = load_tree(tmp_path / "t")
    loaded["a"][:] = 5
    assert load_tree(tmp_path / "t")["a"].tolist() == [0, 0, 0]


def test_network_and_optimizer_round_trip(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    save_tree(tmp_path / "t", {"network": network.state_dict(), "optimizer": state})
    expected = load_tree(tmp_path / "t")
    assert_same(dict(network.state_dict()), expected["network"])
    assert list(expected["optimizer"]["state"]) == [0, 1]  # integers, not strings
    for key, tensor in state["state"][0].items():
        np.testing.assert_array_equal(expected["optimizer"]["state"][0][key], tensor.numpy())


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
def test_unsupported_value_raises_with_its_path(tmp_path, tree, where):
    with pytest.raises(TypeError, match=where):
        save_tree(tmp_path / "t", tree)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "value", [np.array(["word"]), np.array([None]), torch.zeros(2, dtype=torch.bfloat16)]
)
def test_unsupported_dtype_is_a_usage_error(tmp_path, value):
    with pytest.raises(UsageError, match=r"tree\['a'\]"):
        save_tree(tmp_path / "t", {"a": value})


@pytest.mark.parametrize(
    "structure",
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
def test_malformed_structure_is_a_corrupted_file(tmp_path, structure):
    write_tensors(tmp_path / "t", {"000000": np.zeros(1)}, {"tree": structure})
    with pytest.raises(CorruptedFileError, match=str(tmp_path / "t")):
        load_tree(tmp_path / "t")


def test_file_without_a_tree_raises(tmp_path):
    write_tensors(tmp_path / "t", {"a": np.zeros(1)}, {"other": json.dumps(1)})
    with pytest.raises(CorruptedFileError, match="no tree"):
        load_tree(tmp_path / "t")
