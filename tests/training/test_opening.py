"""What decides the result of a run is in its checkpoints: a resume keeps it, or refuses in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from resume_helpers import tiny

import robossl
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.training import config, opening, output_dirs, provenance
from robossl.training.experiment import Experiment
from robossl.training.opening import create_run, resume_run


class _Messages(NullProgress):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A run that was closed before its first step, with 3 threads."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "thread_count", lambda threads: threads or 3)
        create_run(tiny(threads=0), folder, NullProgress()).close()
    return folder


@pytest.fixture
def folder(begun, tmp_path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(begun, tmp_path / "run"))


def _resume(folder: Path, **settings) -> tuple[Experiment, list[str]]:
    progress = _Messages()
    run = resume_run(folder, progress, command=lambda env: "robossl learn --resume run", **settings)
    run.close()
    return run, progress.lines


def test_number_of_threads_is_kept_on_a_machine_with_fewer_cores(folder, monkeypatch):
    monkeypatch.setattr(provenance, "thread_count", lambda threads: threads or 1)
    monkeypatch.setattr(provenance.system_info, "cores", lambda: 1)
    run, lines = _resume(folder)
    assert run.threads == 3
    assert lines == [f"{folder} uses 3 threads as at its start, on 1 cores"]
    _edit(folder, "threads = 0", "threads = 2")
    with pytest.raises(UsageError, match="threads 3 -> 2; to go on"):
        _resume(folder)
    assert _resume(folder, accept_changes=True)[0].threads == 2


def _edit(folder: Path, before: str, after: str) -> None:
    path = folder / "config.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [("seed", "0", "1"), ("pretrain.updates", "20", "21"), ("agent.name", '"sac"', '"td3"')],
)
def test_changed_config_is_refused_or_accepted(key, before, after, folder):
    _edit(folder, f"\n{key.split('.')[-1]} = {before}\n", f"\n{key.split('.')[-1]} = {after}\n")
    values = f"{before} -> {after}".replace('"', "")
    with pytest.raises(
        UsageError, match=f"got changes: {key} {values}; to go on with them: robossl learn .* --accept"
    ) as refusal:
        _resume(folder)
    assert "\n" not in str(refusal.value)
    _, lines = _resume(folder, accept_changes=True)
    assert lines[0] == f"{folder} goes on with changes: {key} {values}"


def test_settings_that_decide_no_result_may_change(folder):
    _edit(folder, "log = []", 'log = ["console"]')
    assert _resume(folder)[0].config.log == ("console",)


def test_other_version_robot_and_code_of_the_env_are_refused(folder, monkeypatch):
    monkeypatch.setattr(provenance, "_versions", lambda: {"torch": "99.0"})
    with pytest.raises(UsageError, match=r"torch .* -> 99\.0"):
        _resume(folder)
    monkeypatch.undo()
    monkeypatch.setattr(provenance, "robot_digest", lambda env, envs=None: "abc")
    monkeypatch.setattr(provenance, "env_code", lambda env: "my_env.py abc")
    with pytest.raises(UsageError, match=r"robot file \w+ -> abc, code of the env none -> my_env.py abc"):
        _resume(folder)


def test_env_of_the_working_folder_is_recognized_by_its_content(tmp_path, monkeypatch):
    text = """
import gymnasium as gym
class Env(gym.Env):
    pass
gym.register("Provenance-v0", Env)
"""
    (tmp_path / "provenance_env.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("provenance_env")
    before = provenance.env_code("Provenance-v0")
    (tmp_path / "provenance_env.py").write_text(text + "# changed\n")
    assert before.startswith("provenance_env.py ")
    assert provenance.env_code("Provenance-v0") != before
    assert provenance.env_code("robossl/Reacher-v0") is None


def test_removed_config_is_written_again(folder):
    before = (folder / "config.toml").read_bytes()
    (folder / "config.toml").unlink()
    _resume(folder)
    assert (folder / "config.toml").read_bytes() == before


def test_extension_killed_before_its_config_is_written_goes_on(folder, monkeypatch):
    def die(folder: Path, config: object) -> None:
        raise MemoryError

    monkeypatch.setattr(output_dirs, "write_config", die)
    with pytest.raises(MemoryError):
        _resume(folder, steps="+160")
    monkeypatch.undo()
    run, _ = _resume(folder)
    assert run.config.num_iterations == tiny().num_iterations + 1
    assert f"num_iterations = {int(run.config.num_iterations)}" in (folder / "config.toml").read_text()


def test_second_process_is_refused_before_anything_changes(folder):
    run = resume_run(folder, NullProgress())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"in use by this process; wait until it ends"):
        resume_run(folder, NullProgress())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    run.close()
    resume_run(folder, NullProgress()).close()


def test_failed_start_releases_the_lock(tmp_path, monkeypatch):
    def fail(config: config.LearnConfig) -> None:
        raise UsageError("no")

    monkeypatch.setattr(opening, "_now", fail)
    with pytest.raises(UsageError, match="no"):
        create_run(tiny(), tmp_path / "run", NullProgress())
    monkeypatch.undo()
    create_run(tiny(), tmp_path / "run", NullProgress()).close()


def test_explored_steps_are_read_from_the_stream_as_cut_back_to_the_checkpoint(folder):
    run, _ = _resume(folder)
    lanes = run.config.explore.lanes
    stream = robossl.collect(
        "robossl/CartPoleSwingUp-v0", "random", 4 * lanes, folder / "stream", num_envs=lanes
    )
    run.state.stream_offsets["stream"] = {"stream": stream.id, "chunks": 0, "rows": [0] * lanes}
    assert stream.transitions > 0  # recorded after the checkpoint
    assert run.explored.lengths.sum() == 0
