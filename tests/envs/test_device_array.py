"""Numpy functions of robot code give the same numbers on a device array as on a numpy array."""

import numpy as np
import pytest
import torch
from robossl.envs import as_array
from robossl.envs.engine.task import to_column_major
from robossl.envs.shared.reward_shaping import speed_reward, tolerance
from robossl.envs.shared.rotations import quaternion_from_6d, rotation_6d
from robossl.envs.warp.device_array import DeviceArray

VALUES = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
FUNCTIONS = {
    "arithmetic": lambda x: (2 * x - 1.5) / (x * x + 1) + x**2 - -x,
    "constants": lambda x: x * np.array([1.0, 2.0, 3.0, 4.0]) + np.float64(0.5),
    "reflected": lambda x: np.ones(4) - x,
    "trigonometry": lambda x: np.arctan2(np.sin(x), np.cos(x)) + np.hypot(x, 2.0),
    "comparison": lambda x: (x > 0) & (x <= 1.0) | ~(x < 0.5),
    "where": lambda x: np.where(x > 0, x, [0.0, 1.0, 2.0, 3.0]),
    "clip": lambda x: np.clip(x, -0.5, 0.5) + np.minimum(np.maximum(x, -1.0), 1.0),
    "clip by name": lambda x: np.clip(x, a_min=-0.5, a_max=0.5) + np.clip(x, min=0.1, max=None),
    "clip in place": lambda x: _clipped(x),
    "differences": lambda x: np.diff(x, 2, axis=0),
    "stack": lambda x: np.stack([x[:, 0], x[:, 1]], axis=1),
    "concatenate": lambda x: np.concatenate([x[:, :2], np.cos(x[:, 3:])], axis=1),
    "reductions": lambda x: x.sum(axis=1) + np.max(x, axis=1) + np.mean(x, axis=1) + x.min(axis=1),
    "counts": lambda x: np.sum(x > 0, axis=1, dtype=np.float64) / 3 + np.mean(x, axis=1, dtype=np.float64),
    "all": lambda x: np.all(x < 2, axis=1) | (x > 1).any(axis=1),
    "take": lambda x: x.take([2, 0, 2], axis=1),
    "empty like": lambda x: _filled(x),
    "in place": lambda x: _in_place(x),
    "mask": lambda x: _masked(x),
    "transpose": lambda x: sum(column for column in x.T),
    "column major": lambda x: to_column_major(x) * 2,
    "linear algebra": lambda x: np.linalg.norm(x, axis=1) + (x @ np.ones(4)),
    "tolerance": lambda x: tolerance(x, -0.2, 0.3, 0.5),
    "speed reward": lambda x: speed_reward(x[:, 0], 2.0),
    "rotation": lambda x: quaternion_from_6d(rotation_6d(x)),
    "full": lambda x: np.full(len(x), 3.0, like=x) + np.zeros_like(x[:, 0]) + np.full_like(x[:, 0], 2.0),
    "tile": lambda x: np.tile(x[:1], (3, 1)),
}


def _filled(x):
    out = np.empty((len(x), 3), like=x)
    np.divide(x[:, :2], (2.0, 4.0), out=out[:, :2])
    out[:, 2] = x[:, 3]
    return out


def _in_place(x):
    copied = x.copy()
    copied *= 2.0
    copied += np.array([1.0, 0.0, 0.0, 1.0])
    np.sin(copied, out=copied)
    return copied


def _clipped(x):
    copied = x.copy()
    np.clip(copied, -0.5, 0.5, out=copied)
    return copied


def _masked(x):
    copied = x.copy()
    copied[copied < 0] = 0.0
    copied[:, [1, 3]] = 7.0
    return copied


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_gives_the_numbers_of_numpy(name):
    expected = FUNCTIONS[name](VALUES.astype(np.float64))
    result = FUNCTIONS[name](DeviceArray(torch.from_numpy(VALUES.copy())))
    assert isinstance(result, DeviceArray)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result.tensor.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_slices_are_views_and_copies_are_not():
    array = DeviceArray(torch.zeros(3, 2))
    array[:, 0] = 1.0
    array.copy()[:, 1] = 5.0
    assert array.tensor.tolist() == [[1.0, 0.0]] * 3


def test_as_array_leaves_a_device_array_where_it_is():
    array = DeviceArray(torch.zeros(3))
    assert as_array(array, np.float64) is array
    assert as_array([1, 2], np.float64).dtype == np.float64


def test_as_array_converts_an_array_in_a_file(tmp_path):
    array = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=(3,))
    assert as_array(array, np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda x: np.asarray(x), "as_array"),
        (lambda x: np.sort(x), r"numpy\.sort"),
        (lambda x: np.arccosh(x), r"numpy\.arccosh"),
        (lambda x: 1 if x[0] > 0 else 0, "np.where"),
        (lambda x: np.divide(x, 2, out=np.zeros(3)), "like=array"),
        (lambda x: x[::-1], "np.flip"),
        (lambda x: np.sum(x, where=np.array([True, False, True])), r"numpy\.sum.*where"),
        (lambda x: np.max(x, initial=5.0), r"numpy\.max.*initial"),
        (lambda x: np.maximum.reduce(x, initial=5.0), r"maximum\.reduce.*initial"),
        (lambda x: np.concatenate([x, x], out=np.zeros(6)), "like=array"),
    ],
)
def test_what_a_device_cannot_do_is_named(work, message):
    with pytest.raises(TypeError, match=message):
        work(DeviceArray(torch.ones(3)))


def test_new_numpy_arrays_at_every_step_are_refused(monkeypatch):
    monkeypatch.setattr("robossl.envs.warp.device_tensors._MAX_CONSTANTS", 3)
    monkeypatch.setattr("robossl.envs.warp.device_tensors._constants", {})
    array = DeviceArray(torch.ones(3))
    for number in range(3):
        array = array + np.full(3, float(number))
    with pytest.raises(TypeError, match="at most 3 different numpy arrays"):
        array + np.full(3, 3.0)
