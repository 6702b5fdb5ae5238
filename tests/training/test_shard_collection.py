"""Collectors: the data depend on the request alone, not on who dies when or which engine runs them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resume_helpers import outcome, tiny

import robossl
from robossl.cells.processes import WorkerProcess
from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.streams import Shards, Stream
from robossl.streams.shards import read_shards
from robossl.training import shard_collection, shard_collector
from robossl.training.config import ExploreConfig, LearnConfig
from robossl.training.phases import learn
from robossl.training.requests import CollectRequest
from robossl.training.shard_collector import ShardCollector, collector
from robossl.training.shard_phase import join_lanes

ENV = "robossl/Reacher-v0"  # 200 steps an episode


def digest(folder: Path) -> str:
    """Return the SHA-256 of all chunks of all shards."""
    paths = sorted(folder.glob("shard-*/chunk-*.safetensors"))
    assert paths
    text = "".join(f"{p.relative_to(folder)} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in paths)
    return hashlib.sha256(text.encode()).hexdigest()


def run_here(works: Any, resources: Any, next_job: Any, died: Any) -> None:
    """Run actors one after the other in this process."""
    for index, work in enumerate(works):
        run, job = collector(work.settings), next_job(index, None)
        while job is not None:
            answer = run(job)
            if "error" in answer:
                raise OperationError(answer["error"])
            job = next_job(index, answer)
        run.__closure__[0].cell_contents[0]._stream.release()  # type: ignore[index]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one episode of each lane."""
    monkeypatch.setattr(shard_collection, "_BLOCK_STEPS", 200)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, small_blocks: None) -> None:
    """Collectors in this process."""
    monkeypatch.setattr(shard_collection, "run_actors", run_here)


def request(out: Path, **settings: Any) -> CollectRequest:
    values = {"steps": 1600, "num_envs": 3, "workers": 2, "seed": 7, "policy": "colored_noise", **settings}
    return CollectRequest(ENV, out=out, **values)


def record(out: Path, **settings: Any) -> Stream:
    values = vars(request(out, **settings))
    values.pop("arguments")
    return robossl.collect(progress=NullProgress(), **values)


def test_killed_worker_process_changes_nothing(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two worker processes, of which the first is killed after its first block, against none."""
    with monkeypatch.context() as patch:
        patch.setattr(shard_collection, "run_actors", run_here)
        record(tmp_path / "here")
    killed, send = [], WorkerProcess.send

    def send_and_kill(self: WorkerProcess, value: dict[str, Any]) -> None:
        send(self, value)
        if "target" not in value:
            killed.append(self)
            if len(killed) == 3:  # the second block of a shard
                self._process.kill()

    monkeypatch.setattr(WorkerProcess, "send", send_and_kill)
    stream = record(tmp_path / "killed")
    assert len(killed) > 4
    assert digest(tmp_path / "killed") == digest(tmp_path / "here")
    assert isinstance(stream, Shards)
    assert stream.transitions >= 1600


def test_episodes_are_whole_and_differ_between_shards_and_blocks(tmp_path: Path, here: None) -> None:
    stream = record(tmp_path / "shards")
    assert all(episode.ended for episode in stream.episodes())
    firsts = [stream.read(e.lane, e.start, e.start + 1)["physics"].tobytes() for e in stream.episodes()]
    assert len(set(firsts)) == len(firsts) >= 8
    assert stream.lanes == 3
    assert read_shards(stream.path)[0] == 2


@pytest.mark.parametrize("moment", ["within a block", "between blocks", "before the first block"])
def test_interrupted_recording_goes_on_to_the_same_bytes(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    record(tmp_path / "whole")
    calls, whole = [], ShardCollector._record_block

    def stops(self: ShardCollector, block: int) -> None:
        calls.append(block)
        if len(calls) == (1 if moment.startswith("before") else 2):
            if moment.startswith("within"):
                loop = shard_collector.StepLoop(self._recorder, 1)
                for index, _ in enumerate(loop.steps(robossl.registry.policy("random")(
                    self._envs.single_action_space, self._envs.num_envs, seed=0), 300)):  # fmt: skip
                    if index == 50:
                        break
            self._stream.release()
            raise KeyboardInterrupt
        whole(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(ShardCollector, "_record_block", stops)
        with pytest.raises(KeyboardInterrupt, match="robossl collect --resume"):
            record(tmp_path / "stopped")
    shard_collection.resume_shards(tmp_path / "stopped", NullProgress())
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


def test_extended_recording_is_that_of_the_new_length(tmp_path: Path, here: None) -> None:
    record(tmp_path / "long", steps=2400)
    short = request(tmp_path / "short", steps=1200)
    shard_collection.collect_shards(short, NullProgress())
    assert digest(tmp_path / "short") != digest(tmp_path / "long")
    shard_collection.resume_shards(tmp_path / "short", NullProgress(), "+1200")
    assert digest(tmp_path / "short") == digest(tmp_path / "long")
    with pytest.raises(
        UsageError, match=r"expected more than the 2,400 env steps of .*, or \+N for N more, got 1600"
    ):
        shard_collection.resume_shards(tmp_path / "short", NullProgress(), 1600)


def test_joined_lanes_have_exactly_the_steps(tmp_path: Path, here: None) -> None:
    shards = record(tmp_path / "shards")
    with shards.create_like(tmp_path / "joined", 5) as stream:
        join_lanes(shards, stream, 280, NullProgress())
        assert stream.transitions == 3 * 280
        assert stream.lengths.tolist() == [282, 282, 282, 0, 0]  # two episodes, the second one is cut
        for lane in range(3):
            joined, source = (s.read(lane, 0, 282) for s in (stream, shards))
            assert np.array_equal(joined["physics"], source["physics"])
            assert np.array_equal(joined["action"][:281], source["action"][:281])
            assert joined["is_last"][-1]
            assert not joined["truncated"][-1]
            assert not joined["valid"][-1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 64, "num_envs": 64, "threads": 1}, "threads in all, one for each core"),
        ({"workers": 4}, "workers: expected at most one for each of the 3 sub-environments, got 4"),
        ({"policy": "curious"}, "policy: expected one that does not learn with workers, got curious"),
        ({"policy": "pinkk"}, "no 'pinkk' among the"),
        ({"engine": "rya"}, "did you mean 'ray'"),
        ({"backend": "warp"}, "workers: expected no backend"),
        ({"workers": 0, "engine": "ray"}, "engine: expected workers with 'ray', got none"),
        (
            {"workers": 0, "device": "cuda"},
            "device: expected backend='warp' with 'cuda', got backend='mujoco'",
        ),
        ({"workers": 1.5}, "workers: expected a whole number, got 1.5"),
    ],
)
def test_wrong_request_gets_one_line_before_anything_is_written(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as error:
        record(tmp_path / "shards", **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "shards").exists()


def test_explore_settings_that_workers_need_or_exclude_get_one_line() -> None:
    with pytest.raises(UsageError, match=r"explore\.engine: expected explore\.workers with 'ray', got none"):
        LearnConfig(explore=ExploreConfig(engine="ray"))
    with pytest.raises(UsageError, match=r"explore\.workers: expected backend mujoco and no record_envs"):
        LearnConfig(explore=ExploreConfig(workers=1, record_envs=2))


def test_other_episodes_are_not_appended_to_shards(tmp_path: Path, here: None) -> None:
    from robossl.training.continuation import append_episodes

    folder = record(tmp_path / "shards", steps=400).path
    with pytest.raises(UsageError, match="expected one stream to append other episodes to"):
        append_episodes(folder, NullProgress(), 100, policy="random")


@pytest.mark.slow
def test_run_whose_exploration_by_workers_was_interrupted_ends_as_an_uninterrupted_one(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(explore__workers=2, threads=1, agent__num_iterations=0)
    learn(config, tmp_path / "whole", progress=NullProgress())
    calls, whole = [], ShardCollector._record_block

    def stops(self: ShardCollector, block: int) -> None:
        calls.append(block)
        if len(calls) == 2:
            self._stream.release()
            raise KeyboardInterrupt
        whole(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(ShardCollector, "_record_block", stops)
        with pytest.raises(KeyboardInterrupt, match="robossl learn --resume"):
            learn(config, tmp_path / "stopped", progress=NullProgress())
    learn(resume=tmp_path / "stopped", progress=NullProgress())
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")
    assert not (tmp_path / "whole" / "shards").exists()
    stream = Stream.open(tmp_path / "whole" / "stream")
    assert stream.transitions == config.explore_steps
