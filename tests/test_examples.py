"""Every script in examples/ runs in a folder of its own, prints a result and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
EXTENSION_POINTS = {
    "custom_agent",
    "custom_encoder",
    "custom_objective",
    "encoder_under_rl",
    "env_adapter",
    "metric_sink",
    "report_section",
    "representation_wrapper",
    "sb3_callbacks",
}


def test_every_extension_point_has_an_example():
    assert {path.stem for path in EXAMPLES} >= EXTENSION_POINTS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_prints_a_result(path: Path, tmp_path: Path):
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(path)],
        cwd=work,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert list(work.iterdir()) == []
    assert [
        p.name for p in temporary.iterdir() if not p.name.startswith("torchinductor_")
    ] == []  # torch's cache
