"""A stream and a finished sweep, which tests read and do not change."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweeps import CARTPOLE, content

import robossl


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a stream."""
    folder = tmp_path_factory.mktemp("sweep") / "stream"
    robossl.collect(CARTPOLE, "random", 2048, folder, num_envs=16).close()
    return folder


@pytest.fixture(scope="session")
def finished(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep whose cells ran one by one, as jobs of an array."""
    folder = tmp_path_factory.mktemp("sweeps") / "finished"
    for index in (1, 0):
        robossl.sweep(content(stream), folder, cell=index)
    return folder
