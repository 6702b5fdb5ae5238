"""A stream becomes a LeRobot v3 data set, written by hand: the package itself cannot be installed beside us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.interfaces import ProgressReporter
from robossl.core.io import write_json
from robossl.streams.formats.episode_data import EpisodeData, EpisodeReader
from robossl.streams.formats.lerobot_features import (
    INDEX,
    Feature,
    feature_spec,
    features_of,
    merge_statistics,
    statistics,
)
from robossl.streams.formats.parquet import TableWriter, column, write_rows, write_tasks
from robossl.streams.formats.video_files import VideoWriter
from robossl.streams.stream import Stream

VERSION = "v3.0"
OWN = "meta/robossl.json"  # the header of the stream
FPS = 30  # [1/s] where the stream does not tell
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILM = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_CHUNK_FILES = 1000  # files in a chunk folder
_DATA_MB, _FILM_MB = 100, 200  # [MiB] from which on a new file begins


def write(stream: Stream, folder: Path, images: str, progress: ProgressReporter) -> dict[str, Any]:
    """Write the episodes of `stream` into `folder`."""
    lives = EpisodeReader(stream)
    features = features_of(stream.schema, images)
    rate = stream.header.get("fps")
    writer = _Writer(folder, features, round(rate) if rate else FPS)
    progress.start("export", len(lives.episodes), "episodes")
    try:
        for life in lives:
            writer.add(life)
            progress.update(1)
    finally:
        writer.close()
    progress.stop()
    task = str(stream.header.get("env") or "unknown")
    writer.finish(task, {**stream.header, "lost": []})
    losses = lives.losses()
    if any(feature.kind == "video" for feature in features):
        losses.append(
            "pictures are kept as mp4, which changes colours, most at edges; --images png keeps every bit"
        )
    return {"episodes": len(lives.episodes), "rows": lives.rows, "losses": losses}


class _Writer:
    """The files of a data set; a new one begins when the last is large."""

    def __init__(self, folder: Path, features: list[Feature], fps: int) -> None:
        self._folder, self._features, self._fps = folder, features, fps
        self._table: tuple[int, TableWriter] | None = None  # the number of the data file, and its writer
        self._films: dict[str, tuple[int, VideoWriter]] = {}
        self._episodes: list[dict[str, Any]] = []
        self._figures: list[dict[str, dict[str, np.ndarray]]] = []
        self._rows = 0

    def add(self, life: EpisodeData) -> None:
        """One more episode."""
        count, number = life.steps + 1, len(self._episodes)
        values = {f.name: life.rows[f.field.name] for f in self._features}
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
            "lane": life.lane,
            "ordinal": life.ordinal,
        }
        for feature in self._features:
            if feature.kind == "video":
                entry |= self._write_film(feature, values[feature.name])
        self._episodes.append(entry)
        self._figures.append(
            {f.name: statistics(values[f.name], f.kind in ("video", "image")) for f in self._features}
        )
        self._rows += count

    def _columns(self, values: dict[str, np.ndarray], count: int, number: int) -> dict[str, Any]:
        """The columns of an episode, by name."""
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
        """Append to the data file; its number."""
        number, table = self._table or (-1, None)
        if table is None or table.bytes > _DATA_MB << 20:
            if table is not None:
                table.close()
            number += 1
            table = TableWriter(self._path(DATA, number))
            self._table = (number, table)
        table.add(columns)
        return number

    def _write_film(self, feature: Feature, images: np.ndarray) -> dict[str, Any]:
        """Append to the film of a camera; where the frames are."""
        number, film = self._films.get(feature.name, (-1, None))
        if film is None or film.bytes > _FILM_MB << 20:
            if film is not None:
                film.close()
            number += 1
            path = self._path(FILM, number, feature.name)
            film = VideoWriter(path, self._fps, *feature.field.shape[:2])
            self._films[feature.name] = (number, film)
        begin = film.frames
        film.add(images)
        prefix = f"videos/{feature.name}/"
        return {
            f"{prefix}chunk_index": number // _CHUNK_FILES,
            f"{prefix}file_index": number % _CHUNK_FILES,
            f"{prefix}from_timestamp": begin / self._fps,
            f"{prefix}to_timestamp": film.frames / self._fps,
        }

    def _path(self, pattern: str, file: int, camera: str = "") -> Path:
        return self._folder / pattern.format(
            chunk_index=file // _CHUNK_FILES, file_index=file % _CHUNK_FILES, video_key=camera
        )

    def close(self) -> None:
        """Finish the data and the films."""
        if self._table is not None:
            self._table[1].close()
        for _, film in self._films.values():
            film.close()

    def finish(self, task: str, header: dict[str, Any]) -> None:
        """Write what the data set says of itself."""
        for entry, figures in zip(self._episodes, self._figures):
            entry["tasks"] = [task]
            for name, figure in figures.items():
                entry |= {f"stats/{name}/{kind}": value.tolist() for kind, value in figure.items()}
        write_rows(self._path(EPISODES, 0), self._episodes)
        write_tasks(self._folder / "meta/tasks.parquet", [task])
        figures = {f.name: merge_statistics([part[f.name] for part in self._figures]) for f in self._features}
        write_json(
            self._folder / "meta/stats.json",
            {
                name: {kind: value.tolist() for kind, value in figure.items()}
                for name, figure in figures.items()
            },
        )
        videos = any(feature.kind == "video" for feature in self._features)
        write_json(
            self._folder / "meta/info.json",
            {
                "codebase_version": VERSION,
                "robot_type": task,
                "total_episodes": len(self._episodes),
                "total_frames": self._rows,
                "total_tasks": 1,
                "chunks_size": _CHUNK_FILES,
                "data_files_size_in_mb": _DATA_MB,
                "video_files_size_in_mb": _FILM_MB,
                "fps": self._fps,
                "splits": {"train": f"0:{len(self._episodes)}"},
                "data_path": DATA,
                "video_path": FILM if videos else None,
                "features": feature_spec(self._features, self._fps),
            },
        )
        write_json(self._folder / OWN, header)
