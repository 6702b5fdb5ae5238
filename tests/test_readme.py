"""The README's own Python, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_ten_lines_of_python_run(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(compile(code, "README.md", "exec"), found)
    assert found["z"].shape == (64, found["model"].latent_dim)
    assert found["guess"].shape == found["action"].shape
    assert found["report"]["world"]["forward_skill"]["10"] > 0.5
    assert (tmp_path / "evaluations/reacher/report.html").is_file()


def test_the_files_that_the_readme_names_are_there():
    for link in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / link).exists(), link
