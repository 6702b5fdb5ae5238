"""Checkpoints: valid or missing, a damaged one is named, the one before it is used."""

from __future__ import annotations

import numpy as np
import pytest

from robossl.core.errors import OperationError
from robossl.training.checkpoints import Checkpoints


def _save(folder, count):
    checkpoints = Checkpoints(folder)
    for number in range(count):
        checkpoints.save({"number": number, "weights": np.arange(1000.0) + number})
    return checkpoints


def test_latest_returns_newest_checkpoint(tmp_path):
    assert Checkpoints(tmp_path).latest() is None
    assert _save(tmp_path, 2).latest()["number"] == 1


def test_oldest_checkpoints_are_deleted(tmp_path):
    _save(tmp_path, 5)
    assert [p.name for p in Checkpoints(tmp_path).paths()] == [
        f"checkpoint-{n:06d}.safetensors" for n in (2, 3, 4)
    ]


def test_finished_run_keeps_the_newest_checkpoint(tmp_path):
    checkpoints = _save(tmp_path, 5)
    checkpoints.keep_newest()
    assert [p.name for p in checkpoints.paths()] == ["checkpoint-000004.safetensors"]
    assert checkpoints.latest()["number"] == 4


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage):
    newest = _save(tmp_path, 3).paths()[-1]
    data = bytearray(newest.read_bytes())
    if damage == "cut":
        data = data[:-10]
    else:
        data[-10] ^= 1
    newest.write_bytes(data)
    messages = []
    tree = Checkpoints(tmp_path, messages.append).latest()
    assert tree["number"] == 1
    assert newest.name in messages[0]
    assert (tmp_path / f"damaged-{newest.name}").exists()
    assert Checkpoints(tmp_path, messages.append).latest()["number"] == 1
    assert len(messages) == 1


def test_only_damaged_checkpoints_is_an_error(tmp_path):
    for path in _save(tmp_path, 2).paths():
        path.write_bytes(b"nothing")
    with pytest.raises(OperationError, match="all 2 checkpoints"):
        Checkpoints(tmp_path).latest()
