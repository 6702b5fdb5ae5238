"""The doctor tries things out and says what came of it; the machine's facts reproduce a run."""

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
from robossl.env_checker.subprocess_trial import run_trial, last_error, signal_name


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return doctor.diagnose()


def test_a_diagnosis_is_json(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_versions_are_held_against_the_distribution(found: dict[str, Any]) -> None:
    assert found["versions"]["python"]["ok"]
    assert found["versions"]["torch"]["installed"] == metadata.version("torch")
    needed = {line.split(">")[0] for line in metadata.requires("robossl") or [] if "extra" not in line}
    assert needed <= set(found["versions"])


def test_every_backend_has_its_answer(found: dict[str, Any]) -> None:
    assert found["backends"]
    for outcome in found["backends"].values():
        if outcome["works"]:
            assert outcome["first_frame"] > 0
            assert outcome["frames_per_second"] > 1
        else:
            assert outcome["reason"]


def test_what_would_be_chosen_works_or_is_a_problem(found: dict[str, Any]) -> None:
    works = found["render"]["chosen"] in found["render"]["works"]
    assert works or any("draw" in problem for problem in found["problems"])


def test_a_person_can_read_it(found: dict[str, Any]) -> None:
    text = doctor.describe(found)
    for word in ("versions", "devices", "rendering", "mujoco", found["render"]["chosen"], *found["backends"]):
        assert word in text
    assert text.endswith("all is well") is (not found["problems"])


def _ill(found: dict[str, Any], **changes: Any) -> list[str]:
    """The problems of a machine that is well but for `changes`."""
    well = copy.deepcopy(found)
    well["backends"] = {"egl": {"works": True}, "osmesa": {"works": False, "reason": "no library"}}
    well["render"] = {"chosen": "egl", "set": None, "works": ["egl"]}
    well["disk"]["free"], well["memory"] = 10**12, 10**12
    assert doctor._problems(well) == []
    for name, value in changes.items():
        well[name] = value
    return doctor._problems(well)


def test_nothing_draws(found: dict[str, Any]) -> None:
    (problem,) = _ill(found, render={"chosen": "none", "set": None, "works": []})
    assert "libegl1 libgl1-mesa-dri" in problem
    assert "libosmesa6" in problem


def test_another_backend_draws_than_the_chosen_one(found: dict[str, Any]) -> None:
    (problem,) = _ill(found, render={"chosen": "osmesa", "set": "osmesa", "works": ["egl"]})
    assert problem == "osmesa does not draw, and MUJOCO_GL is set to it; export MUJOCO_GL=egl"


def test_a_version_that_is_not_supported(found: dict[str, Any]) -> None:
    old = {"installed": "3.1.0", "supported": ">=3.17", "ok": False}
    (problem,) = _ill(found, versions={"mujoco": old})
    assert problem == 'mujoco is 3.1.0; supported: >=3.17; pip install "mujoco>=3.17"'


def test_little_disk(found: dict[str, Any]) -> None:
    (problem,) = _ill(found, disk={"folder": "/here", "free": 2**20})
    assert "1 MiB free in /here" in problem


def test_a_device_that_does_not_compute(found: dict[str, Any]) -> None:
    card = {"kind": "cuda", "name": "A card", "memory": 2**33, "works": False, "reason": "no kernel image"}
    devices = {"auto": "cpu", "usable": [card], "seen": ["A card"], "reason": ""}
    (problem,) = _ill(found, devices=devices)
    assert "no kernel image" in problem
    assert "FAIL  cuda: A card, 8.0 GiB no kernel image" in doctor.describe({**found, "devices": devices})


def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> str:
    (tmp_path / "tried.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return "tried"


@pytest.mark.parametrize(
    ("code", "answer", "reason"),
    [
        ("print('chatter'); print('{\"a\": 1}')", {"a": 1}, ""),
        ("import time; time.sleep(60)", None, "not answered after 1 s"),
        ("raise RuntimeError('no context')", None, "RuntimeError: no context"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", None, "SIGSEGV"),
        ("print('what')", None, "it answered 'what'"),
        ("import sys; sys.exit(3)", None, "exit code 3"),
    ],
)
def test_a_trial_survives_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, answer: Any, reason: str
) -> None:
    seconds = 1 if "sleep" in code else 60
    outcome = run_trial(_module(tmp_path, monkeypatch, code), [], seconds, os.environ)
    assert outcome.answer == answer
    assert reason in outcome.reason


def test_the_error_is_found_before_what_comes_after_it() -> None:
    text = "Traceback:\nOSError: first\nException ignored in: <f>\nAttributeError: later\n"
    assert last_error(text) == "OSError: first"
    assert signal_name(4_000) == "signal 4000"


def test_facts_are_json_and_complete() -> None:
    facts = system_info.system_info()
    assert json.loads(json.dumps(facts)) == facts
    assert {"command", "versions", "platform", "cores", "devices", "render"} <= set(facts)
    packages = {"python", "robossl", "numpy", "gymnasium", "mujoco", "torch", "stable-baselines3"}
    assert set(facts["versions"]) == packages
    assert facts["cores"] >= 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["/somewhere/bin/robossl", "learn", "--out", "my runs/a"], "robossl learn --out 'my runs/a'"),
        (["/somewhere/robossl/__main__.py", "doctor"], "python -m robossl doctor"),
        (["-c"], "python"),
    ],
)
def test_the_command_can_be_given_again(given: list[str], expected: str) -> None:
    assert system_info.command(given) == expected
    assert shlex.split(expected)[-1] == (given[-1] if len(given) > 1 else "python")


@pytest.mark.parametrize("name", ["egl", "osmesa", "glfw"])
def test_the_set_backend_is_taken_at_its_word(name: str) -> None:
    assert system_info.render_backend({"MUJOCO_GL": f" {name.upper()} "}) == name


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are asked for on Linux")
def test_headless_machines_draw_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    assert system_info.render_backend({"DISPLAY": ":0"}) == "glfw"
    monkeypatch.setattr(system_info, "library", lambda backend: "lib" if backend == "osmesa" else None)
    assert system_info.render_backend({}) == "osmesa"
    monkeypatch.setattr(system_info, "library", lambda backend: None)
    assert system_info.render_backend({}) == "none"


def test_the_revision_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "folder" not in system_info.revisions()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    revision = system_info.revisions()["folder"]
    assert len(revision) == 40
    (tmp_path / "file").write_text("2")
    assert system_info.revisions()["folder"] == f"{revision}+changes"


def test_without_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_info.revisions() == {}


def test_facts_import_nothing_heavy() -> None:
    code = (
        "import sys; from robossl.training import machine; machine.facts();"
        "sys.exit(bool({'torch', 'mujoco', 'stable_baselines3'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
