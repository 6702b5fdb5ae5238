"""The law of saving: read back is what was written; interrupted is as good as never interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import MODES, CountingEnvs, check_law, equal_files, live, rows_of

from robossl.core.errors import OperationError, UsageError
from robossl.core.io import load_tree, save_tree, write_json
from robossl.streams import Recorder, Stream, describe_stream

SAME = AutoresetMode.SAME_STEP


def begun(path, mode=SAME, steps=50, lanes=5, **facts):
    """A recorder that has lived for a while."""
    recorder = Recorder.create(CountingEnvs(lanes, mode), path, **facts)
    recorder.reset()
    live(recorder, steps)
    return recorder


def same_rows(one: Stream, other: Stream) -> bool:
    """The same rows in every lane, and the same episodes."""
    if not np.array_equal(one.lengths, other.lengths) or one.episodes() != other.episodes():
        return False
    for lane in range(one.lanes):
        a, b = rows_of(one, lane), rows_of(other, lane)
        if not all(np.array_equal(a[n], b[n], equal_nan=a[n].dtype.kind == "f") for n in one.schema.names):
            return False
    return True


@pytest.mark.parametrize("mode", MODES)
def test_saved_is_read_back(tmp_path, mode):
    recorder = begun(tmp_path / "s", mode)
    recorder.stream.commit()
    live(recorder, 30, 50)
    recorder.stream.commit()
    assert same_rows(recorder.stream, Stream.open(tmp_path / "s"))


@pytest.mark.parametrize("mode", MODES)
def test_interrupted_is_uninterrupted(tmp_path, mode):
    """Mark, forget everything, go on in new objects: the same files."""
    whole = begun(tmp_path / "whole", mode, 20)
    whole.stream.mark()
    live(whole, 30, 20)
    whole.close()

    first = begun(tmp_path / "cut", mode, 20)
    save_tree(tmp_path / "checkpoint", {"mark": first.stream.mark(), "recorder": first.get_checkpoint()})
    live(first, 7, 20)  # lived after the checkpoint and lost with the process
    first.stream.commit()
    live(first, 2, 27)
    del first

    tree = load_tree(tmp_path / "checkpoint")
    stream = Stream.open(tmp_path / "cut")
    stream.truncate(tree["mark"])
    second = Recorder(CountingEnvs(5, mode), stream)
    second.set_checkpoint(tree["recorder"])
    live(second, 30, 20)
    second.close()
    assert equal_files(tmp_path / "whole", tmp_path / "cut")
    assert (tmp_path / "whole/stream.json").read_bytes() == (tmp_path / "cut/stream.json").read_bytes()
    check_law(Stream.open(tmp_path / "cut"))
    assert same_rows(Stream.open(tmp_path / "whole"), second.stream)


def test_an_episode_whose_writer_died_breaks_off_there(tmp_path):
    """Without a checkpoint the next recorder begins new episodes: no transition leads into them."""
    first = begun(tmp_path / "s", AutoresetMode.NEXT_STEP, 2)
    first.stream.commit()
    lengths, episode = first.stream.lengths, first.env.episode.copy()
    waiting = first._waiting.copy()
    del first
    envs = CountingEnvs(5, AutoresetMode.NEXT_STEP)
    envs.episode = episode
    second = Recorder(envs, Stream.open(tmp_path / "s"))
    second.reset()
    live(second, 30)
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
            seen = rows["observation"]
            assert np.array_equal(seen[valid + 1, 2], seen[valid, 2] + 1)
            assert np.array_equal(seen[valid + 1, 1], seen[valid, 1])
            assert np.array_equal(seen[valid + 1, 3], rows["action"][valid, 0])


def test_truncation_comes_back_to_the_mark(tmp_path):
    recorder = begun(tmp_path / "s", steps=20)
    stream = recorder.stream
    mark = json.loads(json.dumps(stream.mark()))
    reader = Stream.open(tmp_path / "s")
    live(recorder, 20, 20)
    stream.commit()
    live(recorder, 3, 40)
    other = begun(tmp_path / "other", seed=1).stream
    ahead = stream.mark()
    stream.truncate(mark)
    assert same_rows(stream, reader)
    assert len(list(stream.path.glob("chunk-*"))) == 1
    with pytest.raises(UsageError, match="the mark comes after 3 chunks"):
        stream.truncate(ahead)
    with pytest.raises(UsageError, match="the mark belongs to stream"):
        stream.truncate(other.mark())
    with pytest.raises(UsageError, match="not a place in"):
        stream.truncate({**mark, "rows": [1, 1, 1, 1, 1]})


def test_a_reader_notices_truncation(tmp_path):
    recorder = begun(tmp_path / "s", steps=20)
    mark = recorder.stream.mark()
    live(recorder, 20, 20)
    recorder.stream.commit()
    reader = Stream.open(tmp_path / "s")
    reader.windows(8, 2, np.random.default_rng(0))
    recorder.stream.truncate(mark)
    reader.refresh()
    assert same_rows(recorder.stream, reader)
    recorder.reset()
    live(recorder, 30)
    recorder.stream.commit()
    reader.refresh()
    assert same_rows(recorder.stream, reader)


def test_chunks_are_written_by_themselves(tmp_path):
    recorder = begun(tmp_path / "s", steps=1)
    recorder.stream.commit_rows = 40
    live(recorder, 50, 1)
    assert len(list(recorder.stream.path.glob("chunk-*"))) > 4
    assert recorder.stream.rows - Stream.open(tmp_path / "s").rows < 40
    by_bytes = begun(tmp_path / "b", steps=1)
    by_bytes.stream.commit_bytes = 40 * by_bytes.stream.schema.row_bytes
    live(by_bytes, 50, 1)
    assert equal_files(tmp_path / "s", tmp_path / "b")


def test_one_writer_at_a_time(tmp_path):
    recorder = begun(tmp_path / "s")
    second = Stream.open(tmp_path / "s")
    with pytest.raises(UsageError, match=r"already has a writer \(this process\)"):
        second.acquire()
    code = f"from robossl.streams import Stream; Stream.open({str(tmp_path / 's')!r}).acquire()"
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"already has a writer (process {os.getpid()})" in refused.stderr
    recorder.stream.close()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    second.acquire()
    assert same_rows(second, recorder.stream)  # what was committed since it was opened
    with pytest.raises(UsageError, match="already has a writer"):
        recorder.stream.acquire()


def test_the_lock_of_the_dead_is_free(tmp_path):
    begun(tmp_path / "s").close()
    code = (
        "import os, sys, time\nfrom robossl.streams import Stream\n"
        f"stream = Stream.open({str(tmp_path / 's')!r}); stream.acquire()\n"
        "heard, said = os.pipe()\n"
        "if os.fork() == 0: os.write(said, b'.'); time.sleep(60); os._exit(0)\n"  # it must not keep the lock
        "os.read(heard, 1)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {process.pid}"):
            Stream.open(tmp_path / "s").acquire()
        process.kill()
        process.wait()
        Stream.open(tmp_path / "s").acquire()
        process.stdout.close()


def test_reading_while_another_process_writes(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from stream_toys import CountingEnvs, live, MODES\nfrom robossl.streams import Recorder\n"
        "recorder = Recorder.create(CountingEnvs(5, MODES[0]), sys.argv[2])\n"
        "recorder.stream.commit_rows = 100\nrecorder.reset(); print('begun', flush=True)\n"
        "live(recorder, 600); recorder.close()"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "s")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "begun\n"
        reader, seen = Stream.open(tmp_path / "s"), set()
        while writer.poll() is None:
            reader.refresh()
            seen.add(reader.rows)
            if reader.rows:
                window = reader.windows(32, 3, np.random.default_rng(0), split=None)
                steps = window.observation[..., 2]
                assert np.array_equal((np.diff(steps) == 1)[window.mask], window.mask[window.mask])
    assert writer.returncode == 0
    reader.refresh()
    check_law(reader)
    assert len(seen) > 2
    assert reader.rows > 2500


def test_a_later_format_is_refused(tmp_path):
    begun(tmp_path / "s").close()
    header = json.loads((tmp_path / "s/stream.json").read_text())
    write_json(tmp_path / "s/stream.json", {**header, "format": 99})
    with pytest.raises(UsageError, match="stream format 99; this robossl reads formats up to 1"):
        Stream.open(tmp_path / "s")


def test_nothing_is_written_over(tmp_path):
    begun(tmp_path / "s").close()
    with pytest.raises(UsageError, match="already holds a stream"):
        begun(tmp_path / "s")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        begun(tmp_path / "full")
    with pytest.raises(UsageError, match="no stream in"):
        Stream.open(tmp_path / "full")


def test_rows_that_do_not_fit_are_refused_and_not_appended(tmp_path):
    stream = begun(tmp_path / "s", lanes=2).stream
    rows, before = {f.name: np.zeros((2, *f.shape), f.dtype) for f in stream.schema.fields}, stream.lengths
    rows["is_first"][:] = True
    for change, words in (
        ({"reward": None}, "'reward' is object; expected float32|'reward' has shape"),
        ({"reward": np.zeros(3, np.float32)}, r"'reward' has shape \(3,\); expected \(2,\)"),
        ({"action": np.zeros((2, 1), complex)}, "'action' is complex128; expected float32"),
        ({"more": np.zeros(2)}, "no 'more' among the fields"),
    ):
        with pytest.raises(UsageError, match=words):
            stream.append({**rows, **change})
    with pytest.raises(UsageError, match="rows lack the field 'valid'"):
        stream.append({n: v for n, v in rows.items() if n != "valid"})
    assert np.array_equal(stream.lengths, before)
    stream.append({**rows, "is_last": np.ones(2, bool)})
    with pytest.raises(UsageError, match="between episodes; its next row must have is_first"):
        stream.append({**rows, "is_first": np.zeros(2, bool)})
    with pytest.raises(UsageError, match="a last row cannot be valid"):
        stream.append({**rows, "is_last": np.ones(2, bool), "valid": np.ones(2, bool)})


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((UsageError, OperationError), match="file"):
        begun(tmp_path / "file" / "s")


def test_like_begins_a_stream_for_the_same_envs(tmp_path):
    one = begun(tmp_path / "s", policy="colored_noise", seed=3).stream
    two = one.like(tmp_path / "two", 2, policy="raw agent", seed=4)
    assert (two.rows, two.lanes, two.header["policy"], two.header["seed"]) == (0, 2, "raw agent", 4)
    assert two.header["env"] == one.header["env"]
    assert two.id != one.id
    recorder = Recorder(CountingEnvs(2, SAME), two)
    recorder.reset()
    live(recorder, 10)
    check_law(two)


def test_a_stream_describes_itself(tmp_path):
    recorder = begun(tmp_path / "s", policy="colored_noise", seed=3, units={"reward": "points"}, backend="none")
    recorder.close()
    stream, found = recorder.stream, describe_stream(tmp_path / "s")
    json.dumps(found, allow_nan=False)
    assert (found["env"], found["policy"], found["seed"]) == ("CountingEnvs", "colored_noise", 3)
    assert (found["rows"], found["lanes"], found["backend"]) == (stream.rows, 5, "none")
    assert found["lengths"] == stream.lengths.tolist()
    assert sum(s["episodes"] for s in found["splits"].values()) == found["episodes"] == len(stream.episodes())
    fields = {field["name"]: field for field in found["fields"]}
    assert list(fields) == stream.schema.names
    every = [rows_of(stream, lane) for lane in range(5)]
    rewards = np.concatenate([rows["reward"][~rows["is_last"]] for rows in every])
    assert fields["reward"]["unit"] == "points"
    assert fields["reward"]["min"] == rewards.min()
    assert fields["reward"]["mean"] == pytest.approx(rewards.mean(dtype=np.float64))
    observations = np.concatenate([rows["observation"] for rows in every])
    assert fields["observation"]["max"] == observations.max()
    assert {"python", "numpy", "gymnasium"} <= set(found["versions"])


def test_whole_episodes_are_appended_like_their_steps(tmp_path):
    """Row by row, or an episode at a time: the same rows, splits, episodes, and files once committed."""
    one = Recorder.create(CountingEnvs(3, MODES[1]), tmp_path / "one")
    one.reset()
    live(one, 60)
    two = one.stream.like(tmp_path / "two", 3)
    for episode in sorted(one.stream.episodes(), key=lambda e: e.ordinal):
        two.extend(one.stream.read(episode.lane, episode.start, episode.stop), episode.lane)
    assert two.episodes() == one.stream.episodes()
    assert (two.counts, two.transitions) == (one.stream.counts, one.stream.transitions)
    live(one, 5, 60)  # the episodes going on go on
    for lane in range(3):
        begin, end = int(two.lengths[lane]), int(one.stream.lengths[lane])
        two.extend(one.stream.read(lane, begin, end), lane)
    one.stream.close(), two.close()
    assert equal_files(tmp_path / "one", tmp_path / "two")


def test_rows_that_are_no_episodes_are_refused(tmp_path):
    recorder = Recorder.create(CountingEnvs(2, MODES[1]), tmp_path / "one")
    recorder.reset()
    live(recorder, 10)
    stream = recorder.stream.like(tmp_path / "two", 2)
    rows = rows_of(recorder.stream, 0)
    with pytest.raises(UsageError, match="no lane 2; there are lanes 0 to 1"):
        stream.extend(rows, 2)
    with pytest.raises(UsageError, match="lane 1 is between episodes; its next row must have is_first"):
        stream.extend({name: value[1:] for name, value in rows.items()}, 1)
    with pytest.raises(UsageError, match="an episode must begin where another one ends"):
        stream.extend({**rows, "is_first": np.ones_like(rows["is_first"])}, 1)
    with pytest.raises(UsageError, match="a last row cannot be valid"):
        stream.extend({**rows, "valid": np.ones_like(rows["valid"])}, 1)
    with pytest.raises(UsageError, match="rows lack the field 'reward'"):
        stream.extend({name: value for name, value in rows.items() if name != "reward"}, 1)
    assert stream.rows == 0
