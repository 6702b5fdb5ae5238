"""Read a LeRobot v3 dataset into a stream: exported streams exactly, third-party datasets as far as possible."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.core.io import read_json, resolve_within
from robossl.streams.formats.episode_data import (
    Rows,
    build_episode,
    create_stream_like,
    exported_name,
    exported_schema,
)
from robossl.streams.formats.hostile import check_folder
from robossl.streams.formats.labels import frames_per_second
from robossl.streams.formats.lerobot_features import Feature, features_of
from robossl.streams.formats.lerobot_thirdparty import (
    feature_list,
    thirdparty_losses,
    thirdparty_rows,
    thirdparty_schema,
)
from robossl.streams.formats.lerobot_writer import HEADER_FILE
from robossl.streams.formats.parquet import read_table, values
from robossl.streams.formats.video_files import VideoReader
from robossl.streams.schema import Schema
from robossl.streams.stream import Stream

Values = dict[str, np.ndarray]  # by feature name, (frames, ...)


def read(source: str | Path, folder: Path, progress: ProgressReporter) -> dict[str, Any]:
    """Read the dataset in the folder `source` into a new stream in `folder`."""
    files = _Files(Path(source))
    header = read_json(files.root / HEADER_FILE) if (files.root / HEADER_FILE).is_file() else None
    is_exported = header is not None
    if header is not None:
        stream = create_stream_like(folder, header)
        features = _as_stored(features_of(exported_schema(stream.schema), "video"), files.info["features"])
    else:
        features = feature_list(files.info["features"])
        metadata = {"env": files.info.get("robot_type"), "policy": "lerobot", "seed": None}
        fps = files.info["fps"]
        rates = {"step_seconds": 1 / fps, "step_source": "fps of the dataset", "fps": fps}
        stream = Stream.create(folder, thirdparty_schema(features), 1, **metadata, **rates)
    requested = {f.name: (f.kind, f.field.shape) for f in features}
    progress.start("import", len(files.episodes), "episodes")
    num_omitted = 0
    for episode, values_by_name in files.read(requested):
        if is_exported:
            stream.extend(_rows(stream.schema, features, values_by_name), int(episode["lane"]))
        elif episode["length"] > 1:
            stream.extend(thirdparty_rows(stream.schema, features, values_by_name), 0)
        else:
            num_omitted += 1
        progress.update(1)
    progress.stop()
    stream.close()
    losses = (
        []
        if is_exported
        else thirdparty_losses(files.info["features"], features, len(files.episodes), num_omitted)
    )
    return {"episodes": len(files.episodes) - num_omitted, "rows": stream.rows, "losses": losses}


def _as_stored(features: list[Feature], feature_specs: Mapping[str, Any]) -> list[Feature]:
    """Return the features with the types that the dataset has; raise UsageError if one is missing."""
    for feature in features:
        if feature.name not in feature_specs:
            raise UsageError(
                f"expected the feature {feature.name!r} in the dataset; available: {', '.join(sorted(feature_specs))}"
            )
    return [feature._replace(kind=feature_specs[feature.name]["dtype"]) for feature in features]


def _rows(schema: Schema, features: list[Feature], values_by_name: Values) -> Rows:
    """Return the rows of an episode of an exported stream."""
    names = {exported_name(name): name for name in schema.names}
    by_field = {names[f.field.name]: values_by_name[f.name] for f in features}
    for field in schema.fields:
        if field.row_bytes == 0:
            by_field[field.name] = np.zeros((len(by_field["valid"]), *field.shape), field.dtype)
    outcomes = {name: by_field.pop(name)[:-1] for name in ("reward", "terminated", "truncated")}
    action = by_field.pop("action")[:-1]
    return build_episode(schema, {}, action, outcomes, by_field)


_PATTERN = re.compile(
    r"(?:[^{}]|\{\w+(?::0?\d?d)?\})+"
)  # data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet


class _Files:
    """Files of a dataset."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / "meta/info.json").is_file():
            raise UsageError(f"no LeRobot dataset in {root}; expected a folder with meta/info.json")
        check_folder(root)
        self.info = read_json(root / "meta/info.json")
        if not isinstance(self.info, dict):
            raise CorruptedFileError(f"{root / 'meta/info.json'} has no features")
        version = str(self.info.get("codebase_version"))
        if not version.startswith("v3."):
            raise UsageError(
                f"expected LeRobot format v3, got {version} in {root}; convert it with LeRobot's script"
            )
        if not isinstance(self.info.get("features"), dict) or frames_per_second(self.info) is None:
            raise CorruptedFileError(f"{root / 'meta/info.json'} has no features or no fps")
        tables = [read_table(path) for path in sorted((root / "meta/episodes").glob("*/*.parquet"))]
        columns = [t.select([n for n in t.column_names if not n.startswith("stats/")]) for t in tables]
        self.episodes: list[dict[str, Any]] = [row for table in columns for row in table.to_pylist()]
        if not self.episodes:
            raise UsageError(f"{root} has no episodes")
        for name in ("episode_index", "length", "data/chunk_index", "data/file_index"):
            if not all(isinstance(entry.get(name), int) for entry in self.episodes):
                raise CorruptedFileError(f"{root / 'meta/episodes'} has no {name} for some episodes")
        self._videos = {
            name: VideoReader() for name, f in self.info["features"].items() if f["dtype"] == "video"
        }

    def read(
        self, requested: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> Iterator[tuple[dict[str, Any], Values]]:
        """Yield every episode and its values of the `requested` features, given by type and shape."""
        path, table = None, None
        for episode in sorted(self.episodes, key=lambda entry: entry["episode_index"]):
            indices = {kind: episode[f"data/{kind}"] for kind in ("chunk_index", "file_index")}
            if self._path("data_path", **indices) != path:
                path = self._path("data_path", **indices)
                table = read_table(path)
                episode_indices = table["episode_index"].to_numpy()
            assert table is not None
            count, frames = episode["length"], np.flatnonzero(episode_indices == episode["episode_index"])
            if len(frames) != count or frames[-1] - frames[0] + 1 != count:
                raise CorruptedFileError(
                    f"{path} has {len(frames)} frames of episode {episode['episode_index']}; expected {count}"
                )
            part = table.slice(frames[0], count)
            yield episode, {n: self._values(n, *kind, part, episode) for n, kind in requested.items()}

    def _values(
        self, name: str, kind: str, shape: tuple[int, ...], part: Any, episode: dict[str, Any]
    ) -> np.ndarray:
        """Return one feature of an episode, (frames, ...)."""
        if kind != "video":
            return values(part[name].combine_chunks(), kind, shape)
        indices = {k: episode[f"videos/{name}/{k}"] for k in ("chunk_index", "file_index")}
        path = self._path("video_path", video_key=name, **indices)
        first_frame = round(episode[f"videos/{name}/from_timestamp"] * self.info["fps"])
        return self._videos[name].read(path, first_frame, episode["length"])

    def _path(self, pattern: str, **indices: Any) -> Path:
        """Return a file of the dataset; raise if it lies outside its folder."""
        if not _PATTERN.fullmatch(str(self.info.get(pattern))):  # no attributes, no huge widths
            raise CorruptedFileError(
                f"{self.root} has an invalid file name pattern {self.info.get(pattern)!r:.200}"
            )
        try:
            return resolve_within(self.root, str(self.info[pattern]).format(**indices))
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise CorruptedFileError(f"{self.root} has an invalid file name pattern: {error}") from error
