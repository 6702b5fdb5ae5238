"""Checks in subprocesses: hangs, crashes and broken imports end a subprocess only, and are reported."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import faulty_envs
import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs

from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.env_checker import spec_json
from robossl.env_checker.check import check
from robossl.env_checker.check_result import CheckResult, any_failed
from robossl.env_checker.runner import run_in_thread
from robossl.env_checker.summary import describe


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    thirdparty_envs.register_thirdparty_envs()


def by_name(env_id: str, seconds_limit: float, **settings: Any) -> dict[str, CheckResult]:
    return {result.name: result for result in check(env_id, seconds_limit, **settings)}


def test_an_env_without_faults_passes_in_a_subprocess(capfd: pytest.CaptureFixture[str]) -> None:
    reported: list[CheckResult] = []
    results = check("thirdparty/Good-v0", seconds_limit=20, on_result=reported.append)
    assert reported == results
    assert not any_failed(results)
    assert "process" not in {result.name for result in results}
    assert json.loads(json.dumps([r.to_json() for r in results])) == [r.to_json() for r in results]
    text = describe(results)
    assert "commands that work: collect, pretrain, train, learn, evaluate, play, imagine" in text
    assert text.endswith("no problems found")
    assert capfd.readouterr().out == ""


def test_a_call_that_hangs_is_stopped_and_its_line_named() -> None:
    start = time.monotonic()
    results = by_name("thirdparty/HangsInReset-v0", 1)
    assert time.monotonic() - start < 45
    assert results["reset"].ok is False
    assert "reset(seed=0) did not return within 6 s; it was at" in results["reset"].message
    assert "time.sleep" in results["reset"].message
    assert results["observation space"].ok


def test_a_crash_ends_only_its_subprocess() -> None:
    results = by_name("thirdparty/Crashes-v0", 20)
    assert results["random rollout"].ok is False
    assert "SIGSEGV" in results["random rollout"].message
    assert "faulty_envs.py:" in results["random rollout"].message
    assert results["rendering"].ok, "the next process runs the other checks"
    assert describe(list(results.values())).endswith("1 problem")


@pytest.mark.skipif(sys.platform == "win32", reason="its C library has no sleep")
def test_a_call_that_holds_the_gil_is_stopped() -> None:
    results = by_name("thirdparty/HoldsGil-v0", 1)
    assert "step(action): no thread of the process ran for" in results["random rollout"].message
    assert results["rendering"].ok


def test_an_env_that_only_this_process_has_is_checked_in_a_thread() -> None:
    gym.register("thirdparty/Local-v0", entry_point=lambda: faulty_envs.HangsInStep(), max_episode_steps=40)
    try:
        results = by_name("thirdparty/Local-v0", 1)
    finally:
        del gym.registry["thirdparty/Local-v0"]
    assert "no other process can import" in results["process"].message
    assert "step(action) did not return within 1 s" in results["random rollout"].message
    assert results["gymnasium check_env"].ok


def test_settings_reach_the_env() -> None:
    results = check("thirdparty/Good-v0", seconds_limit=20, color="red")
    assert "unexpected keyword argument 'color'" in next(r for r in results if r.ok is False).message


# --- MJCF files


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("<body>\n<joint/>\n<geom size='.1' tpye='box'/>\n</body>", "unrecognized attribute: 'tpye'"),
        ("<body>\n<joint/>\n<geom size='.1' tpye='box'/>\n</body>", "Element 'geom', line 5"),
        ("<body><joint/><geom size='.1'/></body>", "has no actuators"),
        (None, "no MJCF file"),
    ],
)
def test_a_faulty_mjcf_file_fails_construction(inside: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "robot.xml"
    if inside is not None:
        file.write_text(f"<mujoco>\n<worldbody>\n{inside}\n</worldbody>\n</mujoco>\n")
    results: list[CheckResult] = []
    run_in_thread(gym.spec("robossl/Mjcf-v0"), {"model": str(file)}, 20.0, results.append)
    construction = next(result for result in results if result.name == "construction")
    assert construction.ok is False
    assert message in construction.message
    assert "robot.xml" in construction.message
    assert "mjcf.py" not in construction.message, "a line of robossl does not help"


# --- requests


def test_an_unknown_id_is_refused_with_a_near_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'thirdparty/Good-v0'"):
        check("thirdparty/Goof-v0")


def test_a_time_limit_of_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        check("thirdparty/Good-v0", seconds_limit=0)


def test_settings_survive_json() -> None:
    settings: dict[str, Any] = {
        "pixels": (64, 64),
        "names": ["a"],
        "deep": {"x": (1, [2.5, None])},
        "dict": 1,
    }
    assert spec_json.unpack(json.loads(json.dumps(spec_json.pack(settings)))) == settings
    with pytest.raises(spec_json.NotSerializable, match="ndarray"):
        spec_json.pack({"model": np.zeros(2)})


def test_specs_survive_json() -> None:
    spec = gym.spec("thirdparty/Good-v0")
    assert spec_json.to_spec(json.loads(json.dumps(spec_json.from_spec(spec)))) == spec


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero at .*.py:1 (1 / 0)"),
        ("def (", "cannot be imported: SyntaxError: "),
        ("raise SystemExit(0)", "cannot be imported: SystemExit: 0"),
        ("import os; os.abort()", "ended its process by SIGABRT"),
        ("import not_there_at_all", "no package 'not_there_at_all', which broken_.* imports, to import for"),
    ],
)
def test_a_package_whose_import_fails_is_refused_on_one_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{sum(map(ord, source))}"
    (tmp_path / f"{name}.py").write_text(source + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError) as error:
        check(f"{name}:My-v0")
    start, _, end = message.partition(".*")
    assert start in str(error.value)
    assert end in str(error.value)
    assert "\n" not in str(error.value)


def test_a_package_whose_import_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="importing package 'sleeper' for env sleeper:My-v0 did not finish"):
        check("sleeper:My-v0", seconds_limit=0.5)


# --- errors of envs in a vector env


def error_of(env_id: str) -> str:
    """The message of a vector env when one of its envs raises."""
    with pytest.raises(OperationError) as error:
        step_randomly(registry.make_envs(env_id, 2, vectorization="sync"))
    return str(error.value)


def step_randomly(envs: gym.vector.VectorEnv) -> None:
    envs.reset(seed=0)
    for _ in range(50):
        envs.step(envs.action_space.sample())


def test_an_error_of_an_env_has_its_line_and_the_id_of_the_request() -> None:
    message = error_of("thirdparty_envs:thirdparty/Raises-v0")
    assert " (faulty_envs.py:" in message
    assert message.endswith("; run robossl check thirdparty_envs:thirdparty/Raises-v0")


def test_a_wrong_shape_is_reported_without_a_line_of_a_library() -> None:
    message = error_of("thirdparty/GrowingObservation-v0")
    assert ".py:" not in message
    assert message.endswith("; run robossl check thirdparty/GrowingObservation-v0")


def test_an_error_in_compiled_code_has_the_line_of_the_env() -> None:
    assert " (faulty_envs.py:" in error_of("thirdparty/RaisesInNumpy-v0")
