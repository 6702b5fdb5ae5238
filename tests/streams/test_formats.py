"""Export and import: streams are read back unchanged, and every loss is reported."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from capabilities import require_module
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from robossl.envs import register
from stream_toys import AUTORESET_MODES, CountingEnvs, check_alignment, record_steps, rows_of

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import read_json, write_json
from robossl.streams import SPLITS, Recorder, Stream
from robossl.streams.formats import FORMATS, export_stream, import_stream

minari = require_module("minari")
require_module("h5py")
parquet = require_module("pyarrow.parquet")
SAME = AutoresetMode.SAME_STEP


def make_stream(
    path: Path, kind="vector", mode=AutoresetMode.NEXT_STEP, steps=30, discrete=False, **metadata
) -> Stream:
    """Return a closed stream of four lanes whose last episodes are broken off."""
    recorder = Recorder.create(CountingEnvs(4, mode, kind, discrete), path, **metadata)
    recorder.reset()
    record_steps(recorder, steps)
    recorder.finish()
    return recorder.stream


def export_and_import(stream: Stream, name: str, path: Path, **options) -> tuple[dict, Stream]:
    """Export and import a stream; return the report of the export and the imported stream."""
    out = export_stream(stream, name, path / name, **options)
    imported_rows = import_stream(path / name, name, path / f"{name}-back")
    assert imported_rows["losses"] == []
    assert (out["episodes"], out["rows"]) == (imported_rows["episodes"], imported_rows["rows"])
    return out, Stream.open(path / f"{name}-back")


def equal_streams(one: Stream, other: Stream, except_fields: tuple[str, ...] = ()) -> bool:
    """Return whether two streams have the same id, fields, rows, episodes and splits."""
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
        if n not in except_fields
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("mode", AUTORESET_MODES)
@pytest.mark.parametrize("kind", ["vector", "goal", "image", "discrete"])
def test_imported_stream_equals_the_exported_one(tmp_path, name, mode, kind):
    stream = make_stream(tmp_path / "s", kind, mode, discrete=kind == "discrete", seed=3, policy="counting")
    report, imported = export_and_import(stream, name, tmp_path, images="png")
    assert report["losses"] == []
    assert equal_streams(stream, imported)
    assert {s: len(imported.episodes(s)) for s in SPLITS} == {s: len(stream.episodes(s)) for s in SPLITS}
    assert imported.header["policy"] == "counting"


@pytest.mark.parametrize("name", FORMATS)
def test_imported_physics_can_be_restored(tmp_path, name):
    register()
    envs = gym.make_vec("robossl/Reacher-v0", num_envs=3, nthread=1, max_episode_steps=9)
    recorder = Recorder.create(envs, tmp_path / "s", info=["is_success"])
    recorder.reset(seed=0)
    for _ in range(25):
        recorder.step(envs.action_space.sample())
    recorder.finish()
    _, imported = export_and_import(recorder.stream, name, tmp_path)
    assert equal_streams(recorder.stream, imported)
    imported.restore(envs, 2, 4)
    assert envs.get_physics_state()[0].tobytes() == rows_of(recorder.stream, 2)["physics"][4].tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_running_episodes_are_exported_as_broken_off(tmp_path, name):
    recorder = Recorder.create(CountingEnvs(4, SAME), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 24)
    report, imported = export_and_import(recorder.stream, name, tmp_path)
    running = [e for e in recorder.stream.episodes() if not e.ended]
    exported = [e for e in running if e.stop - e.start > 1]
    assert len(exported) > 0
    message = " / ".join(report["losses"])
    assert f"still running: it is written as broken off ({len(exported)} episodes)" in message
    assert f"no next observation and is omitted ({len(exported)} episodes)" in message
    assert (f"without a step is omitted ({len(running) - len(exported)} episodes)" in message) == (
        running != exported
    )
    check_alignment(
        imported,
        {
            e.lane: {int(imported.read(e.lane, e.start, e.stop)["observation"][0, 1])}
            for e in imported.episodes()
        },
    )
    for lane in range(4):
        imported_rows, rows = rows_of(imported, lane), rows_of(recorder.stream, lane)
        assert np.array_equal(
            imported_rows["observation"], rows["observation"][: len(imported_rows["observation"])]
        )
        assert imported_rows["is_last"][-1]


@pytest.mark.parametrize("name", FORMATS)
def test_relative_paths_work(tmp_path, monkeypatch, name):
    stream = make_stream(tmp_path / "s", steps=10)
    monkeypatch.chdir(tmp_path)
    export_stream("s", name, "out-v0")
    import_stream("out-v0", name, "inner/back")
    assert equal_streams(stream, Stream.open("inner/back"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner", "out-v0", "s"]


def test_minari_reads_an_exported_dataset(tmp_path):
    stream = make_stream(tmp_path / "s", "image", SAME)
    export_stream(tmp_path / "s", "minari", tmp_path / "counting-v3")
    dataset = minari.MinariDataset(tmp_path / "counting-v3" / "data")
    assert dataset.spec.dataset_id == "counting-v3"
    assert dataset.observation_space == stream.observation_space
    assert dataset.action_space == stream.action_space
    episodes = sorted(stream.episodes(), key=lambda e: e.ordinal)
    assert dataset.total_episodes == len(episodes)
    assert dataset.total_steps == stream.rows - len(episodes)
    for entry, episode in zip(dataset, episodes):
        rows = stream.read(episode.lane, episode.start, episode.stop)
        assert np.array_equal(entry.observations["camera"], rows["observation.camera"])
        assert np.array_equal(entry.observations["body"]["joints"], rows["observation.body.joints"])
        for theirs, ours in (("actions", "action"), ("rewards", "reward"), ("terminations", "terminated")):
            assert np.array_equal(getattr(entry, theirs), rows[ours][:-1])
        assert np.array_equal(entry.truncations, rows["truncated"][:-1])
        assert np.array_equal(entry.infos["physics"], rows["physics"], equal_nan=True)


def test_minari_dataset_is_imported_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    stream = make_stream(tmp_path / "s")
    export_stream(stream, "minari", tmp_path / "counting-v0")
    assert len(minari.load_dataset("counting-v0")) == len(stream.episodes())
    import_stream("counting-v0", "minari", tmp_path / "again")
    assert equal_streams(stream, Stream.open(tmp_path / "again"))


def test_third_party_minari_dataset_is_imported(tmp_path, monkeypatch):
    """Created with Minari's own tools: float64 everywhere, infos, no lanes."""
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
    with warnings.catch_warnings():  # Minari warns about the missing author
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers("thirdparty/toy-v0", buffers, **spaces)
    report = import_stream("thirdparty/toy-v0", "minari", tmp_path / "s")
    assert report["losses"] == [
        "rewards are float64; a stream keeps float32",
        "actions are float64; a stream keeps float32",
        "infos are omitted: speed",
    ]
    stream = Stream.open(tmp_path / "s")
    rows = rows_of(stream, 0)
    assert np.array_equal(rows["observation"], np.concatenate([b.observations for b in buffers]))
    assert [e.stop - e.start for e in stream.episodes()] == [5, 2, 8]
    assert np.array_equal(rows["action"][:4], np.float32(buffers[0].actions))
    assert rows["terminated"].sum() == 3
    assert rows["valid"].sum() == 12


def test_mp4_changes_colors_slightly_and_reports_it(tmp_path):
    stream = make_stream(tmp_path / "s", "image")
    report, imported = export_and_import(stream, "lerobot", tmp_path)
    assert [message for message in report["losses"] if "mp4" in message] == report["losses"]
    assert len(report["losses"]) == 1
    assert equal_streams(stream, imported, except_fields=("observation.camera",))
    worst = max(
        np.abs(rows_of(stream, lane)[n].astype(int) - rows_of(imported, lane)[n].astype(int)).max()
        for lane in range(4)
        for n in ("observation.camera",)
    )
    assert 0 <= worst <= 3


def test_third_party_lerobot_dataset_is_imported(tmp_path):
    """Without our header it is a third-party dataset: no final observation, no flags, no bounds."""
    stream = make_stream(tmp_path / "s", "image")
    export_stream(stream, "lerobot", tmp_path / "l")
    (tmp_path / "l/meta/robossl.json").unlink()
    report = import_stream(tmp_path / "l", "lerobot", tmp_path / "back")
    message = " / ".join(report["losses"])
    assert f"the last frame of each episode has no next observation: its action, reward and end are omitted " \
           f"({len(stream.episodes())} episodes)" in message  # fmt: skip
    assert "the dataset has no bounds of observations and actions" in message
    assert "features are omitted: next.terminated, next.truncated, physics, state.where, valid" in message
    imported = Stream.open(tmp_path / "back")
    assert imported.rows == stream.rows
    assert imported.lanes == 1
    assert imported.transitions == stream.transitions
    episodes = sorted(stream.episodes(), key=lambda e: e.ordinal)
    for episode, imported_episode in zip(episodes, imported.episodes()):
        rows = stream.read(episode.lane, episode.start, episode.stop)
        imported_rows = imported.read(0, imported_episode.start, imported_episode.stop)
        assert np.array_equal(imported_rows["observation.body.joints"], rows["observation.body.joints"])
        assert np.array_equal(imported_rows["action"], rows["action"])
        assert np.array_equal(imported_rows["reward"], rows["reward"])
    assert imported.observation_space["images"]["camera"].shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("no 'minary' among the formats; did you mean 'minari'", lambda p: export_stream(p / "s", "minary", p / "x")),
        ("no 'jpeg' among the image formats", lambda p: export_stream(p / "s", "lerobot", p / "x", images="jpeg")),
        ("no stream in", lambda p: export_stream(p / "nothing", "minari", p / "x")),
        ("is not empty; choose a new folder", lambda p: export_stream(p / "s", "minari", p / "s")),
        ("no LeRobot dataset in", lambda p: import_stream(p / "s", "lerobot", p / "x")),
        ("no Minari dataset in", lambda p: import_stream(p / "s", "minari", p / "x")),
        ("expected episodes with at least one step", lambda p: export_stream(p / "empty", "minari", p / "x")),
    ],
)  # fmt: skip
def test_invalid_requests_raise_one_line_errors(tmp_path, monkeypatch, message, call):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "known"))
    make_stream(tmp_path / "s", steps=5).create_like(tmp_path / "empty", 1).close()
    with pytest.raises(UsageError, match=message) as raised:
        call(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*.part"))


def truncate_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def truncate_to_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "damage", "error", "message"),
    [
        ("data/chunk-000/file-000.parquet", truncate_file, CorruptedFileError, "is damaged or missing"),
        ("data/chunk-000/file-000.parquet", Path.unlink, CorruptedFileError, "is damaged or missing"),
        ("meta/episodes/chunk-000/file-000.parquet", Path.unlink, UsageError, "has no episodes"),
        ("meta/info.json", truncate_file, CorruptedFileError, "info.json"),
        ("meta/robossl.json", truncate_file, CorruptedFileError, "robossl.json"),
        (
            "videos/observation.images.camera/chunk-000/file-000.mp4",
            truncate_to_half,
            CorruptedFileError,
            "mp4",
        ),
        ("videos/observation.images.camera/chunk-000/file-000.mp4", Path.unlink, CorruptedFileError, "mp4"),
    ],
)
def test_damaged_dataset_raises(tmp_path, file, damage, error, message):
    export_stream(make_stream(tmp_path / "s", "image"), "lerobot", tmp_path / "l")
    damage(tmp_path / "l" / file)
    with pytest.raises(error, match=message):
        import_stream(tmp_path / "l", "lerobot", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_dataset_with_files_outside_its_folder_raises(tmp_path):
    export_stream(make_stream(tmp_path / "s"), "lerobot", tmp_path / "l")
    shutil.move(tmp_path / "l/data/chunk-000/file-000.parquet", tmp_path / "elsewhere.parquet")
    info = tmp_path / "l/meta/info.json"
    write_json(info, {**read_json(info), "data_path": "../elsewhere.parquet"})
    with pytest.raises(UsageError, match="leads out of"):
        import_stream(tmp_path / "l", "lerobot", tmp_path / "x")
    write_json(info, {**read_json(info), "codebase_version": "v2.1"})
    with pytest.raises(UsageError, match=r"expected LeRobot format v3, got v2\.1"):
        import_stream(tmp_path / "l", "lerobot", tmp_path / "x")


def test_dataset_of_another_stream_format_raises(tmp_path):
    for name, file in (("lerobot", "meta/robossl.json"), ("minari", "data/metadata.json")):
        export_stream(make_stream(tmp_path / f"{name}-s"), name, tmp_path / name)
        path = tmp_path / name / file
        entry = json.loads(path.read_text())
        (entry["robossl"] if name == "minari" else entry)["format"] = 99
        path.write_text(json.dumps(entry))
        with pytest.raises(UsageError, match="expected a dataset of stream format 3, got 99"):
            import_stream(tmp_path / name, name, tmp_path / "x")


def test_lerobot_statistics_match_the_rows(tmp_path):
    stream = make_stream(tmp_path / "s")
    export_stream(stream, "lerobot", tmp_path / "l")
    statistics = read_json(tmp_path / "l/meta/stats.json")
    rows = np.concatenate([rows_of(stream, lane)["observation"] for lane in range(4)]).astype(np.float64)
    for name, value in (
        ("min", rows.min(0)),
        ("max", rows.max(0)),
        ("mean", rows.mean(0)),
        ("std", rows.std(0)),
    ):
        assert np.allclose(statistics["observation.state"][name], value), name
    episodes = parquet.read_table(tmp_path / "l/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert (
        sum(e["length"] for e in episodes)
        == stream.rows
        == read_json(tmp_path / "l/meta/info.json")["total_frames"]
    )


@pytest.mark.parametrize("name", FORMATS)
def test_names_with_slashes_dots_and_percent_signs_are_exported_and_read_back(tmp_path, name):
    class NamedEnvs(CountingEnvs):
        names = ("robot0/joint pos", "robot0.eef", "50%2F", "größe 机")

        def __init__(self):
            super().__init__(2, SAME)
            inner = self.single_observation_space
            self.single_observation_space = Dict(
                {**dict.fromkeys(self.names, inner), "arm": Dict({"a/b": inner})}
            )
            self.observation_space = batch_space(self.single_observation_space, 2)

        def observe(self):
            values = super().observe()
            return {**dict.fromkeys(self.names, values), "arm": {"a/b": values}}

    recorder = Recorder.create(NamedEnvs(), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 30)
    recorder.finish()
    report, back = export_and_import(recorder.stream, name, tmp_path)
    assert any("%2F" in loss for loss in report["losses"])
    assert equal_streams(recorder.stream, back)
