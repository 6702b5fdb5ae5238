"""Checkpoints: whole or absent, the damaged one named, the one before it used."""

from __future__ import annotations

import numpy as np
import pytest

from robossl.core.errors import OperationError
from robossl.training.checkpoints import Checkpoints


def _saved(folder, count):
    checkpoints = Checkpoints(folder)
    for number in range(count):
        checkpoints.save({"number": number, "weights": np.arange(1000.0) + number})
    return checkpoints


def test_the_latest_comes_back(tmp_path):
    assert Checkpoints(tmp_path).latest() is None
    assert _saved(tmp_path, 2).latest()["number"] == 1


def test_only_a_few_are_kept_and_numbers_go_on(tmp_path):
    _saved(tmp_path, 5)
    assert [p.name for p in Checkpoints(tmp_path).paths()] == [
        f"checkpoint-{n:06d}.safetensors" for n in (2, 3, 4)
    ]


@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path, harm):
    newest = _saved(tmp_path, 3).paths()[-1]
    data = bytearray(newest.read_bytes())
    if harm == "cut":
        data = data[:-10]
    else:
        data[-10] ^= 1
    newest.write_bytes(data)
    told = []
    tree = Checkpoints(tmp_path, told.append).latest()
    assert tree["number"] == 1
    assert newest.name in told[0]
    assert (tmp_path / f"damaged-{newest.name}").exists()
    assert Checkpoints(tmp_path, told.append).latest()["number"] == 1
    assert len(told) == 1


def test_all_damaged_is_an_error_that_says_so(tmp_path):
    for path in _saved(tmp_path, 2).paths():
        path.write_bytes(b"nothing")
    with pytest.raises(OperationError, match="all 2 checkpoints"):
        Checkpoints(tmp_path).latest()
