"""Metric sinks of a run, looked up by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from robossl import registry
from robossl.core.errors import UsageError
from robossl.logging.logger import SinkFactory


def load_sinks(names: Sequence[str]) -> dict[str, SinkFactory]:
    """Return the factories of metric sinks by name, without `jsonl`, which every run has.

    Raises:
        UsageError: A name is unknown, or a package that a sink imports is missing.
    """
    factories = {}
    for name in names:
        factory = registry.load("metric_sinks", name)
        for package in getattr(factory, "packages", ()):
            if importlib.util.find_spec(package) is None:
                raise UsageError(
                    f"--log {name} needs the package {package}, which is not installed: pip install 'robossl[{name}]'"
                )
        factories[name] = factory
    factories.pop("jsonl", None)
    return factories
