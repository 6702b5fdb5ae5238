"""A LeRobot v3 data set becomes a stream: one of ours exactly as it was, a stranger's as far as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.core.io import read_json, resolve_within
from robossl.streams.formats.episode_data import Rows, build_episode, create_stream_like
from robossl.streams.formats.lerobot_features import Feature, features_of
from robossl.streams.formats.lerobot_thirdparty import feature_list, losses_of, rows_of_stranger, schema_of
from robossl.streams.formats.lerobot_writer import OWN
from robossl.streams.formats.parquet import read_table, values
from robossl.streams.formats.video_files import VideoReader
from robossl.streams.schema import Schema
from robossl.streams.stream import Stream

Values = dict[str, np.ndarray]  # by feature name, (frames, ...)


def read(source: str | Path, folder: Path, progress: ProgressReporter) -> dict[str, Any]:
    """Read the data set in the folder `source` into a new stream in `folder`."""
    files = _Files(Path(source))
    header = read_json(files.root / OWN) if (files.root / OWN).is_file() else None
    own = header is not None
    if header is not None:
        stream = create_stream_like(folder, header)
        features = _present(features_of(stream.schema, "video"), files.info["features"])
    else:
        features = feature_list(files.info["features"])
        facts = {"env": files.info.get("robot_type"), "policy": "lerobot", "seed": None}
        stream = Stream.create(folder, schema_of(features), 1, **facts, fps=files.info["fps"])
    wanted = {f.name: (f.kind, f.field.shape) for f in features}
    progress.start("import", len(files.episodes), "episodes")
    short = 0
    for episode, found in files.read(wanted):
        if own:
            stream.extend(_rows(stream.schema, features, found), int(episode["lane"]))
        elif episode["length"] > 1:
            stream.extend(rows_of_stranger(stream.schema, features, found), 0)
        else:
            short += 1
        progress.update(1)
    progress.stop()
    stream.close()
    losses = [] if own else losses_of(files.info["features"], features, len(files.episodes), short)
    return {"episodes": len(files.episodes) - short, "rows": stream.rows, "losses": losses}


def _present(features: list[Feature], described: Mapping[str, Any]) -> list[Feature]:
    """The features as the data set has them; `RequestError` where it lacks one."""
    for feature in features:
        if feature.name not in described:
            raise UsageError(
                f"the data set lacks {feature.name!r}; there are: {', '.join(sorted(described))}"
            )
    return [feature._replace(kind=described[feature.name]["dtype"]) for feature in features]


def _rows(schema: Schema, features: list[Feature], found: Values) -> Rows:
    """The rows of an episode that was a stream's."""
    by_field = {f.field.name: found[f.name] for f in features}
    for field in schema.fields:
        if field.row_bytes == 0:
            by_field[field.name] = np.zeros((len(by_field["valid"]), *field.shape), field.dtype)
    outcomes = {name: by_field.pop(name)[:-1] for name in ("reward", "terminated", "truncated")}
    action = by_field.pop("action")[:-1]
    return build_episode(schema, {}, action, outcomes, by_field)


class _Files:
    """The files of a data set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / "meta/info.json").is_file():
            raise UsageError(f"no LeRobot data set in {root}; expected a folder with meta/info.json")
        self.info = read_json(root / "meta/info.json")
        version = str(self.info.get("codebase_version"))
        if not version.startswith("v3."):
            raise UsageError(
                f"{root} is a LeRobot data set of format {version}; expected v3 (LeRobot has a script that converts)"
            )
        if not isinstance(self.info.get("features"), dict) or not self.info.get("fps"):
            raise CorruptedFileError(f"{root / 'meta/info.json'} names no features or no fps")
        tables = [read_table(path) for path in sorted((root / "meta/episodes").glob("*/*.parquet"))]
        kept = [t.select([n for n in t.column_names if not n.startswith("stats/")]) for t in tables]
        self.episodes: list[dict[str, Any]] = [row for table in kept for row in table.to_pylist()]
        if not self.episodes:
            raise UsageError(f"{root} has no episodes")
        for name in ("episode_index", "length", "data/chunk_index", "data/file_index"):
            if not all(isinstance(entry.get(name), int) for entry in self.episodes):
                raise CorruptedFileError(
                    f"{root / 'meta/episodes'} does not tell the {name} of every episode"
                )
        self._film = {
            name: VideoReader() for name, f in self.info["features"].items() if f["dtype"] == "video"
        }

    def read(
        self, wanted: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> Iterator[tuple[dict[str, Any], Values]]:
        """Every episode and its values of the `wanted` features, given by kind and shape."""
        path, table = None, None
        for episode in sorted(self.episodes, key=lambda entry: entry["episode_index"]):
            place = {kind: episode[f"data/{kind}"] for kind in ("chunk_index", "file_index")}
            if self._path("data_path", **place) != path:
                path = self._path("data_path", **place)
                table = read_table(path)
                numbers = table["episode_index"].to_numpy()
            assert table is not None
            count, mine = episode["length"], np.flatnonzero(numbers == episode["episode_index"])
            if len(mine) != count or mine[-1] - mine[0] + 1 != count:
                raise CorruptedFileError(
                    f"{path} has {len(mine)} frames of episode {episode['episode_index']}; expected {count}"
                )
            part = table.slice(mine[0], count)
            yield episode, {n: self._values(n, *kind, part, episode) for n, kind in wanted.items()}

    def _values(
        self, name: str, kind: str, shape: tuple[int, ...], part: Any, episode: dict[str, Any]
    ) -> np.ndarray:
        """One feature of an episode, (frames, ...)."""
        if kind != "video":
            return values(part[name].combine_chunks(), kind, shape)
        place = {k: episode[f"videos/{name}/{k}"] for k in ("chunk_index", "file_index")}
        path = self._path("video_path", video_key=name, **place)
        create_stream_like = round(episode[f"videos/{name}/from_timestamp"] * self.info["fps"])
        return self._film[name].read(path, create_stream_like, episode["length"])

    def _path(self, pattern: str, **place: Any) -> Path:
        """A file of the data set; it may not lead out of it."""
        try:
            return resolve_within(self.root, str(self.info[pattern]).format(**place))
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise CorruptedFileError(
                f"{self.root} names its files in a way that is not readable: {error}"
            ) from error
