"""The law of exchange: what went out comes back as it was, and what cannot is said."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from robossl.envs import register
from stream_toys import MODES, CountingEnvs, check_law, live, rows_of

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, write_json
from robossl.streams import SPLITS, Recorder, Stream
from robossl.streams.formats import FORMATS, export_stream, import_stream

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
parquet = pytest.importorskip("pyarrow.parquet")
SAME = AutoresetMode.SAME_STEP


def lived(
    path: Path, kind="vector", mode=AutoresetMode.NEXT_STEP, steps=30, discrete=False, **facts
) -> Stream:
    """A closed stream of four lanes whose last episodes are broken off."""
    recorder = Recorder.create(CountingEnvs(4, mode, kind, discrete), path, **facts)
    recorder.reset()
    live(recorder, steps)
    recorder.finish()
    return recorder.stream


def there_and_back(stream: Stream, name: str, path: Path, **options) -> tuple[dict, Stream]:
    """Exported and imported again; what was said of both."""
    out = export_stream(stream, name, path / name, **options)
    back = import_stream(path / name, name, path / f"{name}-back")
    assert back["losses"] == []
    assert (out["episodes"], out["rows"]) == (back["episodes"], back["rows"])
    return out, Stream.open(path / f"{name}-back")


def same(one: Stream, other: Stream, but: tuple[str, ...] = ()) -> bool:
    """The same name, fields, rows, episodes and splits."""
    if (one.id, one.schema, one.counts, one.episodes()) != (
        other.id,
        other.schema,
        other.counts,
        other.episodes(),
    ):
        return False
    lanes = ((rows_of(one, lane), rows_of(other, lane)) for lane in range(one.lanes))
    return all(
        a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n], equal_nan=a[n].dtype.kind == "f")
        for a, b in lanes
        for n in one.schema.names
        if n not in but
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["vector", "goal", "image", "discrete"])
def test_there_and_back_nothing_has_changed(tmp_path, name, mode, kind):
    stream = lived(tmp_path / "s", kind, mode, discrete=kind == "discrete", seed=3, policy="counting")
    said, again = there_and_back(stream, name, tmp_path, images="png")
    assert said["losses"] == []
    assert same(stream, again)
    assert {s: len(again.episodes(s)) for s in SPLITS} == {s: len(stream.episodes(s)) for s in SPLITS}
    assert again.header["policy"] == "counting"


@pytest.mark.parametrize("name", FORMATS)
def test_a_robot_comes_back_with_its_physics(tmp_path, name):
    register()
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3, nthread=1, max_episode_steps=9)
    recorder = Recorder.create(envs, tmp_path / "s", info=["is_success"])
    recorder.reset(seed=0)
    for _ in range(25):
        recorder.step(envs.action_space.sample())
    recorder.finish()
    _, again = there_and_back(recorder.stream, name, tmp_path)
    assert same(recorder.stream, again)
    again.restore(envs, 2, 4)
    assert envs.get_physics_state()[0].tobytes() == rows_of(recorder.stream, 2)["physics"][4].tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_still_going_on_is_broken_off_and_said(tmp_path, name):
    recorder = Recorder.create(CountingEnvs(4, SAME), tmp_path / "s")
    recorder.reset()
    live(recorder, 24)
    said, again = there_and_back(recorder.stream, name, tmp_path)
    going = [e for e in recorder.stream.episodes() if not e.ended]
    written = [e for e in going if e.stop - e.start > 1]
    assert len(written) > 0
    words = " / ".join(said["losses"])
    assert f"still going on: it is written as broken off ({len(written)} episodes)" in words
    assert f"no observation after it and is left out ({len(written)} episodes)" in words
    assert (f"without a step is left out ({len(going) - len(written)} episodes)" in words) == (
        going != written
    )
    check_law(
        again,
        {e.lane: {int(again.read(e.lane, e.start, e.stop)["observation"][0, 1])} for e in again.episodes()},
    )
    for lane in range(4):
        kept, rows = rows_of(again, lane), rows_of(recorder.stream, lane)
        assert np.array_equal(kept["observation"], rows["observation"][: len(kept["observation"])])
        assert kept["is_last"][-1]


@pytest.mark.parametrize("name", FORMATS)
def test_relative_paths_will_do(tmp_path, monkeypatch, name):
    stream = lived(tmp_path / "s", steps=10)
    monkeypatch.chdir(tmp_path)
    export_stream("s", name, "out-v0")
    import_stream("out-v0", name, "inner/back")
    assert same(stream, Stream.open("inner/back"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner", "out-v0", "s"]


def test_minari_reads_what_was_written(tmp_path):
    stream = lived(tmp_path / "s", "image", SAME)
    export_stream(tmp_path / "s", "minari", tmp_path / "counting-v3")
    dataset = minari.MinariDataset(tmp_path / "counting-v3" / "data")
    assert dataset.spec.dataset_id == "counting-v3"
    assert dataset.observation_space == stream.observation_space
    assert dataset.action_space == stream.action_space
    episodes = sorted(stream.episodes(), key=lambda e: e.ordinal)
    assert dataset.total_episodes == len(episodes)
    assert dataset.total_steps == stream.rows - len(episodes)
    for told, episode in zip(dataset, episodes):
        rows = stream.read(episode.lane, episode.start, episode.stop)
        assert np.array_equal(told.observations["camera"], rows["observation.camera"])
        assert np.array_equal(told.observations["body"]["joints"], rows["observation.body.joints"])
        for theirs, ours in (("actions", "action"), ("rewards", "reward"), ("terminations", "terminated")):
            assert np.array_equal(getattr(told, theirs), rows[ours][:-1])
        assert np.array_equal(told.truncations, rows["truncated"][:-1])
        assert np.array_equal(told.infos["physics"], rows["physics"], equal_nan=True)


def test_minari_finds_it_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    stream = lived(tmp_path / "s")
    export_stream(stream, "minari", tmp_path / "counting-v0")
    assert len(minari.load_dataset("counting-v0")) == len(stream.episodes())
    import_stream("counting-v0", "minari", tmp_path / "again")
    assert same(stream, Stream.open(tmp_path / "again"))


def test_a_strangers_minari_data_set(tmp_path, monkeypatch):
    """Made with Minari's own tools: float64 everywhere, infos, no word of lanes."""
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    random = np.random.default_rng(0)
    buffers = [
        EpisodeBuffer(
            observations=random.normal(size=(steps + 1, 3)),
            actions=random.uniform(-1, 1, (steps, 2)),
            rewards=list(random.normal(size=steps)),
            terminations=[False] * (steps - 1) + [True],
            truncations=[False] * steps,
            infos={"speed": random.normal(size=steps + 1)},
        )
        for steps in (4, 1, 7)
    ]
    spaces = {"observation_space": Box(-9, 9, (3,), np.float64), "action_space": Box(-1, 1, (2,), np.float64)}
    with warnings.catch_warnings():  # it wants an author, and says so
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers("stranger/toy-v0", buffers, **spaces)
    said = import_stream("stranger/toy-v0", "minari", tmp_path / "s")
    assert said["losses"] == [
        "rewards are float64; a stream keeps float32",
        "actions are float64; a stream keeps float32",
        "infos are left out: speed",
    ]
    stream = Stream.open(tmp_path / "s")
    rows = rows_of(stream, 0)
    assert np.array_equal(rows["observation"], np.concatenate([b.observations for b in buffers]))
    assert [e.stop - e.start for e in stream.episodes()] == [5, 2, 8]
    assert np.array_equal(rows["action"][:4], np.float32(buffers[0].actions))
    assert rows["terminated"].sum() == 3
    assert rows["valid"].sum() == 12


def test_mp4_changes_colours_a_little_and_says_so(tmp_path):
    stream = lived(tmp_path / "s", "image")
    said, again = there_and_back(stream, "lerobot", tmp_path)
    assert [words for words in said["losses"] if "mp4" in words] == said["losses"]
    assert len(said["losses"]) == 1
    assert same(stream, again, but=("observation.camera",))
    worst = max(
        np.abs(rows_of(stream, lane)[n].astype(int) - rows_of(again, lane)[n].astype(int)).max()
        for lane in range(4)
        for n in ("observation.camera",)
    )
    assert 0 <= worst <= 3


def test_a_strangers_lerobot_data_set(tmp_path):
    """Without our header it is like any other: no final observation, no flags, no bounds."""
    stream = lived(tmp_path / "s", "image")
    export_stream(stream, "lerobot", tmp_path / "l")
    (tmp_path / "l/meta/robossl.json").unlink()
    said = import_stream(tmp_path / "l", "lerobot", tmp_path / "back")
    words = " / ".join(said["losses"])
    assert f"the last frame of each episode has no observation after it: its action, reward and end are left out " \
           f"({len(stream.episodes())} episodes)" in words  # fmt: skip
    assert "no bounds of observations and actions are told" in words
    assert "features are left out: next.terminated, next.truncated, physics, state.where, valid" in words
    again = Stream.open(tmp_path / "back")
    assert again.rows == stream.rows
    assert again.lanes == 1
    assert again.transitions == stream.transitions
    episodes = sorted(stream.episodes(), key=lambda e: e.ordinal)
    for episode, found in zip(episodes, again.episodes()):
        rows = stream.read(episode.lane, episode.start, episode.stop)
        back = again.read(0, found.start, found.stop)
        assert np.array_equal(back["observation.body.joints"], rows["observation.body.joints"])
        assert np.array_equal(back["action"], rows["action"])
        assert np.array_equal(back["reward"], rows["reward"])
    assert again.observation_space["images"]["camera"].shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("no 'minary' among the formats; did you mean 'minari'", lambda p: export_stream(p / "s", "minary", p / "x")),
        ("no 'jpeg' among the image formats", lambda p: export_stream(p / "s", "lerobot", p / "x", images="jpeg")),
        ("no stream in", lambda p: export_stream(p / "nothing", "minari", p / "x")),
        ("is not empty; give a folder of its own", lambda p: export_stream(p / "s", "minari", p / "s")),
        ("no LeRobot data set in", lambda p: import_stream(p / "s", "lerobot", p / "x")),
        ("no Minari data set in", lambda p: import_stream(p / "s", "minari", p / "x")),
        ("has no episode with a step", lambda p: export_stream(p / "empty", "minari", p / "x")),
    ],
)  # fmt: skip
def test_a_wrong_request_is_answered_in_a_line(tmp_path, monkeypatch, words, call):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "known"))
    lived(tmp_path / "s", steps=5).like(tmp_path / "empty", 1).close()
    with pytest.raises(UsageError, match=words) as raised:
        call(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*.part"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "spoil", "error", "words"),
    [
        ("data/chunk-000/file-000.parquet", cut, CorruptedFileError, "is damaged or missing"),
        ("data/chunk-000/file-000.parquet", Path.unlink, CorruptedFileError, "is damaged or missing"),
        ("meta/episodes/chunk-000/file-000.parquet", Path.unlink, UsageError, "has no episodes"),
        ("meta/info.json", cut, CorruptedFileError, "info.json"),
        ("meta/robossl.json", cut, CorruptedFileError, "robossl.json"),
        ("videos/observation.images.camera/chunk-000/file-000.mp4", cut_in_half, CorruptedFileError, "mp4"),
        ("videos/observation.images.camera/chunk-000/file-000.mp4", Path.unlink, CorruptedFileError, "mp4"),
    ],
)
def test_a_damaged_data_set_is_named(tmp_path, file, spoil, error, words):
    export_stream(lived(tmp_path / "s", "image"), "lerobot", tmp_path / "l")
    spoil(tmp_path / "l" / file)
    with pytest.raises(error, match=words):
        import_stream(tmp_path / "l", "lerobot", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_data_set_whose_files_lie_elsewhere_is_refused(tmp_path):
    export_stream(lived(tmp_path / "s"), "lerobot", tmp_path / "l")
    shutil.move(tmp_path / "l/data/chunk-000/file-000.parquet", tmp_path / "elsewhere.parquet")
    info = tmp_path / "l/meta/info.json"
    write_json(info, {**read_json(info), "data_path": "../elsewhere.parquet"})
    with pytest.raises(UsageError, match="leads out of"):
        import_stream(tmp_path / "l", "lerobot", tmp_path / "x")
    write_json(info, {**read_json(info), "codebase_version": "v2.1"})
    with pytest.raises(UsageError, match=r"data set of format v2\.1; expected v3"):
        import_stream(tmp_path / "l", "lerobot", tmp_path / "x")


def test_a_data_set_of_a_later_stream_is_refused(tmp_path):
    for name, file in (("lerobot", "meta/robossl.json"), ("minari", "data/metadata.json")):
        export_stream(lived(tmp_path / f"{name}-s"), name, tmp_path / name)
        path = tmp_path / name / file
        told = json.loads(path.read_text())
        (told["robossl"] if name == "minari" else told)["format"] = 99
        path.write_text(json.dumps(told))
        with pytest.raises(UsageError, match="stream format 99; this robossl reads up to 1"):
            import_stream(tmp_path / name, name, tmp_path / "x")


def test_lerobot_can_be_told_what_the_figures_are(tmp_path):
    stream = lived(tmp_path / "s")
    export_stream(stream, "lerobot", tmp_path / "l")
    figures = read_json(tmp_path / "l/meta/stats.json")
    rows = np.concatenate([rows_of(stream, lane)["observation"] for lane in range(4)]).astype(np.float64)
    for name, value in (
        ("min", rows.min(0)),
        ("max", rows.max(0)),
        ("mean", rows.mean(0)),
        ("std", rows.std(0)),
    ):
        assert np.allclose(figures["observation.state"][name], value), name
    episodes = parquet.read_table(tmp_path / "l/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert (
        sum(e["length"] for e in episodes)
        == stream.rows
        == read_json(tmp_path / "l/meta/info.json")["total_frames"]
    )
