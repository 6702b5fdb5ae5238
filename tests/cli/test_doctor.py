"""`robossl doctor`: versions, devices and GL backends; and the system information that reproduces a run."""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from robossl.cli import doctor
from robossl.core import system_info
from robossl.env_checker.subprocess_trial import last_error, run_trial, signal_name


@pytest.fixture(scope="module")
def diagnosis() -> dict[str, Any]:
    return doctor.diagnose()


def test_diagnosis_is_json(diagnosis: dict[str, Any]) -> None:
    assert json.loads(json.dumps(diagnosis, allow_nan=False)) == diagnosis


def test_versions_of_all_requirements_are_checked(diagnosis: dict[str, Any]) -> None:
    assert diagnosis["versions"]["python"]["ok"]
    assert diagnosis["versions"]["torch"]["installed"] == metadata.version("torch")
    required = {line.split(">")[0] for line in metadata.requires("robossl") or [] if "extra" not in line}
    assert required <= set(diagnosis["versions"])


def test_every_backend_has_a_rate_or_a_reason(diagnosis: dict[str, Any]) -> None:
    assert diagnosis["backends"]
    for result in diagnosis["backends"].values():
        if result["works"]:
            assert result["first_frame"] > 0
            assert result["frames_per_second"] > 1
        else:
            assert result["reason"]


def test_chosen_backend_works_or_is_a_problem(diagnosis: dict[str, Any]) -> None:
    works = diagnosis["render"]["chosen"] in diagnosis["render"]["works"]
    assert works or any("render" in problem for problem in diagnosis["problems"])


def test_description_names_everything(diagnosis: dict[str, Any]) -> None:
    text = doctor.describe(diagnosis)
    for word in (
        "versions",
        "devices",
        "rendering",
        "mujoco",
        diagnosis["render"]["chosen"],
        *diagnosis["backends"],
    ):
        assert word in text
    assert text.endswith("no problems found") is (not diagnosis["problems"])


def _problems_with(diagnosis: dict[str, Any], **changes: Any) -> list[str]:
    """Return the problems of a machine without problems, after `changes`."""
    good = copy.deepcopy(diagnosis)
    good["backends"] = {"egl": {"works": True}, "osmesa": {"works": False, "reason": "no library"}}
    good["render"] = {"chosen": "egl", "set": None, "works": ["egl"]}
    good["disk"]["free"], good["memory"] = 10**12, 10**12
    assert doctor._problems(good) == []
    for name, value in changes.items():
        good[name] = value
    return doctor._problems(good)


def test_no_rendering_backend_is_a_problem(diagnosis: dict[str, Any]) -> None:
    (problem,) = _problems_with(diagnosis, render={"chosen": "none", "set": None, "works": []})
    assert "libegl1 libgl1-mesa-dri" in problem
    assert "libosmesa6" in problem


def test_broken_chosen_backend_is_a_problem(diagnosis: dict[str, Any]) -> None:
    (problem,) = _problems_with(diagnosis, render={"chosen": "osmesa", "set": "osmesa", "works": ["egl"]})
    assert problem == "osmesa does not render, and MUJOCO_GL selects it; fix: export MUJOCO_GL=egl"


def test_unsupported_version_is_a_problem(diagnosis: dict[str, Any]) -> None:
    old = {"installed": "3.1.0", "supported": ">=3.17", "ok": False}
    (problem,) = _problems_with(diagnosis, versions={"mujoco": old})
    assert problem == 'mujoco: expected >=3.17, got 3.1.0; fix: pip install "mujoco>=3.17"'


def test_little_disk_space_is_a_problem(diagnosis: dict[str, Any]) -> None:
    (problem,) = _problems_with(diagnosis, disk={"folder": "/here", "free": 2**20})
    assert "1 MiB are free in /here" in problem


def test_broken_device_is_a_problem(diagnosis: dict[str, Any]) -> None:
    card = {"kind": "cuda", "name": "A card", "memory": 2**33, "works": False, "reason": "no kernel image"}
    devices = {"auto": "cpu", "usable": [card], "seen": ["A card"], "reason": ""}
    (problem,) = _problems_with(diagnosis, devices=devices)
    assert "no kernel image" in problem
    assert "FAIL  cuda: A card, 8.0 GiB no kernel image" in doctor.describe({**diagnosis, "devices": devices})


def _write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> str:
    (tmp_path / "trial.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return "trial"


@pytest.mark.parametrize(
    ("code", "output", "reason"),
    [
        ("print('noise'); print('{\"a\": 1}')", {"a": 1}, ""),
        ("import time; time.sleep(60)", None, "no result within 1 s"),
        ("raise RuntimeError('no context')", None, "RuntimeError: no context"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", None, "SIGSEGV"),
        ("print('what')", None, "expected JSON on the last line of its stdout, got 'what'"),
        ("import sys; sys.exit(3)", None, "exit code 3"),
    ],
)
def test_trial_returns_its_output_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, output: Any, reason: str
) -> None:
    seconds = 1 if "sleep" in code else 60
    result = run_trial(_write_module(tmp_path, monkeypatch, code), [], seconds, os.environ)
    assert result.output == output
    assert reason in result.reason


def test_last_error_ignores_later_messages() -> None:
    text = "Traceback:\nOSError: first\nException ignored in: <f>\nAttributeError: later\n"
    assert last_error(text) == "OSError: first"
    assert signal_name(4_000) == "signal 4000"


def test_system_info_is_json_and_complete() -> None:
    info = system_info.system_info()
    assert json.loads(json.dumps(info)) == info
    assert {"command", "versions", "platform", "cores", "devices", "render"} <= set(info)
    packages = {"python", "robossl", "numpy", "gymnasium", "mujoco", "torch", "stable-baselines3"}
    assert set(info["versions"]) == packages
    assert info["cores"] >= 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/somewhere/bin/robossl", "learn", "--out", "my runs/a"], "robossl learn --out 'my runs/a'"),
        (["/somewhere/robossl/__main__.py", "doctor"], "python -m robossl doctor"),
        (["-c"], "python"),
    ],
)
def test_command_can_be_repeated(argv: list[str], expected: str) -> None:
    assert system_info.command(argv) == expected
    assert shlex.split(expected)[-1] == (argv[-1] if len(argv) > 1 else "python")


@pytest.mark.parametrize("name", ["egl", "osmesa", "glfw"])
def test_mujoco_gl_selects_the_backend(name: str) -> None:
    assert system_info.render_backend({"MUJOCO_GL": f" {name.upper()} "}) == name


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can be headless")
def test_headless_machine_renders_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    assert system_info.render_backend({"DISPLAY": ":0"}) == "glfw"
    monkeypatch.setattr(system_info, "find_library", lambda backend: "lib" if backend == "osmesa" else None)
    assert system_info.render_backend({}) == "osmesa"
    monkeypatch.setattr(system_info, "find_library", lambda backend: None)
    assert system_info.render_backend({}) == "none"


def test_revision_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "folder" not in system_info.revisions()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    (tmp_path / "file").write_text("1")
    for args in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *args], check=True)
    revision = system_info.revisions()["folder"]
    assert len(revision) == 40
    (tmp_path / "file").write_text("2")
    assert system_info.revisions()["folder"] == f"{revision}+changes"


def test_no_revision_without_a_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "folder" not in system_info.revisions()
    (tmp_path / ".git").mkdir()
    assert "folder" not in system_info.revisions()


def test_system_info_imports_nothing_slow() -> None:
    code = (
        "import sys; from robossl.core import system_info; system_info.system_info();"
        "sys.exit(bool({'torch', 'mujoco', 'stable_baselines3'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
