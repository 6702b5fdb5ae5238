"""Every stranger's env gets its finding, and a good one gets none that is bad."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import thirdparty_envs

from robossl import registry
from robossl.core.errors import OperationError, UsageError
from robossl.env_checker import check as checking
from robossl.env_checker import spec_json
from robossl.env_checker.call_monitor import CallMonitor
from robossl.env_checker.check_order import PROBES
from robossl.env_checker.check_result import CheckResult
from robossl.env_checker.determinism import compare
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.random_rollout import random_rollout
from robossl.env_checker.runner import here
from robossl.env_checker.summary import VERBS, verdict

_GOOD = ("Good", "Dictionary", "Unsuccessful", "Talkative", "Buttons", "Goal", "Picture", "EndsByItself")
_WRONG = (  # stranger, the finding that is bad, what it says, what its mend says
    ("Nan", "observation finite", "step 7 of episode 0: observation[1] is nan", "isfinite"),
    ("Leaves", "observation inside its space", "step 5 of episode 0: observation[1] is 3", "np.clip"),
    ("Grows", "observation shape", "step 3 of episode 0: observation has shape (3,)", "zeros"),
    ("Double", "observation form", "float64 array; the space says float32", "np.float32"),
    ("Mutates", "observations are left alone", "the reset of episode 0", ".copy()"),
    ("WritesActions", "actions are left alone", "step 1 of episode 0", "copy"),
    ("Raises", "lives", "ValueError: the arm is not where it should be at", "terminated = True"),
    ("RaisesInReset", "reset", "reset(seed=0) raised KeyError: 'nowhere'", "that line"),
    ("Unmakeable", "made", "FileNotFoundError: no model robot.xml", "that line"),
    ("IgnoresSeed", "same seed, same life", "the reset of episode 0: observation[0] is", "self.np_random"),
    ("Remembers", "same seed, same life", "one env, reset twice", "in reset"),
    ("OldStep", "step", "gives 4 values", "bool(truncated)"),
    ("OldReset", "reset", "takes no seed and no options", "def reset(self, *, seed=None, options=None)"),
    ("Endless", "time limit", "no max_episode_steps is registered", "max_episode_steps=500"),
    ("Unbounded", "actions bounded", "inf", "spaces.Box"),
    ("ManyButtons", "actions", "MultiDiscrete", "spaces.Discrete(6)"),
    ("Still", "actions", "holds no numbers", "spaces.Box(-1.0, 1.0, (2,), np.float32)"),
    ("Uninformed", "step", "gives an info of type NoneType, not a dict", "truncated, {}"),
    ("ChannelsFirst", "images", "channels come first", "transpose(1, 2, 0)"),
    ("WrongGoal", "compute_reward", "step 1 of episode 0: the reward was 0.25", "self.compute_reward"),
    ("OddValues", "reward", "of type ndarray, shape (1,)", "float(reward)"),
    ("OddValues", "endings", "terminated is of type int: 0", "bool(terminated)"),
    ("OddValues", "is_success", "is_success is 'yes'", "bool("),
    ("InfiniteReward", "reward", "step 9 of episode 0: the reward is inf", "terminated = True"),
)
_TOLD = (  # stranger, a finding worth knowing, what it says
    ("Unsuccessful", "is_success", "no info has is_success"),
    ("Unsuccessful", "renders", "is []"),
    ("Talkative", "info keys", "'bump' came in"),
    ("AlwaysTheSame", "other seed, other life", "the very same life"),
    ("Rewardless", "reward", "0 at all"),
    ("EndsByItself", "time limit", "episodes end by themselves"),
)
_CACHE: dict[str, dict[str, CheckResult]] = {}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    thirdparty_envs.register_strangers()


def findings_here(name: str) -> dict[str, CheckResult]:
    """The findings on a stranger, tried in this process, by name."""
    if name not in _CACHE:
        found: list[CheckResult] = []
        here(gym.spec(f"thirdparty/{name}-v0"), {}, 20.0, found.append)
        _CACHE[name] = {finding.name: finding for finding in [*found, *verdict(found)]}
    return _CACHE[name]


def _bad(found: dict[str, CheckResult]) -> list[CheckResult]:
    return [finding for finding in found.values() if finding.ok is False]


@pytest.mark.parametrize("name", _GOOD)
def test_a_good_env_has_nothing_to_mend(name: str) -> None:
    found = findings_here(name)
    assert _bad(found) == []
    assert {probe.name for probe in PROBES} - {"batches"} <= set(found)
    assert all(found[f"robossl {verb}"].ok for verb in VERBS if verb not in ("play", "imagine"))


@pytest.mark.parametrize(("name", "finding", "says", "mend"), _WRONG)
def test_what_is_wrong_is_found(name: str, finding: str, says: str, mend: str) -> None:
    found = findings_here(name)[finding]
    assert found.ok is False
    assert says in found.found
    assert mend in found.mend
    assert found.reason


@pytest.mark.parametrize(("name", "finding", "says"), _TOLD)
def test_what_is_worth_knowing_is_told(name: str, finding: str, says: str) -> None:
    found = findings_here(name)[finding]
    assert found.ok is None
    assert says in found.found


@pytest.mark.parametrize("name", [name for name, *_ in _WRONG if name not in ("OddValues", "Grows")])
def test_one_fault_is_not_seen_as_many(name: str) -> None:
    """Only Gymnasium's own check may say the same again."""
    bad = [f for f in _bad(findings_here(name)) if not f.name.startswith(("robossl ", "gymnasium "))]
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("name", "mended"),
    [("Raises", "raise ValueError("), ("RaisesInReset", '["nowhere"]'), ("Unmakeable", "FileNotFoundError(")],
)
def test_the_line_that_raised_is_named(name: str, mended: str) -> None:
    finding = next(f for f in _bad(findings_here(name)) if "thirdparty_envs.py:" in f.found)
    number = int(finding.found.partition("thirdparty_envs.py:")[2].split()[0])
    with open(thirdparty_envs.__file__, encoding="utf-8") as file:
        assert mended in file.readlines()[number - 1]


def test_a_failing_probe_does_not_stop_the_others() -> None:
    found = findings_here("Nan")
    assert found["gymnasium check_env"].ok
    assert found["batch, disabled"].ok
    assert not found["robossl learn"].ok


def test_what_needs_more_than_there_is_is_not_tried() -> None:
    found = findings_here("RaisesInReset")
    assert found["lives"].ok is None
    assert found["lives"].found == "not tried: 'reset' comes first"


def test_the_parts_of_the_report_that_will_be_lacking() -> None:
    rows = {
        n.removeprefix("report: "): f.reason
        for n, f in findings_here("Unsuccessful").items()
        if "report" in n
    }
    assert set(rows) == {"goals", "success", "probes", "videos"}
    assert "no goals" in rows["goals"]
    assert "report: goals" in findings_here("Goal")  # it has goals, and no state to start from
    assert "report: success" not in findings_here("Good")
    assert findings_here("Unsuccessful")["robossl play"].ok is None


# --- in processes of their own


def test_a_good_env_from_the_door(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[CheckResult] = []
    found = checking.check("thirdparty/Good-v0", seconds_limit=20, say=told.append)
    assert told == found
    assert not checking.failed(found)
    assert "process" not in {finding.name for finding in found}
    assert json.loads(json.dumps(checking.to_json(found))) == checking.to_json(found)
    text = checking.describe(found)
    assert "robossl can: collect, pretrain, train, learn, evaluate, play, dream" in text
    assert text.endswith("nothing to mend")
    assert capfd.readouterr().out == ""


def test_a_hang_is_ended_and_its_line_named() -> None:
    began = time.monotonic()
    found = checking.check("thirdparty/HangsInReset-v0", seconds_limit=1)
    assert time.monotonic() - began < 45
    reset = next(finding for finding in found if finding.name == "reset")
    assert reset.ok is False
    assert "reset(seed=0) had not come back after 2 s; it stood at" in reset.found
    assert "time.sleep" in reset.found
    assert checking.failed(found)
    assert next(f for f in found if f.name == "observations").ok


def test_a_crash_ends_its_process_and_no_other() -> None:
    found = {f.name: f for f in checking.check("thirdparty/Crashes-v0", seconds_limit=20)}
    assert found["lives"].ok is False
    assert "SIGSEGV" in found["lives"].found
    assert "thirdparty_envs.py:" in found["lives"].found
    assert found["renders"].ok, "the next process went on"
    assert "1 to mend" in checking.describe(list(found.values()))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sleep in its C library")
def test_a_library_that_lets_no_thread_run_is_ended() -> None:
    found = {f.name: f for f in checking.check("thirdparty/HoldsTheInterpreter-v0", seconds_limit=1)}
    assert "step(action): no sign of life for" in found["lives"].found
    assert found["renders"].ok


def test_a_hang_in_this_process_is_left_behind() -> None:
    gym.register(
        "thirdparty/Local-v0", entry_point=lambda: thirdparty_envs.HangsInStep(), max_episode_steps=40
    )
    try:
        found = {f.name: f for f in checking.check("thirdparty/Local-v0", seconds_limit=1)}
    finally:
        del gym.registry["thirdparty/Local-v0"]
    assert "no other process can import" in found["process"].found
    assert "step(action) had not come back after 1 s" in found["lives"].found
    assert found["gymnasium check_env"].ok


def test_what_the_env_was_given_reaches_it() -> None:
    found = checking.check("thirdparty/Good-v0", seconds_limit=20, colour="red")
    assert "unexpected keyword argument 'colour'" in next(f for f in found if f.ok is False).found


# --- robots from their files


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("<body>\n<joint/>\n<geom size='.1' tpye='box'/>\n</body>", "unrecognized attribute: 'tpye'"),
        ("<body>\n<joint/>\n<geom size='.1' tpye='box'/>\n</body>", "Element 'geom', line 5"),
        ("<body><joint/><geom size='.1'/></body>", "has no actuators"),
        (None, "no MJCF file"),
    ],
)
def test_a_file_that_is_no_robot_is_answered(inside: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "robot.xml"
    if inside is not None:
        file.write_text(f"<mujoco>\n<worldbody>\n{inside}\n</worldbody>\n</mujoco>\n")
    found: list[CheckResult] = []
    here(gym.spec("robossl/Mjcf-v0"), {"model": str(file)}, 20.0, found.append)
    made = next(finding for finding in found if finding.name == "made")
    assert made.ok is False
    assert says in made.found
    assert "robot.xml" in made.found
    assert "mjcf.py" not in made.found, "our own line helps nobody"


# --- at the door


def test_an_unknown_id_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'thirdparty/Good-v0'"):
        checking.check("thirdparty/Goof-v0")


def test_a_limit_that_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="expected more than 0"):
        checking.check("thirdparty/Good-v0", seconds_limit=0)


def test_settings_travel_unchanged() -> None:
    settings: dict[str, Any] = {
        "pixels": (64, 64),
        "names": ["a"],
        "deep": {"x": (1, [2.5, None])},
        "dict": 1,
    }
    assert spec_json.unpack(json.loads(json.dumps(spec_json.pack(settings)))) == settings
    with pytest.raises(spec_json.NotPortable, match="ndarray"):
        spec_json.pack({"model": np.zeros(2)})


def test_specs_travel_unchanged() -> None:
    spec = gym.spec("thirdparty/Good-v0")
    assert spec_json.to_spec(json.loads(json.dumps(spec_json.from_spec(spec)))) == spec


# --- the instruments themselves


def _life(name: str, seed: int) -> Any:
    case = EnvUnderTest(gym.spec(f"thirdparty/{name}-v0"), {}, CallMonitor(20.0))
    return random_rollout(case, case.make(), 60, seed)


def test_lives_are_compared_to_the_bit() -> None:
    assert compare(_life("Dictionary", 1), _life("Dictionary", 1)) is None
    difference = compare(_life("Dictionary", 1), _life("Dictionary", 2))
    assert difference is not None
    assert difference[0] == 0
    assert difference[1].startswith("the reset of episode 0: observation['motion'][0][0] is ")


def test_rounding_is_told_from_difference() -> None:
    one, other = _life("Good", 1), _life("Good", 1)
    other.moments[3].observation[0] += np.float32(1e-6)
    difference = compare(one, other)
    assert difference is not None
    assert (difference[0], difference[2]) == (3, True)


def test_a_life_goes_through_several_episodes_and_the_corners_of_the_actions() -> None:
    life = _life("Good", 0)
    assert [m.episode for m in life.moments if m.step == 0] == [0, 1]
    assert life.endings()[0].step == thirdparty_envs.STEPS
    assert len(life.steps) == 60


def test_strangers_can_be_registered_again() -> None:
    assert thirdparty_envs.register_strangers() == thirdparty_envs.register_strangers()
    assert "thirdparty/Good-v0" in thirdparty_envs.register_strangers()


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero at .*.py:1 (1 / 0)"),
        ("def (", "cannot be imported: SyntaxError: "),
        ("raise SystemExit(0)", "cannot be imported: SystemExit: 0"),
        ("import os; os.abort()", "ended its process by SIGABRT"),
        ("import not_there_at_all", "no package 'not_there_at_all', which unsound_.* imports, to import for"),
    ],
)
def test_a_package_that_cannot_be_imported_is_answered(
    inside: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"unsound_{sum(map(ord, inside))}"
    (tmp_path / f"{name}.py").write_text(inside + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError) as refusal:
        checking.check(f"{name}:My-v0")
    before, _, after = says.partition(".*")
    assert before in str(refusal.value)
    assert after in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_package_that_hangs_when_it_is_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        UsageError, match="importing package 'sleeper' for env sleeper:My-v0 had not come back"
    ):
        checking.check("sleeper:My-v0", seconds_limit=0.5)


def outlived(env_id: str) -> str:
    """What a batch says when it breaks."""
    with pytest.raises(OperationError) as fault:
        _outlive(registry.make_envs(env_id, 2, vectorization="sync"))
    return str(fault.value)


def _outlive(envs: gym.vector.VectorEnv) -> None:
    envs.reset(seed=0)
    for _ in range(50):
        envs.step(envs.action_space.sample())


def test_what_an_env_raises_is_told_with_its_own_line_and_the_name_it_was_asked_by() -> None:
    words = outlived("thirdparty_envs:thirdparty/Raises-v0")
    assert " (thirdparty_envs.py:" in words
    assert words.endswith("; see robossl check thirdparty_envs:thirdparty/Raises-v0")


def test_a_fault_of_shape_is_told_without_a_line_of_a_library() -> None:
    words = outlived("thirdparty/Grows-v0")
    assert ".py:" not in words
    assert words.endswith("; see robossl check thirdparty/Grows-v0")


def test_a_fault_in_compiled_code_is_told_with_the_line_of_the_env_that_called_it() -> None:
    words = outlived("thirdparty/DrawsNothing-v0")
    assert " (thirdparty_envs.py:" in words
    assert findings_here("DrawsNothing")["lives"].found.count("thirdparty_envs.py:") == 1
