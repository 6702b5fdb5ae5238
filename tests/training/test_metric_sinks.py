"""Metric sinks by name: near names, missing packages."""

from __future__ import annotations

import importlib.util

import pytest

from robossl.core.errors import UsageError
from robossl.training.metric_sinks import load_sinks


def test_missing_package_is_named_with_its_extra(monkeypatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tensorboard" else find_spec(name)
    )
    with pytest.raises(UsageError, match=r"pip install 'robossl\[tensorboard\]'"):
        load_sinks(["console", "tensorboard"])


def test_unknown_sink_is_refused_with_near_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        load_sinks(["tensorbord"])


def test_jsonl_is_not_loaded_twice() -> None:
    assert list(load_sinks(["jsonl", "console"])) == ["console"]
