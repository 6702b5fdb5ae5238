"""A recording that is interrupted, extended or appended to equals an uninterrupted one, byte by byte."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.rollout import collect_steps
from robossl.streams import Recorder, Stream
from robossl.training import collect_loop
from robossl.training.collection import collect_stream
from robossl.training.continuation import append_episodes, resume_collection
from robossl.training.env_replay import replay
from robossl.training.requests import CollectRequest

NATIVE, THIRD_PARTY = "robossl/CartPoleSwingUp-v0", "CartPole-v1"
ENVS = (NATIVE, THIRD_PARTY)


class _Interrupting(NullProgress):
    """Sends Ctrl-C, or dies, after some steps."""

    def __init__(self, after: int, dies: bool = False) -> None:
        self.after, self.dies, self.messages = after, dies, []

    def update(self, count: int, **metrics: float) -> None:
        self.after -= count
        if self.after < 0:
            if self.dies:
                raise MemoryError
            signal.raise_signal(signal.SIGINT)

    def message(self, text: str) -> None:
        self.messages.append(text)


def _request(folder: Path, env: str = NATIVE, steps: int = 900, **settings) -> CollectRequest:
    return CollectRequest(env, steps=steps, out=folder, num_envs=4, threads=1, **settings)


def _chunks(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("dies", [False, True], ids=["Ctrl-C", "error"])
def test_resumed_recording_equals_an_uninterrupted_one(env, dies, tmp_path, monkeypatch):
    collect_stream(_request(tmp_path / "whole", env), NullProgress())
    monkeypatch.setattr(collect_loop, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(collect_loop, "_SHARE", 1e9)
    folder, progress = tmp_path / "s", _Interrupting(403, dies)
    with pytest.raises(MemoryError if dies else KeyboardInterrupt) as caught:
        collect_stream(_request(folder, env), progress)
    if not dies:
        assert str(caught.value).endswith(f"to go on: robossl collect --resume {folder}")
        assert abs(Stream.open(folder).transitions - 403) <= 2 * 4
    resumed = _Interrupting(10_000)
    resume_collection(folder, resumed)
    assert resumed.messages == []
    assert _chunks(folder) == _chunks(tmp_path / "whole")


@pytest.mark.parametrize("env", [NATIVE, THIRD_PARTY])
def test_extended_recording_equals_a_longer_one(env, tmp_path):
    collect_stream(_request(tmp_path / "whole", env, 900), NullProgress())
    collect_stream(_request(tmp_path / "s", env, 300), NullProgress())
    resume_collection(tmp_path / "s", NullProgress(), 500)
    append_episodes(tmp_path / "s", NullProgress(), 400)
    assert _chunks(tmp_path / "s") == _chunks(tmp_path / "whole")


def test_recording_killed_before_its_first_step_is_resumed(tmp_path, monkeypatch):
    collect_stream(_request(tmp_path / "whole"), NullProgress())
    with pytest.raises(MemoryError):
        collect_stream(_request(tmp_path / "s"), _Interrupting(-1, dies=True))
    resume_collection(tmp_path / "s", NullProgress())
    assert _chunks(tmp_path / "s") == _chunks(tmp_path / "whole")


def test_appended_episodes_of_another_policy_are_new_and_can_be_extended(tmp_path):
    folder = tmp_path / "s"
    before = collect_stream(_request(folder, policy="zero"), NullProgress())
    stream = append_episodes(folder, NullProgress(), 300, policy="random")
    assert stream.transitions - before.transitions >= 300
    lengths = before.lengths
    for lane in range(stream.lanes):
        appended = stream.read(lane, int(lengths[lane]), int(stream.lengths[lane]))
        assert appended["is_first"][0]
        assert np.ptp(appended["action"][appended["valid"]]) > 0
    longer = append_episodes(folder, NullProgress(), 100)
    assert longer.transitions - stream.transitions >= 100


def test_finished_recording_is_not_recorded_again(tmp_path):
    folder = tmp_path / "s"
    stream = collect_stream(_request(folder), NullProgress())
    with pytest.raises(UsageError, match=r"expected more than the 900 env steps.*got 900"):
        resume_collection(folder, NullProgress(), 900)
    envs = registry.make_envs(NATIVE, 4)
    writer = Stream.open(folder)
    writer.acquire()
    with pytest.raises(UsageError, match="already has a writer"):
        resume_collection(folder, NullProgress(), "+100")
    writer.close()
    recorder = Recorder(envs, Stream.open(folder))
    policy = registry.policy("zero")(envs.single_action_space, 4, seed=0)
    collect_steps(recorder, policy, 100, 0, NullProgress())
    recorder.close()
    with pytest.raises(UsageError, match="got one with more rows; to add new episodes"):
        resume_collection(folder, NullProgress(), "+100")
    assert Stream.open(folder).transitions > stream.transitions


def test_changed_robot_is_refused_or_accepted(tmp_path):
    robot = tmp_path / "arm.xml"
    text = """<mujoco><worldbody><body><joint name="j" type="hinge" axis="0 1 0" damping=".1"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.5" size=".05"/></body></worldbody>
        <actuator><motor joint="j" ctrlrange="-1 1"/></actuator></mujoco>"""
    robot.write_text(text)
    collect_stream(_request(tmp_path / "s", str(robot), 60), NullProgress())
    robot.write_text(text.replace('damping=".1"', 'damping="9"'))
    with pytest.raises(
        UsageError, match=r"robot file \w+ -> \w+; to go on .*--resume .*--accept-changes"
    ) as caught:
        resume_collection(tmp_path / "s", NullProgress(), "+60")
    assert "\n" not in str(caught.value)
    progress = _Interrupting(1000)
    resume_collection(tmp_path / "s", progress, "+60", accept_changes=True)
    assert "goes on with changes: robot file" in progress.messages[0]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_replay_reaches_the_recorded_state_in_every_autoreset_mode(mode, tmp_path):
    envs = registry.make_envs(THIRD_PARTY, 3, autoreset_mode=mode)
    for steps in range(20, 60, 3):
        recorder = Recorder.create(envs, tmp_path / f"s{steps}")
        policy = registry.policy("random")(envs.single_action_space, 3, seed=1)
        collect_steps(recorder, policy, 3 * steps, 5, NullProgress())
        running = recorder.get_checkpoint()["in_episode"]
        stream = recorder.stream
        rows = [stream.read(lane, 0, int(n)) for lane, n in enumerate(stream.lengths)]
        expected, _, _, _, _ = envs.step(np.zeros(3, np.int64))
        again = registry.make_envs(THIRD_PARTY, 3, autoreset_mode=mode)
        if mode is not AutoresetMode.DISABLED:
            assert replay(again, 5, rows, running) is None, steps
            observation, _, _, _, _ = again.step(np.zeros(3, np.int64))
            assert np.array_equal(observation, expected)
        rows[1]["observation"][3] += 1e-3
        assert "not deterministic" in str(replay(again, 5, rows, running))
        stream.close()
