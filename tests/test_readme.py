"""The Python example of the README runs, and its links exist."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_example_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert namespace["z"].shape == (64, namespace["model"].latent_dim)
    assert namespace["predicted_action"].shape == namespace["action"].shape
    assert namespace["report"]["world_model"]["prediction_skill"]["10"]["mean"] > 0.5
    assert (tmp_path / "evaluations/reacher/report.html").is_file()


def test_linked_files_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / link).exists(), link
