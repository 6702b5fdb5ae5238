"""Write a stream as a LeRobot v3 dataset. The lerobot package itself conflicts with our dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.interfaces import ProgressReporter
from robossl.core.io import write_json
from robossl.streams.formats.episode_data import EpisodeData, EpisodeReader
from robossl.streams.formats.labels import frames_per_second, robot_name, task_name
from robossl.streams.formats.lerobot_features import (
    INDEX,
    Feature,
    array_statistics,
    feature_spec,
    features_of,
    merge_statistics,
)
from robossl.streams.formats.parquet import TableWriter, column, write_rows, write_tasks
from robossl.streams.formats.video_files import VideoWriter
from robossl.streams.stream import Stream

VERSION = "v3.0"
HEADER_FILE = "meta/robossl.json"  # header of the exported stream
_DEFAULT_FPS = 30  # [1/s] if the header has none; the format needs one
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_CHUNK_FILES = 1000  # files of a chunk folder
_DATA_MB, _VIDEO_MB = 100, 200  # [MiB] a new file begins at this size


def write(stream: Stream, folder: Path, images: str, progress: ProgressReporter) -> dict[str, Any]:
    """Write the episodes of `stream` into `folder`."""
    episodes = EpisodeReader(stream)
    features = features_of(episodes.schema, images)
    fps = frames_per_second(stream.header)
    writer = _Writer(folder, features, fps or _DEFAULT_FPS)
    progress.start("export", len(episodes.episodes), "episodes")
    try:
        for episode in episodes:
            writer.add(episode)
            progress.update(1)
    finally:
        writer.close()
    progress.stop()
    header = {**stream.header, "lost_chunks": []}
    writer.finish(task_name(header), robot_name(header), header)
    losses = episodes.losses()
    if fps is None:
        losses.append(f"the duration of a step is unknown: {_DEFAULT_FPS} frames per second are assumed")
    if any(feature.kind == "video" for feature in features):
        losses.append(
            "images are stored as mp4, which changes colors, most at edges; --images png is lossless"
        )
    return {"episodes": len(episodes.episodes), "rows": episodes.rows, "losses": losses}


class _Writer:
    """Files of a dataset; a new file begins when the current one is large."""

    def __init__(self, folder: Path, features: list[Feature], fps: float) -> None:
        self._folder, self._features, self._fps = folder, features, fps
        self._table: tuple[int, TableWriter] | None = None  # number of the data file, and its writer
        self._videos: dict[str, tuple[int, VideoWriter]] = {}
        self._episodes: list[dict[str, Any]] = []
        self._episode_statistics: list[dict[str, dict[str, np.ndarray]]] = []
        self._rows = 0

    def add(self, episode: EpisodeData) -> None:
        """Append one episode."""
        count, number = episode.steps + 1, len(self._episodes)
        values = {f.name: episode.rows[f.field.name] for f in self._features}
        file = self._write_table(self._columns(values, count, number))
        entry: dict[str, Any] = {
            "episode_index": number,
            "tasks": None,
            "length": count,
            "data/chunk_index": file // _CHUNK_FILES,
            "data/file_index": file % _CHUNK_FILES,
            "dataset_from_index": self._rows,
            "dataset_to_index": self._rows + count,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "lane": episode.lane,
            "ordinal": episode.ordinal,
        }
        for feature in self._features:
            if feature.kind == "video":
                entry |= self._write_video(feature, values[feature.name])
        self._episodes.append(entry)
        self._episode_statistics.append(
            {f.name: array_statistics(values[f.name], f.kind in ("video", "image")) for f in self._features}
        )
        self._rows += count

    def _columns(self, values: dict[str, np.ndarray], count: int, number: int) -> dict[str, Any]:
        """Return the columns of an episode by name."""
        frame = np.arange(count)
        index: dict[str, np.ndarray] = {
            "timestamp": (frame / self._fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(count, number),
            "index": self._rows + frame,
            "task_index": np.zeros(count, np.int64),
        }
        columns = {f.name: column(values[f.name], f.kind) for f in self._features if f.kind != "video"}
        return columns | {name: column(index[name], str(index[name].dtype)) for name in INDEX}

    def _write_table(self, columns: dict[str, Any]) -> int:
        """Append to the data file and return its number."""
        number, table = self._table or (-1, None)
        if table is None or table.bytes > _DATA_MB << 20:
            if table is not None:
                table.close()
            number += 1
            table = TableWriter(self._path(DATA, number))
            self._table = (number, table)
        table.add(columns)
        return number

    def _write_video(self, feature: Feature, images: np.ndarray) -> dict[str, Any]:
        """Append to the video of a camera and return the position of the frames."""
        number, video = self._videos.get(feature.name, (-1, None))
        if video is None or video.bytes > _VIDEO_MB << 20:
            if video is not None:
                video.close()
            number += 1
            path = self._path(VIDEO, number, feature.name)
            video = VideoWriter(path, self._fps, *feature.field.shape[:2])
            self._videos[feature.name] = (number, video)
        begin = video.frames
        video.add(images)
        prefix = f"videos/{feature.name}/"
        return {
            f"{prefix}chunk_index": number // _CHUNK_FILES,
            f"{prefix}file_index": number % _CHUNK_FILES,
            f"{prefix}from_timestamp": begin / self._fps,
            f"{prefix}to_timestamp": video.frames / self._fps,
        }

    def _path(self, pattern: str, file: int, camera: str = "") -> Path:
        return self._folder / pattern.format(
            chunk_index=file // _CHUNK_FILES, file_index=file % _CHUNK_FILES, video_key=camera
        )

    def close(self) -> None:
        """Close the data and video files."""
        if self._table is not None:
            self._table[1].close()
        for _, video in self._videos.values():
            video.close()

    def finish(self, task: str, robot: str, header: dict[str, Any]) -> None:
        """Write the metadata of the dataset."""
        for entry, statistics_by_name in zip(self._episodes, self._episode_statistics):
            entry["tasks"] = [task]
            for name, statistic in statistics_by_name.items():
                entry |= {f"stats/{name}/{kind}": value.tolist() for kind, value in statistic.items()}
        write_rows(self._path(EPISODES, 0), self._episodes)
        write_tasks(self._folder / "meta/tasks.parquet", [task])
        statistics_by_name = {
            f.name: merge_statistics([part[f.name] for part in self._episode_statistics])
            for f in self._features
        }
        write_json(
            self._folder / "meta/stats.json",
            {
                name: {kind: value.tolist() for kind, value in statistic.items()}
                for name, statistic in statistics_by_name.items()
            },
        )
        videos = any(feature.kind == "video" for feature in self._features)
        write_json(
            self._folder / "meta/info.json",
            {
                "codebase_version": VERSION,
                "robot_type": robot,
                "total_episodes": len(self._episodes),
                "total_frames": self._rows,
                "total_tasks": 1,
                "chunks_size": _CHUNK_FILES,
                "data_files_size_in_mb": _DATA_MB,
                "video_files_size_in_mb": _VIDEO_MB,
                "fps": self._fps,
                "splits": {"train": f"0:{len(self._episodes)}"},
                "data_path": DATA,
                "video_path": VIDEO if videos else None,
                "features": feature_spec(self._features, self._fps),
            },
        )
        write_json(self._folder / HEADER_FILE, header)
