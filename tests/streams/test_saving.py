"""Saving: rows are read back as written, and an interrupted recording equals an uninterrupted one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import AUTORESET_MODES, CountingEnvs, check_alignment, equal_files, record_steps, rows_of

from robossl.core.errors import OperationError, UsageError
from robossl.core.io import load_tree, save_tree, write_json
from robossl.core.small_files import CHECKSUM_KEY
from robossl.streams import Recorder, Stream, describe_stream

SAME = AutoresetMode.SAME_STEP


def make_recorder(path, mode=SAME, steps=50, lanes=5, **metadata):
    """Return a recorder after `steps` steps."""
    recorder = Recorder.create(CountingEnvs(lanes, mode), path, **metadata)
    recorder.reset()
    record_steps(recorder, steps)
    return recorder


def equal_rows(one: Stream, other: Stream) -> bool:
    """Return whether two streams have the same rows in every lane, and the same episodes."""
    if not np.array_equal(one.lengths, other.lengths) or one.episodes() != other.episodes():
        return False
    for lane in range(one.lanes):
        a, b = rows_of(one, lane), rows_of(other, lane)
        if not all(np.array_equal(a[n], b[n], equal_nan=a[n].dtype.kind == "f") for n in one.schema.names):
            return False
    return True


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_committed_rows_are_read_back(tmp_path, mode):
    recorder = make_recorder(tmp_path / "s", mode)
    recorder.stream.commit()
    record_steps(recorder, 30, 50)
    recorder.stream.commit()
    assert equal_rows(recorder.stream, Stream.open(tmp_path / "s"))


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_resumed_recording_equals_uninterrupted_one(tmp_path, mode):
    """Checkpoint, discard everything, continue in new objects: the files are equal."""
    uninterrupted = make_recorder(tmp_path / "whole", mode, 20)
    uninterrupted.stream.offset()
    record_steps(uninterrupted, 30, 20)
    uninterrupted.close()

    first = make_recorder(tmp_path / "cut", mode, 20)
    save_tree(tmp_path / "checkpoint", {"offset": first.stream.offset(), "recorder": first.get_checkpoint()})
    record_steps(first, 7, 20)  # recorded after the checkpoint and lost with the process
    first.stream.commit()
    record_steps(first, 2, 27)
    del first

    checkpoint = load_tree(tmp_path / "checkpoint")
    stream = Stream.open(tmp_path / "cut")
    stream.truncate(checkpoint["offset"])
    second = Recorder(CountingEnvs(5, mode), stream)
    second.set_checkpoint(checkpoint["recorder"])
    record_steps(second, 30, 20)
    second.close()
    assert equal_files(tmp_path / "whole", tmp_path / "cut")
    assert (tmp_path / "whole/stream.json").read_bytes() == (tmp_path / "cut/stream.json").read_bytes()
    check_alignment(Stream.open(tmp_path / "cut"))
    assert equal_rows(Stream.open(tmp_path / "whole"), second.stream)


def test_episode_of_a_dead_writer_breaks_off(tmp_path):
    """Without a checkpoint the next recorder begins new episodes: no transition leads into them."""
    first = make_recorder(tmp_path / "s", AutoresetMode.NEXT_STEP, 2)
    first.stream.commit()
    lengths, episode = first.stream.lengths, first.env.episode.copy()
    waiting = first._rows.in_episode.copy()
    del first
    envs = CountingEnvs(5, AutoresetMode.NEXT_STEP)
    envs.episode = episode
    second = Recorder(envs, Stream.open(tmp_path / "s"))
    second.reset()
    record_steps(second, 30)
    second.stream.commit()
    assert waiting.any()
    assert not waiting.all()
    for stream in (second.stream, Stream.open(tmp_path / "s")):
        for lane in range(5):
            rows, last = rows_of(stream, lane), lengths[lane] - 1
            assert rows["is_last"][last]
            assert not rows["valid"][last]
            assert rows["is_first"][last + 1]
            valid = np.flatnonzero(rows["valid"][:-1])
            observations = rows["observation"]
            assert np.array_equal(observations[valid + 1, 2], observations[valid, 2] + 1)
            assert np.array_equal(observations[valid + 1, 1], observations[valid, 1])
            assert np.array_equal(observations[valid + 1, 3], rows["action"][valid, 0])


def test_truncate_returns_to_the_offset(tmp_path):
    recorder = make_recorder(tmp_path / "s", steps=20)
    stream = recorder.stream
    offset = json.loads(json.dumps(stream.offset()))
    reader = Stream.open(tmp_path / "s")
    record_steps(recorder, 20, 20)
    stream.commit()
    record_steps(recorder, 3, 40)
    other = make_recorder(tmp_path / "other", seed=1).stream
    later_offset = stream.offset()
    stream.truncate(offset)
    assert equal_rows(stream, reader)
    assert len(list(stream.path.glob("chunk-*"))) == 1
    with pytest.raises(UsageError, match="expected an offset after at most 1 chunks"):
        stream.truncate(later_offset)
    with pytest.raises(UsageError, match="expected an offset of stream"):
        stream.truncate(other.offset())
    with pytest.raises(UsageError, match="got one with other rows before it"):
        stream.truncate({**offset, "rows": [1, 1, 1, 1, 1]})


def test_reader_detects_truncation(tmp_path):
    recorder = make_recorder(tmp_path / "s", steps=20)
    offset = recorder.stream.offset()
    record_steps(recorder, 20, 20)
    recorder.stream.commit()
    reader = Stream.open(tmp_path / "s")
    reader.windows(8, 2, np.random.default_rng(0))
    recorder.stream.truncate(offset)
    reader.refresh()
    assert equal_rows(recorder.stream, reader)
    recorder.reset()
    record_steps(recorder, 30)
    recorder.stream.commit()
    reader.refresh()
    assert equal_rows(recorder.stream, reader)


def test_chunks_are_committed_automatically(tmp_path):
    recorder = make_recorder(tmp_path / "s", steps=1)
    recorder.stream.commit_rows = 40
    record_steps(recorder, 50, 1)
    assert len(list(recorder.stream.path.glob("chunk-*"))) > 4
    assert recorder.stream.rows - Stream.open(tmp_path / "s").rows < 40
    by_bytes = make_recorder(tmp_path / "b", steps=1)
    by_bytes.stream.commit_bytes = 40 * by_bytes.stream.schema.row_bytes
    record_steps(by_bytes, 50, 1)
    assert equal_files(tmp_path / "s", tmp_path / "b")


def test_second_writer_raises(tmp_path):
    recorder = make_recorder(tmp_path / "s")
    second = Stream.open(tmp_path / "s")
    with pytest.raises(UsageError, match=r"already has a writer \(this process\)"):
        second.acquire()
    code = f"from robossl.streams import Stream; Stream.open({str(tmp_path / 's')!r}).acquire()"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"already has a writer (process {os.getpid()})" in completed.stderr
    recorder.stream.close()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    second.acquire()
    assert equal_rows(second, recorder.stream)  # includes what was committed since it was opened
    with pytest.raises(UsageError, match="already has a writer"):
        recorder.stream.acquire()


def test_lock_is_released_when_its_process_dies(tmp_path):
    make_recorder(tmp_path / "s").close()
    code = (
        "import os, sys\nfrom robossl.streams import Stream\n"
        f"stream = Stream.open({str(tmp_path / 's')!r}); stream.acquire()\n"
        "read_end, write_end = os.pipe()\n"
        "if os.fork() == 0: os.write(write_end, b'.'); os.read(0, 1); os._exit(0)\n"  # must not keep the lock
        "os.read(read_end, 1)\n"
        "print('held', flush=True); os.read(0, 1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {process.pid}"):
            Stream.open(tmp_path / "s").acquire()
        process.kill()
        process.wait()
        Stream.open(tmp_path / "s").acquire()
        process.stdout.close()


def test_lock_can_be_released_in_another_thread(tmp_path):
    stream = make_recorder(tmp_path / "s").stream
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
    Stream.open(tmp_path / "s").acquire()


def test_readers_follow_a_writing_process(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from stream_toys import AUTORESET_MODES, CountingEnvs, record_steps\nfrom robossl.streams import Recorder\n"
        "recorder = Recorder.create(CountingEnvs(5, AUTORESET_MODES[0]), sys.argv[2])\n"
        "recorder.stream.commit_rows = 100\nrecorder.reset(); print('begun', flush=True)\n"
        "record_steps(recorder, 600); recorder.close()"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "s")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "begun\n"
        reader, observations = Stream.open(tmp_path / "s"), set()
        while writer.poll() is None:
            reader.refresh()
            observations.add(reader.rows)
            if reader.rows:
                window = reader.windows(32, 3, np.random.default_rng(0), split=None)
                steps = window.observation[..., 2]
                assert np.array_equal((np.diff(steps) == 1)[window.mask], window.mask[window.mask])
    assert writer.returncode == 0
    reader.refresh()
    check_alignment(reader)
    assert len(observations) > 2
    assert reader.rows > 2500


def test_other_format_raises(tmp_path):
    make_recorder(tmp_path / "s").close()
    header = json.loads((tmp_path / "s/stream.json").read_text())
    del header[CHECKSUM_KEY]
    write_json(tmp_path / "s/stream.json", {**header, "format": 99}, checksum=True)
    with pytest.raises(UsageError, match="expected stream format 3, got 99"):
        Stream.open(tmp_path / "s")


def test_existing_files_are_never_overwritten(tmp_path):
    make_recorder(tmp_path / "s").close()
    with pytest.raises(UsageError, match="already contains a stream"):
        make_recorder(tmp_path / "s")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        make_recorder(tmp_path / "full")
    with pytest.raises(UsageError, match="no stream in"):
        Stream.open(tmp_path / "full")


def test_invalid_rows_raise_and_are_not_appended(tmp_path):
    stream = make_recorder(tmp_path / "s", lanes=2).stream
    rows, before = {f.name: np.zeros((2, *f.shape), f.dtype) for f in stream.schema.fields}, stream.lengths
    rows["is_first"][:] = True
    for change, message in (
        ({"reward": None}, "expected 'reward' as float32, got object|expected 'reward' of shape"),
        ({"reward": np.zeros(3, np.float32)}, r"expected 'reward' of shape \(2,\), got \(3,\)"),
        ({"action": np.zeros((2, 1), complex)}, "expected 'action' as float32, got complex128"),
        ({"more": np.zeros(2)}, "no 'more' among the fields"),
    ):
        with pytest.raises(UsageError, match=message):
            stream.append({**rows, **change})
    with pytest.raises(UsageError, match="expected rows with the field 'valid'"):
        stream.append({n: v for n, v in rows.items() if n != "valid"})
    assert np.array_equal(stream.lengths, before)
    stream.append({**rows, "is_last": np.ones(2, bool)})
    with pytest.raises(UsageError, match="has no running episode; its next row must have is_first"):
        stream.append({**rows, "is_first": np.zeros(2, bool)})
    with pytest.raises(UsageError, match="expected valid to be false in a last row"):
        stream.append({**rows, "is_last": np.ones(2, bool), "valid": np.ones(2, bool)})


def test_unwritable_folder_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((UsageError, OperationError), match="file"):
        make_recorder(tmp_path / "file" / "s")


def test_create_like_makes_an_empty_stream_of_the_same_envs(tmp_path):
    one = make_recorder(tmp_path / "s", policy="colored_noise", seed=3).stream
    two = one.create_like(tmp_path / "two", 2, policy="raw agent", seed=4)
    assert (two.rows, two.lanes, two.header["policy"], two.header["seed"]) == (0, 2, "raw agent", 4)
    assert two.header["env"] == one.header["env"]
    assert two.id != one.id
    recorder = Recorder(CountingEnvs(2, SAME), two)
    recorder.reset()
    record_steps(recorder, 10)
    check_alignment(two)


def test_describe_stream_matches_the_rows(tmp_path):
    recorder = make_recorder(
        tmp_path / "s", policy="colored_noise", seed=3, units={"reward": "points"}, backend="none"
    )
    recorder.close()
    stream, info = recorder.stream, describe_stream(tmp_path / "s")
    json.dumps(info, allow_nan=False)
    assert (info["env"], info["policy"], info["seed"]) == ("CountingEnvs", "colored_noise", 3)
    assert (info["rows"], info["lanes"], info["backend"]) == (stream.rows, 5, "none")
    assert info["lengths"] == stream.lengths.tolist()
    assert sum(s["episodes"] for s in info["splits"].values()) == info["episodes"] == len(stream.episodes())
    fields = {field["name"]: field for field in info["fields"]}
    assert list(fields) == stream.schema.names
    every = [rows_of(stream, lane) for lane in range(5)]
    rewards = np.concatenate([rows["reward"][~rows["is_last"]] for rows in every])
    assert fields["reward"]["unit"] == "points"
    assert fields["reward"]["min"] == rewards.min()
    assert fields["reward"]["mean"] == pytest.approx(rewards.mean(dtype=np.float64))
    observations = np.concatenate([rows["observation"] for rows in every])
    assert fields["observation"]["max"] == observations.max()
    assert {"python", "numpy", "gymnasium"} <= set(info["versions"])


def test_extend_equals_append(tmp_path):
    """Row by row or episode by episode: the same rows, splits, episodes and files."""
    one = Recorder.create(CountingEnvs(3, AUTORESET_MODES[1]), tmp_path / "one")
    one.reset()
    record_steps(one, 60)
    two = one.stream.create_like(tmp_path / "two", 3)
    for episode in sorted(one.stream.episodes(), key=lambda e: e.ordinal):
        two.extend(one.stream.read(episode.lane, episode.start, episode.stop), episode.lane)
    assert two.episodes() == one.stream.episodes()
    assert (two.counts, two.transitions) == (one.stream.counts, one.stream.transitions)
    record_steps(one, 5, 60)  # the running episodes continue
    for lane in range(3):
        begin, end = int(two.lengths[lane]), int(one.stream.lengths[lane])
        two.extend(one.stream.read(lane, begin, end), lane)
    one.stream.close(), two.close()
    assert equal_files(tmp_path / "one", tmp_path / "two")


def test_extend_with_invalid_episodes_raises(tmp_path):
    recorder = Recorder.create(CountingEnvs(2, AUTORESET_MODES[1]), tmp_path / "one")
    recorder.reset()
    record_steps(recorder, 10)
    stream = recorder.stream.create_like(tmp_path / "two", 2)
    rows = rows_of(recorder.stream, 0)
    with pytest.raises(UsageError, match="expected a lane from 0 to 1, got 2"):
        stream.extend(rows, 2)
    with pytest.raises(UsageError, match="lane 1 has no running episode; its next row must have is_first"):
        stream.extend({name: value[1:] for name, value in rows.items()}, 1)
    with pytest.raises(UsageError, match="expected is_first exactly after each is_last"):
        stream.extend({**rows, "is_first": np.ones_like(rows["is_first"])}, 1)
    with pytest.raises(UsageError, match="expected valid to be false in a last row"):
        stream.extend({**rows, "valid": np.ones_like(rows["valid"])}, 1)
    with pytest.raises(UsageError, match="expected rows with the field 'reward'"):
        stream.extend({name: value for name, value in rows.items() if name != "reward"}, 1)
    assert stream.rows == 0
