"""StreamSource: what the page of a stream shows: its episodes, their curves by name, and their videos."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.env_ids import display_name
from robossl.core.errors import OperationError, UsageError
from robossl.evaluation.context import recorded_settings, step_seconds
from robossl.evaluation.video.frames import write_video
from robossl.evaluation.video.recording import render_frame
from robossl.streams import Episode, Stream
from robossl.streams.schema import Field
from robossl.training import output_dirs
from robossl.watch.recorded_physics import RecordedPhysics
from robossl.watch.server import Answer, Route, page_file

_MAX_EPISODES = 5000  # listed on the page, the newest
_MAX_CURVES = 64  # elements of fields that are drawn
_MAX_STEPS = 5000  # of an episode that are drawn and rendered
_ORDER = ("reward", "action", "state", "info", "observation", "flag")  # of the roles of fields on the page


class StreamSource:
    """The episodes of a stream; a video is rendered when it is first requested, one at a time."""

    def __init__(self, path: str | Path, env: str | None = None) -> None:
        """Open a stream.

        Args:
            path: Folder of the stream.
            env: Env that renders its recorded physics; None: the one that was recorded.

        Raises:
            UsageError: The folder is no stream, or has no episodes.
        """
        self.stream = Stream.open(path)
        self.env = env or output_dirs.recorded_env(self.stream.path) or self.stream.header.get("env")
        if not self.stream.episodes():
            raise UsageError(f"{path} has no episodes yet")
        self._videos = tempfile.TemporaryDirectory(prefix="robossl-view-")
        self._lock = threading.Lock()  # a stream is read, and an env renders, in one thread at a time

    def close(self) -> None:
        """Remove the videos."""
        self._videos.cleanup()

    def routes(self) -> dict[str, Route]:
        """Return the routes of the page."""
        return {
            "": lambda query: page_file("stream.html"),
            "stream.js": lambda query: page_file("stream.js"),
            "chart.js": lambda query: page_file("chart.js"),
            "page.css": lambda query: page_file("page.css"),
            "episodes": self.episodes,
            "episode": self.episode,
            "video": self.video,
        }

    def episodes(self, query: Mapping[str, str]) -> Answer:
        """Return the title, the duration of a step [s] and the episodes, the newest first."""
        with self._lock:
            self.stream.refresh()
            episodes = sorted(self.stream.episodes(), key=lambda e: e.ordinal)[-_MAX_EPISODES:]
            rows = [
                {"ordinal": e.ordinal, "lane": e.lane, "steps": e.stop - e.start - 1, "ended": e.ended}
                for e in reversed(episodes)
            ]
            return Answer.of(
                {
                    "title": display_name(str(self.stream.header.get("env"))),
                    "text": repr(self.stream),
                    "folder": str(self.stream.path),
                    "seconds": self._step_seconds(),
                    "episodes": rows,
                }
            )

    def episode(self, query: Mapping[str, str]) -> Answer:
        """Return the curves of an episode: one for each element of each field, with its unit."""
        with self._lock:
            episode = self._find(query)
            shown = [f for f in self.stream.schema.fields if not f.is_image and f.role in _ORDER]
            shown = [f for f in shown if f.name not in ("valid", "is_first", "is_last")]
            shown.sort(key=lambda field: _ORDER.index(field.role))
            rows = self.stream.read(episode.lane, episode.start, _stop(episode), [f.name for f in shown])
        curves = [curve for field in shown for curve in _curves(field, rows[field.name])]
        reward = rows["reward"][:-1] if "reward" in rows else np.zeros(0)
        return Answer.of(
            {
                "curves": curves[:_MAX_CURVES],
                "left_out": max(len(curves) - _MAX_CURVES, 0),
                "return": float(reward.sum()),
            }
        )

    def video(self, query: Mapping[str, str]) -> Answer:
        """Return the video of an episode: its images, or its recorded physics, rendered."""
        with self._lock:
            episode = self._find(query)
            path = Path(self._videos.name) / f"{episode.ordinal}-{_stop(episode)}.mp4"
            if not path.is_file():
                frames = self._images(episode)
                write_video(
                    path, self._rendered(episode) if frames is None else frames, 1 / self._step_seconds()
                )
        return Answer(kind="video/mp4", file=path)

    def _find(self, query: Mapping[str, str]) -> Episode:
        ordinal = query.get("ordinal", "")
        for episode in self.stream.episodes():
            if str(episode.ordinal) == ordinal:
                return episode
        raise UsageError(f"no episode {ordinal!r} in {self.stream.path}")

    def _step_seconds(self) -> float:
        """Return the duration of a step [s], which is recorded, or known to the env; else 1/30."""
        recorded = self.stream.header.get("step_seconds")
        if isinstance(recorded, (int, float)) and recorded > 0:
            return float(recorded)
        try:
            return step_seconds(str(self.env), **recorded_settings(self.stream)) or 1 / 30
        except UsageError:  # an env of a package that is not installed here
            return 1 / 30

    def _images(self, episode: Episode) -> list[np.ndarray] | None:
        """Return the recorded images; None if there are none."""
        fields = [f.name for f in self.stream.schema.fields if f.is_image and f.shape[-1] == 3]
        if not fields:
            return None
        rows = self.stream.read(episode.lane, episode.start, _stop(episode), fields[:1])
        return [_enlarged(np.asarray(image)) for image in rows[fields[0]]]

    def _rendered(self, episode: Episode) -> list[np.ndarray]:
        """Return frames of the recorded physics.

        Raises:
            UsageError: No physics was recorded, or the env cannot be set to it.
        """
        physics = RecordedPhysics(self.stream, str(self.env))
        try:
            frames = []
            for _ in physics.states(episode, _MAX_STEPS):
                if (frame := render_frame(physics.envs)) is None:
                    raise OperationError("frames cannot be rendered on this machine; run: robossl doctor")
                frames.append(frame.copy())
            return frames
        finally:
            physics.close()


def _stop(episode: Episode) -> int:
    return min(episode.stop, episode.start + _MAX_STEPS)


def _curves(field: Field, values: np.ndarray) -> list[dict[str, Any]]:
    """Return the elements of a field (n, ...) as named curves; values that are not finite become null."""
    flat = np.asarray(values).reshape(len(values), -1).astype(float)
    if field.role in ("action", "reward"):
        flat = flat[:-1]  # the last row has none
    names = [field.name] if not field.shape else [f"{field.name}_{i}" for i in range(flat.shape[1])]
    return [
        {
            "name": name.replace("observation.observation", "observation"),
            "role": field.role,
            "unit": field.unit,
            "values": [value if math.isfinite(value) else None for value in column.tolist()],
        }
        for name, column in zip(names, flat.T)
    ]


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Return a small image with each pixel repeated, up to about 256 pixels."""
    times = max(1, 256 // max(image.shape[:2]))
    return image.repeat(times, 0).repeat(times, 1)
