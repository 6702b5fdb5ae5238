"""The documentation: every page is in the table of contents, tutorials run, generated pages are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import robossl

DOCS = Path(__file__).parent.parent / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
_CELL = re.compile(r"```\{code-cell\} ipython3\n(.*?)```", re.S)
_RUN = """
import subprocess, sys
from pathlib import Path
import matplotlib
matplotlib.use("Agg")
sys.path.insert(0, "")
def _shell(command):
    subprocess.run(str(Path(sys.executable).parent) + "/" + command, shell=True, check=True)
"""


def program(path: Path) -> str:
    """Return the cells of a tutorial as one program."""
    parts = [_RUN]
    for cell in _CELL.findall(path.read_text(encoding="utf-8")):
        first, _, rest = cell.partition("\n")
        if first.startswith("%%writefile "):
            parts.append(f"Path({first.split()[1]!r}).write_text({rest!r})\n")
        else:
            parts.append(re.sub(r"^!(.*)$", lambda m: f"_shell({m[1]!r})", cell, flags=re.M))
    return "\n".join(parts)


def test_there_is_a_tutorial_for_each_way_in():
    names = {path.stem for path in TUTORIALS}
    assert names == {"own_env", "own_robot", "own_agent", "control_without_reward", "transfer_study"}


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_has_cells_that_compile(path):
    code = program(path)
    assert len(_CELL.findall(path.read_text())) >= 4
    compile(code, str(path), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(path, tmp_path):
    pytest.importorskip("IPython")
    done = subprocess.run([sys.executable, "-c", program(path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_every_page_is_in_the_table_of_contents():
    text = (DOCS / "index.md").read_text()
    listed = set(re.findall(r"^([\w/-]+)$", text, re.M))
    generated = {
        "changelog",
        "contributing",
        "security",
        "reference/cli",
        "reference/config",
        "reference/api",
    }
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")} | generated
    assert pages - {"index"} == listed


def test_no_line_of_a_page_is_a_comment_of_the_markup():
    root = DOCS.parent
    for path in [
        *DOCS.rglob("*.md"),
        *map(root.joinpath, ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ]:
        prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
        hidden = [line for line in prose.splitlines() if line.lstrip().startswith("%")]
        assert not hidden, f"{path.name}: MyST hides lines that begin with a percent sign: {hidden}"


def test_executed_tutorials_of_other_sources_are_not_reused(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(DOCS))
    import site_pages

    (tmp_path / "robossl").mkdir()
    source = tmp_path / "robossl" / "module.py"
    source.write_text("first = 1")
    first = site_pages.execution_cache(tmp_path)
    (first / "executed").mkdir(parents=True)
    assert site_pages.execution_cache(tmp_path) == first
    assert first.is_dir()
    source.write_text("first = 2")
    assert site_pages.execution_cache(tmp_path) != first
    assert not first.exists()


def test_generated_pages_name_every_command_setting_and_public_name(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import site_pages

    from robossl.cli.main import COMMANDS
    from robossl.training.config import LearnConfig
    from robossl.training.config_io import flatten_fields

    assert all(f"## robossl {command.name}\n" in site_pages.command_line() for command in COMMANDS)
    assert all(f"`{name}`" in site_pages.settings() for name in flatten_fields(LearnConfig))
    api = site_pages.python_api()
    assert all(f"robossl.{name}\n" in api for name in robossl.__all__ if name != "plot")
    assert all(
        f"{name}\n" in api
        for name in ("robossl.streams.Recorder", "robossl.envs.Task", "robossl.agents.Planner")
    )
