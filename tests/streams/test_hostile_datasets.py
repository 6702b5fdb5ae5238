"""Hostile data sets: links out of a data set and sizes beyond its files are refused before anything is read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from capabilities import require_module
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, record_steps

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.small_files import encode_json
from robossl.streams import Recorder
from robossl.streams.formats import export_stream, import_stream

FORMATS = ("minari", "lerobot")
SECRET = b"secret of another folder" * 20


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with an exported data set of each format."""
    folder = tmp_path_factory.mktemp("exported")
    recorder = Recorder.create(CountingEnvs(3, AutoresetMode.NEXT_STEP), folder / "s", seed=0)
    recorder.reset()
    record_steps(recorder, 40)
    recorder.close()
    for name in FORMATS:
        export_stream(folder / "s", name, folder / name)
    return folder


@pytest.fixture
def dataset(exported, tmp_path):
    """Return a copy of a data set."""

    def copy(name: str) -> Path:
        (tmp_path / "secret").write_bytes(SECRET)
        return Path(shutil.copytree(exported / name, tmp_path / name))

    return copy


def refused(folder: Path, name: str) -> str:
    """Return the one line with which an import is refused; nothing is left of it."""
    out = folder.parent / "out"
    with pytest.raises((CorruptedFileError, UsageError)) as refusal:
        import_stream(folder, name, out)
    assert not out.exists()
    assert str(refusal.value).isprintable()
    return str(refusal.value)


HDF5 = {
    "external storage": lambda h5py, group, n, secret: group.create_dataset(
        "rewards", (n,), np.uint8, external=[(str(secret), 0, n)]
    ),
    "external link": lambda h5py, group, n, secret: group.__setitem__(
        "rewards", h5py.ExternalLink(str(secret), "/x")
    ),
    "soft link": lambda h5py, group, n, secret: group.__setitem__(
        "rewards", h5py.SoftLink("/episode_1/rewards")
    ),
    "dangling link": lambda h5py, group, n, secret: group.__setitem__("rewards", h5py.SoftLink("/nowhere")),
    "virtual": lambda h5py, group, n, secret: group.create_virtual_dataset(
        "rewards", _layout(h5py, n, secret)
    ),
    "huge": lambda h5py, group, n, secret: group.create_dataset("rewards", (10**15,), "f4", chunks=(1000,)),
    "datatype": lambda h5py, group, n, secret: group.__setitem__("rewards", np.dtype("f4")),
}


def _layout(h5py, n: int, secret: Path):
    layout = h5py.VirtualLayout((n,), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "x", (n,))
    return layout


@pytest.mark.parametrize("kind", HDF5)
@pytest.mark.parametrize("episode", ["episode_0", "episode_5"])
def test_hdf5_that_refers_to_other_files_or_is_huge_is_refused(kind, episode, dataset, tmp_path) -> None:
    h5py = require_module("h5py")
    folder = dataset("minari")
    with h5py.File(folder / "data/main_data.hdf5", "a") as file:
        group = file[episode]
        n = len(group["rewards"])
        del group["rewards"]
        HDF5[kind](h5py, group, n, tmp_path / "secret")
    assert "rewards" in refused(folder, "minari")


def test_hard_link_cycle_ends(dataset) -> None:
    h5py = require_module("h5py")
    folder = dataset("minari")
    with h5py.File(folder / "data/main_data.hdf5", "a") as file:
        file["episode_0/infos/again"] = file["episode_0"]
    refused(folder, "minari")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["outside", "device", "fifo", "folder link"])
def test_file_that_is_no_regular_file_of_the_dataset_is_refused(name, kind, dataset, tmp_path) -> None:
    folder = dataset(name)
    for path in [p for p in sorted(folder.rglob("*")) if p.is_file()]:
        original = path.read_bytes()
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder link":
            path.symlink_to("/etc")
        else:
            (tmp_path / "moved").write_bytes(original)
            path.symlink_to(tmp_path / "moved" if kind == "outside" else "/dev/zero")
        refused(folder, name)
        path.unlink()
        path.write_bytes(original)
    import_stream(folder, name, tmp_path / "sound")


LEROBOT = {
    "parent": {"data_path": "../{chunk_index}"},
    "absolute": {"data_path": "/etc/passwd"},
    "attribute": {"data_path": "{chunk_index.__class__}"},
    "width": {"data_path": "{chunk_index:1000000000d}"},
    "missing": {"data_path": None},
    "no features": {"features": []},
    "no fps": {"fps": None},
    "fps of zero": {"fps": 0},
    "fps of text": {"fps": "30"},
    "version": {"codebase_version": 3},
}


@pytest.mark.parametrize("change", LEROBOT.values(), ids=LEROBOT)
def test_hostile_info_is_refused(change, dataset) -> None:
    folder = dataset("lerobot")
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_bytes(encode_json({**info, **change}))
    refused(folder, "lerobot")


@pytest.mark.parametrize("text", [b"[" * 100_000, b"[]", b'{"a": NaN}', b"", b"\xff", b" " * (17 << 20)])
@pytest.mark.parametrize(("name", "file"), [("lerobot", "meta/info.json"), ("minari", "data/metadata.json")])
def test_hostile_json_is_refused(name, file, text, dataset) -> None:
    folder = dataset(name)
    (folder / file).write_bytes(text)
    refused(folder, name)


def test_parquet_with_more_rows_than_its_size_allows_is_refused(dataset) -> None:
    pa, parquet = require_module("pyarrow"), require_module("pyarrow.parquet")
    folder = dataset("lerobot")
    path = next((folder / "data").rglob("*.parquet"))
    rows = 20_000_000
    parquet.write_table(pa.table({"episode_index": pa.array(np.zeros(rows, np.int64))}), path)
    assert "rows in" in refused(folder, "lerobot")


@pytest.mark.parametrize("file", ["parquet", "hdf5"])
def test_damaged_container_ends_in_one_line(file, dataset) -> None:
    folder = dataset("lerobot" if file == "parquet" else "minari")
    path = next((folder / "data").rglob(f"*.{file}"))
    original = path.read_bytes()
    for damaged in (
        b"",
        original[: len(original) // 2],
        b"\0" * len(original),
        original[:200] + b"\xff" * 200,
    ):
        path.write_bytes(damaged)
        refused(folder, folder.name)


def test_playlist_under_the_name_of_a_video_opens_no_other_file(tmp_path) -> None:
    from robossl.streams.formats.video_files import VideoReader, VideoWriter

    writer = VideoWriter(tmp_path / "real.mp4", 30, 32, 32)
    writer.add(np.zeros((4, 32, 32, 3), np.uint8))
    writer.close()
    assert VideoReader().read(tmp_path / "real.mp4", 0, 4).shape == (4, 32, 32, 3)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/real.mp4\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {tmp_path}/real.mp4\n"
    for text in (playlist, concat, ""):
        (tmp_path / "x.mp4").write_text(text)
        with pytest.raises(CorruptedFileError):
            VideoReader().read(tmp_path / "x.mp4", 0, 4)
